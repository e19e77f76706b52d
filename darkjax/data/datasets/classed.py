"""Datasets whose folders are their classes, and whose splits are drawn, or given by the user."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
from collections.abc import Sequence

import numpy as np

from darkjax.data.class_names import ARID11, INFAR12
from darkjax.data.clip import Clip
from darkjax.data.datasets import listed, lists
from darkjax.data.datasets.arid import session
from darkjax.data.datasets.files import Files, need_root
from darkjax.data.datasets.listed import Entry
from darkjax.data.datasets.tree import Tree, some
from darkjax.data.folders import SPLITS
from darkjax.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Classed(Files):
    """`root/**/CLASS/FILE` or `root/**/SPLIT/CLASS/FILE`, with what the user knows besides.

    Attributes:
      domain: of all clips.
      classes_file: class names in label order, one a line. None: those of the dataset where they
        are known, else the sorted names of the folders.
      split_file: a comma-separated table with a header: `path` and `split`, and if wanted `group`
        and `label` (a class name; default: the folder). Only the clips in it are taken. None: the
        splits are the folders', else all clips are "train".
    """

    name: str = ""
    domain: str = "visible"
    classes_file: str | None = dataclasses.field(default=None, repr=False)  # clips say what it said
    split_file: str | None = dataclasses.field(default=None, repr=False)

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Of `classes_file`, or known, or of the folders."""
        return self._classes(Tree(need_root(root, self.name)))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """The clips of `split_file`, or of every class folder. UserError when there is none."""
        tree = Tree(need_root(root, self.name))
        classes = self._classes(tree)
        if self.split_file is not None:
            return self._of_file(tree, classes)
        videos = self._videos(tree, classes)
        found = self._official(tree, videos, classes)
        return listed.clips(tree, found, classes, self._group, self.domain)

    def _known(self) -> tuple[str, ...]:
        return ()

    def _group(self, file: str) -> str:
        return file.rpartition(".")[0] or file

    def _official(
        self, tree: Tree, videos: Sequence[tuple[str, str, int]], classes: Sequence[str]
    ) -> dict[str, list[Entry]]:
        """The lines by protocol; here one split, by the folders' names."""
        if all(split == "train" for split, _, _ in videos):
            log.warning("%s: %s", tree.root, self._no_split())
        return {"": [Entry(file, label, split, file) for split, file, label in videos]}

    def _no_split(self) -> str:
        return (
            f"the authors' split of {self.name!r} is not known here, so every clip is train: judge "
            "by data.split=fold, or give the split with --split_file (columns path,split)"
        )

    def _classes(self, tree: Tree) -> tuple[str, ...]:
        if self.classes_file is not None:
            return lists.classes(pathlib.Path(self.classes_file))
        if known := self._known():
            return known
        found = {pathlib.PurePosixPath(f).parent.name for f in tree.videos} - {""}
        if not found or len({name.casefold() for name in found}) < len(found):
            self._refuse(tree, f"{', '.join(sorted(found)) or 'no class folders'}")
        return tuple(sorted(found))

    def _videos(self, tree: Tree, classes: Sequence[str]) -> list[tuple[str, str, int]]:
        """(split, path, label) of the videos that lie in a class folder."""
        number = {name.casefold(): label for label, name in enumerate(classes)}
        found, loose = [], []
        for file in tree.videos:
            above = [part.casefold() for part in pathlib.PurePosixPath(file).parent.parts]
            label = next((number[part] for part in reversed(above) if part in number), None)
            split = next((SPLITS[part] for part in above if part in SPLITS), "train")
            if label is None:
                loose.append(file)
            else:
                found.append((split, file, label))
        if not found:
            self._refuse(tree, f"{some(loose)} in none of them" if loose else "no videos")
        if loose:
            log.warning("%s: in no class folder, left out: %s", tree.root, some(loose))
        return found

    def _refuse(self, tree: Tree, found: str) -> None:
        known = ", ".join(self._known()) or "whatever --classes_file lists"
        raise UserError(
            f"expected class folders ({known}) below {tree.root}; found {found}: the lists of "
            f"{self.name!r} are not known here: give --classes_file (a name a line) and "
            "--split_file (columns path,split,label), or move the videos into such folders"
        )

    def _of_file(self, tree: Tree, classes: Sequence[str]) -> list[Clip]:
        path = pathlib.Path(str(self.split_file))
        rows = lists.table(path, ("path", "split"))
        entries = [
            Entry(
                row["path"], _label(row, classes, path), lists.split(row["split"], path), str(path)
            )
            for row in rows
        ]
        groups = {row["path"]: row.get("group", "") for row in rows}
        return listed.clips(
            tree, {"": entries}, classes, lambda f: groups[f] or self._group(f), self.domain
        )


