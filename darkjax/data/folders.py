"""What a folder of videos means: which folders are splits, which are classes, what is left out.

People name folders by hand, so `Train` is a split too and `run` and `Run` in two splits are one
class. Where it is not clear what is meant, it is asked for in one line; what is left out is said.
"""

from __future__ import annotations

import collections
import os
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from darkjax.data import images
from darkjax.data.clip import printable
from darkjax.errors import UserError

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
    ".gif", ".apng", ".3g2", ".asf", ".divx", ".f4v", ".h264", ".264", ".h265", ".265", ".hevc",
    ".ivf", ".m1v", ".m2v", ".mpe", ".mjpeg", ".mjpg", ".mts", ".m2ts", ".ts", ".mxf", ".nut",
    ".ogv", ".qt", ".rm", ".vob", ".y4m",
})  # fmt: skip
SPLITS = {name: name for name in ("train", "val", "valid", "validate", "validation", "test")}
SPLITS |= {"training": "train", "testing": "test"}


class Found(NamedTuple):
    """The videos of a folder, and one line for each thing she should know."""

    files: list[tuple[str, str, str]]  # split, class, path relative to the root; sorted
    notes: list[str]


class _Folder(NamedTuple):
    path: pathlib.Path
    videos: list[pathlib.Path]  # at any depth
    others: list[pathlib.Path]
    links: list[pathlib.Path]  # to folders: not followed, they may lead back

    @property
    def name(self) -> str:
        return printable(self.path.name)

    @property
    def split(self) -> str | None:
        return SPLITS.get(self.path.name.casefold())


def scan(root: pathlib.Path) -> Found:
    """The videos below `root` as `CLASS/**/FILE` or `SPLIT/CLASS/**/FILE`.

    Raises:
      UserError: there are none, or it is not clear which folders are the splits or the classes.
    """
    first = _folders(root)
    splits = _splits(root, first)
    if splits:
        extra = [f for f in first if f.split is None]
        groups = [(str(f.split), _folders(f.path)) for f in splits]
        loose = [p for f in splits for p in f.videos if p.parent == f.path]
    else:
        extra, loose = [], []
        groups = [("train", first)]
    loose += [p for p in sorted(root.iterdir()) if not p.is_dir() and _is_video(p)]
    notes = [f"{f.name}/ is left out: it holds no videos" for f in extra]
    of_loose = f"{_count(loose)} in no class folder, as {_some(root, loose)}" if loose else ""
    if loose:
        notes.append(f"{of_loose}, left out: put them in a folder named after their class")
    names, of_classes = _classes(root, groups)
    files = [
        (split, names[_key(folder)], path.relative_to(root))
        for split, folders in groups
        for folder in folders
        for path in folder.videos
    ]
    if not files:
        raise UserError(
            f"expected videos as CLASS/FILE or SPLIT/CLASS/FILE; found {of_loose or 'none'} under "
            f"{root}: put them in one folder per class ({', '.join(sorted(VIDEO_SUFFIXES))})"
        )
    others = [p for _, folders in groups for folder in folders for p in folder.others]
    if links := [p for _, folders in groups for folder in folders for p in folder.links]:
        some = f"{_count(links, 'link')} to folders left out, as {_some(root, links)}"
        notes.append(f"{some}: put the folders themselves there")
    listed = [(split, name, path.as_posix()) for split, name, path in sorted(files)]
    return Found(listed, notes + of_classes + _no_videos(root, others))


def _splits(root: pathlib.Path, first: Sequence[_Folder]) -> list[_Folder]:
    """Those of the first folders that are splits; none when the first folders are the classes."""
    named = [f for f in first if f.split]
    others = [f for f in first if not f.split and f.videos]
    if not others or not any(f.videos for f in named):
        return [] if others else named
    deep = [f for f in named if any(p.parent != f.path for p in f.videos)]
    a, b = ", ".join(f"{f.name}/" for f in named), ", ".join(f"{f.name}/" for f in others)
    if deep:
        raise UserError(
            f"expected nothing but splits beside {a}; found {b} with "
            f"{_count([p for f in others for p in f.videos])} in {root}: move it away, or give it "
            f"a split's name ({', '.join(SPLITS)})"
        )
    raise UserError(
        f"expected class folders, or splits that hold them; found {a}, a split by its name but "
        f"with videos and no classes in it, beside {b} in {root}: rename it or move it away"
    )


