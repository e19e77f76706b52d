"""What is done in front of a camera, as it is done: `labels(model, "camera:0")`.

model = darkjax.load("runs/lift")
for label in live.labels(model, "camera:0"):
    print(model.classes[label.segment.label], label.latency)

A thread reads and keeps the newest window of frames; the network judges it whenever it is free.
What has left the window unjudged by then is dropped, so a slow network sees fewer frames, and
never old ones.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

from darkjax import timeline
from darkjax.data import live
from darkjax.errors import UserError
from darkjax.loaded import Model

TICK = 0.1  # seconds: how often a waiting program asks whether it should stop
PAUSE = 1.0  # seconds before a broken stream is opened again
LEAVING = 2.0  # seconds that a reader is given to leave; one that waits for a camera is left alone
LATEST = 10_000  # frames whose latencies are kept: the percentiles are of these

Say = Callable[[str], None]
Source = Callable[[Callable[[float], float]], contextlib.AbstractContextManager[live.Stream]]


class Label(NamedTuple):
    """What the network says of a window.

    Attributes:
      segment: from, to (seconds of the stream), class probabilities.
      waits: of each frame that no window had before (of a window that had to fill first: of the
        newest): seconds from its arrival to this label.
      arrived, used: frames up to this window; those that were in none are dropped.
    """

    segment: timeline.Segment
    waits: tuple[float, ...]
    arrived: int
    used: int

    @property
    def latency(self) -> float:
        """Of the newest frame."""
        return self.waits[-1]


class Window(NamedTuple):
    """What `Newest.take` gives: frames, how many of the newest of them had to wait for the network
    alone (and not for the window to fill), frames so far, and of these those in any window."""

    frames: list[live.Arrival]
    waited: int
    arrived: int
    used: int


class Newest:
    """The newest frames of a reader, `length` at most, for another thread to take."""

    def __init__(self, length: int, stride: int = 1):
        """`stride` new frames, at least, are waited for from one window to the next."""
        self._kept: collections.deque[live.Arrival] = collections.deque(maxlen=length)
        self._stride, self._changed = stride, threading.Condition()
        self._fresh, self._filling, self._ended = 0, True, False
        self._error: BaseException | None = None
        self.arrived = self.used = 0

    def put(self, arrival: live.Arrival) -> None:
        """The oldest frame is forgotten, used or not."""
        with self._changed:
            self._kept.append(arrival)
            self._fresh += 1
            self.arrived += 1
            self._changed.notify()

    def clear(self) -> None:
        """What follows does not go on from what was: no window has both."""
        with self._changed:
            self._kept.clear()
            self._fresh, self._filling = 0, True

    def end(self, error: BaseException | None = None) -> None:
        """No more frames will come; `error` is raised by the last `take`."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def take(self, stop: Callable[[], bool]) -> Window | None:
        """The newest window, as soon as there are new frames; of a stream that ended also a
        shorter one, and then None. None too where `stop()` says so."""
        with self._changed:
            while not stop():
                whole = len(self._kept) == self._kept.maxlen and self._fresh >= self._stride
                if whole or (self._ended and self._fresh):
                    new = min(self._fresh, len(self._kept))
                    waited = 1 if self._filling else new
                    self._fresh, self._filling, self.used = 0, False, self.used + new
                    return Window(list(self._kept), waited, self.arrived, self.used)
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._changed.wait(TICK)  # a signal's handler may not notify: it asks again
        return None


class Tally:
    """What a session comes to, in little memory however long it is."""

    def __init__(self) -> None:
        self.labels = self.arrived = self.used = 0
        self._waits: collections.deque[float] = collections.deque(maxlen=LATEST)

    def add(self, label: Label) -> None:
        """Count one in."""
        self.labels, self.arrived, self.used = self.labels + 1, label.arrived, label.used
        self._waits.extend(label.waits)

    def numbers(self) -> dict[str, float]:
        """Counts, and seconds from a frame's arrival to its first label: p50 and p95 of the latest
        `LATEST` frames (0 where there is none)."""
        half, most = np.percentile(list(self._waits) or [0.0], (50, 95))
        dropped = self.arrived - self.used
        counts = {"labels": self.labels, "frames": self.arrived, "used": self.used}
        return {**counts, "dropped": dropped, "p50": float(half), "p95": float(most)}


