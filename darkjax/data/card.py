"""The card of a converted dataset: one JSON file that says everything about it.

```
format      2-digit version of this layout
name        of the dataset                classes   names in label order
splits      {split: {clips, frames, shards: [{file, records, bytes, sha256}], per_class}}
decode      the settings of the conversion: short_side, max_frames, encoding, jpeg_quality;
            of records with flow also `flow`
clips       one row per clip of the catalogue; the row number is a record's `clip`
bad         [{clip, path, reason}]: listed, and in no shard
protocols   names of the official splits of the same clips, where there are several
```

A bad clip keeps its row (with `shard` -1 and no frames), so that a row number never depends on
what could be decoded. With `protocols` every row has `assigned`, its part in each; the row
of a clip that was cut out of a longer video has `start` or `end`, in seconds.
"""

import collections
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from darkjax import files
from darkjax.data import cardcheck, remote
from darkjax.data import rows as rows_file
from darkjax.errors import UserError

FORMAT = 1
NAME = "card.json"
log = logging.getLogger(__name__)
AGAIN = "delete it and run the conversion again: finished shards are kept"


def shard_name(name: str, split: str, number: int, count: int) -> str:
    """File name of shard `number` of `count`, as TFRecord users know it."""
    return f"{name}-{split}-{number:05d}-of-{count:05d}.tfrecord"


def read(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a dataset folder, every field of the right type, every shard in the folder.

    Raises:
      UserError: there is none (the conversion did not finish), it is of another format or damaged,
        or a shard's name leads out of the folder.
    """
    path = remote.place(directory) / NAME
    if not path.is_file():
        raise UserError(
            f"expected a converted dataset with {NAME} in {directory}; found none: convert it with "
            "`python -m darkjax.data.convert`, or run the same command again if it was stopped"
        )
    cached = rows_file.load(path) if isinstance(path, pathlib.Path) else None
    try:
        card = json.loads(path.read_text("utf-8")) if cached is None else dict(cached[0])
    except (ValueError, RecursionError) as error:
        raise UserError(f"expected JSON in {path}: {error}: {AGAIN}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise UserError(f"expected card format {FORMAT}, found {found} in {path}: convert again")
    if cached is not None:
        card["clips"] = []  # they were checked before they were kept
    try:
        cardcheck.check(card)
    except ValueError as error:
        raise UserError(f"{path}: {error}: {AGAIN}") from error
    for split in card["splits"].values():
        for shard in split["shards"]:
            if isinstance(path, pathlib.Path):  # a store has no links
                _refuse_link(path.parent, shard["file"])
    if cached is not None:
        card["clips"] = cached[1]
    elif len(card["clips"]) >= rows_file.MANY:
        _keep_columns(card, path)
    return card


def write(directory: pathlib.Path, card: dict[str, Any]) -> None:
    """Write the card, and its columns if it has many rows. OSError."""
    files.write_json(directory / NAME, card)
    if len(card["clips"]) >= rows_file.MANY:
        _keep_columns(dict(card), directory / NAME)


def _keep_columns(card: dict[str, Any], path: Any) -> None:
    """Columns instead of many rows, also beside the card for the next time, where that goes."""
    card["clips"] = rows_file.Rows.of(card["clips"], digest(card))
    if not isinstance(path, pathlib.Path):
        return
    rest = {key: value for key, value in card.items() if key != "clips"}
    try:
        rows_file.save(path, rest, card["clips"])
    except OSError as error:
        log.warning("%s is not written: %s", path.with_name(rows_file.NAME), error)


def _refuse_link(directory: pathlib.Path, file: str) -> None:
    """A shard may be a link within its folder; the folder may be a link itself."""
    shard = directory / file
    if shard.is_symlink() and shard.resolve().parent != directory.resolve():
        raise UserError(
            f"expected the shards of {directory} in it; found {file}, a link to {shard.resolve()}: "
            "put the file itself there, or link the whole folder"
        )


def digest(card: Mapping[str, Any]) -> str:
    """A sha256 that changes when the data does, for the checkpoint.

    It covers the classes, the decode settings and every clip row (with the source file's own
    sha256), but not how the clips are spread over shards: that changes no batch.
    """
    if isinstance(card["clips"], rows_file.Rows):
        return card["clips"].digest
    rows = [{k: v for k, v in row.items() if k != "shard"} for row in card["clips"]]
    content = [card["format"], card["classes"], card["decode"], rows]
    content += [card["protocols"]] if "protocols" in card else []
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def build(
    name: str,
    classes: Sequence[str],
    decode: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    bad: Sequence[Mapping[str, Any]],
    shards: Mapping[str, Sequence[Mapping[str, Any]]],
    protocols: Sequence[str] = (),
) -> dict[str, Any]:
    """The card from what every shard reported; `rows` in the order of the catalogue."""
    splits = {}
    for split in shards:
        good = [row for row in rows if row["split"] == split and row["shard"] >= 0]
        per_class = collections.Counter(row["label"] for row in good)
        splits[split] = {
            "clips": len(good),
            "frames": sum(row["frames"] for row in good),
            "per_class": [per_class[label] for label in range(len(classes))],
            "shards": list(shards[split]),
        }
    return {
        "format": FORMAT,
        "name": name,
        "classes": list(classes),
        "splits": splits,
        "decode": dict(decode),
        "clips": list(rows),
        "bad": list(bad),
    } | ({"protocols": list(protocols)} if protocols else {})
