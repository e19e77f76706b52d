"""Datasets that are folders of files: videos, or pictures."""

import collections
import csv
import dataclasses
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from darkjax.data import images
from darkjax.data.clip import Clip, deal_folds
from darkjax.data.decode import Video, read_video
from darkjax.data.resize import resize_clip
from darkjax.errors import UserError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"}
)
SPLIT_NAMES = frozenset({"train", "val", "valid", "validate", "validation", "test"})


def _need_root(root: pathlib.Path | None, name: str) -> pathlib.Path:
    if root is None:
        raise UserError(f"dataset {name!r} is read from files: give their folder with --raw=DIR")
    root = pathlib.Path(root)
    if not root.is_dir():
        raise UserError(f"expected the folder of dataset {name!r}; found none at {root}: see --raw")
    return root


class _Files:
    """A dataset whose clips are video files under a root."""

    name: str

    def load(
        self,
        clip: Clip,
        root: pathlib.Path | None,
        *,
        short_side: int | None = None,
        max_frames: int | None = None,
    ) -> Video:
        """Decode the clip's file (`decode.read_video`)."""
        path = _need_root(root, self.name) / clip.path
        return read_video(path, short_side=short_side, max_frames=max_frames)


@dataclasses.dataclass(frozen=True)
class AridEE6222(_Files):
    """The course subset of ARID (EE6222): lists, a class table and two folders.

    ```
    root/mapping_table_23.txt   0<TAB>Jump
    root/train.txt              index<TAB>label<TAB>Jump/Jump_11_10.mp4   (under root/train/)
    root/validate.txt           index<TAB>label<TAB>file.mp4              (under root/validate/)
    root/manifest.csv           path,...,session_fold                     (optional)
    ```

    A group is a recording session, the file name without its last number (`Jump_11_10` was cut
    from session `Jump_11`); a file named otherwise is its own group. Folds are the manifest's,
    or else the sessions are dealt into five. The split "validate" is empty when its list or its
    clips are not there.
    """

    name: str = "arid_ee6222"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Class names in the order of the table. UserError when it is absent or has gaps."""
        path = _need_root(root, self.name) / "mapping_table_23.txt"
        rows = _lines(path, 2)
        names = {_integer(number, path): name for number, name in rows}
        if sorted(names) != list(range(len(rows))):
            raise UserError(
                f"expected labels 0 to {len(rows) - 1}, each once; found {sorted(names)} in {path}"
            )
        return tuple(names[label] for label in sorted(names))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """The clips of both lists, in the lists' order, "train" first."""
        root = _need_root(root, self.name)
        classes = self.class_names(root)
        clips = self._listed(root, "train", classes)
        if (root / "validate.txt").is_file() and (root / "validate").is_dir():
            clips += self._listed(root, "validate", classes)
        if (root / "manifest.csv").is_file():
            return _manifest_folds(clips, root / "manifest.csv")
        return deal_folds(clips)

    def _listed(self, root: pathlib.Path, split: str, classes: tuple[str, ...]) -> list[Clip]:
        path = root / f"{split}.txt"
        clips = []
        for _, number, file in _lines(path, 3):
            label = _integer(number, path)
            if not 0 <= label < len(classes):
                raise UserError(
                    f"expected a label from 0 to {len(classes) - 1}; found {label} for {file} "
                    f"in {path}: correct the list or mapping_table_23.txt"
                )
            relative = f"{split}/{file}"
            clips.append(Clip(relative, relative, label, _session(file), split, "dark"))
        return clips


def _session(file: str) -> str:
    stem = pathlib.PurePosixPath(file).stem
    return stem.rpartition("_")[0] if re.fullmatch(r"[A-Za-z]+_\d+_\d+", stem) else stem


def _manifest_folds(clips: Iterable[Clip], path: pathlib.Path) -> list[Clip]:
    rows = _csv(path, ("path", "session_fold"))
    fold_of = {row["path"]: _integer(row["session_fold"], path) for row in rows}
    dealt = []
    for clip in clips:
        if clip.split == "train" and clip.path not in fold_of:
            raise UserError(
                f"expected a fold for each clip of train.txt; {clip.path} is not in {path}: "
                "add it, or remove the file to have folds dealt"
            )
        dealt.append(dataclasses.replace(clip, fold=fold_of.get(clip.path, -1)))
    return dealt


