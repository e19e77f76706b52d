"""Records made of other records: brightened clips, clips with their flow."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

import numpy as np

from darkjax.data.clip import Clip, Count, Root
from darkjax.data.decode import Video
from darkjax.data.records import Records
from darkjax.errors import UserError

Change = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Enhanced:
    """The clips of `records` (of the given splits, or all) after `enhance`, for `data.convert`.

    Attributes:
      name: of the new dataset.
      records: where the clips are read.
      enhance: uint8 [T, H, W, C] to as many such frames, of any channels; see `rounded`.
      described: method, options and weights; together with the records' digest it says what the
        new ones are, so that a conversion begun with another method is not continued.
      splits: empty means all.
    """

    name: str
    records: Records = dataclasses.field(repr=False)
    enhance: Change = dataclasses.field(repr=False)
    described: str = ""
    splits: tuple[str, ...] = ()
    source: str = dataclasses.field(default="", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", self.records.digest)

    @property
    def sha256(self) -> str:
        """Of what the clips are made of: in their rows of the card, so in the data's digest."""
        return hashlib.sha256(f"{self.source} {self.described}".encode()).hexdigest()

    def class_names(self, root: pathlib.Path | None = None) -> tuple[str, ...]:
        """Those of the records."""
        return tuple(self.records.classes)

    def protocols(self, root: pathlib.Path | None = None) -> tuple[str, ...]:
        """Those of the records."""
        return self.records.protocols

    def clips(self, root: pathlib.Path | None = None) -> list[Clip]:
        """Every clip that could be decoded, in the order of the card."""
        names = ("id", "label", "group", "split", "domain", "fold")
        return [
            Clip(
                path="",
                seed=number,
                assigned=tuple(row.get("assigned", ())),
                **{name: row[name] for name in names},
            )
            for number, row in self._rows()
        ]

    def load(
        self, clip: Clip, root: Root = None, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """Read and enhance one clip. Sizes are the records' own."""
        if short_side is not None:
            raise UserError("records of records keep their size: leave short_side out")
        frames = int(self.records.meta["frames"][clip.seed])
        frames = min(frames, max_frames or frames)
        made = self.enhance(self.records.read_frames(clip.seed, range(frames)))
        row = self.records.clips[int(self.records.meta["clip"][clip.seed])]
        return Video(made, row["fps"])

    def _rows(self) -> list[tuple[int, dict]]:
        """(record, its row of the card) of the wanted splits, by rising row."""
        pairs = [(n, self.records.clips[int(c)]) for n, c in enumerate(self.records.meta["clip"])]
        wanted = [p for p in pairs if not self.splits or p[1]["split"] in self.splits]
        return sorted(wanted, key=lambda pair: pair[1]["clip"])


def rounded(enhance: Change) -> Change:
    """A function of float32 frames in [0, 1] as one of uint8 frames."""

    def change(frames: np.ndarray) -> np.ndarray:
        bright = enhance(frames.astype(np.float32) / 255)
        return np.rint(np.clip(bright, 0, 1) * 255).astype(np.uint8)

    return change
