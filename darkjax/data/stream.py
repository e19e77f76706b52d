"""Videos a few frames at a time, in and out, by PyAV: for files larger than memory."""

from __future__ import annotations

import contextlib
import fractions
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from darkjax import files
from darkjax.errors import UserError


class Reader:
    """Frames of a video's first stream, upright, one after the other."""

    def __init__(self, path: pathlib.Path):
        self.path, self.size = path, (0, 0)
        if path.stat().st_size == 0:
            raise UserError(f"empty file: expected a video, found 0 bytes in {path}")
        self.av = _av()
        try:
            self.container = self.av.open(os.fspath(path))
        except self.av.FFmpegError as e:
            raise UserError(f"not a video, or only its beginning: {e.strerror} in {path}") from e
        if not self.container.streams.video:
            self.container.close()
            raise UserError(f"not a video: no video stream in {path}")
        stream = self.container.streams.video[0]
        self.declared = stream.frames
        self.fps = fractions.Fraction(stream.average_rate or stream.guessed_rate or 25)

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3], all of one size."""
        try:
            for frame in self.container.decode(video=0):
                angle = getattr(frame, "rotation", 0)  # degrees, counter-clockwise
                turns = 0 if math.isnan(angle) else round(angle / 90) % 4
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
                size = pixels.shape[1], pixels.shape[0]
                if self.size not in ((0, 0), size):
                    raise UserError(f"expected frames of one size, found several in {self.path}")
                self.size = size
                yield pixels
        except self.av.FFmpegError as e:
            raise UserError(f"damaged: {e.strerror} in {self.path}") from e

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: Any) -> None:
        self.container.close()


@contextlib.contextmanager
def writer(path: pathlib.Path) -> Iterator[Writer]:
    """For writing an mp4; it is there only if all went well."""
    with files.whole(path, keep_suffix=True) as part, Writer(part) as opened:
        yield opened


class Writer:
    """An mp4 under way; see `writer`."""

    def __init__(self, path: pathlib.Path):
        self.padded = False
        self.stream: Any = None
        self.av = _av()
        self.container = self.av.open(os.fspath(path), "w")

    def write(self, frames: np.ndarray, fps: fractions.Fraction) -> None:
        """Frames uint8 [T, H, W, 3]; a row or column is repeated where their count is odd."""
        height, width = frames.shape[1:3]
        if height % 2 or width % 2:
            self.padded = True
            frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
        if self.stream is None:
            codec = "libx264" if "libx264" in self.av.codecs_available else "mpeg4"
            self.stream = self.container.add_stream(codec, fps.limit_denominator(1001))
            self.stream.height, self.stream.width = frames.shape[1:3]
            self.stream.pix_fmt = "yuv420p"
            if codec == "libx264":
                self.stream.options = {"crf": "17"}  # hardly to be told from lossless
            else:
                self.stream.bit_rate = int(2 * frames[0, ..., 0].size * fps)
        for frame in frames:
            picture = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            self.container.mux(self.stream.encode(picture))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None and self.stream is not None:
            self.container.mux(self.stream.encode())
        self.container.close()


def _av() -> Any:
    try:
        import av
    except ImportError as e:
        raise UserError(
            "videos need PyAV, which is not installed: pip install 'darkjax[convert]'"
        ) from e
    return av
