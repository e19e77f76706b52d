"""Reading the lists that come with datasets, whoever wrote them and on whatever system."""

import collections
import csv
import io
import pathlib
import re

from darkjax.data.clip import printable
from darkjax.data.folders import SPLITS
from darkjax.errors import UserError


def lines(path: pathlib.Path, columns: int) -> list[list[str]]:
    """The white-space separated rows of a list; the last column may hold spaces."""
    return [row for _, row in rows(path, columns)]


def rows(
    path: pathlib.Path, columns: int, last: bool = False, fewer: int | None = None
) -> list[tuple[str, list[str]]]:
    """The rows of a list, each with its file and line number for messages.

    Args:
      path: of the list; any line ends, a byte-order mark or none, blank lines ignored.
      columns: how many there are, separated by white space.
      last: columns are counted from the end, so the first may hold spaces.
      fewer: as few as this are taken too.

    Raises:
      UserError: no such list, nothing in it, or a line with other columns.
    """
    if not path.is_file():
        raise UserError(f"expected the list {path.name} in {path.parent}; found none: see --raw")
    found = []
    for number, line in enumerate(re.split("\r\n|\r|\n", text(path)), 1):
        split = line.strip().rsplit if last else line.strip().split
        row = split(maxsplit=columns - 1)
        if row and not (fewer or columns) <= len(row) <= columns:
            raise UserError(f"expected {columns} columns; found {line!r} in {path}, line {number}")
        if row:
            found.append((f"{path}, line {number}", row))
    if not found:
        raise UserError(f"expected at least one line in {path}; found none")
    return found


def classes(path: pathlib.Path) -> tuple[str, ...]:
    """Class names in label order: one a line, with or without its number (from 0 or from 1).

    Raises:
      UserError: no such file, a name or a number twice, or a gap between numbers.
    """
    lines = [line for line in re.split("\r\n|\r|\n", text(path)) if line.strip()]
    pairs = [re.fullmatch(r"\s*(\d+)[\s,]+(\S.*?)\s*", line) for line in lines]
    names = [printable(line.strip()) for line in lines]
    if lines and all(pairs):
        numbered = {int(pair[1]): printable(pair[2]) for pair in pairs if pair}
        first = min(numbered)
        if first > 1 or sorted(numbered) != list(range(first, first + len(lines))):
            raise UserError(
                f"expected numbers from 0 or 1, each once and without a gap, before the names in "
                f"{path}; found {sorted(numbered)}"
            )
        names = [numbered[number] for number in sorted(numbered)]
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice or not names:
        found = f"{twice[0]!r} again" if twice else "none"
        raise UserError(f"expected class names, one a line and each once; found {found} in {path}")
    return tuple(names)


def table(path: pathlib.Path, columns: tuple[str, ...], once: str = "path") -> list[dict[str, str]]:
    """The rows of a comma-separated table with a header; what is left empty is "".

    Args:
      path: of the table.
      columns: those that it must have; it may have others.
      once: the column whose values differ in every row; "" is none.

    Raises:
      UserError: no such file or column, no CSV, or a value that stands there twice.
    """
    reader = csv.DictReader(io.StringIO(text(path), newline=""), restval="")
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(
                f"expected the columns {', '.join(columns)} in {path}; found {reader.fieldnames}"
            )
        rows = [{str(k): v for k, v in row.items()} for row in reader]
    except csv.Error as error:
        raise UserError(f"expected a comma-separated table in {path}: {error}") from error
    values = collections.Counter(row[once] for row in rows) if once else {}
    twice = [value for value, count in values.items() if count > 1]
    if twice:
        raise UserError(f"expected each {once} once; found {twice[0]} again in {path}")
    return rows


def text(path: pathlib.Path) -> str:
    """A list's text; names that are no UTF-8 stay what they are on the disc, as paths do."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def integer(text: str, path: pathlib.Path | str) -> int:
    """A whole number of a list, or a UserError that names the list."""
    try:
        return int(text)
    except (TypeError, ValueError):
        raise UserError(f"expected a whole number; found {text!r} in {path}") from None


def split(name: str, path: pathlib.Path) -> str:
    """A split's name of a table, which is also in names of files. UserError when it cannot be."""
    name = name.strip()
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise UserError(
            f"expected the name of a split (letters, digits, _); found {name!r} in {path}"
        )
    return SPLITS.get(name.casefold(), name)
