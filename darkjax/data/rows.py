"""Many rows of a card as columns: a twentieth of the objects, and read in a second.

A million rows as dictionaries are two gigabytes and half a minute of parsing and checking. So from
MANY rows on, the card's rows are kept as arrays, and beside `card.json` there is `card.columns`
with the same rows. It is only a cache: it says which card it is of, by length and CRC-32C. Where
it is missing, damaged or of another card, the card itself is read and it is written again.
"""

from __future__ import annotations

import io
import json
import logging
import pathlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import google_crc32c
import numpy as np

from darkjax import files, npy

MANY = 20_000
NAME = "card.columns"
MARK = b"darkjax rows 1\n"
_CHUNK = 1 << 20
_MISSING = object()
log = logging.getLogger(__name__)


class Numbers(NamedTuple):
    """Whole numbers or floats."""

    values: np.ndarray  # int64 or float64 [n]

    def at(self, row: int) -> Any:
        """A row's value."""
        return self.values[row].item()

    def all(self) -> list[Any]:
        """Every row's value."""
        return self.values.tolist()


class Names(NamedTuple):
    """Texts of which there are few."""

    codes: np.ndarray  # int32 [n]
    names: list[str]

    def at(self, row: int) -> Any:
        """A row's value."""
        return self.names[self.codes[row]]

    def all(self) -> list[Any]:
        """Every row's value."""
        return np.array(self.names, object)[self.codes].tolist()


class Texts(NamedTuple):
    """Other texts, one after the other; or values of any kind as JSON, "" where there is none."""

    ends: np.ndarray  # int64 [n]
    text: np.ndarray  # uint8, UTF-8
    coded: bool

    def at(self, row: int) -> Any:
        """A row's value."""
        begin = self.ends[row - 1] if row else 0
        return self._value(self.text[begin : self.ends[row]].tobytes())

    def all(self) -> list[Any]:
        """Every row's value."""
        whole, ends = self.text.tobytes(), self.ends.tolist()
        begins = [0, *ends[:-1]]
        return [self._value(whole[a:b]) for a, b in zip(begins, ends, strict=True)]

    def _value(self, text: bytes) -> Any:
        if not self.coded:
            return text.decode()
        return json.loads(text) if text else _MISSING


Column = Numbers | Names | Texts


class Rows(Sequence[dict[str, Any]]):
    """The rows of a card, each made into a dictionary when it is asked for.

    Attributes:
      digest: of the whole card, see `card.digest`.
    """

    def __init__(self, columns: Mapping[str, Column], count: int, digest: str):
        self._columns, self._count, self.digest = dict(columns), count, digest

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], digest: str) -> Rows:
        """The same rows."""
        names = {name: None for row in rows for name in row}
        columns = {name: _column([row.get(name, _MISSING) for row in rows]) for name in names}
        return cls(columns, len(rows), digest)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[n] for n in range(*row.indices(self._count))]
        row = int(row) + (self._count if row < 0 else 0)
        if not 0 <= row < self._count:
            raise IndexError(f"row {row} of {self._count}")
        return _without_missing((n, column.at(row)) for n, column in self._columns.items())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = list(self._columns)
        for values in zip(*(column.all() for column in self._columns.values()), strict=True):
            yield _without_missing(zip(names, values, strict=True))

    def column(self, name: str) -> Any:
        """What every row has under a name: an array of numbers, or a list. KeyError."""
        column = self._columns[name]
        return column.values if isinstance(column, Numbers) else column.all()


def column(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """What every row has under a name: a list, or an array of numbers. KeyError."""
    return rows.column(name) if isinstance(rows, Rows) else [row[name] for row in rows]


def _without_missing(items: Any) -> dict[str, Any]:
    return {name: value for name, value in items if value is not _MISSING}


def _column(values: Sequence[Any]) -> Column:
    kinds = set(map(type, values))
    if kinds in ({int}, {float}):
        try:
            return Numbers(np.array(values, np.int64 if kinds == {int} else np.float64))
        except OverflowError:
            pass
    if kinds == {str} and len(names := sorted(set(values))) <= len(values) // 4:
        number = {name: n for n, name in enumerate(names)}
        return Names(np.array([number[value] for value in values], np.int32), names)
    coded = kinds != {str}
    texts = [_coded(value) for value in values] if coded else values
    encoded = [text.encode() for text in texts]
    ends = np.cumsum(np.array([len(text) for text in encoded], np.int64))
    return Texts(ends, np.frombuffer(b"".join(encoded), np.uint8), coded)


def _coded(value: Any) -> str:
    return "" if value is _MISSING else json.dumps(value)


# ---------------------------------------------------------------- the cache


def save(card: pathlib.Path, rest: Mapping[str, Any], rows: Rows) -> None:
    """Write the cache of a card; `rest` is the card without its rows. OSError."""
    listed, arrays = [], []
    for name, column in rows._columns.items():
        known: dict[str, Any] = {"names": column.names} if isinstance(column, Names) else {}
        known |= {"coded": column.coded} if isinstance(column, Texts) else {}
        listed.append([name, type(column).__name__, known])
        arrays += [value for value in column if isinstance(value, np.ndarray)]
    about = {"card": _identity(card), "rest": rest, "rows": len(rows), "digest": rows.digest}
    head = json.dumps({**about, "columns": listed}).encode()
    out = io.BytesIO()
    out.write(MARK)
    for array in (np.frombuffer(head, np.uint8), *arrays):
        np.save(out, array)
    out.write(struct.pack("<I", google_crc32c.value(out.getvalue())))
    files.write_bytes(card.with_name(NAME), out.getvalue())


def load(card: pathlib.Path) -> tuple[dict[str, Any], Rows] | None:
    """The card without its rows, and these, from the cache; None where it is not of this card."""
    path = card.with_name(NAME)
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        end = len(content) - 4
        file = io.BytesIO(content)
        if file.read(len(MARK)) != MARK or end < 0:
            raise ValueError("of another kind")
        if struct.unpack("<I", content[end:])[0] != google_crc32c.value(content[:end]):
            raise ValueError("damaged")

        def array() -> np.ndarray:
            return npy.read(file, end - file.tell())

        about = json.loads(array().tobytes())
        if about["card"] != _identity(card):
            raise ValueError("of another card")
        columns: dict[str, Column] = {}
        for name, kind, known in about["columns"]:
            made = {"Numbers": Numbers, "Names": Names, "Texts": Texts}[kind]
            columns[name] = made(*(array() for _ in range(2 if made is Texts else 1)), **known)
        return about["rest"], Rows(columns, about["rows"], about["digest"])
    except (ValueError, TypeError, LookupError, OSError, RecursionError) as error:
        log.warning("%s is %s: it is written again from the card", path, error)
        return None


def _identity(card: pathlib.Path) -> list[int]:
    """Length and CRC-32C of the card's file."""
    size = crc = 0
    with card.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            crc = google_crc32c.extend(crc, chunk)
    return [size, crc]