def _label(row: dict[str, str], classes: Sequence[str], path: pathlib.Path) -> int:
    name = row.get("label") or pathlib.PurePosixPath(row["path"]).parent.name
    if name not in classes:
        raise UserError(
            f"expected a class out of {', '.join(classes)}; found {name!r} for {row['path']} in "
            f"{path}: add the column label, or see --classes_file"
        )
    return list(classes).index(name)


@dataclasses.dataclass(frozen=True)
class Arid15(Classed):
    """ARID v1.5: more clips of ARID's eleven actions. Its list files could not be had.

    Without `split_file` the folders are read: every clip is "train" unless they are splits. A group
    is a recording session, as in ARID.
    """

    name: str = "arid15"
    domain: str = "dark"

    def _known(self) -> tuple[str, ...]:
        return ARID11

    def _group(self, file: str) -> str:
        return session(file)


@dataclasses.dataclass(frozen=True)
class IitrIar(Classed):
    """IITR-IAR: 21 infrared actions of 70 clips. Neither its class names nor its lists are known.

    The classes are those of `classes_file`, or the folders', of which there must be 21.
    """

    name: str = "iitr_iar"
    domain: str = "infrared"

    def _classes(self, tree: Tree) -> tuple[str, ...]:
        found = super()._classes(tree)
        if self.classes_file is None and len(found) != 21:
            self._refuse(tree, f"{len(found)} folders with videos where there are 21 classes")
        return found


@dataclasses.dataclass(frozen=True)
class Infar(Classed):
    """InfAR: twelve infrared actions of 50 clips, and five random divisions of them.

    `root/**/CLASS/FILE`. The authors published how they split, not the lists: 30 clips of each
    class to train on and 20 to test on, drawn five times, the numbers averaged. So the protocols
    are "1" to "5", drawn here by the names alone (60 % of each class where there are not 50), or
    those of `split_K.json` ({"training": […], "testing": […]}, ids such as `000052_jump`) where
    such files are there. Who is seen in a clip is not in its name: every clip is its own group
    unless `split_file` says so.
    """

    name: str = "infar"
    domain: str = "infrared"

    def protocols(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The repeats; none with a `split_file`."""
        if self.split_file is not None:
            return ()
        return tuple(_jsons(Tree(need_root(root, self.name)))) or REPEATS

    def _known(self) -> tuple[str, ...]:
        return INFAR12

    def _official(
        self, tree: Tree, videos: Sequence[tuple[str, str, int]], classes: Sequence[str]
    ) -> dict[str, list[Entry]]:
        if jsons := _jsons(tree):
            return {k: _of_json(tree, path, classes) for k, path in jsons.items()}
        return {k: _drawn(int(k), [(f, label) for _, f, label in videos]) for k in REPEATS}


@dataclasses.dataclass(frozen=True)
class Xd145(Infar):
    """XD145: the twelve actions of InfAR by 30 volunteers, 50 clips each; read as InfAR is."""

    name: str = "xd145"


REPEATS = ("1", "2", "3", "4", "5")


def _drawn(repeat: int, videos: Sequence[tuple[str, int]]) -> list[Entry]:
    """30 of every 50 clips of a class for training, the others for testing."""
    entries = []
    for label in sorted({label for _, label in videos}):
        files = sorted(f for f, number in videos if number == label)
        order = np.random.default_rng((repeat, label)).permutation(len(files))
        train = set(order[: round(0.6 * len(files))].tolist())
        where = f"division {repeat}"
        entries += [
            Entry(f, label, "train" if n in train else "test", where) for n, f in enumerate(files)
        ]
    return entries


def _jsons(tree: Tree) -> dict[str, pathlib.Path]:
    paths = {str(k): tree.named(f"split_{k}.json") for k in range(10)}
    return {k: path for k, path in paths.items() if path is not None}


def _of_json(tree: Tree, path: pathlib.Path, classes: Sequence[str]) -> list[Entry]:
    try:
        found = json.loads(lists.text(path))
        sides = {"train": list(found["training"]), "test": list(found["testing"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f'expected {{"training": […], "testing": […]}} in {path}; found another: {error!r}'
        ) from error
    return [_entry(tree, str(i), part, path, classes) for part in sides for i in sides[part]]


def _entry(tree: Tree, clip: str, part: str, path: pathlib.Path, classes: Sequence[str]) -> Entry:
    """The file of an id, which ends in its class whether the file's name does or not."""
    number, _, name = clip.rpartition("_")
    if name not in classes:
        raise UserError(f"expected ids that end in _CLASS; found {clip!r} in {path}")
    file = f"{name}/{clip}.avi"
    if tree.video(file, classes) is None and tree.video(f"{name}/{number}.avi", classes):
        file = f"{name}/{number}.avi"
    return Entry(file, list(classes).index(name), part, str(path))
