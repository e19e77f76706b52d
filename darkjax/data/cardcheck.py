"""Whether a card read from disc is one: its fields, their types, and whether its counts add up.

A card may come from anybody, so nothing of it is used before `check` has passed.
"""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darkjax.data import rows as rows_file
from darkjax.data.example import ENCODINGS

INT32, WHOLE, NUMBER = "a whole number of 32 bits", "a whole number", "a number"
TEXT, LIST, DICT = "text", "a list", "an object"
CARD = {"name": TEXT, "classes": LIST, "splits": DICT, "decode": DICT, "clips": LIST, "bad": LIST}
SPLIT = {"clips": INT32, "frames": WHOLE, "per_class": LIST, "shards": LIST}
SHARD = {"file": TEXT, "records": INT32, "bytes": WHOLE, "sha256": TEXT}
ROW = {
    "clip": INT32, "id": TEXT, "path": TEXT, "label": INT32, "group": TEXT, "split": TEXT,
    "domain": TEXT, "fold": INT32, "frames": INT32, "height": INT32, "width": INT32,
    "fps": NUMBER, "mean_luma": NUMBER, "shard": INT32,
}  # fmt: skip
OPTIONAL_ROW = {"assigned": LIST, "start": NUMBER, "end": NUMBER}
BAD = {"clip": INT32, "path": TEXT, "reason": TEXT}


def check(card: Mapping[str, Any]) -> None:
    """Every field is there and of its type, and shards are plain file names.

    Raises:
      ValueError: what was expected, where, and what was found.
    """
    _fields(card, CARD, "the card")
    _each(card["classes"], TEXT, "classes")
    if not card["classes"] or len(set(card["classes"])) < len(card["classes"]):
        raise ValueError(f"expected classes, each once; found {_short(card['classes'])}")
    if card["decode"].get("encoding") not in ENCODINGS:
        found = _short(card["decode"].get("encoding"))
        raise ValueError(f"expected decode.encoding {' or '.join(ENCODINGS)}; found {found}")
    for name, split in card["splits"].items():
        _fields(split, SPLIT, f"splits.{name}")
        _each(split["per_class"], INT32, f"splits.{name}.per_class")
        for number, shard in enumerate(split["shards"]):
            where = f"splits.{name}.shards[{number}]"
            _fields(shard, SHARD, where)
            if not _plain(shard["file"]):
                raise ValueError(
                    f"expected a file name without folders in {where}.file; found "
                    f"{_short(shard['file'])}"
                )
    for number, entry in enumerate(card["bad"]):
        _fields(entry, BAD, f"bad[{number}]")
    _check_protocols(card)
    if not _plain_rows(card["clips"]) or card.get("protocols"):
        _check_rows(card)


def _plain_rows(rows: Sequence[Any]) -> bool:
    """Whether the rows have the right fields and no others: a column at a time, which is fast."""
    try:
        if set().union(*rows) & OPTIONAL_ROW.keys():
            return False
        return all(_is_column([row[name] for row in rows], kind) for name, kind in ROW.items())
    except (LookupError, TypeError, ValueError, OverflowError):
        return False


def _is_column(values: list[Any], kind: str) -> bool:
    kinds = set(map(type, values))
    if kind == TEXT:
        "".join(values).encode()  # half a character has no UTF-8: UnicodeEncodeError
        return kinds <= {str}
    if kind == INT32:
        return kinds <= {int} and all(abs(end) < 2**31 for end in (min(values), max(values)))
    return kinds <= {int, float} and bool((np.abs(np.array(values, np.float64)) < 2**31).all())


def _check_rows(card: Mapping[str, Any]) -> None:
    """A row at a time, to say which is wrong."""
    for number, row in enumerate(card["clips"]):
        _fields(row, ROW, f"clips[{number}]")
        if later := row.keys() & OPTIONAL_ROW:
            _fields(row, {name: OPTIONAL_ROW[name] for name in later}, f"clips[{number}]")
    protocols = card.get("protocols", [])
    for number, row in enumerate(card["clips"]):
        where, parts = f"clips[{number}].assigned", row.get("assigned", [])
        _each(parts, TEXT, where)
        if len(parts) != len(protocols):
            raise ValueError(
                f"expected one part for each protocol in {where}: {len(parts)} parts for "
                f"{len(protocols)} protocols"
            )


def _check_protocols(card: Mapping[str, Any]) -> None:
    """Their names, and each clip's part in each of them."""
    protocols = card.get("protocols", [])
    if not _is(protocols, LIST):
        raise ValueError(f"expected {LIST} in the card.protocols; found {_short(protocols)}")
    _each(protocols, TEXT, "protocols")
    if len(set(protocols)) < len(protocols) or "" in protocols:
        raise ValueError(f"expected protocols, each once; found {_short(protocols)}")


def faults(card: Mapping[str, Any]) -> list[str]:
    """What does not add up within a card that passed `check`: one line each."""
    if _adds_up(card):
        return []
    found = []
    bad = {entry["clip"] for entry in card["bad"]}
    for number, row in enumerate(card["clips"]):
        if row["clip"] != number:
            found.append(f"card: row {number} says it is row {row['clip']}")
        if not 0 <= row["label"] < len(card["classes"]):
            found.append(f"card: label {row['label']} of {row['id']} has no class")
        if (row["shard"] < 0) != (number in bad):
            found.append(f"card: {row['id']} is neither in a shard nor listed as bad, or both")
    rows = collections.Counter(row["split"] for row in card["clips"] if row["shard"] >= 0)
    for name, split in card["splits"].items():
        records = sum(shard["records"] for shard in split["shards"])
        if not split["clips"] == records == rows[name] == sum(split["per_class"]):
            found.append(
                f"card: split {name} counts {split['clips']} clips, {records} records, "
                f"{rows[name]} rows and {sum(split['per_class'])} per class"
            )
    for name in rows.keys() - card["splits"].keys():
        found.append(f"card: {rows[name]} clips are of the split {name}, which is not listed")
    return found


