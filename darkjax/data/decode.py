"""Video files to frames and back, by PyAV (FFmpeg)."""

import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from darkjax import files
from darkjax.data import timing
from darkjax.data import window as windows
from darkjax.data.resize import shrunk
from darkjax.errors import UserError


class Video(NamedTuple):
    """Frames uint8 [T, H, W, C] (C is 3, red green blue) and frames per second."""

    frames: np.ndarray
    fps: float


def read_video(
    path: str | os.PathLike[str],
    short_side: int | None = None,
    max_frames: int | None = None,
    *,
    fps: float | None = None,
    window: str | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Video:
    """Decode the first video stream: all of it, or the frames that are asked for.

    Frames are converted to RGB and, if `short_side` is given, resized in the same swscale call
    with the aspect kept (area average when shrinking, bicubic when enlarging; odd sizes are
    fine). Rotation metadata in steps of 90 degrees is applied, as players do. Grey of more than 8
    bits is resized by `resize.resize_clip` and mapped to 8 bits by `window`. Decoding runs on one
    thread: conversion is parallel over files.

    Args:
      path: the file.
      short_side: pixels of the shorter side; None keeps the file's size.
      max_frames: stop after so many frames; None reads all.
      fps: at each 1/fps second the frame with the nearest time stamp; None keeps every frame, also
        where the rate varies.
      window: of `window.parse`, needed for grey of more than 8 bits; other files ignore it.
      start, end: only frames from `start` to before `end`, in seconds from the first; reading
        begins at the key frame before `start`.

    Returns:
      Frames uint8 [T, H, W, 3] with T >= 2, and `fps`, or else the mean rate (0 when unknown).

    Raises:
      UserError: PyAV is not installed; the file is missing, empty, not a video, truncated (a
        decoding error, or the pictures end before the declared length or `end`), or gives one
        frame.
    """
    av = import_av()
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"missing file: expected a video at {path}")
    if path.stat().st_size == 0:
        raise UserError(f"empty file: expected a video, found 0 bytes in {path}")
    frames: list[np.ndarray] = []
    seen = timing.Seen()
    declared = 0
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise UserError(f"not a video: no video stream in {path}")
            stream = container.streams.video[0]
            stream.thread_count = 1
            declared = stream.frames
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            timed = seen.noting(_timed(container, stream, rate, start or 0.0))
            before = None
            # One for all frames: to set it up takes as long as to use it.
            scaler = av.video.reformatter.VideoReformatter()
            for frame in timing.chosen(timed, path, fps=fps, start=start, end=end):
                again = frame is before  # shown twice at a higher rate
                frames.append(frames[-1] if again else pixels(frame, short_side, path, scaler))
                before = frame
                if len(frames) == max_frames:
                    break
            mean = seen.mean_rate
            # Some containers declare a rate that varying frames do not have.
            rate = mean if mean and abs(mean - rate) > 0.05 * rate else rate
            whole = max_frames is None or len(frames) < max_frames
            lacking = _lacking(container, stream, seen, rate, start, end) if whole else ""
    except av.FFmpegError as error:
        reason = f"{type(error).__name__}: {error.strerror}"
        if not seen.count:
            raise UserError(f"not a video, or only its beginning: {reason} in {path}") from error
        of = f" of {declared}" if declared else ""
        counted = f"decoded {seen.count}{of} frames"
        raise UserError(f"truncated: {counted} ({reason}) in {path}") from error
    if lacking:
        raise UserError(f"truncated: {lacking} in {path}")
    return Video(stacked(frames, window, path), fps or rate)


def stacked(frames: Sequence[np.ndarray], window: str | None, where: object) -> np.ndarray:
    """Pictures of one clip, each uint8 [H, W, 3] or uint16 [H, W], as uint8 [T, H, W, 3].

    Raises:
      UserError: fewer than two, of several sizes or depths, or of 16 bits without a window.
    """
    if len(frames) < 2:
        raise UserError(f"expected at least 2 frames, decoded {len(frames)} in {where}")
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"expected frames of one size, found several in {where}")
    clip = np.stack(frames)
    return clip if clip.ndim == 4 else windows.applied(clip, window, where)


def _timed(
    container: Any, stream: Any, rate: float, start: float
) -> Iterator[tuple[float | None, Any]]:
    """Decoded frames with their seconds; those from the key frame before `start`, or more."""
    origin = float((stream.start_time or 0) * stream.time_base)

    def decoded() -> Iterator[tuple[float | None, Any]]:
        for number, frame in enumerate(container.decode(stream)):
            by_count = number / rate if rate else None
            yield (by_count if frame.time is None else frame.time - origin), frame

    if start > 0 and _sought(container, stream, origin + start):
        following = decoded()
        time, frame = next(following, (0.0, None))
        if frame is not None and frame.time is not None and (time or 0) <= start + timing.EPSILON:
            yield time, frame
            yield from following
            return
        _sought(container, stream, origin)  # some containers seek badly: from the beginning, then
    yield from decoded()


