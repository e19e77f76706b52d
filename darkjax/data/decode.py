"""Video files to frames and back, by PyAV (FFmpeg)."""

import math
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from darkjax import files
from darkjax.errors import UserError


class Video(NamedTuple):
    """Frames uint8 [T, H, W, C] (C is 3, red green blue) and frames per second."""

    frames: np.ndarray
    fps: float


def read_video(
    path: str | os.PathLike[str],
    short_side: int | None = None,
    max_frames: int | None = None,
) -> Video:
    """Decode every frame of the first video stream.

    Frames are converted to RGB and, if `short_side` is given, resized in the same swscale call
    with the aspect kept (area average when shrinking, bicubic when enlarging; odd sizes are
    fine). Rotation metadata in steps of 90 degrees is applied, as players do. Decoding runs on
    one thread: conversion is parallel over files.

    Args:
      path: the file.
      short_side: pixels of the shorter side; None keeps the file's size.
      max_frames: stop after so many frames; None reads all.

    Returns:
      Frames uint8 [T, H, W, 3] with T >= 2, and the average frame rate (0 when unknown).

    Raises:
      UserError: PyAV is not installed; the file is missing, empty, not a video, truncated (a
        decoding error, or the pictures end before the declared length), or has one frame.
    """
    av = _import_av()
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"missing file: expected a video at {path}")
    if path.stat().st_size == 0:
        raise UserError(f"empty file: expected a video, found 0 bytes in {path}")
    frames: list[np.ndarray] = []
    declared = 0
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise UserError(f"not a video: no video stream in {path}")
            stream = container.streams.video[0]
            stream.thread_count = 1
            declared = stream.frames
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            last = None
            for last in container.decode(stream):
                frames.append(_to_rgb(last, short_side))
                if max_frames is not None and len(frames) == max_frames:
                    break
            whole = max_frames is None or len(frames) < max_frames
            lacking = _lacking(container, stream, last, len(frames), fps) if whole else ""
    except av.FFmpegError as error:
        reason = f"{type(error).__name__}: {error.strerror}"
        if not frames:
            raise UserError(f"not a video, or only its beginning: {reason} in {path}") from error
        of = f" of {declared}" if declared else ""
        raise UserError(
            f"truncated: decoded {len(frames)}{of} frames ({reason}) in {path}"
        ) from error
    if lacking:
        raise UserError(f"truncated: {lacking} in {path}")
    if len(frames) < 2:
        raise UserError(f"expected at least 2 frames, decoded {len(frames)} in {path}")
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"expected frames of one size, found several in {path}")
    return Video(np.stack(frames), fps)


def _to_rgb(frame: Any, short_side: int | None) -> np.ndarray:
    """One PyAV frame as uint8 [H, W, 3], resized and upright."""
    height, width = frame.height, frame.width
    if short_side is not None and short_side != min(height, width):
        scale = short_side / min(height, width)
        frame = frame.reformat(
            width=max(short_side, round(width * scale)),
            height=max(short_side, round(height * scale)),
            format="rgb24",
            interpolation="AREA" if scale < 1 else "BICUBIC",
        )
    rotation = getattr(frame, "rotation", 0)  # degrees, counter-clockwise
    turns = 0 if math.isnan(rotation) else round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def _lacking(container: Any, stream: Any, last: Any, decoded: int, fps: float) -> str:
    """What a cut file lacks, or "".

    Some good files have fewer frames than their header counts (edit lists, an encoder's dropped
    last frame), so a file is called truncated only if its pictures also end early: more than
    two frames before the declared end.
    """
    declared = stream.frames
    if declared and decoded >= declared:
        return ""
    if last is None:
        return "no frame could be decoded"
    counted = f"decoded {decoded} of {declared} frames"
    seconds = stream.duration * float(stream.time_base) if stream.duration else None
    if seconds is None and container.duration and len(container.streams) == 1:
        seconds = container.duration / 1e6
    if last.time is None or seconds is None or not fps:
        return counted if declared and decoded < declared - 2 else ""
    start = float((stream.start_time or 0) * stream.time_base)
    missing = seconds - (last.time - start + 1 / fps)
    if missing * fps <= 2:
        return ""
    return counted if declared else f"pictures end {missing:.2f} s before the declared end"


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

    av = _import_av()
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


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UserError(
            "decoding video needs PyAV, which is not installed: pip install 'darkjax[convert]'"
        ) from error
    return av
