"""Frames one after the other: of a file, a camera, a network stream or standard input."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from darkjax.data import decode, timing
from darkjax.errors import UserError

CAMERA, STDIN = "camera:", "-"
SYSTEMS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


class Stream(NamedTuple):
    """What is open.

    Attributes:
      frames: (seconds from the beginning, uint8 [H, W, 3]), one after the other.
      seconds: how long it is; 0 is unknown.
    """

    frames: Iterator[tuple[float, np.ndarray]]
    seconds: float


def is_live(source: str) -> bool:
    """Whether it is a camera, a network stream or standard input, and not a file."""
    return source == STDIN or source.startswith(CAMERA) or "://" in source


@contextlib.contextmanager
def opened(source: str, *, short_side: int, fps: float = 0.0) -> Iterator[Stream]:
    """A source of frames, of which a few are in memory at a time.

    Args:
      source: a file, `camera:0`, a URL (`rtsp://…`, `udp://…`) or `-`.
      short_side: pixels of the shorter side.
      fps: frames a second, chosen by time stamps; 0 is every frame.

    Raises:
      UserError: there is no such source, it is no video, or it breaks off (from `frames`).
    """
    av = decode.import_av()
    try:
        container = _open(av, source)
    except (av.FFmpegError, OSError) as e:
        raise UserError(f"not a video, or not there: {e.strerror} in {source}") from e
    with container:
        if not container.streams.video:
            raise UserError(f"not a video: no video stream in {source}")
        stream = container.streams.video[0]
        length = container.duration or 0
        yield Stream(_frames(av, container, stream, source, short_side, fps), length / 1e6)


def _open(av: Any, source: str) -> Any:
    if source == STDIN:
        return av.open(sys.stdin.buffer, "r")
    if not source.startswith(CAMERA):
        return av.open(source)
    number = source.removeprefix(CAMERA)
    if not number.isdigit() or sys.platform not in SYSTEMS:
        raise UserError(f"{source}: expected camera:0, camera:1, …, on Linux or macOS")
    system, name = SYSTEMS[sys.platform]
    return av.open(name.format(number), format=system)


def _frames(
    av: Any, container: Any, stream: Any, source: str, short_side: int, fps: float
) -> Iterator[tuple[float, np.ndarray]]:
    scaler, rate = av.video.reformatter.VideoReformatter(), float(stream.average_rate or 0)
    origin = float((stream.start_time or 0) * (stream.time_base or 0))

    def timed() -> Iterator[tuple[float | None, tuple[float, Any]]]:
        for number, frame in enumerate(container.decode(stream)):
            time = number / (rate or 25) if frame.time is None else frame.time - origin
            yield time, (time, frame)

    count = 0
    try:
        for time, frame in timing.chosen(timed(), source, fps=fps or None):
            shown = decode.pixels(frame, short_side, pathlib.Path(source), scaler)
            if shown.ndim == 2:
                raise UserError(
                    f"grey of more than 8 bits in {source}: convert it to records first"
                )
            yield count / fps if fps else time, shown
            count += 1
    except av.FFmpegError as e:
        raise UserError(f"breaks off after {count} frames: {e.strerror} in {source}") from e
