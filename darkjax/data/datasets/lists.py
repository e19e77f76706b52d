"""Reading the lists that come with datasets, whoever wrote them and on whatever system."""

import collections
import csv
import io
import pathlib

from darkjax.errors import UserError


def lines(path: pathlib.Path, columns: int) -> list[list[str]]:
    """The white-space separated rows of a list; the last column may hold spaces."""
    if not path.is_file():
        raise UserError(f"expected the list {path.name} in {path.parent}; found none: see --raw")
    rows = []
    for number, line in enumerate(text(path).splitlines(), 1):
        row = line.strip().split(maxsplit=columns - 1)
        if row and len(row) != columns:
            raise UserError(f"expected {columns} columns; found {line!r} in {path}, line {number}")
        if row:
            rows.append(row)
    if not rows:
        raise UserError(f"expected at least one line in {path}; found none")
    return rows


def table(path: pathlib.Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text(path), newline=""))
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


def text(path: pathlib.Path) -> str:
    """A list's text; names that are no UTF-8 stay what they are on the disc, as paths do."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def integer(text: str, path: pathlib.Path) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise UserError(f"expected a whole number; found {text!r} in {path}") from None