def labels(
    model: Model,
    source: str,
    *,
    window: int = 0,
    stride: int = 1,
    speed: float = 1.0,
    reconnect: int = 0,
    stop: Callable[[], bool] = lambda: False,
    say: Say = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
    opened: Source | None = None,
) -> Generator[Label, None, None]:
    """What is done in front of a camera or in a stream, while it is done.

    The network is compiled before the source is opened. Windows are those of
    `timeline.windows`, of frames at the model's rate by their time stamps.

    Args:
      model: of `darkjax.load`.
      source: `camera:0`, a URL, `-`, or a file, which is played at its own speed.
      window: frames of one; 0: what the model sees of a clip.
      stride: frames from one window to the next, at least; more where the network is slower.
      speed: of a file: 2 is twice as fast.
      reconnect: how often in a row a camera or stream that breaks off is opened again.
      stop: asked ten times a second; True ends the labels.
      say: told what happens besides.
      clock: seconds, monotonic; the latencies' own.
      opened: gives the stream, by default of `source`.

    Raises:
      UserError: there is no such source, it gives no frame, or it breaks off.
    """
    length = window or model.span
    if length < 1 or stride < 1 or speed <= 0 or reconnect < 0:
        raise UserError(
            f"window {length}, stride {stride}, speed {speed:g}, reconnect {reconnect}: expected "
            "at least a frame, more than 0, and no fewer than 0 times"
        )
    began = time.monotonic()
    warm(model, length)
    say(f"compiled in {time.monotonic() - began:.0f} s")
    newest, leave = Newest(length, stride), threading.Event()
    opened = opened or _source(model, source)
    pace = None if live.is_live(source) else speed
    reader = threading.Thread(
        target=_read, args=(opened, newest, leave, pace, clock, reconnect, say), daemon=True
    )
    reader.start()
    try:
        while (taken := newest.take(stop)) is not None:
            frames = taken.frames
            shown = timeline.prepared(model, [frame.pixels for frame in frames])
            said = model.judged(shown[None])[0]
            now, end = clock(), frames[-1].seconds + timeline.frame_time(model)
            waits = tuple(now - frame.at for frame in frames[-taken.waited :])
            segment = timeline.Segment(frames[0].seconds, end, said)
            yield Label(segment, waits, taken.arrived, taken.used)
        if not newest.arrived and not stop():
            raise UserError(f"expected frames, found none in {source}")
    finally:
        leave.set()
        reader.join(LEAVING)


def warm(model: Model, length: int = 0) -> None:
    """Compile what judges a window of `length` frames (0: what the model sees of a clip)."""
    side = model.intake.short_side
    black = np.zeros((side, side, 3), np.uint8)
    model.judged(timeline.prepared(model, [black] * (length or model.span))[None])


class _Left(Exception):
    """Nobody takes frames any more."""


def _source(model: Model, source: str) -> Source:
    side, fps = model.intake.short_side, model.fps
    return lambda arrive: live.opened(source, short_side=side, fps=fps, arrive=arrive)


def _read(
    opened: Source,
    newest: Newest,
    leave: threading.Event,
    pace: float | None,
    clock: Callable[[], float],
    reconnect: int,
    say: Say,
) -> None:
    """The reader's thread: a source into `newest`, until it ends or `leave` is set."""
    tries, before, begun = 0, 0.0, clock()
    while True:
        try:
            with opened(_arrival(pace, clock, leave)) as stream:
                for arrival in stream.arrivals:
                    if leave.is_set():
                        return
                    newest.put(arrival._replace(seconds=before + arrival.seconds))
                    tries = 0
            broken = UserError("the stream ended")
            if pace is not None or not reconnect:
                newest.end()
                return
        except _Left:
            return
        except UserError as e:
            broken = e
        except BaseException as e:  # of this thread nobody would hear
            newest.end(e)
            return
        tries += 1
        if pace is not None or tries > reconnect:
            newest.end(broken)
            return
        say(f"{broken}: opened again, {tries} of {reconnect}")
        newest.clear()
        leave.wait(PAUSE)
        before = clock() - begun


def _arrival(
    pace: float | None, clock: Callable[[], float], leave: threading.Event
) -> Callable[[float], float]:
    """When a picture came: of a file (`pace` is its speed) when it is due, which is waited for."""
    begun: float | None = None

    def arrive(seconds: float) -> float:
        nonlocal begun
        now = clock()
        if pace is None:
            if leave.is_set():
                raise _Left
            return now
        begun = now - seconds / pace if begun is None else begun
        due = begun + seconds / pace
        if leave.wait(max(due - now, 0.0)):
            raise _Left
        return due

    return arrive
