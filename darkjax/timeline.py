"""What happens when in a long video: a window slides over it, and equal neighbours are merged."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from darkjax.errors import UserError
from darkjax.loaded import Model

AT_ONCE = 4  # windows that go through the network together


class Segment(NamedTuple):
    """A stretch of a video, in seconds, and the mean class probabilities of its windows, [K]."""

    start: float
    end: float
    probabilities: np.ndarray

    @property
    def label(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())


def windows(
    model: Model,
    frames: Iterable[tuple[float, np.ndarray]],
    length: int = 0,
    stride: int = 0,
) -> Iterator[Segment]:
    """What the model says of each window, as the frames come; `length` of them are in memory.

    Args:
      model: of `darkjax.load`.
      frames: (seconds, uint8 [H, W, 3]) at the model's rate.
      length: frames of a window; 0: what the model sees of a clip.
      stride: frames from one window to the next; 0: half a window.

    Yields:
      A segment a window. A video shorter than one is one window; the last ends with the video.

    Raises:
      UserError: `length` or `stride` is below 0, or there is no frame.
    """
    length = length or model.span
    stride = stride or max(length // 2, 1)
    if length < 1 or stride < 1:
        raise UserError(f"window of {length} frames every {stride}: expected at least 1 and 1")
    kept: collections.deque[tuple[float, np.ndarray]] = collections.deque(maxlen=length)
    waiting: list[tuple[float, float, np.ndarray]] = []
    seen = fresh = 0
    step = frame_time(model)

    def cut() -> None:
        clip = prepared(model, [frame for _, frame in kept])
        waiting.append((kept[0][0], kept[-1][0] + step, clip))

    def judged() -> Iterator[Segment]:
        if waiting:
            found = model.judged(np.stack([clip for _, _, clip in waiting]))
            yield from (Segment(a, b, p) for (a, b, _), p in zip(waiting, found, strict=True))
            waiting.clear()

    for time, frame in frames:
        kept.append((time, frame))
        seen, fresh = seen + 1, fresh + 1
        if seen == length or (seen > length and fresh == stride):
            cut()
            fresh = 0
        if len(waiting) == AT_ONCE:
            yield from judged()
    if not seen:
        raise UserError("expected frames; found none")
    if seen < length or fresh:
        cut()
    yield from judged()


def prepared(model: Model, frames: Sequence[np.ndarray]) -> np.ndarray:
    """A window as the network is given it: frames uint8 [H, W, 3] to uint8 [V, T', h, w, C]."""
    views = dataclasses.replace(model.views, views_clips=1)
    return model.preprocess(np.stack(frames), views=views)


def frame_time(model: Model) -> float:
    """How long a frame is shown, in seconds."""
    return 1 / model.fps if model.fps else 0.04


def merged(windows: Iterable[Segment]) -> Iterator[Segment]:
    """Neighbours with the same most probable class as one segment, up to where the next begins.

    Where two overlap, the border is the middle of what both cover.
    """
    last: Segment | None = None
    start, count, total = 0.0, 0, np.zeros(0)  # a sum: a camera may show the same for days

    for window in windows:
        if last is None or window.label != last.label:
            if last is not None:
                border = (window.start + last.end) / 2
                yield Segment(start, border, total / count)
            start = window.start if last is None else border
            count, total = 0, np.zeros_like(window.probabilities)
        last, count, total = window, count + 1, total + window.probabilities
    if last is not None:
        yield Segment(start, last.end, total / count)
