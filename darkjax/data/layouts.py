"""Datasets that are folders of files: videos, or pictures."""

import collections
import csv
import dataclasses
import io
import logging
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from darkjax.data import folders, images
from darkjax.data.clip import Clip, Count, Root, deal_folds, printable
from darkjax.data.decode import Video, read_video
from darkjax.data.resize import resize_clip
from darkjax.errors import UserError

log = logging.getLogger(__name__)


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
        self, clip: Clip, root: Root, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """Decode the clip's file (`decode.read_video`)."""
        path = _need_root(root, self.name) / clip.path
        if path.suffix.lower() not in images.MOVING:
            return read_video(path, short_side=short_side, max_frames=max_frames)
        frames, fps = images.read_all(path, max_frames)
        if len(frames) < 2:
            raise UserError(f"expected at least 2 frames, decoded {len(frames)} in {path}")
        return Video(_shrunk(frames, short_side), fps)


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
        names = {_integer(number, path): printable(name) for number, name in rows}
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
            group = printable(_session(file))
            clips.append(Clip(printable(relative), relative, label, group, split, "dark"))
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

    `root/CLASS/**/*.mp4` or `root/SPLIT/CLASS/**/*.mp4` with splits called train, val, valid,
    validate, validation or test, in capitals or not (`folders.scan` says what is done with other
    folders and files). Classes are sorted by name, hidden files ignored. A group is the file's
    stem unless `root/groups.csv` (columns path, group, and domain if wanted) says otherwise.
    Training clips are dealt into five folds by group.
    """

    name: str = "folder"
    domain: str = "visible"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The names of the class folders, sorted. UserError when there is no video."""
        files = folders.scan(_need_root(root, self.name)).files
        return tuple(sorted({name for _, name, _ in files}))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every video file, sorted by split, class and path; what is left out is logged."""
        root = _need_root(root, self.name)
        files, notes = folders.scan(root)
        for note in notes:
            log.warning("%s: %s", root, note)
        classes = sorted({name for _, name, _ in files})
        table = root / "groups.csv"
        groups = {r["path"]: r for r in _csv(table, ("path", "group"))} if table.is_file() else None
        clips = []
        for split, name, path in files:
            stem = pathlib.PurePosixPath(path).stem
            row = {"group": stem} if groups is None else groups.get(path)
            if row is None:
                raise UserError(
                    f"expected a group for each file; {printable(path)} is not in {table}: add it"
                )
            domain = printable(row.get("domain") or self.domain)
            group = printable(row["group"])
            clips.append(Clip(printable(path), path, classes.index(name), group, split, domain))
        return deal_folds(clips)


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
        paths = [file.as_posix() for file in files]
        pairs = [(printable(path), path) for path in paths]
        return deal_folds([Clip(n, path, 0, n, "train", self.domain) for n, path in pairs])

    def load(
        self, clip: Clip, root: Root, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """The picture as one frame of 8 bits, RGB; an alpha channel is dropped."""
        pixels = images.read_image(_need_root(root, self.name) / clip.path).pixels
        return Video(_shrunk(np.rint(pixels * 255).astype(np.uint8)[None], short_side), 0.0)


def _shrunk(frames: np.ndarray, short_side: int | None) -> np.ndarray:
    """Frames [T, H, W, C] with this short side, the aspect kept."""
    if short_side is None:
        return frames
    height, width = frames.shape[1:3]
    scale = short_side / min(height, width)
    return resize_clip(frames, (round(height * scale), round(width * scale)))


def _hidden(relative: pathlib.Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _lines(path: pathlib.Path, columns: int) -> list[list[str]]:
    """The white-space separated rows of a list; the last column may hold spaces."""
    if not path.is_file():
        raise UserError(f"expected the list {path.name} in {path.parent}; found none: see --raw")
    rows = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        row = line.strip().split(maxsplit=columns - 1)
        if row and len(row) != columns:
            raise UserError(f"expected {columns} columns; found {line!r} in {path}, line {number}")
        if row:
            rows.append(row)
    if not rows:
        raise UserError(f"expected at least one line in {path}; found none")
    return rows


def _csv(path: pathlib.Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
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


def _text(path: pathlib.Path) -> str:
    """A list's text; names that are no UTF-8 stay what they are on the disc, as paths do."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _integer(text: str, path: pathlib.Path) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise UserError(f"expected a whole number; found {text!r} in {path}") from None
