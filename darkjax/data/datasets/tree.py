"""The files of a download: where each listed video lies, however the folders were nested."""

from __future__ import annotations

import collections
import os
import pathlib
import unicodedata
from collections.abc import Collection, Sequence

from darkjax.data.clip import printable
from darkjax.data.folders import VIDEO_SUFFIXES
from darkjax.errors import UserError


class Tree:
    """The files below a folder, by relative path with forward slashes, sorted.

    Hidden files are left out; links to folders are followed, each folder once.

    Attributes:
      root: the folder.
      files: all of them.
      videos: those with a video's suffix.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.files = _walk(root)
        self.videos = [f for f in self.files if _suffix(f) in VIDEO_SUFFIXES]
        self._there = set(self.videos)
        self._stems: dict[str, list[str]] = collections.defaultdict(list)
        for file in self.videos:
            self._stems[_stem(file)].append(file)

    def video(self, listed: str, folders: Collection[str] = ()) -> str | None:
        """The path of a listed video; None where it is missing.

        It is found by its name without the suffix (ARID's lists say .avi of what is distributed as
        .mp4) below folders that end as in the list, or in a folder that is none of `folders`.

        Raises:
          UserError: there are several.
        """
        if listed in self._there:
            return listed
        wanted = pathlib.PurePosixPath(_composed(listed))
        alike = self._stems.get(_stem(listed), [])
        above = [(f, pathlib.PurePosixPath(_composed(f)).parent.parts) for f in alike]
        depth = len(wanted.parent.parts)
        inside = [f for f, parts in above if parts[len(parts) - depth :] == wanted.parent.parts]
        found = inside or [f for f, parts in above if not parts or parts[-1] not in folders]
        found = [f for f in found if _suffix(f) == _suffix(listed)] or found
        if len(found) > 1:
            raise UserError(
                f"expected one file for {printable(listed)}; found {printable(found[0])} and "
                f"{printable(found[1])} in {self.root}: move one of them away"
            )
        return found[0] if found else None

    def named(self, name: str) -> pathlib.Path | None:
        """The file of that name nearest to the root, or None.

        Raises:
          UserError: several are equally near.
        """
        alike = [f for f in self.files if f.rpartition("/")[2] == name]
        nearest = min((f.count("/") for f in alike), default=0)
        found = [f for f in alike if f.count("/") == nearest]
        if len(found) > 1:
            raise UserError(
                f"expected one file {name}; found {printable(found[0])} and {printable(found[1])} "
                f"in {self.root}: move one of them away"
            )
        return self.root / found[0] if found else None

    def unlisted(self, used: Collection[str]) -> list[str]:
        """The videos that are not among those used."""
        return sorted(set(self.videos) - set(used))


def some(files: Sequence[str]) -> str:
    """How many, and one of them, for a message."""
    return f"{len(files)} video{'' if len(files) == 1 else 's'}, as {printable(files[0])}"


def _walk(root: pathlib.Path) -> list[str]:
    files: list[str] = []
    seen: set[str] = set()
    for here, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        below[:] = [] if real in seen else sorted(name for name in below if name[0] != ".")
        if real in seen:
            continue
        seen.add(real)
        inside = pathlib.Path(here).relative_to(root)
        files += [(inside / name).as_posix() for name in names if name[0] != "."]
    return sorted(files)


def _composed(text: str) -> str:
    """macOS stores accents apart from their letters; a list does not."""
    return unicodedata.normalize("NFC", text)


def _stem(file: str) -> str:
    return pathlib.PurePosixPath(_composed(file)).stem


def _suffix(file: str) -> str:
    return pathlib.PurePosixPath(file).suffix.lower()
