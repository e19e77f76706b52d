"""What happens when in a long video: a window slides over it, and equal neighbours are merged."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator
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
    views = dataclasses.replace(model.views, views_clips=1)
    kept: collections.deque[tuple[float, np.ndarray]] = collections.deque(maxlen=length)
    waiting: list[tuple[float, float, np.ndarray]] = []
    seen = fresh = 0
    step = 1 / model.fps if model.fps else 0.04  # how long the last frame is shown

    def cut() -> None:
        clip = np.stack([frame for _, frame in kept])
        waiting.append((kept[0][0], kept[-1][0] + step, model.preprocess(clip, views=views)))

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


def merged(windows: Iterable[Segment]) -> Iterator[Segment]:
    """Neighbours with the same most probable class as one segment, up to where the next begins.

    Where two overlap, the border is the middle of what both cover.
    """
    group: list[Segment] = []
    start = 0.0

    def closed(end: float) -> Segment:
        return Segment(start, end, np.mean([w.probabilities for w in group], 0))

    for window in windows:
        if group and window.label != group[-1].label:
            border = (window.start + group[-1].end) / 2
            yield closed(border)
            group, start = [], border
        elif not group:
            start = window.start
        group.append(window)
    if group:
        yield closed(group[-1].end)
