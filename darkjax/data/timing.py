"""Which pictures of a video make a clip: chosen by their time stamps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from darkjax.errors import UserError

Picture = TypeVar("Picture")
EPSILON = 1e-3  # seconds: containers round time stamps, most of them to a millisecond


class Seen:
    """What the time stamps were of the pictures that came by.

    Attributes:
      count: of pictures.
      first, last: time stamps, seconds; None before there is one.
      gap: the longest time from one to the next.
    """

    def __init__(self) -> None:
        self.count, self.gap = 0, 0.0
        self.first: float | None = None
        self.last: float | None = None

    def noting(
        self, pictures: Iterable[tuple[float | None, Picture]]
    ) -> Iterator[tuple[float | None, Picture]]:
        """The same pictures."""
        for time, picture in pictures:
            self.count += 1
            if time is not None:
                self.gap = max(self.gap, time - (time if self.last is None else self.last))
                self.first = time if self.first is None else self.first
                self.last = time
            yield time, picture

    @property
    def mean_rate(self) -> float:
        """Pictures a second, 0 when unknown."""
        if self.first is None or self.last is None or self.last <= self.first:
            return 0.0
        return round((self.count - 1) / (self.last - self.first), 6)


def chosen(
    pictures: Iterable[tuple[float | None, Picture]],
    where: object,
    *,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Iterator[Picture]:
    """The pictures of [start, end), at `fps` pictures a second.

    Args:
      pictures: (seconds, picture) in rising order; None where the file has no time stamps.
      where: the file, for the error.
      fps: None keeps every picture; a picture may come out several times, or not at all.
      start, end: seconds; None is the file's own.

    Raises:
      UserError: there are no time stamps to choose by.
    """
    if fps is None and start is None and end is None:
        yield from (picture for _, picture in pictures)
        return
    timed = _cut(_with_times(pictures, where), start or 0.0, end)
    yield from (picture for _, picture in timed) if fps is None else _resampled(timed, fps)


def _with_times(
    pictures: Iterable[tuple[float | None, Picture]], where: object
) -> Iterator[tuple[float, Picture]]:
    latest = -float("inf")
    for time, picture in pictures:
        if time is None:
            raise UserError(
                f"expected time stamps or a frame rate for --fps or a cut, found neither in {where}"
            )
        latest = max(latest, time)
        yield latest, picture


def _cut(
    timed: Iterable[tuple[float, Picture]], start: float, end: float | None
) -> Iterator[tuple[float, Picture]]:
    for time, picture in timed:
        if end is not None and time >= end - EPSILON:
            return
        if time >= start - EPSILON:
            yield time, picture


def _resampled(timed: Iterable[tuple[float, Picture]], fps: float) -> Iterator[Picture]:
    """At the times k / fps after the first picture, the nearest picture; of two, the earlier.

    The last picture is shown for as long as the pictures before it were on average, less a
    quarter, which is left to rounded time stamps: one second at 30 is 15 pictures at 15.
    """
    first = last = 0.0
    before: Any = None
    shown = count = 0
    for time, picture in timed:
        first = time if not count else first
        while count and first + shown / fps <= (last + time) / 2 + EPSILON:
            yield before
            shown += 1
        last, before = time, picture
        count += 1
    interval = (last - first) / max(count - 1, 1)
    while count and (not shown or first + shown / fps < last + 0.75 * interval):
        yield before
        shown += 1
