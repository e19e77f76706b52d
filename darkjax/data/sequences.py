"""Clips made of pictures: of a file that holds several, or of a folder with one file each."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from darkjax.data import images, timing
from darkjax.data.clip import Count
from darkjax.data.decode import Video, stacked
from darkjax.data.resize import shrunk
from darkjax.errors import UserError


def read_moving(path: str | os.PathLike[str], **how: Any) -> Video:
    """The pictures of one file (`images.each`); `how`: options of `decode.read_video`."""
    return _clip(images.each(path), path, **how)


def read_folder(paths: Sequence[pathlib.Path], *, rate: float = 0.0, **how: Any) -> Video:
    """The pictures of several files in the order given.

    Args:
      paths: one picture each, 8 bits for a channel, or grey of 16.
      rate: pictures a second, 0 when unknown: then neither `fps` nor a cut is possible.
      **how: options of `decode.read_video`.

    Raises:
      UserError: as `decode.read_video` does.
    """
    if not paths:
        raise UserError("expected pictures, found none")
    return _clip(_files(paths, rate), pathlib.Path(paths[0]).parent, rate, **how)


def _files(paths: Sequence[pathlib.Path], rate: float) -> Iterator[tuple[float | None, np.ndarray]]:
    for number, path in enumerate(paths):
        _, pixels = next(images.each(path))
        yield (number / rate if rate else None), pixels


def _clip(
    pictures: Iterator[tuple[float | None, np.ndarray]],
    where: str | os.PathLike[str],
    rate: float = 0.0,
    short_side: Count = None,
    max_frames: Count = None,
    *,
    window: str | None = None,
    **times: Any,
) -> Video:
    fps = times.get("fps")
    seen = timing.Seen()
    frames: list[np.ndarray] = []
    for pixels in timing.chosen(seen.noting(pictures), where, **times):
        frames.append(_sized(pixels, short_side))
        if len(frames) == max_frames:
            break
    return Video(stacked(frames, window, where), fps or seen.mean_rate or rate)


def _sized(pixels: np.ndarray, short_side: int | None) -> np.ndarray:
    deep = pixels.ndim == 2
    small = shrunk((pixels[..., None] if deep else pixels)[None], short_side)[0]
    return small[..., 0] if deep else small
