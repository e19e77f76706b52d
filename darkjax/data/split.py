"""Which records a config trains on and which it is judged on."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from darkjax.data.records import Records
from darkjax.errors import UserError

SPLITS = ("official", "fold", "random")
LEAKY = "leaky split"  # in the name of every number that such a split gives


def rows(records: Records, data: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """(training records, evaluation records, the evaluation's name) by `data.split`.

    `"official"`: the dataset's own splits `data.train_split` and `data.eval_split`. Where its
    authors split the same clips several times, `data.protocol` says which of them ("": the first).
    A group may be on both sides: the published splits of ARID are like that (`shared_groups`).
    `"fold"`: the groups (sessions, performers) of `data.fold` are held out of `data.train_split`,
    or of all clips where there are several protocols; no group is on both sides.
    `"random"`: of the same clips, a share `data.random_share` of every class is held out, drawn by
    `data.random_seed`. Where groups are known this puts them on both sides, so it is refused unless
    `data.allow_leaky_split`, and then the name says so.

    Raises:
      UserError: the dataset has no such split, protocol or fold, or a random split would leak.
    """
    held, name = held_rows(records, data)
    return train_rows(records, data), held, name


def held_rows(records: Records, data: Any) -> tuple[np.ndarray, str]:
    """The evaluation records and the evaluation's name; see `rows`."""
    name = records.card["name"]
    if data.split == "official":
        if data.protocol and not records.protocols:
            raise UserError(
                f"data.protocol={data.protocol!r}: {records.directory} has one official split: "
                "leave it empty"
            )
        protocol = _protocol(records, data)
        found = records.parts(protocol)
        if data.eval_split not in found:
            raise UserError(
                f"data.split='official' needs the split {data.eval_split!r}; {records.directory} "
                f"has {', '.join(found)}: convert a folder that has its clips, set "
                "data.eval_split, or take data.split='fold'"
            )
        named = "-".join(filter(None, (name, protocol, data.eval_split)))
        return records.select(data.eval_split, protocol=protocol), named
    if data.split == "fold":
        return records.select(_pool(records, data), fold=data.fold), f"{name}-fold{data.fold}"
    if data.split == "random":
        held = _dealt(records, data)[1]
        leaky = _check_leak(records, data)
        return held, f"{name}-random{data.random_share:g}" + (f" ({LEAKY})" if leaky else "")
    raise UserError(f"data.split={data.split!r} is not {', '.join(map(repr, SPLITS[:-1]))} or "
                    f"{SPLITS[-1]!r}")  # fmt: skip


def train_rows(records: Records, data: Any) -> np.ndarray:
    """The training records alone, of a dataset that nothing is judged on.

    `data.protocol` is not asked for where the dataset has none: one of several sources may.

    Raises:
      UserError: no such split, protocol or fold in this dataset.
    """
    if data.split == "fold":
        return records.select(_pool(records, data), holdout=data.fold)
    if data.split == "random":
        return _dealt(records, data)[0]
    return records.select(data.train_split, protocol=_protocol(records, data))


def shared_groups(records: Records, train: np.ndarray, held: np.ndarray) -> tuple[int, int]:
    """(groups with clips on both sides, groups of both sides together)."""
    groups = records.told("group")
    sides = [set(groups[side]) for side in (train, held)]
    return len(sides[0] & sides[1]), len(sides[0] | sides[1])


def _protocol(records: Records, data: Any) -> str:
    """The protocol asked for; "" of a dataset that has none."""
    if not records.protocols:
        return ""
    if data.protocol and data.protocol not in records.protocols:
        raise UserError(
            f"data.protocol={data.protocol!r}: {records.directory} has "
            f"{', '.join(records.protocols)}: set one of them, or leave it empty for the first"
        )
    return data.protocol or records.protocols[0]


def _pool(records: Records, data: Any) -> str | None:
    """The split that is divided by folds or by chance; None is all clips."""
    return None if records.protocols else data.train_split


def _dealt(records: Records, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """A share of every class drawn by chance: (what is left, what was drawn)."""
    pool = records.select(_pool(records, data))
    labels = records.meta["label"][pool]
    drawn = np.zeros(len(pool), bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        rng = np.random.default_rng((data.random_seed, int(label)))
        drawn[rng.permutation(mine)[: round(len(mine) * data.random_share)]] = True
    for side, use in ((~drawn, "train"), (drawn, "judge")):
        if not side.any():
            raise UserError(
                f"data.random_share={data.random_share:g} of the {len(pool)} clips of "
                f"{records.directory}, class by class, leaves no clip to {use} on"
            )
    return pool[~drawn], pool[drawn]


def _check_leak(records: Records, data: Any) -> bool:
    """Whether a random split puts clips of one group on both sides; refused unless allowed."""
    pool = records.select(_pool(records, data))
    groups = collections.Counter(records.told("group")[pool])
    several = {group: count for group, count in groups.items() if count > 1}
    if several and not data.allow_leaky_split:
        group, count = next(iter(several.items()))
        raise UserError(
            f"data.split='random': {len(several)} of {len(groups)} groups of {records.directory} "
            f"have several clips (as {group!r}, {count}), so it would be judged on recordings that "
            "it was trained on: take data.split='fold', or set data.allow_leaky_split=True and "
            f"every number says {LEAKY!r}"
        )
    return bool(several)
