"""Balanced sampling: whose turn it is in a training source, and which of its clips comes then.

The clips of a source are a tree: of classes, of groups, or of classes and the groups of each. Its
children take turns, in rounds: in each round every child has one turn, in an order shuffled anew.
What a child gives in its n-th turn is its own child of turn n, and so on down to the clips of a
leaf, which take turns like all others.

So, whatever the sizes: after any number of turns the children of a node have had the same number or
one more, and no clip of a leaf comes again before all of them have come. Rare clips are repeated,
common ones wait; nothing depends on how long an epoch is. Turn n is a function of (seed, n).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax.data.records import Records
from darkjax.errors import UserError

# Names of `data.balance`, and what takes turns: first, then within each.
BALANCES: dict[str, tuple[str, ...]] = {
    "none": (),
    "class": ("class",),
    "group": ("group",),
    "class_group": ("class", "group"),
}
Tree = np.ndarray | tuple[Any, ...]  # int64 record numbers, or a tuple of such trees in turn


def levels(name: str) -> tuple[str, ...]:
    """What takes turns under a name of `data.balance`. UserError for a name that is none."""
    if name not in BALANCES:
        raise UserError(f"balance={name!r}: expected one of {', '.join(BALANCES)}")
    return BALANCES[name]


def tree(records: Records, rows: np.ndarray, by: Sequence[str]) -> Tree | None:
    """The records `rows` int64 [n] divided by class or group, or by one and then the other.

    Children are in the order of their labels or names, rows in theirs. None when `by` is empty: all
    clips are alike.
    """
    return _divided(records, rows, tuple(by)) if by else None


def _divided(records: Records, rows: np.ndarray, by: tuple[str, ...]) -> Tree:
    if not by:
        return rows
    if by[0] == "class":
        keys = records.meta["label"][rows]
    else:
        keys = records.told("group")[rows]
    order = np.argsort(keys, kind="stable")  # not a pass over all rows for each of many groups
    _, first = np.unique(keys[order], return_index=True)
    return tuple(_divided(records, part, by[1:]) for part in np.split(rows[order], first[1:]))


def pick(tree: Tree, turn: int, seed: int, source: int = 0) -> int:
    """The record number of turn `turn` (from 0) of a source, the `source`-th of the batch."""
    path: tuple[int, ...] = ()
    while True:
        turn, place = divmod(turn, len(tree))
        child = int(_order(seed, source, turn, path, len(tree))[place])
        if isinstance(tree, np.ndarray):
            return int(tree[child])
        tree, path = tree[child], (*path, child)


@functools.lru_cache(maxsize=1024)  # nodes of a tree: each has one order at a time
def _order(seed: int, source: int, turn: int, path: tuple[int, ...], count: int) -> np.ndarray:
    """The order of one round of one node: int64 [count]."""
    # Its length keeps a path apart from one that goes on with zeros.
    return np.random.default_rng([seed, source, turn, len(path), *path]).permutation(count)