@dataclasses.dataclass(frozen=True)
class Folder(_Files):
    """One folder per class, or per split and class; InfAR, KTH, UCF and the like.

    `root/CLASS/**/*.mp4` or `root/SPLIT/CLASS/**/*.mp4` where every first folder is called
    train, val, valid, validate, validation or test. Classes are sorted by name, hidden files
    ignored. A group is the file's stem unless `root/groups.csv` (columns path, group, and
    domain if wanted) says otherwise. Training clips are dealt into five folds by group.
    """

    name: str = "folder"
    domain: str = "visible"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The names of the class folders, sorted. UserError when there is no video."""
        files = self._files(_need_root(root, self.name))
        return tuple(sorted({name for _, name, _ in files}))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every video file, sorted by split, class and path."""
        root = _need_root(root, self.name)
        files = self._files(root)
        classes = tuple(sorted({name for _, name, _ in files}))
        table = root / "groups.csv"
        groups = {r["path"]: r for r in _csv(table, ("path", "group"))} if table.is_file() else None
        clips = []
        for split, name, path in files:
            stem = pathlib.PurePosixPath(path).stem
            row = {"group": stem} if groups is None else groups.get(path)
            if row is None:
                raise UserError(f"expected a group for each file; {path} is not in {table}: add it")
            domain = row.get("domain") or self.domain
            clips.append(Clip(path, path, classes.index(name), row["group"], split, domain))
        return deal_folds(clips)

    def _files(self, root: pathlib.Path) -> list[tuple[str, str, str]]:
        """(split, class, relative path) of every video file, sorted."""
        first = _folders(root)
        if first and all(folder.name in SPLIT_NAMES for folder in first):
            pairs = [(split.name, folder) for split in first for folder in _folders(split)]
        else:
            pairs = [("train", folder) for folder in first]
        files = [
            (split, folder.name, path.relative_to(root).as_posix())
            for split, folder in pairs
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in VIDEO_SUFFIXES and not _hidden(path.relative_to(root))
        ]
        if not files:
            raise UserError(
                f"expected videos as CLASS/FILE or SPLIT/CLASS/FILE; found none under {root}: "
                f"put them in one folder per class ({', '.join(sorted(VIDEO_SUFFIXES))})"
            )
        found = {name for _, name, _ in files}
        for _, folder in pairs:
            if folder.name not in found:
                raise UserError(
                    f"expected videos of class {folder.name!r}; found none under {folder}: "
                    "add some or remove the folder, as it would shift the labels"
                )
        return files


@dataclasses.dataclass(frozen=True)
class Images:
    """Pictures anywhere below a folder, each a clip of one frame; what Zero-DCE is trained on.

    One class, "image"; a group is a picture; five folds are dealt.
    """

    name: str = "images"
    domain: str = "visible"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The one class."""
        return ("image",)

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every picture file, sorted by path."""
        root = _need_root(root, self.name)
        files = sorted(
            path.relative_to(root)
            for path in root.rglob("*")
            if path.suffix.lower() in images.SUFFIXES and not _hidden(path.relative_to(root))
        )
        if not files:
            raise UserError(
                f"expected pictures; found none under {root} ({', '.join(sorted(images.SUFFIXES))})"
            )
        names = [file.as_posix() for file in files]
        return deal_folds([Clip(n, n, 0, n, "train", self.domain) for n in names])

    def load(
        self,
        clip: Clip,
        root: pathlib.Path | None,
        *,
        short_side: int | None = None,
        max_frames: int | None = None,
    ) -> Video:
        """The picture as one frame of 8 bits, RGB; an alpha channel is dropped."""
        pixels = images.read_image(_need_root(root, self.name) / clip.path).pixels
        frames = np.rint(pixels * 255).astype(np.uint8)[None]
        if short_side is not None:
            height, width = pixels.shape[:2]
            scale = short_side / min(height, width)
            frames = resize_clip(frames, (round(height * scale), round(width * scale)))
        return Video(frames, 0.0)


def _folders(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _hidden(relative: pathlib.Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _lines(path: pathlib.Path, columns: int) -> list[list[str]]:
    """The white-space separated rows of a list; the last column may hold spaces."""
    if not path.is_file():
        raise UserError(f"expected the list {path.name} in {path.parent}; found none: see --raw")
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        row = line.strip().split(maxsplit=columns - 1)
        if row and len(row) != columns:
            raise UserError(f"expected {columns} columns; found {line!r} in {path}, line {number}")
        if row:
            rows.append(row)
    if not rows:
        raise UserError(f"expected at least one line in {path}; found none")
    return rows


def _csv(path: pathlib.Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(
                f"expected the columns {', '.join(columns)} in {path}; found {reader.fieldnames}"
            )
        rows = list(reader)
    twice = [p for p, n in collections.Counter(row["path"] for row in rows).items() if n > 1]
    if twice:
        raise UserError(f"expected each path once; found {twice[0]} again in {path}")
    return rows


def _integer(text: str, path: pathlib.Path) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise UserError(f"expected a whole number; found {text!r} in {path}") from None
