"""How many clips the authors of a dataset count, to compare a download with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


def official(name: str) -> dict[str, Any] | None:
    """The published counts of a dataset of the catalogue; None where none are known.

    Returns:
      `classes`, `clips` (numbers of), `per_class` (clips of each, in label order; absent where it
      is not published) and `splits`: {protocol: {part: {clips, per_class (maybe)}}}. A dataset
      with one official split has the protocol "". It is a copy.
    """
    return copy.deepcopy(_OFFICIAL.get(name))


def _part(clips: int, per_class: Sequence[int] | None = None) -> dict[str, Any]:
    return {"clips": clips} | ({"per_class": list(per_class)} if per_class else {})


def _splits(**parts: Sequence[int]) -> dict[str, Any]:
    """Protocols "1", "2", … from the clips of each part in each of them."""
    counts = zip(*parts.values(), strict=True)
    return {
        str(number): {part: _part(n) for part, n in zip(parts, row, strict=True)}
        for number, row in enumerate(counts, 1)
    }


# The lists of xuyu0010/ARID_v1. "other" is the same 673 clips in each.
_ARID = _splits(train=(2288, 2252, 2259), test=(823, 859, 852), other=(673, 673, 673))
_ARID["1"]["train"] = _part(2288, (201, 215, 110, 215, 266, 226, 135, 142, 274, 276, 228))
_ARID["1"]["test"] = _part(823, (79, 78, 50, 77, 106, 70, 51, 44, 82, 110, 76))
# 30 clips of each of twelve classes for training and 20 for testing, drawn five times.
_INFRARED = {
    "classes": 12,
    "clips": 600,
    "per_class": [50] * 12,
    "splits": {
        str(k): {"train": _part(360, [30] * 12), "test": _part(240, [20] * 12)} for k in range(1, 6)
    },
}
_OFFICIAL: dict[str, dict[str, Any]] = {
    "arid": {
        "classes": 11,
        "clips": 3784,
        "per_class": [338, 357, 205, 372, 475, 339, 234, 237, 413, 448, 366],
        "splits": _ARID,
    },
    # UG2+ 2021, track 2.1: the labels of validation (90) and test (1289) were never published.
    "arid_ug2": {
        "classes": 6,
        "clips": 1837,
        "per_class": [335, 214, 232, 389, 353, 314],
        "splits": {"": {"train": _part(1837, (335, 214, 232, 389, 353, 314))}},
    },
    "infar": _INFRARED,
    "xd145": _INFRARED,
    "hmdb51": {
        "classes": 51,
        "clips": 6766,
        "splits": _splits(train=(3570,) * 3, test=(1530,) * 3),
    },
    "ucf101": {
        "classes": 101,
        "clips": 13320,
        "splits": _splits(train=(9537, 9586, 9624), test=(3783, 3734, 3696)),
    },
    "dark48": {
        "classes": 48,
        "clips": 8815,
        "splits": _splits(train=(7052,) * 3, test=(1763,) * 3),
    },
    # Clips in all as in DTCM; how many are on each side is not published.
    "uavhuman_fisheye": {"classes": 155, "clips": 22476, "splits": {}},
    "iitr_iar": {"classes": 21, "clips": 1470, "per_class": [70] * 21, "splits": {}},
}
