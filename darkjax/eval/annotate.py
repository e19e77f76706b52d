"""A video with what is done written on it."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax.data import stream
from darkjax.errors import UserError

Said = tuple[float, float, str, float]  # from, to (seconds), what, its probability
CHUNK = 16  # frames in memory
BAR, DONE = (255, 255, 255), (255, 160, 0)


def video(source: str, target: str, said: Sequence[Said]) -> None:
    """Write `source` as mp4 with a label, its probability and a bar of it, by the second.

    Raises:
      UserError: `source` cannot be read, or Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as e:
        raise UserError(
            "writing on frames needs Pillow, which is not installed: pip install 'darkjax[report]'"
        ) from e

    def drawn(frame: np.ndarray, time: float) -> np.ndarray:
        current = next((s for s in said if s[0] <= time < s[1]), said[-1])
        picture = Image.fromarray(frame)
        draw: Any = ImageDraw.Draw(picture)
        height, width = frame.shape[:2]
        size = max(height // 16, 10)
        draw.rectangle((0, 0, width, size + 6), fill=(0, 0, 0))
        font = ImageFont.load_default(size)
        draw.text((4, 1), f"{current[2]} {current[3]:.2f}", fill=BAR, font=font)
        draw.rectangle((0, height - 4, int(width * current[3]), height), fill=DONE)
        return np.asarray(picture)

    with stream.Reader(pathlib.Path(source)) as reader, stream.writer(pathlib.Path(target)) as out:
        kept: list[np.ndarray] = []
        for number, frame in enumerate(reader.frames()):
            kept.append(drawn(frame, number / float(reader.fps)))
            if len(kept) == CHUNK:
                out.write(np.stack(kept), reader.fps)
                kept = []
        if kept:
            out.write(np.stack(kept), reader.fps)
