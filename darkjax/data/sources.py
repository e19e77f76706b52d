"""What one batch is made of: the clips of one dataset, or fixed shares of several."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax.data import balance, split
from darkjax.data.balance import Tree
from darkjax.data.records import Records
from darkjax.errors import UserError

OTHER = "source"  # in `data.sources`: the dataset of `data.source_dir`
UNKNOWN = -1  # the label of a clip of an unlabelled source: no class has that number


@dataclasses.dataclass(frozen=True)
class Source:
    """What one dataset gives to every batch.

    Attributes:
      records: the dataset.
      rows: numbers of the records to train on.
      clips: how many of every batch are its own.
      labels: int32 by the dataset's own label: the label in the batch, UNKNOWN for all of an
        unlabelled source.
      tree: what takes turns (`balance.tree`); None: all clips are shuffled alike.
    """

    records: Records
    rows: np.ndarray
    clips: int
    labels: np.ndarray
    tree: Tree | None = None


def of(records: Records, data: Any, batch_size: int) -> tuple[Source, ...]:
    """The sources of a stage's batches, in the order of their positions.

    Args:
      records: of `data.dir`: its classes number the labels.
      data: the stage's data section. `sources` are `(folder, share, labelled)`; a folder "" is
        `records`, "source" that of `source_dir`. None: `records` alone, labelled. `balance` holds
        for each; an unlabelled one is not divided by its classes.
      batch_size: examples of a batch, `data.train_views` of each clip.

    Returns:
      One for each, whose `clips` add up to `batch_size / train_views`.

    Raises:
      UserError: no such folder or split, classes that `records` has not, a share too small for one
        clip, or a batch that the views do not divide.
    """
    if batch_size % data.train_views:
        raise UserError(
            f"batch_size={batch_size} is not a multiple of data.train_views={data.train_views}: "
            "every clip of a batch has all its views"
        )
    clips = batch_size // data.train_views
    by = balance.levels(data.balance)
    if not data.sources:
        rows, _, _ = split.rows(records, data)
        labels = np.arange(len(records.classes), dtype=np.int32)
        return (Source(records, rows, clips, labels, balance.tree(records, rows, by)),)
    counts = _counts([share for _, share, _ in data.sources], clips)
    found = []
    for (folder, share, labelled), count in zip(data.sources, counts, strict=True):
        if not count:
            raise UserError(
                f"data.sources: a share of {share} of {clips} clips is none for {folder!r}: give "
                "it more, or take a larger batch"
            )
        own = _records(folder, records, data)
        rows = split.train_rows(own, data)
        known = by if labelled else tuple(level for level in by if level != "class")
        tree = balance.tree(own, rows, known)
        found.append(Source(own, rows, count, _labels(own, records, labelled), tree))
    return tuple(found)


def steps_per_epoch(parts: Sequence[Source]) -> int:
    """Steps in which every clip of the first source is seen once, up to the rest of a batch.

    Balanced sampling has epochs as long as others: rare clips are seen more often in one.
    """
    return len(parts[0].rows) // parts[0].clips


def names(records: Records, data: Any) -> tuple[str, ...]:
    """What `batch["domain"]` numbers: several sources by their folders, or the clips' domains."""
    if len(data.sources) < 2:
        return records.domains
    return tuple(
        os.path.basename(os.path.normpath(_folder(folder, data) or records.directory))
        for folder, _, _ in data.sources
    )


def parts(
    records: Records, data: Any, batch_size: int
) -> tuple[tuple[int, bool, tuple[str, ...]], ...]:
    """Of each of `data.sources`: (clips of a batch, whether labelled, its classes)."""
    counts = _counts([share for _, share, _ in data.sources], batch_size // data.train_views)
    return tuple(
        (count, labelled, tuple(_records(folder, records, data).classes))
        for (folder, _, labelled), count in zip(data.sources, counts, strict=True)
    )


def digest(records: Records, data: Any) -> str:
    """Of everything a stage is trained on."""
    if not data.sources:
        return records.digest
    parts = [(_records(folder, records, data).digest, *rest) for folder, *rest in data.sources]
    return hashlib.sha256(json.dumps([records.digest, parts]).encode()).hexdigest()


def _folder(folder: str, data: Any) -> str:
    """The folder that a source names; "" is that of `data.dir`."""
    if folder == OTHER and not data.source_dir:
        raise UserError(
            f"data.sources names {OTHER!r}, and data.source_dir is empty: convert that dataset "
            "(python -m darkjax.data.convert --help) and give --config.data.source_dir=FOLDER"
        )
    return data.source_dir if folder == OTHER else folder


def _records(folder: str, records: Records, data: Any) -> Records:
    path = _folder(folder, data)
    return Records(path, read=data.read, check_crc=data.check_crc) if path else records


def _counts(shares: list[float], clips: int) -> list[int]:
    """Whole numbers in the proportion of `shares` that add up to `clips`: largest remainders."""
    exact = [share / sum(shares) * clips for share in shares]
    counts = [int(x) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: clips - sum(counts)]:
        counts[i] += 1
    return counts


def _labels(own: Records, records: Records, labelled: bool) -> np.ndarray:
    if not labelled:
        return np.full(len(own.classes), UNKNOWN, np.int32)
    strange = [name for name in own.classes if name not in records.classes]
    if strange:
        raise UserError(
            f"data.sources: {own.directory} has the classes {', '.join(strange)}, which "
            f"{records.directory} has not ({', '.join(records.classes)}): labels are matched by "
            "name; take it without labels, or convert it with those classes alone"
        )
    return np.array([records.classes.index(name) for name in own.classes], np.int32)
