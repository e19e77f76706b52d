"""Frames one after the other: of a file, a camera, a network stream or standard input."""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from darkjax.data import decode, timing
from darkjax.errors import UserError

CAMERA, STDIN = "camera:", "-"
SYSTEMS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
PATIENCE = 10.0  # seconds without a sign of a camera or a network stream: it is not there, or gone


class Arrival(NamedTuple):
    """A frame: seconds from the beginning, uint8 [H, W, 3], and what `arrive` said when it came."""

    seconds: float
    pixels: np.ndarray
    at: float


class Stream(NamedTuple):
    """What is open.

    Attributes:
      arrivals: one frame after the other.
      seconds: how long it is; 0 is unknown.
    """

    arrivals: Iterator[Arrival]
    seconds: float

    @property
    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """(seconds from the beginning, uint8 [H, W, 3]), the same frames."""
        return ((arrival.seconds, arrival.pixels) for arrival in self.arrivals)


def is_live(source: str) -> bool:
    """Whether it is a camera, a network stream or standard input, and not a file."""
    return source == STDIN or source.startswith(CAMERA) or "://" in source


@contextlib.contextmanager
def opened(
    source: str,
    *,
    short_side: int,
    fps: float = 0.0,
    arrive: Callable[[float], float] | None = None,
) -> Iterator[Stream]:
    """A source of frames, of which a few are in memory at a time.

    Args:
      source: a file, `camera:0`, a URL (`rtsp://…`, `udp://…`) or `-`.
      short_side: pixels of the shorter side.
      fps: frames a second, chosen by time stamps; 0 is every frame.
      arrive: called with the seconds of every picture as it is decoded, chosen or not; what it
        returns becomes `Arrival.at`. The next picture is not decoded before it returns.

    Raises:
      UserError: there is no such source, it is no video, it says nothing for `PATIENCE`, or it
        breaks off (from `arrivals`).
    """
    av = decode.import_av()
    try:
        container = _open(av, source)
    except (av.FFmpegError, OSError, ValueError) as e:
        if isinstance(e, UserError):
            raise
        raise UserError(_absent(av, source, e)) from e
    with container:
        if not container.streams.video:
            raise UserError(f"not a video: no video stream in {source}")
        stream = container.streams.video[0]
        length = container.duration or 0
        come = arrive or (lambda seconds: 0.0)
        yield Stream(_frames(av, container, stream, source, short_side, fps, come), length / 1e6)


def _open(av: Any, source: str) -> Any:
    if source == STDIN:
        return av.open(sys.stdin.buffer, "r")
    if not source.startswith(CAMERA):
        return av.open(source, timeout=(PATIENCE, PATIENCE) if is_live(source) else None)
    system, name = _camera(source)
    return av.open(name, format=system, timeout=(PATIENCE, PATIENCE))


def _camera(source: str) -> tuple[str, str]:
    number = source.removeprefix(CAMERA)
    if not number.isdigit() or sys.platform not in SYSTEMS:
        raise UserError(f"{source}: expected camera:0, camera:1, …, on Linux or macOS")
    system, name = SYSTEMS[sys.platform]
    return system, name.format(number)


def _absent(av: Any, source: str, error: Exception) -> str:
    why = getattr(error, "strerror", None) or error
    if source.startswith(CAMERA):
        system, name = _camera(source)
        return f"{source}: no camera that {system} can open as {name}: {why}"
    if isinstance(error, av.error.ExitError):
        return f"no answer for {PATIENCE:g} s from {source}: is anybody sending there?"
    if is_live(source) and source != STDIN:
        return f"no stream: {why} at {source}"
    return f"not a video, or not there: {why} in {source}"


def _frames(
    av: Any,
    container: Any,
    stream: Any,
    source: str,
    short_side: int,
    fps: float,
    arrive: Callable[[float], float],
) -> Iterator[Arrival]:
    scaler, rate = av.video.reformatter.VideoReformatter(), float(stream.average_rate or 0)
    origin = float((stream.start_time or 0) * (stream.time_base or 0))

    def timed() -> Iterator[tuple[float | None, tuple[float, float, Any]]]:
        for number, frame in enumerate(container.decode(stream)):
            time = number / (rate or 25) if frame.time is None else frame.time - origin
            yield time, (time, arrive(time), frame)

    count = 0
    try:
        for time, at, frame in timing.chosen(timed(), source, fps=fps or None):
            shown = decode.pixels(frame, short_side, pathlib.Path(source), scaler)
            if shown.ndim == 2:
                raise UserError(
                    f"grey of more than 8 bits in {source}: convert it to records first"
                )
            yield Arrival(count / fps if fps else time, shown, at)
            count += 1
    except av.FFmpegError as e:
        silent = isinstance(e, av.error.ExitError)
        why = f"nothing came for {PATIENCE:g} s" if silent else e.strerror
        if source == STDIN and not count:
            why = f"{why} (an mp4 cannot be piped: its index is at its end; Matroska can)"
        raise UserError(f"breaks off after {count} frames: {why} in {source}") from e
