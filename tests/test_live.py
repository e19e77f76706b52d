"""Labels in real time: frames are dropped and never queued, latencies are those of the clock."""

import contextlib
import itertools
import threading
import weakref

import numpy as np
import pytest
from colours import RATE, colours
from colours import model as coloured

from darkjax import live, loaded, timeline
from darkjax.data import live as sources
from darkjax.errors import UserError

WAIT = 30  # seconds until a test that hangs fails


@pytest.fixture(scope="module")
def model():
    return coloured()


class Fake(loaded.Model):
    """Judged by hand: it says when it begins and waits until it may go on."""

    span, fps = 4, 10.0

    def __init__(self):
        own = {"intake": coloured().intake, "views": coloured().views, "seen": []}
        own |= {"busy": threading.Semaphore(0), "go": threading.Semaphore(0)}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def preprocess(self, clip, views=None):
        return clip[None]

    def judged(self, clips):
        if not clips.any():
            return np.array([[1.0, 0.0]])  # to be compiled
        self.seen.append(clips[0, 0, :, 0, 0, 0].tolist())
        self.busy.release()
        assert self.go.acquire(timeout=WAIT)
        return np.array([[0.25, 0.75]])


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def source(frames):
    """What `labels` opens: (number, seconds it arrives) of tiny frames with the number in them."""

    @contextlib.contextmanager
    def opened(arrive):
        yield sources.Stream(iter(frames), 0.0)

    return opened


def arrival(number, at=0.0):
    return sources.Arrival(number / 10, np.full((2, 2, 3), number, np.uint8), at)


def test_a_slow_network_drops_frames_and_measures_what_they_waited():
    fake, clock, alive, most = Fake(), Clock(), [], []

    def frames():
        for number in range(1, 5):  # a window
            yield arrival(number, at=number / 10)
        assert fake.busy.acquire(timeout=WAIT)
        for number in range(5, 105):  # while the network is at work
            one = arrival(number, at=number / 10)
            alive.append(weakref.ref(one.pixels))
            most.append(sum(frame() is not None for frame in alive))
            yield one
            del one
        clock.now = 12.0
        fake.go.release()
        assert fake.busy.acquire(timeout=WAIT)
        clock.now = 13.0
        fake.go.release()

    found = list(live.labels(fake, "camera:0", opened=source(frames()), clock=clock))
    assert fake.seen == [[1, 2, 3, 4], [101, 102, 103, 104]]
    first, second = found
    # Of the first window the newest alone: the others waited for it to fill.
    assert first.waits == pytest.approx([12 - 0.4]) and first.latency == first.waits[-1]
    assert second.waits == pytest.approx([13 - at / 10 for at in (101, 102, 103, 104)])
    assert (first.arrived, first.used, second.arrived, second.used) == (4, 4, 104, 8)
    assert second.segment.start == 10.1 and second.segment.end == pytest.approx(10.5)
    assert max(most) <= Fake.span + 4  # of a hundred: the window, and what is on its way
    tally = live.Tally()
    for label in found:
        tally.add(label)
    numbers = tally.numbers()
    waits = [*first.waits, *second.waits]
    assert (numbers["frames"], numbers["used"], numbers["dropped"]) == (104, 8, 96)
    assert numbers["p50"] == pytest.approx(np.percentile(waits, 50))
    assert numbers["p95"] == pytest.approx(np.percentile(waits, 95))
    assert live.Tally().numbers()["p95"] == 0


def test_a_quick_network_judges_the_windows_of_a_timeline(model):
    shown, taken = colours(2, 1), threading.Semaphore(0)

    def frames():
        for number, frame in enumerate(shown):
            yield sources.Arrival(number / RATE, frame, 0.0)
            if number >= model.span - 1:  # a window is full: let it be judged
                assert taken.acquire(timeout=WAIT)

    found = []
    for label in live.labels(model, "camera:0", opened=source(frames()), clock=Clock()):
        found.append(label)
        taken.release()
    usual = timeline.windows(model, ((n / RATE, f) for n, f in enumerate(shown)), stride=1)
    for label, window in zip(found, usual, strict=True):
        assert label.segment[:2] == pytest.approx(window[:2])
        np.testing.assert_allclose(label.segment.probabilities, window.probabilities, rtol=1e-6)
    assert found[-1].arrived == found[-1].used == len(shown)


