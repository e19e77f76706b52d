"""Time stamps to pictures: which are taken, by hand."""

import pytest

from darkjax.data import timing
from darkjax.errors import UserError


def chosen(times, fps=None, start=None, end=None):
    pictures = ((t, n) for n, t in enumerate(times))
    return list(timing.chosen(pictures, "clip.mp4", fps=fps, start=start, end=end))


def test_everything_when_nothing_is_asked_for():
    assert chosen([None, None, 0.5]) == [0, 1, 2]


@pytest.mark.parametrize("rounded", [False, True], ids=["exact", "milliseconds"])
@pytest.mark.parametrize(
    ("fps", "wanted"),
    [
        (15, list(range(0, 30, 2))),
        (30, list(range(30))),
        (10, list(range(0, 30, 3))),
        (20, [n for n in range(30) if n % 3 != 2]),  # of two equally near, the earlier
        (60, [n for n in range(30) for _ in range(2)]),
        (1, [0]),
    ],
)
def test_one_second_of_thirty_pictures(fps, wanted, rounded):
    times = [round(n / 30, 3) if rounded else n / 30 for n in range(30)]
    assert chosen(times, fps) == wanted
    assert chosen([t + 7 for t in times], fps) == wanted  # from the first picture on


def test_varying_times():
    times = [0, 0.1, 0.15, 0.2, 0.6, 1.0]
    assert chosen(times, 5) == [0, 3, 3, 4, 4, 5]  # at 0, .2, .4 (as near to .6), .6, .8, 1
    assert chosen([0, 0, 0.1, 0.05, 0.2], 10) == [0, 2, 4]  # times that fall are held


def test_cut():
    times = [n / 10 for n in range(20)]
    assert chosen(times, start=0.5, end=0.9) == [5, 6, 7, 8]
    assert chosen(times, start=1.7) == [17, 18, 19]
    assert chosen(times, end=0.2) == [0, 1]
    assert chosen([round(n / 30, 3) for n in range(9)], start=1 / 30, end=4 / 30) == [1, 2, 3]
    assert chosen(times, fps=5, start=0.5, end=1.1) == [5, 7, 9]
    assert chosen(times, start=5) == []


def test_what_comes_after_the_cut_is_not_read():
    def pictures():
        yield from ((0.0, 0), (0.1, 1), (0.2, 2))
        raise AssertionError("read on")

    assert list(timing.chosen(pictures(), "", end=0.2)) == [0, 1]


def test_without_times_nothing_can_be_chosen():
    with pytest.raises(UserError, match=r"time stamps or a frame rate .* found neither in clip"):
        chosen([None], 5)
    with pytest.raises(UserError, match="found neither"):
        chosen([None], start=1)


def test_the_mean_rate():
    seen = timing.Seen()
    assert list(seen.noting([(0.0, "a"), (0.1, "b"), (0.4, "c")]))[2] == (0.4, "c")
    assert (seen.count, seen.mean_rate, seen.gap) == (3, 5.0, pytest.approx(0.3))
    assert timing.Seen().mean_rate == 0
