"""Clips that were unpacked: a folder of numbered pictures each."""

from __future__ import annotations

import collections
import dataclasses
import logging
import pathlib
import re
from typing import Any

from darkjax.data import images, sequences
from darkjax.data.clip import Clip, Root, deal_folds, printable
from darkjax.data.datasets import lists
from darkjax.data.datasets.files import need_root
from darkjax.data.datasets.tree import Tree
from darkjax.data.decode import Video
from darkjax.data.folders import SPLITS
from darkjax.errors import UserError

log = logging.getLogger(__name__)
FLOW = "flow"  # how TSN and what follows it call the flow beside the pictures


@dataclasses.dataclass(frozen=True)
class Frames:
    """`root/CLASS/CLIP/*.jpg` or `root/SPLIT/CLASS/CLIP/*.jpg` (png, tif, … too).

    The pictures of a clip are sorted by the number that ends their names, as a number (10 follows
    9). A number that is missing between the first and the last is said. `flow_x_00001.jpg` and the
    like beside the pictures are left out. A group is the clip; training clips are dealt into five
    folds.

    Attributes:
      fps_of_frames: pictures a second, written into the records; 0 is unknown.
      classes_file: class names in label order, one a line; None: the folders' names, sorted.
    """

    name: str = "frames"
    domain: str = "visible"
    fps_of_frames: float = 0.0
    classes_file: str | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.fps_of_frames < 1e5:
            raise UserError(f"expected pictures a second; found fps_of_frames={self.fps_of_frames}")

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Of `classes_file`, or the folders' names, sorted."""
        return self._classes(list(self._folders(root)))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """A clip for each folder with pictures, sorted. UserError when there is none."""
        found = self._folders(root)
        classes = {name: label for label, name in enumerate(self._classes(list(found)))}
        gaps, made = [], []
        for folder, files in found.items():
            split, name = _place(folder)
            if name not in classes:
                raise UserError(
                    f"expected a class of {self.classes_file}; found the folder {printable(name)} "
                    f"in {root}"
                )
            if missing := _missing(files):
                gaps.append(f"{printable(folder)} (number {missing[0]})")
            clip = printable(folder)
            made.append(Clip(clip, folder, classes[name], clip, split, self.domain))
        if gaps:
            log.warning("%s: pictures are missing in %d clips, as %s", root, len(gaps), gaps[0])
        return deal_folds(made)

    def load(self, clip: Clip, root: Root, **how: Any) -> Video:
        """The pictures of one clip; `how`: options of `decode.read_video`."""
        folder = need_root(root, self.name) / clip.path
        try:
            names = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
        except OSError as error:
            raise UserError(f"{folder} cannot be read: {error.strerror or error}") from error
        paths = [folder / name for name in _pictures(names)]
        return sequences.read_folder(paths, rate=self.fps_of_frames, **how)

    def _folders(self, root: pathlib.Path | None) -> dict[str, list[str]]:
        """The names of the pictures of every clip's folder, in their order."""
        tree = Tree(need_root(root, self.name))
        inside: dict[str, list[str]] = collections.defaultdict(list)
        for file in tree.files:
            folder, _, name = file.rpartition("/")
            inside[folder].append(name)
        found = {folder: _pictures(names) for folder, names in sorted(inside.items())}
        found = {folder: names for folder, names in found.items() if names}
        strange = [folder for folder in found if folder.count("/") < 1]
        if strange or not found:
            what = f"pictures in {strange[0] or 'it'}" if strange else "no pictures"
            raise UserError(
                f"expected CLASS/CLIP/*.jpg or SPLIT/CLASS/CLIP/*.jpg below {tree.root}; found "
                f"{what}: single pictures are read by --dataset=images"
            )
        return found

    def _classes(self, folders: list[str]) -> tuple[str, ...]:
        if self.classes_file is not None:
            return lists.classes(pathlib.Path(self.classes_file))
        return tuple(sorted({printable(_place(folder)[1]) for folder in folders}))


def _place(folder: str) -> tuple[str, str]:
    """(split, class) of a clip's folder, whatever the folders above them."""
    *above, name, _ = pathlib.PurePosixPath(folder).parts
    return next((SPLITS[p.casefold()] for p in above if p.casefold() in SPLITS), "train"), name


def _pictures(names: list[str]) -> list[str]:
    """The pictures among some files in their order, flow left out."""
    still = [n for n in names if pathlib.PurePosixPath(n).suffix.lower() in images.SUFFIXES]
    shown = [n for n in still if not n.startswith(FLOW)]
    return sorted(shown or still, key=_natural)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts digits as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if n % 2 else (-1, p) for n, p in enumerate(parts)], name


def _missing(names: list[str]) -> list[int]:
    """The numbers that are lacking between the first and the last picture."""
    found = [re.search(r"(\d+)\D*$", pathlib.PurePosixPath(name).stem) for name in names]
    numbers = sorted({int(match[1]) for match in found if match})
    there = set(numbers)
    return [n for n in range(numbers[0], numbers[-1]) if n not in there][:10] if numbers else []
