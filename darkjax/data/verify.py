"""Checking a converted dataset, byte by byte."""

import hashlib
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from darkjax import program
from darkjax.data import card as card_file
from darkjax.data import cardcheck, example, index, remote, tfrecord
from darkjax.data.progress import Progress
from darkjax.errors import UserError

AGAIN = "delete {file} in {directory} and run the conversion again: only it is written anew"
NEW_INDEX = "it is built again from the shard when the records are opened"


def verify(directory: str | os.PathLike[str]) -> list[str]:
    """Everything that is wrong with a converted dataset.

    Checks every length and data checksum, each record against the index and its row of the
    card, the card's counts, and size and sha256 of every shard.

    Returns:
      One line for each fault, naming file, record, clip and byte; empty when all is well.

    Raises:
      UserError: no card there.
    """
    remote.refuse(directory, "--verify")
    directory = pathlib.Path(directory)
    card = card_file.read(directory)
    shards = [s for split in card["splits"].values() for s in split["shards"]]
    total = sum(shard["bytes"] for shard in shards)
    progress = Progress(round(total / 1e6), "MB")
    faults, done = cardcheck.faults(card), 0
    try:
        for number, split in _shards(card):
            shard = card["splits"][split]["shards"][number]
            path = directory / shard["file"]
            stored, of_index = _stored_index(path)
            found = _shard_faults(path, stored, shard, number, split, card)
            if found:
                found[-1] += ": " + AGAIN.format(file=shard["file"], directory=directory)
            faults += of_index + found
            done += shard["bytes"]
            progress.update(round(done / 1e6))
    finally:
        progress.close()
    return faults


def _shards(card: Mapping[str, Any]) -> list[tuple[int, str]]:
    """(number in its split, split) of every shard of a card."""
    return [(n, name) for name, s in card["splits"].items() for n in range(len(s["shards"]))]


def report(directory: str | os.PathLike[str]) -> int:
    """`verify` for the command line: prints the faults and a summary, returns 0 or 1."""
    began = time.monotonic()
    faults = verify(directory)
    seconds = max(time.monotonic() - began, 1e-9)
    card = card_file.read(directory)
    shards = [s for split in card["splits"].values() for s in split["shards"]]
    size = sum(s["bytes"] for s in shards) / 1e6
    for fault in faults:
        print(f"fault: {fault}")
    records = sum(s["records"] for s in shards)
    print(
        f"{program.counted(len(faults), 'fault')} in {records} records of {len(shards)} shards, "
        f"{size:.1f} MB at {size / seconds:.0f} MB/s"
    )
    return 1 if faults else 0


def _stored_index(path: pathlib.Path) -> tuple[np.ndarray | None, list[str]]:
    """The index as it is on disc, or what is wrong with it: here it is not built again."""
    if not path.is_file():
        return None, []
    try:
        return index.read(path), []
    except ValueError as error:
        return None, [f"{index.index_path(path)}: the index is {error}: {NEW_INDEX}"]


def _shard_faults(
    path: pathlib.Path,
    stored: np.ndarray | None,
    shard: Mapping[str, Any],
    number: int,
    split: str,
    card: Mapping[str, Any],
) -> list[str]:
    """What is wrong with one shard, by itself and against its index."""
    if not path.is_file():
        return [f"{path}: missing"]
    faults = []
    size = path.stat().st_size
    if size != shard["bytes"]:
        faults.append(f"{path}: expected {shard['bytes']} bytes, found {size}")
    entries = np.empty(0, index.ROW) if stored is None else stored
    content = path.read_bytes()
    records = 0
    try:
        for start, length in tfrecord.scan(content, str(path)):
            entry = entries[records] if records < len(entries) else None
            if tfrecord.data_matches(content, start, length):
                data = memoryview(content)[start : start + length]
                found = _record_faults(data, start, entry, (split, number), card)
            else:
                found = ["wrong checksum of the data" + _clip_id(entry, card)]
            faults += [f"{path}, record {records}, byte {start}: {fault}" for fault in found]
            records += 1
    except UserError as error:
        entry = entries[records] if records < len(entries) else None
        what = str(error).partition(f": {tfrecord.CONVERT_AGAIN}")[0]
        faults.append(what + _clip_id(entry, card))
    indexed = records if stored is None else len(stored)
    if not faults and not records == shard["records"] == indexed:
        faults.append(
            f"{path}: expected {shard['records']} records, found {records}, and {indexed} in "
            "the index"
        )
    if not faults and hashlib.sha256(content).hexdigest() != shard["sha256"]:
        faults.append(f"{path}: expected sha256 {shard['sha256']}, found another")
    return faults


def _record_faults(
    data: memoryview,
    start: int,
    entry: np.void | None,
    place: tuple[str, int],
    card: Mapping[str, Any],
) -> list[str]:
    """What is wrong with one record whose checksums are right."""
    try:
        fields, _, _ = example.split(data)
        row = index.row(data, start)
    except UserError as error:
        return [str(error)]
    faults = []
    told: Any = row if entry is None else entry.item()
    if told != row:
        faults.append(f"expected the index to say {row}, found {told}")
    if not 0 <= fields.clip < len(card["clips"]):
        return [*faults, f"clip row {fields.clip} is not in the card"]
    listed = card["clips"][fields.clip]
    wanted = (
        listed["id"], listed["label"], listed["group"], listed["domain"],
        (listed["frames"], listed["height"], listed["width"]), (listed["split"], listed["shard"]),
    )  # fmt: skip
    found = (
        fields.clip_id, fields.label, fields.group, fields.domain, tuple(fields.shape[:3]), place,
    )  # fmt: skip
    if found != wanted:
        faults.append(f"expected {wanted} by the card, found {found}")
    if not 0 <= fields.label < len(card["classes"]):
        faults.append(f"label {fields.label} of {fields.clip_id} has no class")
    return faults


def _clip_id(entry: np.void | None, card: Mapping[str, Any]) -> str:
    if entry is None or not 0 <= entry["clip"] < len(card["clips"]):
        return ""
    return f" (clip {card['clips'][entry['clip']]['id']})"
