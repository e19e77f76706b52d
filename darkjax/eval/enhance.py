"""What an enhancer does to a video: brightness, inconsistency (DTCM Eq. 4), pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from darkjax import channels
from darkjax.data import pipeline
from darkjax.data.records import Records
from darkjax.data.resize import resize_clip
from darkjax.eval.enhancers import Enhancer, to_uint8
from darkjax.eval.pictures import spread
from darkjax.losses import enhancement as enhance_losses
from darkjax.methods import Method

CELL = 160  # pixels, height of a picture of the sheet


class Sums:
    """Brightness and inconsistency of a video, clip by clip."""

    def __init__(self) -> None:
        self.frames = self.pairs = 0
        self.before = self.after = self.space = self.time = 0.0
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """The next frames [T, H, W, 3] and what became of them."""
        self.frames += len(before)
        self.before += float(before.mean((1, 2, 3)).sum())
        self.after += float(after.mean((1, 2, 3)).sum())
        if min(before.shape[1:3]) < 4:  # less than one region of Eq. 1
            return
        self.space += len(before) * _value(enhance_losses.spatial_consistency, before, after)
        if self.last is not None:
            before, after = (
                np.concatenate([last[None], x])
                for last, x in zip(self.last, (before, after), strict=True)
            )
        self.last = before[-1], after[-1]
        if len(before) > 1:
            self.pairs += len(before) - 1
            difference = _value(enhance_losses.temporal_consistency, before, after)
            self.time += (len(before) - 1) * difference

    def inconsistency(self) -> float | None:
        """DTCM Eq. 4: Eq. 2 over frames plus Eq. 3 over pairs (0 where there is no pair)."""
        if self.last is None:
            return None
        return self.space / self.frames + (self.time / self.pairs if self.pairs else 0.0)


def _value(loss: Callable, before: np.ndarray, after: np.ndarray) -> float:
    return float(np.mean(jax.jit(loss)(after[None], before[None])))


class Spread:
    """A few frames spread over a video whose length is not known: keeps every n-th."""

    WANTED = 3

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.seen, self.every = 0, 1

    def add(self, item: Any) -> None:
        """The next one, in order."""
        if self.seen % self.every == 0:
            self.kept.append(item)
            if len(self.kept) == 4 * self.WANTED:
                self.kept, self.every = self.kept[::2], 2 * self.every
        self.seen += 1

    def pairs(self) -> list[Any]:
        """At most `WANTED`, from the first to about the last."""
        return [self.kept[i] for i in spread(len(self.kept), self.WANTED)]


def cell(pixels: np.ndarray) -> np.ndarray:
    """A small uint8 picture for the sheet."""
    height, width = pixels.shape[:2]
    size = CELL, max(1, round(width * CELL / height))
    return resize_clip(to_uint8(pixels)[None], size)[0]


def sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of cells uint8 [CELL, w, 3] (before, after, before, after, ...) as one picture."""
    gap = 4
    width = max(sum(cell.shape[1] + gap for cell in row) for row in rows) + gap
    picture = np.full((len(rows) * (CELL + gap) + gap, width, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        top, left = gap + i * (CELL + gap), gap
        for cell in row:
            picture[top : top + CELL, left : left + cell.shape[1]] = cell
            left += cell.shape[1] + gap
    return picture


def applied(apply: Callable[[Any, Any], Any], variables: Any, *, levels: bool = False) -> Enhancer:
    """A network as a function of frames float32 [T, H, W, 3] in [0, 1], compiled for each shape.

    Args:
      apply: `(variables, frames) -> frames`.
      variables: an argument of the program, not constants in it.
      levels: `apply` takes 8 bits.
    """
    run = jax.jit(apply)

    def enhance(frames: np.ndarray) -> np.ndarray:
        given = np.rint(frames * 255).astype(np.uint8) if levels else frames
        return np.asarray(run(variables, given))

    return enhance


def judge(enhance: Enhancer, records: Records, rows: np.ndarray) -> dict[str, float]:
    """Brightness before and after and inconsistency of whole clips: means over the clips.

    Args:
      enhance: float32 [T, H, W, 3] in [0, 1] to the same.
      records: the dataset.
      rows: which records.
    """
    found = []
    for row in rows:
        frames = int(records.meta["frames"][row])
        clip = records.read_frames(int(row), range(frames))[..., : channels.COLOURS]
        before = clip.astype(np.float32) / 255
        found.append(numbers(before, enhance(before)))
    return {key: float(np.mean([f[key] for f in found])) for key in found[0]} | {"n": len(found)}


def numbers(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """`brightness before`, `brightness after`, `inconsistency` (Eq. 4) of one clip."""
    sums = Sums()
    sums.add(before, after)
    return {
        "brightness before": sums.before / sums.frames,
        "brightness after": sums.after / sums.frames,
        "inconsistency": sums.inconsistency() or 0.0,
    }


def evaluate(
    method: Method,
    variables: Any,
    records: Records,
    rows: np.ndarray,
    data: Any,
    pictures: int = 0,
) -> tuple[dict[str, float], list[list[np.ndarray]]]:
    """`numbers` of the centre views of clips, and cells (before, after, ...) of the first few.

    Works on one process's devices: every process finds the same.
    """
    data = data.copy_and_resolve_references()
    data.views_clips = data.views_crops = 1
    look = jax.jit(lambda variables, batch: method.predict(variables, batch)[0])
    variables = jax.device_get(variables)
    found: list[dict[str, float]] = []
    cells: list[list[np.ndarray]] = []
    with pipeline.eval_batches(records, rows, cfg=data, batch_size=1) as batches:
        for batch in batches:
            before = batch["video"][0][..., : channels.COLOURS].astype(np.float32) / 255
            after = np.asarray(look(variables, batch))[0]
            found.append(numbers(before, after))
            if len(cells) < pictures:
                chosen = range(0, len(before), max(1, len(before) // 2))
                cells.append([cell(x[i]) for i in chosen for x in (before, after)])
    means = {key: float(np.mean([f[key] for f in found])) for key in found[0]}
    return means | {"n": float(len(found))}, cells


def step(frame: np.ndarray, following: np.ndarray, gain: float = 6.0) -> list[np.ndarray]:
    """Cells of a frame and of its RGB difference from the next, `gain` times (DTCM, Fig. 6)."""
    return [cell(frame), cell(gain * np.abs(following - frame))]


def difference_sheet(clips: Sequence[np.ndarray], pairs: int = 3) -> np.ndarray:
    """A row for each clip float [T, H, W, 3] in [0, 1]: some frames, each with its `step`."""
    rows = []
    for clip in clips:
        at = np.linspace(0, len(clip) - 2, min(pairs, len(clip) - 1)).astype(int)
        rows.append([x for t in at for x in step(clip[t], clip[t + 1])])
    return sheet(rows)
