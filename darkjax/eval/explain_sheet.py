"""Pictures of `eval.explain`: rows of frames under their titles, and what `annotate` asks for."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from darkjax import files
from darkjax.data.resize import resize_clip
from darkjax.eval import annotate, pictures
from darkjax.eval.explain import Curves, Explained, curves, explain

HEIGHT, TITLE, GAP = 120, 22, 4
Rows = dict[str, np.ndarray]  # uint8 [T, H, W, 3] by title


def looked_rows(found: Explained) -> Rows:
    """What the network saw, and where it looked over it."""
    seen = pictures.colour_frames(found.video)
    shown = _tall(seen)
    said = f"where it looked for {found.name} ({found.probability:.2f} in this view)"
    return {"what it saw": shown, said: pictures.overlay_clip(shown, found.heat)}


def curve_rows(found: Curves) -> Rows:
    """Before, after, and the mean over colours of each iteration's r: orange brightens, blue
    darkens, black changes nothing; -1 and 1 are the full colours."""
    rows = {
        "before": _tall(pictures.colour_frames(found.video)),
        "after": _tall(pictures.colour_frames(found.enhanced)),
    }
    means = found.curves.mean(-1)  # T h w n
    for i in range(means.shape[-1]):
        r = means[..., i, None]
        light = np.array([255, 150, 40]) * np.maximum(-r, 0) + np.array(
            [60, 140, 255]
        ) * np.maximum(r, 0)
        title = f"r{i + 1}: mean {r.mean():+.2f}, {r.min():+.2f} to {r.max():+.2f}"
        rows[title] = _tall(np.rint(np.minimum(light, 255)).astype(np.uint8))
    return rows


def write(path: str | os.PathLike[str], rows: Rows, heading: str) -> None:
    """A sheet: the heading, then each row's title over at most six of its frames.

    Args:
      path: .png or .jpg.
      rows: of frames of one size.
      heading: one line.
    """
    from PIL import Image, ImageDraw, ImageFont

    strips = {title: _strip(video) for title, video in rows.items()}
    width = max(strip.shape[1] for strip in strips.values()) + 2 * GAP
    height = TITLE + sum(TITLE + strip.shape[0] + GAP for strip in strips.values())
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    draw: Any = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    draw.text((GAP, 2), heading, fill=(0, 0, 0), font=font)
    top = TITLE
    for title, strip in strips.items():
        draw.text((GAP, top + 2), title, fill=(90, 90, 90), font=font)
        sheet.paste(Image.fromarray(strip), (GAP, top + TITLE))
        top += TITLE + strip.shape[0] + GAP
    with files.whole(pathlib.Path(path), keep_suffix=True) as part:
        sheet.save(part, quality=90)


@dataclasses.dataclass
class Asked:
    """What `annotate.video` asks of a model, for an explained video; `said` grows as it looks."""

    model: Any
    name: str | None
    how: str
    done: Callable[[int], None]
    said: list[annotate.Said] = dataclasses.field(default_factory=list)

    @property
    def fps(self) -> float:
        """The model's."""
        return float(self.model.fps)

    @property
    def span(self) -> int:
        """The model's."""
        return int(self.model.span)

    def look(self, frames: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
        """What was seen of these frames, the next of the video, and where it looked in them."""
        if self.how == "curves":
            bright = curves(self.model, frames, rate)
            strength = np.maximum(-bright.curves.mean((3, 4)), 0.0)
            seen, heat, what = bright.enhanced, strength, ("brightened", float(strength.mean()))
        else:
            found = explain(self.model, frames, self.name, self.how, rate)
            seen, heat, what = found.video, found.heat, (found.name, found.probability)
        start = self.said[-1][1] if self.said else 0.0
        self.said.append((start, start + len(frames) / rate, *what))
        self.done(len(self.said))
        return seen, heat


def _tall(video: np.ndarray) -> np.ndarray:
    """Frames uint8 [T, H, W, 3], HEIGHT high."""
    return resize_clip(video, (HEIGHT, max(round(video.shape[2] * HEIGHT / video.shape[1]), 1)))


def _strip(video: np.ndarray) -> np.ndarray:
    """Frames side by side, uint8 [H, w, 3]."""
    gap = np.full((video.shape[1], GAP, 3), 255, np.uint8)
    chosen = video[pictures.spread(len(video))]
    return np.concatenate([part for frame in chosen for part in (frame, gap)][:-1], axis=1)