def _sought(container: Any, stream: Any, seconds: float) -> bool:
    try:
        container.seek(int(seconds / stream.time_base), stream=stream)
    except import_av().FFmpegError:
        return False  # not seekable; the position is as it was
    return True


def pixels(frame: Any, short_side: int | None, path: pathlib.Path, scaler: Any) -> np.ndarray:
    """One PyAV frame, resized and upright: uint8 [H, W, 3], or uint16 [H, W] of deep grey."""
    height, width = frame.height, frame.width
    deep = frame.format.name.startswith("gray") and frame.format.components[0].bits > 8
    scale = 1.0 if short_side is None else short_side / min(height, width)
    if deep and frame.format.components[0].bits > 16:
        raise UserError(f"expected grey of at most 16 bits, found {frame.format.name} in {path}")
    rotation = getattr(frame, "rotation", 0)  # degrees, counter-clockwise
    turns = 0 if math.isnan(rotation) else round(rotation / 90) % 4
    if deep:
        counts = frame.to_ndarray().astype(np.uint16, copy=False)
        pixels = shrunk(counts[None, ..., None], short_side)[0, ..., 0]
    else:
        size: dict[str, Any] = {}
        if scale != 1.0:
            size = {
                "width": max(short_side or 1, round(width * scale)),
                "height": max(short_side or 1, round(height * scale)),
                "interpolation": "AREA" if scale < 1 else "BICUBIC",
            }
        pixels = scaler.reformat(frame, format="rgb24", **size).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, turns))


def _lacking(
    container: Any,
    stream: Any,
    seen: timing.Seen,
    rate: float,
    start: float | None,
    end: float | None,
) -> str:
    """What a cut file lacks, or "".

    Some good files have fewer frames than their header counts (edit lists, an encoder's dropped
    last frame), so a file is called truncated only if its pictures also end early: more than
    two frames before the declared end, or more than the longest time between two of them. A cut
    may reach beyond the end by a tenth: people round.
    """
    declared, decoded = stream.frames, seen.count
    if not start and end is None and declared and decoded >= declared:
        return ""
    if not decoded:
        return "no frame could be decoded"
    if end is not None:
        last = seen.last or 0.0
        short = end - last - (1 / rate if rate else 0.0)
        slack = max(2 / rate if rate else 0.0, seen.gap, 0.1 * (end - (start or 0.0)))
        return f"pictures end at {last:.2f} s, before {end:.2f} s" if short > slack else ""
    counted = f"decoded {decoded} of {declared} frames"
    seconds = stream.duration * float(stream.time_base) if stream.duration else None
    if seconds is None and container.duration and len(container.streams) == 1:
        seconds = container.duration / 1e6
    if seen.last is None or seconds is None or not rate:
        return counted if not start and declared and decoded < declared - 2 else ""
    missing = seconds - (seen.last + 1 / rate)
    if missing <= max(2 / rate, seen.gap):
        return ""
    if declared and not start:
        return counted
    return f"pictures end {missing:.2f} s before the declared end"


def write_video(
    path: str | os.PathLike[str],
    frames: np.ndarray,
    fps: float,
    codec: str = "libx264",
    lossless: bool = False,
) -> None:
    """Encode frames uint8 [T, H, W, 3] as a video file, through a temporary name.

    Args:
      path: where to; the suffix chooses the container.
      frames: RGB frames. libx264 and mpeg4 want even sizes.
      fps: frames per second.
      codec: "libx264", or "mpeg4" where PyAV was built without x264.
      lossless: libx264 at quantiser 0 (colours still pass through 4:2:0).

    Raises:
      UserError: PyAV is not installed, or the frames' shape or size does not fit.
    """
    import fractions

    av = import_av()
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise UserError(f"expected uint8 [T, H, W, 3]; found {frames.dtype} {frames.shape}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise UserError(f"expected an even height and width for {codec}; found {frames.shape}")
    path = pathlib.Path(path)
    with (
        files.whole(path, keep_suffix=True) as part,
        av.open(os.fspath(part), "w") as container,
    ):
        stream = container.add_stream(codec, fractions.Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if lossless:
            stream.options = {"qp": "0"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def import_av() -> Any:
    """The module `av` (PyAV), which only what reads or writes video needs.

    Raises:
      UserError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            "decoding video needs PyAV, which is not installed: pip install 'darkjax[convert]'"
        ) from error
    return av