def _classes(
    root: pathlib.Path, groups: Sequence[tuple[str, Sequence[_Folder]]]
) -> tuple[dict[str, str], list[str]]:
    """The name of each class by `_key`, as the training split spells it, and notes."""
    spelt: dict[str, dict[str, str]] = collections.defaultdict(dict)
    notes = []
    for split, folders in sorted(groups, key=lambda group: group[0] != "train"):
        here: dict[str, _Folder] = {}
        for folder in folders:
            if not folder.videos:
                continue
            twin = here.setdefault(_key(folder), folder)
            if twin is not folder:
                raise UserError(
                    f"expected one folder for a class; found {twin.name}/ and {folder.name}/ in "
                    f"{folder.path.parent}: put their files together, or rename one"
                )
            spelt[_key(folder)].setdefault(folder.name, split)
    for spellings in spelt.values():
        if len(spellings) > 1:
            all_of_them = " and ".join(f"{name}/ ({split})" for name, split in spellings.items())
            notes.append(f"{all_of_them} are taken as one class, {next(iter(spellings))}")
    trained = {
        _key(f) for split, folders in groups if split == "train" for f in folders if f.videos
    }
    for key in sorted(spelt.keys() - trained) if trained else ():
        name, split = next(iter(spelt[key].items()))
        notes.append(f"{name}/ ({split}) is a class without videos in train")
    for _, folders in groups:
        for folder in (f for f in folders if not f.videos):
            where = printable(folder.path.relative_to(root).as_posix())
            what = "" if _key(folder) in spelt else ", so it is no class"
            notes.append(f"{where}/ holds no videos{what}")
    return {key: next(iter(spellings)) for key, spellings in spelt.items()}, notes


def _key(folder: _Folder) -> str:
    """Equal for names that differ in capitals, or in how accents are stored."""
    return unicodedata.normalize("NFC", folder.name).casefold()


def _folders(path: pathlib.Path) -> list[_Folder]:
    """The folders in a folder, each with the files below it."""
    found = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files: list[pathlib.Path] = []
        if folder.is_symlink() and path.resolve().is_relative_to(folder.resolve()):
            found.append(_Folder(folder, [], [], [folder]))  # itself again, and so on
            continue
        links = []
        for here, below, names in os.walk(folder):
            below[:] = [name for name in below if not name.startswith(".")]
            links += [p for p in (pathlib.Path(here, name) for name in below) if p.is_symlink()]
            files += [pathlib.Path(here, name) for name in names if not name.startswith(".")]
        videos = {p for p in files if _is_video(p)}
        found.append(_Folder(folder, sorted(videos), sorted(set(files) - videos), links))
    return found


def _is_video(path: pathlib.Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (suffix in images.MOVING and images.moves(path))


def _no_videos(root: pathlib.Path, others: Sequence[pathlib.Path]) -> list[str]:
    """One line about files in class folders that are no videos."""
    if not others:
        return []
    kinds = collections.Counter(p.suffix.lower() or "no suffix" for p in others)
    told = ", ".join(f"{printable(kind)} {n}" for kind, n in kinds.most_common(6))
    note = f"{_count(others, 'file')} left out, no videos by their suffix ({told}"
    note += f"{', …' if len(kinds) > 6 else ''}), as {_some(root, others)}"
    pictures = any(p.suffix.lower() in images.SUFFIXES for p in others)
    return [note + (": pictures are read with --dataset=images" if pictures else "")]


def _count(paths: Sequence[pathlib.Path], what: str = "video") -> str:
    return f"{len(paths)} {what}{'' if len(paths) == 1 else 's'}"


def _some(root: pathlib.Path, paths: Iterable[pathlib.Path]) -> str:
    return printable(min(p.relative_to(root).as_posix() for p in paths))
