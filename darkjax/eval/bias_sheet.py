"""A picture of the clips that `eval.static_bias` makes: a row a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darkjax import files
from darkjax.data.resize import resize_clip
from darkjax.eval.pictures import colour_frames
from darkjax.eval.static_bias import Made, Shot

HEIGHT, GAP = 96, 3
MIDDLE = 110.0  # what the mean level of a dark clip is brightened to


def row(shot: Shot, made: Mapping[str, Made]) -> np.ndarray:
    """Two frames, the mask of the first, and of each background two of SCUBA and one of SCUFO:
    uint8 [HEIGHT, w, 3]."""
    two = [len(shot.frames) // 3, 2 * len(shot.frames) // 3]
    cells = [*shot.frames[two], (shot.mask[two[0]] * np.uint8(255))[..., None]]
    for clip in made.values():
        cells += [*clip.scuba[two], clip.scufo[0]]
    height, width = shot.frames.shape[1:3]
    size = (HEIGHT, round(width * HEIGHT / height))
    level = max(float(shot.frames.mean()), 1.0) / 255
    gamma = min(1.0, np.log(MIDDLE / 255) / np.log(level))
    found = []
    for k, cell in enumerate(cells):
        shown = resize_clip(colour_frames(cell[None]), size)[0]
        if k != 2:  # the mask is no picture
            shown = np.rint(255 * (shown / 255.0) ** gamma).astype(np.uint8)
        found += [shown, np.full((HEIGHT, GAP, 3), 255, np.uint8)]
    return np.concatenate(found[:-1], 1)


def columns(names: Sequence[str]) -> str:
    """What the columns are."""
    made = (f"SCUBA {name}, twice, and its SCUFO" for name in names)
    return "; ".join(("two frames", "the mask of the first", *made))


def write(path: str, rows: Sequence[np.ndarray]) -> None:
    """Rows below one another as a PNG."""
    from PIL import Image

    width = max(part.shape[1] for part in rows)
    sheet = np.full((len(rows) * (HEIGHT + GAP) - GAP, width, 3), 255, np.uint8)
    for k, part in enumerate(rows):
        sheet[k * (HEIGHT + GAP) : k * (HEIGHT + GAP) + HEIGHT, : part.shape[1]] = part
    with files.whole(path, keep_suffix=True) as there:
        Image.fromarray(sheet).save(there)
