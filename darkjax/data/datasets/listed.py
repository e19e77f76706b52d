"""From the lines of official lists to clips, each stored once whatever the number of splits."""

from __future__ import annotations

import abc
import collections
import dataclasses
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from darkjax.data.clip import Clip, deal_folds, printable
from darkjax.data.datasets import lists
from darkjax.data.datasets.files import Files, need_root
from darkjax.data.datasets.tree import Tree, some
from darkjax.errors import UserError

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One line of a list."""

    file: str
    label: int
    part: str  # "train", "test", "other"
    where: str  # the list and the line


@dataclasses.dataclass(frozen=True)
class Listed(Files, abc.ABC):
    """A dataset whose authors' lists split the same clips several times: its protocols.

    A list is a file of lines with `columns` (`lists.rows`); `table`, where it came along, must have
    the same `classes`.
    """

    name: str = ""
    domain: str = "visible"
    classes: ClassVar[tuple[str, ...]]
    table: ClassVar[str] = ""
    columns: ClassVar[dict[str, Any]]

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The official classes. UserError where a class table that came along says otherwise."""
        path = Tree(need_root(root, self.name)).named(self.table) if self.table else None
        return same(path, self.classes)

    def protocols(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The splits whose lists are there."""
        return tuple(self._lists(Tree(need_root(root, self.name))))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every clip of every list. UserError when no list is there, or one is wrong."""
        tree = Tree(need_root(root, self.name))
        found = {
            protocol: [
                self._entry(key, row, where)
                for key, path in paths.items()
                for where, row in lists.rows(path, **self.columns)
            ]
            for protocol, paths in self._lists(tree).items()
        }
        return clips(tree, found, self.classes, self._group, self.domain)

    @abc.abstractmethod
    def _lists(self, tree: Tree) -> dict[str, dict[str, pathlib.Path]]:
        """{protocol: {part, or what else a list is of: its file}}."""

    @abc.abstractmethod
    def _entry(self, key: str, row: list[str], where: str) -> Entry:
        """What a line of the list of `key` says."""

    @abc.abstractmethod
    def _group(self, file: str) -> str:
        """The recording that a listed file is of."""


def three_splits(tree: Tree, file: str, source: str) -> dict[str, dict[str, pathlib.Path]]:
    """`find` of the protocols "1" to "3", each a list of "train" and one of "test".

    `file` is a list's name with `{part}` and `{k}`.
    """
    parts = ("train", "test")
    names = {str(k): {p: [file.format(part=p, k=k)] for p in parts} for k in (1, 2, 3)}
    return find(tree, names, source)


def find(
    tree: Tree, names: Mapping[str, Mapping[str, Sequence[str]]], source: str
) -> dict[str, dict[str, pathlib.Path]]:
    """The list files that are there: {protocol: {part: path}}, protocols without any left out.

    Args:
      tree: the files.
      names: {protocol: {part: its file's possible names}}.
      source: where the lists are to be had.

    Raises:
      UserError: there is none, or a protocol has one of "train" and "test" without the other.
    """
    found: dict[str, dict[str, pathlib.Path]] = {}
    for protocol, parts in names.items():
        paths = {part: next(filter(None, map(tree.named, parts[part])), None) for part in parts}
        missing = [part for part in parts if paths[part] is None and part in ("train", "test")]
        here = {part: path for part, path in paths.items() if path is not None}
        if here and missing:
            raise UserError(
                f"expected {parts[missing[0]][0]} beside {next(iter(here.values()))}; found none "
                f"under {tree.root}: the lists are in {source}"
            )
        if here:
            found[protocol] = here
    if not found:
        wanted = next(iter(next(iter(names.values())).values()))[0]
        raise UserError(
            f"expected the official lists ({wanted}, …) anywhere under {tree.root}; found none: "
            f"they are in {source}; clips without lists are read by --dataset=folder"
        )
    return found


def clips(
    tree: Tree,
    lists: Mapping[str, Sequence[Entry]],
    classes: Sequence[str],
    group: Callable[[str], str],
    domain: str,
) -> list[Clip]:
    """The clips of every list, sorted by name; folds are dealt over all of them.

    A listed file that is not there stays a clip, which the conversion reports as bad; files that
    no list names are left out. Both are said in the log.

    Args:
      tree: the files.
      lists: the lines by protocol. One protocol "" makes its parts the splits, and gives folds to
        "train" alone.
      classes: names in label order, which are also those of the folders.
      group: of a listed file.
      domain: of all clips.

    Raises:
      UserError: a file listed twice in one protocol or under two labels, a label that has no class
        or disagrees with the file's folder, or none of the files is there.
    """
    first: dict[str, Entry] = {}
    assigned: dict[str, dict[str, Entry]] = collections.defaultdict(dict)
    for protocol, entries in lists.items():
        for entry in entries:
            _check(entry, classes, first.setdefault(entry.file, entry))
            other = assigned[entry.file].setdefault(protocol, entry)
            if other is not entry:
                raise UserError(
                    f"expected {printable(entry.file)} once; it is listed as {other.part} in "
                    f"{other.where} and as {entry.part} in {entry.where}: remove a line"
                )
    folders = set(classes)
    found = {file: tree.video(file, folders) for file in sorted(first)}
    _say(tree, found, first)
    made = []
    for file, path in found.items():
        parts = tuple(e.part if (e := assigned[file].get(p)) else "" for p in lists)
        one = list(lists) == [""]
        made.append(
            Clip(
                id=printable(file),
                path=path or file,
                label=first[file].label,
                group=printable(group(file)),
                split=parts[0] if one else "all",
                domain=domain,
                assigned=() if one else parts,
            )
        )
    return deal_folds(made, "train" if list(lists) == [""] else "all")


def _check(entry: Entry, classes: Sequence[str], first: Entry) -> None:
    if not 0 <= entry.label < len(classes):
        raise UserError(
            f"expected a label of {len(classes)} classes; found number {entry.label} (counted from "
            f"0) for {printable(entry.file)} in {entry.where}"
        )
    folder = pathlib.PurePosixPath(entry.file).parent.name
    if folder in classes and classes[entry.label] != folder:
        raise UserError(
            f"expected {printable(entry.file)} to be of its folder's class; {entry.where} labels "
            f"it {classes[entry.label]}"
        )
    if entry.label != first.label:
        raise UserError(
            f"expected one label for {printable(entry.file)}; found {classes[first.label]} in "
            f"{first.where} and {classes[entry.label]} in {entry.where}"
        )


def _say(tree: Tree, found: Mapping[str, str | None], lines: Mapping[str, Entry]) -> None:
    missing = [file for file, path in found.items() if path is None]
    if missing and len(missing) == len(found):
        raise UserError(
            f"expected the videos that are listed (as {printable(missing[0])}, "
            f"{lines[missing[0]].where}); found none of {len(missing)} under {tree.root}: see --raw"
        )
    if missing:
        log.warning("%s: listed and not there: %s: bad clips", tree.root, some(missing))
    extra = tree.unlisted([path for path in found.values() if path])
    if extra:
        log.warning("%s: in no list, left out: %s", tree.root, some(extra))


def same(path: pathlib.Path | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The official classes, where a table that came with the videos, if any, says the same.

    Raises:
      UserError: it has others, or another order.
    """
    if path is None or (found := lists.classes(path)) == classes:
        return classes
    number = next(
        (n for n, pair in enumerate(zip(found, classes, strict=False)) if len(set(pair)) > 1), None
    )
    what = f"{len(found)} classes" if number is None else f"{found[number]!r} as number {number}"
    raise UserError(
        f"expected the {len(classes)} official classes in their order; found {what} (from 0) in "
        f"{path}: take the authors' file, or read your own selection by --dataset=folder"
    )
