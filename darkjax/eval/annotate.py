"""A video with what is done written on it, beside it what the network sees and where it looks."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax.data import stream
from darkjax.data.resize import resize_clip
from darkjax.eval import pictures

Said = tuple[float, float, str, float]  # from, to (seconds), what, its probability
BAR, DONE = (255, 255, 255), (255, 160, 0)


def video(source: str, target: str, said: Sequence[Said], model: Any) -> None:
    """Write `source` as mp4 with a label, its probability and a bar of it, by the second.

    Right of the picture, half as high, is what the network saw (brightened, cropped, at its own
    rate) and below it, where the method has one, its heat map. As many frames as it sees at a time
    are in memory.

    Args:
      source: a file.
      target: where to.
      said: what is written.
      model: of `darkjax.load`.

    Raises:
      UserError: `source` cannot be read.
    """
    with stream.Reader(pathlib.Path(source)) as reader, stream.writer(pathlib.Path(target)) as out:
        rate = float(reader.fps)
        length = max(2, round(model.span * rate / (model.fps or rate)))
        kept: list[np.ndarray] = []
        number = 0

        def written() -> None:
            nonlocal number
            frames = np.stack(kept)
            beside = panel(model, frames, rate)
            for frame, right in zip(frames, beside, strict=True):
                time = number / rate
                current = next((s for s in said if s[0] <= time < s[1]), said[-1])
                picture = np.concatenate([_drawn(frame, current), right], axis=1)
                out.write(picture[None], reader.fps)
                number += 1
            kept.clear()

        for frame in reader.frames():
            kept.append(frame)
            if len(kept) == length:
                written()
        if kept:
            written()


def panel(model: Any, frames: np.ndarray, rate: float) -> np.ndarray:
    """What the network saw of frames uint8 [T, H, W, 3] at `rate`, over where it looked.

    Returns:
      uint8 [T, H, w, 3].
    """
    seen, heat = model.look(frames, rate)
    seen = pictures.colour_frames(seen)
    height = max(frames.shape[1] // 2, 1)
    width = max(round(seen.shape[2] * height / seen.shape[1]), 1)
    upper = resize_clip(seen, (height, width))
    lower = np.zeros_like(upper) if heat is None else pictures.overlay_clip(upper, heat)
    at = np.arange(len(frames)) * len(upper) // len(frames)
    both = np.concatenate([upper, lower], axis=1)[at]
    left = frames.shape[1] - both.shape[1]  # a row, of odd heights
    return np.pad(both, ((0, 0), (0, left), (0, 0), (0, 0)))


def _drawn(frame: np.ndarray, current: Said) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(frame)
    draw: Any = ImageDraw.Draw(picture)
    height, width = frame.shape[:2]
    size = max(height // 16, 10)
    draw.rectangle((0, 0, width, size + 6), fill=(0, 0, 0))
    font = ImageFont.load_default(size)
    draw.text((4, 1), f"{current[2]} {current[3]:.2f}", fill=BAR, font=font)
    draw.rectangle((0, height - 4, int(width * current[3]), height), fill=DONE)
    return np.asarray(picture)