def _columns(card: Mapping[str, Any], *names: str) -> list[np.ndarray]:
    return [np.asarray(rows_file.column(card["clips"], name), np.int64) for name in names]


def _adds_up(card: Mapping[str, Any]) -> bool:
    """The same as `faults`, column by column."""
    if not len(card["clips"]):
        return False
    number, label, shard = _columns(card, "clip", "label", "shard")
    bad = np.zeros(len(number), bool)
    listed = np.array([entry["clip"] for entry in card["bad"]], np.int64)
    bad[listed[(listed >= 0) & (listed < len(bad))]] = True
    splits = np.array(rows_file.column(card["clips"], "split"), object)
    rows = collections.Counter(splits[shard >= 0].tolist())
    return bool(
        np.array_equal(number, np.arange(len(number)))
        and 0 <= label.min() <= label.max() < len(card["classes"])
        and np.array_equal(shard < 0, bad)
        and rows.keys() <= card["splits"].keys()
        and all(
            split["clips"]
            == sum(shard["records"] for shard in split["shards"])
            == rows[name]
            == sum(split["per_class"])
            for name, split in card["splits"].items()
        )
    )


def _agrees(card: Mapping[str, Any], indices: Sequence[np.ndarray]) -> bool:
    """Whether `against_indices` has nothing to say, column by column."""
    shards = [(name, k, s) for name, v in card["splits"].items() for k, s in enumerate(v["shards"])]
    if not indices or any(
        len(index) != shard["records"] for (_, _, shard), index in zip(shards, indices, strict=True)
    ):
        return False
    told, lengths = np.concatenate(indices), [len(index) for index in indices]
    clip = told["clip"].astype(np.int64)
    if not len(clip) or clip.min() < 0 or clip.max() >= len(card["clips"]):
        return False
    names = ("label", "frames", "height", "width", "shard")
    label, frames, height, width, shard = (c[clip] for c in _columns(card, *names))
    split = np.array(rows_file.column(card["clips"], "split"), object)[clip]
    of_index = np.repeat(np.array([name for name, _, _ in shards], object), lengths)
    numbers = np.repeat([number for _, number, _ in shards], lengths)
    return bool(
        len(np.unique(clip)) == len(clip)
        and (told["label"] == label).all()
        and (told["frames"] == frames).all()
        and (told["height"] == height).all()
        and (told["width"] == width).all()
        and (numbers == shard).all()
        and (of_index == split).all()
    )


def against_indices(card: Mapping[str, Any], indices: Sequence[np.ndarray]) -> str:
    """What the indices (dtype `index.ROW`) of all shards say otherwise than the card, or ""."""
    if _agrees(card, indices):
        return ""
    shards = [(name, k, s) for name, v in card["splits"].items() for k, s in enumerate(v["shards"])]
    clips, seen = card["clips"], set()
    for (split, number, shard), index in zip(shards, indices, strict=True):
        file = shard["file"]
        if len(index) != shard["records"]:
            return f"the card has {shard['records']} records in {file}, its index {len(index)}"
        names = ["clip", "label", "frames", "height", "width"]
        for clip, *told in index[names].tolist():
            if not 0 <= clip < len(clips) or clip in seen:
                again = "twice" if clip in seen else f"outside 0 to {len(clips) - 1}"
                return f"{file} holds clip row {clip}, {again}"
            seen.add(clip)
            row = clips[clip]
            listed = [row[name] for name in names[1:]]
            if [*told, split, number] != [*listed, row["split"], row["shard"]]:
                return (
                    f"{file} has {row['id']} with label {told[0]} and size {told[1:]}, the card "
                    f"with {listed[0]} and {listed[1:]} in shard {row['shard']} of {row['split']}"
                )
    return ""


def _fields(value: Any, wanted: Mapping[str, str], where: str) -> None:
    if not _is(value, DICT):
        raise ValueError(f"expected {DICT} in {where}; found {_short(value)}")
    for name, kind in wanted.items():
        if name not in value:
            raise ValueError(f"expected {name!r} in {where}; found {_short(list(value))}")
        if not _is(value[name], kind):
            raise ValueError(f"expected {kind} in {where}.{name}; found {_short(value[name])}")


def _each(values: Sequence[Any], kind: str, where: str) -> None:
    for number, value in enumerate(values):
        if not _is(value, kind):
            raise ValueError(f"expected {kind} in {where}[{number}]; found {_short(value)}")


def _is(value: Any, kind: str) -> bool:
    if kind == INT32:
        return type(value) is int and abs(value) < 2**31
    if kind == WHOLE:  # True is none
        return type(value) is int and abs(value) < 2**63
    if kind == NUMBER:  # nor is NaN
        return type(value) in (int, float) and abs(value) < 2**31
    if kind == TEXT:  # JSON can spell half a character, which no terminal can show
        return type(value) is str and not any("\ud800" <= c <= "\udfff" for c in value)
    return type(value) is {LIST: list, DICT: dict}[kind]


def _plain(file: str) -> bool:
    """Whether it is a name in the dataset's own folder, on any system."""
    parts = (pathlib.PurePosixPath(file).name, pathlib.PureWindowsPath(file).name)
    return parts == (file, file) and file not in ("", "..") and file.isprintable()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
