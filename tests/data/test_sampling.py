"""Frames and windows: bounds, order, coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkjax.data import sampling
from darkjax.data.views import EvalViews, TrainViews, ViewConfig
from darkjax.errors import UserError

counts = st.integers(1, 80)
few = st.integers(1, 20)


def _rng(seed=0):
    return np.random.default_rng(seed)


@settings(deadline=None, max_examples=150)
@given(counts, few, st.integers(1, 4), st.integers(0, 99))
def test_random_clip(num_frames, frames, stride, seed):
    numbers = sampling.random_clip(num_frames, frames, stride, _rng(seed))
    assert numbers.shape == (frames,)
    assert numbers.min() >= 0 and numbers.max() < num_frames
    if num_frames >= sampling.span(frames, stride):
        assert (np.diff(numbers) == stride).all()
    else:
        np.testing.assert_array_equal(numbers, np.arange(frames) * stride % num_frames)


def test_random_clip_reaches_every_start():
    starts = {int(sampling.random_clip(6, 3, 2, _rng(seed))[0]) for seed in range(40)}
    assert starts == {0, 1}  # frames 0, 2, 4 or 1, 3, 5
    assert sampling.span(3, 2) == 5


def test_a_delta_is_one_of_those_that_the_clip_holds():
    def seen(num_frames):
        found = {sampling.random_delta(num_frames, 4, (4, 1, 2), _rng(seed)) for seed in range(40)}
        return sorted(found)

    # Four frames span 4, 7 and 13 of the clip.
    assert [seen(n) for n in (13, 12, 7, 6, 4)] == [[1, 2, 4], [1, 2], [1, 2], [1], [1]]
    assert seen(3) == [1]  # none fits: the smallest, and the clip begins again


def test_evaluation_takes_the_deltas_in_turn():
    centre = [[3, 4, 5], [2, 4, 6], [0, 4, 8]]
    np.testing.assert_array_equal(sampling.spaced_deltas(9, 3, (1, 2, 4), 3), centre)
    np.testing.assert_array_equal(sampling.spaced_deltas(9, 3, (1, 2, 4), 1), centre[:1])
    more = [[0, 1, 2], [2, 4, 6], [6, 7, 8]]  # two of the first: its ends
    np.testing.assert_array_equal(sampling.spaced_deltas(9, 3, (1, 2), 3), more)
    for count in (1, 2, 5):
        found = sampling.spaced_deltas(20, 3, (2,), count)
        np.testing.assert_array_equal(found, sampling.spaced_clips(20, 3, 2, count))


def test_evaluation_leaves_out_deltas_that_the_clip_does_not_hold():
    # As training does: of 6 frames three span 3 and 5, not 9, and none begins again in a view.
    found = sampling.spaced_deltas(6, 3, (1, 2, 4), 3)
    np.testing.assert_array_equal(found, [[0, 1, 2], [1, 3, 5], [3, 4, 5]])
    np.testing.assert_array_equal(sampling.spaced_deltas(2, 3, (4, 1), 2), [[0, 1, 0]] * 2)


@pytest.mark.parametrize(
    ("num_frames", "frames", "stride", "starts"),
    [(100, 16, 1, range(0, 96, 16)), (16, 16, 1, [0]), (31, 16, 1, [0]), (40, 5, 4, [0, 20]),
     (15, 16, 1, [0]), (1, 4, 2, [0])],
)  # fmt: skip
def test_clips_without_overlap_are_as_many_as_there_is_room_for(num_frames, frames, stride, starts):
    found = sampling.tiled_clips(num_frames, frames, stride)
    expected = [(start + np.arange(frames) * stride) % num_frames for start in starts]
    np.testing.assert_array_equal(found, expected)
    if num_frames >= frames * stride:
        assert len(np.unique(found)) == found.size


def test_short_clip_loops():
    np.testing.assert_array_equal(sampling.random_clip(3, 7, 1, _rng()), [0, 1, 2, 0, 1, 2, 0])


def test_spaced_clips():
    np.testing.assert_array_equal(sampling.spaced_clips(10, 4, 1, 1), [[3, 4, 5, 6]])
    np.testing.assert_array_equal(
        sampling.spaced_clips(10, 4, 1, 3), [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    )
    np.testing.assert_array_equal(sampling.spaced_clips(2, 3, 1, 2), [[0, 1, 0]] * 2)
    strided = [[0, 2, 4, 6], [2, 4, 6, 8], [3, 5, 7, 9]]  # 7 frames each; 1.5 is rounded up
    np.testing.assert_array_equal(sampling.spaced_clips(10, 4, 2, 3), strided)
    np.testing.assert_array_equal(sampling.spaced_clips(10, 4, 2, 1), [[2, 4, 6, 8]])


@settings(deadline=None, max_examples=100)
@given(counts, few, st.integers(1, 5))
def test_spaced_clips_cover_the_ends(num_frames, frames, count):
    clips = sampling.spaced_clips(num_frames, frames, 1, count)
    assert clips.shape == (count, frames) and (np.diff(clips[:, 0]) >= 0).all()
    if count > 1 and num_frames >= frames:
        assert clips[0, 0] == 0 and clips[-1, -1] == num_frames - 1


@settings(deadline=None, max_examples=150)
@given(counts, few, st.integers(0, 99))
def test_segments(num_frames, frames, seed):
    numbers = sampling.random_segments(num_frames, frames, _rng(seed))
    edges = np.arange(frames + 1) * num_frames / frames
    assert (numbers >= np.floor(edges[:-1])).all() and (numbers < np.ceil(edges[1:])).all()
    assert (np.diff(numbers) >= 0).all() and numbers.max() < num_frames
    spaced = sampling.spaced_segments(num_frames, frames, 3)
    assert spaced.shape == (3, frames) and numbers.dtype == spaced.dtype == np.int64
    for offset in spaced:
        assert (np.diff(offset) >= 0).all() and offset.min() >= 0 and offset.max() < num_frames


def test_segment_centres_by_hand():
    np.testing.assert_array_equal(sampling.spaced_segments(12, 3, 1), [[2, 6, 10]])
    np.testing.assert_array_equal(sampling.spaced_segments(12, 3, 2), [[1, 5, 9], [3, 7, 11]])


def test_rounding_never_steps_over_the_end_of_the_clip():
    class Last(np.random.Generator):
        def random(self, n):
            return np.full(n, np.nextafter(1.0, 0.0))  # 9 + this is 10

    assert sampling.random_segments(30, 10, Last(np.random.PCG64()))[-1] == 29


def test_segments_vary_within_the_segment():
    seen = {int(sampling.random_segments(12, 3, _rng(seed))[1]) for seed in range(60)}
    assert seen == {4, 5, 6, 7}


@settings(deadline=None, max_examples=100)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 999))
def test_windows_are_inside(height, width, seed):
    crop = sampling.random_crop(height, width, (8, 6), _rng(seed))
    resized = sampling.random_resized_crop(height, width, (8, 8), _rng(seed), (0.05, 1.0))
    windows = [crop, resized]
    for count in (1, 3, 5, 10):
        windows += sampling.spaced_crops(height, width, (8, 8), count)
    for window in windows:
        assert window.y >= 0 and window.x >= 0 and window.height > 0 and window.width > 0
        assert window.y + window.height <= height and window.x + window.width <= width


def test_random_crop_reaches_every_place():
    places = {sampling.random_crop(5, 4, (4, 2), _rng(seed))[:2] for seed in range(200)}
    assert places == {(y, x) for y in range(2) for x in range(3)}


def test_resized_crop_area_and_aspect():
    windows = [
        sampling.random_resized_crop(100, 100, (10, 20), _rng(s), (0.1, 0.2)) for s in range(300)
    ]
    areas = np.array([w.height * w.width for w in windows]) / 1e4
    aspects = np.array([w.width / w.height for w in windows]) / 2  # size itself is 1:2
    assert (
        areas.min() > 0.09 and areas.max() < 0.21 and areas.mean() == pytest.approx(0.15, abs=0.01)
    )
    assert aspects.min() > 0.7 and aspects.max() < 1.4
    assert np.log(aspects).mean() == pytest.approx(0, abs=0.03)
    whole = sampling.random_resized_crop(30, 30, (8, 8), _rng(), (1.0, 1.0), (1.0, 1.0))
    assert whole == (0, 0, 30, 30, False)


@pytest.mark.parametrize(
    ("frame", "size", "share", "expected"),
    [
        ((10, 10), (8, 8), 0.35, (6, 6)),  # sides of 5.92
        ((10, 10), (8, 8), 0.30, (5, 5)),  # 5.48
        ((4, 4), (8, 8), 0.02, (1, 1)),  # 0.57
        ((5, 5), (8, 8), 0.001, (1, 1)),  # 0.16: never less than a pixel
        ((10, 40), (8, 16), 0.5, (10, 20)),
        ((10, 40), (16, 8), 0.5, (10, 10)),  # 20 rows are more than there are
        ((40, 10), (8, 16), 0.5, (10, 10)),
    ],
)
def test_resized_crop_by_hand(frame, size, share, expected):
    window = sampling.random_resized_crop(*frame, size, _rng(), (share, share), (1.0, 1.0))
    assert (window.height, window.width, window.flip) == (*expected, False)


def test_corner_crops_are_thirteen_places_of_a_few_sizes():
    """Frames of 128x170, DarkLight's: the largest window is a square of 128."""
    windows = {sampling.corner_crop(128, 170, (112, 112), _rng(seed)) for seed in range(3000)}
    sizes = {(w.height, w.width) for w in windows}
    side = [128, 112, 96, 84]  # 128 times 1, 0.875, 0.75, 0.66
    assert sizes == {(side[i], side[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    places = {(w.y, w.x) for w in windows if (w.height, w.width) == (96, 84)}
    y, x = (0, 8, 16, 24, 32), (0, 21, 43, 64, 86)
    expected = {(y[i], x[j]) for i in (0, 2, 4) for j in (0, 2, 4)}
    assert places == expected | {(y[i], x[j]) for i in (1, 3) for j in (1, 3)}
    assert all(w.y + w.height <= 128 and w.x + w.width <= 170 for w in windows)
    whole = sampling.corner_crop(40, 30, (20, 10), _rng(), (1.0,), 0)
    assert (whole.height, whole.width) == (40, 20)


def test_spaced_crops_by_hand():
    def crops(*args):
        return [(c.y, c.x, c.flip) for c in sampling.spaced_crops(*args)]

    assert crops(10, 20, (8, 8), 1) == [(1, 6, False)]
    assert crops(10, 20, (8, 8), 3) == [(1, 0, False), (1, 6, False), (1, 12, False)]
    assert crops(20, 10, (8, 8), 3) == [(0, 1, False), (6, 1, False), (12, 1, False)]
    five = [(0, 0), (0, 12), (2, 0), (2, 12), (1, 6)]
    assert [c[:2] for c in crops(10, 20, (8, 8), 5)] == five
    assert crops(10, 20, (8, 8), 10) == [(*p, False) for p in five] + [(*p, True) for p in five]
    assert crops(10, 10, (8, 8), 3) == [(1, 0, False), (1, 1, False), (1, 2, False)]
    assert crops(11, 21, (8, 6), 1) == [(1, 7, False)]
    assert crops(11, 21, (8, 6), 5)[2:4] == [(3, 0, False), (3, 15, False)]
    with pytest.raises(ValueError, match="found 4"):
        sampling.spaced_crops(10, 20, (8, 8), 4)


def test_largest_window():
    assert sampling.largest_window(120, 160, (112, 112)) == (120, 120)
    assert sampling.largest_window(120, 160, (112, 224)) == (80, 160)
    assert sampling.largest_window(60, 80, (112, 112)) == (60, 60)
    assert sampling.largest_window(100, 100, (3, 7)) == (43, 100)  # 42.86
    assert sampling.largest_window(100, 100, (7, 3)) == (100, 43)


META = {"frames": np.array([13]), "height": np.array([40]), "width": np.array([48])}


def test_views_have_the_deltas_and_the_corners_of_the_config():
    cfg = ViewConfig(4, deltas=(1, 2, 4), size=(32, 32), crop="corners", views_clips=3)
    views = [TrainViews((), cfg, 0).view(0, _rng(seed), META) for seed in range(60)]
    assert {tuple(np.unique(np.diff(view.frames))) for view in views} == {(1,), (2,), (4,)}
    sides = {view.window.height for view in views}
    assert sides == {40, 35, 30, 26}  # 40 times the scales
    judged = EvalViews(META, cfg, np.array([0]))
    assert [int(np.diff(judged[k].frames)[0]) for k in range(len(judged))] == [1, 2, 4]
    assert {judged[k].window[:4] for k in range(3)} == {(4, 8, 32, 32)}


@pytest.mark.parametrize("fields", [{"sampling": "segments"}, {"views_clips": 0}])
def test_deltas_need_clips_of_evenly_spaced_frames(fields):
    with pytest.raises(UserError, match=r"deltas=\(1, 2\).*give deltas=\(\) for stride alone"):
        ViewConfig(4, deltas=(1, 2), **fields)