def test_a_stride_is_waited_for_and_a_short_stream_is_one_window():
    newest = live.Newest(4, stride=3)
    for number in range(6):
        newest.put(arrival(number))
    assert newest.take(lambda: False).waited == 1  # 4 are new, and the window had to fill
    newest.put(arrival(6))
    newest.put(arrival(7))
    asked = iter([False, False, True])
    assert newest.take(lambda: next(asked)) is None  # two are not three
    newest.put(arrival(8))
    taken = newest.take(lambda: False)
    assert [f.pixels[0, 0, 0] for f in taken.frames] == [5, 6, 7, 8] and taken.waited == 3
    assert (taken.arrived, taken.used) == (9, 7)
    newest.put(arrival(9))
    newest.end(UserError("gone"))
    assert newest.take(lambda: False).waited == 1  # what is left, and then why
    with pytest.raises(UserError, match="gone"):
        newest.take(lambda: False)
    short = live.Newest(4)
    short.put(arrival(1))
    short.end()
    assert len(short.take(lambda: False).frames) == 1 and short.take(lambda: False) is None


def test_it_ends_when_asked_and_its_reader_leaves(model):
    def endless():
        for number in itertools.count():
            yield sources.Arrival(number / RATE, shown, 0.0)

    shown, seen = colours(0.1)[0], []
    for label in live.labels(model, "camera:0", opened=source(endless()), stop=lambda: seen):
        seen.append(label)
    assert len(seen) == 1
    assert not [t for t in threading.enumerate() if t.name.endswith("(_read)") and t.is_alive()]


def test_a_broken_stream_is_opened_again_and_no_window_has_both(monkeypatch):
    monkeypatch.setattr(live, "PAUSE", 0.0)
    fake, clock, said, opens = Fake(), Clock(), [], []

    def part(first):
        for number in range(first, first + 5):
            if number == 12:  # 11 is there, and no window has it with those before the break
                assert not fake.busy.acquire(timeout=0.3)
            yield arrival(number)
            if number >= first + 3:
                assert fake.busy.acquire(timeout=WAIT)
                fake.go.release()
        clock.now += 30.0
        raise UserError(f"broke at {first + 5}")

    @contextlib.contextmanager
    def opened(arrive):
        opens.append(None)
        if len(opens) in (2, 3):
            raise UserError("no stream")
        yield sources.Stream(part(1 if len(opens) == 1 else 11), 0.0)

    def labels(reconnect):
        opens.clear()
        how = {"opened": opened, "clock": clock, "reconnect": reconnect, "say": said.append}
        yield from live.labels(fake, "rtsp://a/b", **how)

    found = []
    with pytest.raises(UserError, match="no stream"):
        found += labels(1)
    assert fake.seen == [[1, 2, 3, 4], [2, 3, 4, 5]]
    assert said[1:] == ["broke at 6: opened again, 1 of 1"]
    fake.seen.clear()
    found.clear()
    with contextlib.suppress(UserError):
        for label in labels(3):
            found.append(label)
            if len(found) == 4:
                break
    assert fake.seen == [[1, 2, 3, 4], [2, 3, 4, 5], [11, 12, 13, 14], [12, 13, 14, 15]]
    assert found[2].segment.start == pytest.approx(30 + 1.1)  # by the clock


def test_a_file_is_played_at_its_own_speed():
    clock, leave = Clock(), threading.Event()
    waited = []

    def wait(seconds):
        waited.append(round(seconds, 6))
        clock.now += seconds
        return False

    leave.wait = wait
    arrive = live._arrival(2.0, clock, leave)
    clock.now = 7.0
    assert arrive(0.0) == 7.0
    clock.now = 7.01  # decoded in 10 ms
    assert arrive(0.1) == pytest.approx(7.05)
    clock.now = 9.0  # somebody held it up: it came when it was due, and nothing is waited for
    assert arrive(0.2) == pytest.approx(7.1)
    assert waited == [0.0, 0.04, 0.0]
    leave.wait = lambda seconds: True
    with pytest.raises(live._Left):
        arrive(0.3)
    of_a_camera = live._arrival(None, clock, leave)
    assert of_a_camera(0.0) == 9.0
    leave.set()
    with pytest.raises(live._Left):
        of_a_camera(0.1)


@pytest.mark.parametrize("how", [{"window": -1}, {"stride": 0}, {"speed": 0.0}, {"reconnect": -1}])
def test_bad_numbers_are_one_line(model, how):
    with pytest.raises(UserError, match="expected at least a frame"):
        next(live.labels(model, "camera:0", opened=source([]), **how))


def test_nothing_at_all_is_said(model):
    with pytest.raises(UserError, match="expected frames, found none in camera:0"):
        next(live.labels(model, "camera:0", opened=source([])))
