"""Which records a config trains on and which it is judged on."""

from __future__ import annotations

from typing import Any

import numpy as np

from darkjax.data.records import Records
from darkjax.errors import UserError


def rows(records: Records, data: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """(training records, evaluation records, the evaluation's name) by `data.split`.

    `"official"`: the dataset's own splits `data.train_split` and `data.eval_split`. A group may be
    on both sides of these: the published splits of ARID are like that.
    `"fold"`: inside `data.train_split`, the groups (sessions, performers) of `data.fold` are
    held out; no group is on both sides.

    A group may be on both sides of official splits: those of ARID as published are like that.

    Raises:
      UserError: the dataset has no such split or fold, or `data.split` is neither of the two.
    """
    name = records.card["name"]
    if data.split == "official":
        if data.eval_split not in records.card["splits"]:
            found = ", ".join(records.card["splits"])
            raise UserError(
                f"data.split='official' needs the split {data.eval_split!r}; {records.directory} "
                f"has {found}: convert a folder that has its clips, or take data.split='fold'"
            )
        train = train_rows(records, data)
        return train, records.select(data.eval_split), f"{name}-{data.eval_split}"
    if data.split == "fold":
        train = train_rows(records, data)
        held = records.select(data.train_split, fold=data.fold)
        return train, held, f"{name}-fold{data.fold}"
    raise UserError(f"data.split={data.split!r} is not 'official' or 'fold'")


def train_rows(records: Records, data: Any) -> np.ndarray:
    """The training records alone, of a dataset that nothing is judged on.

    Raises:
      UserError: no such split or fold in this dataset.
    """
    return records.select(data.train_split, holdout=data.fold if data.split == "fold" else None)
