"""What the frames of converted clips show, and which clips should not be on both sides of a split.

Reads clip by clip, some frames at a time: memory does not grow with clips or with their length.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from darkjax import channels
from darkjax.data.records import Records

CHUNK_BYTES = 1 << 24


class Content(NamedTuple):
    """Of one clip: a digest of its frames, its brightest value, its longest run of equal frames."""

    sha256: str
    brightest: int  # of all colours, 0 to 255
    still: int  # frames; all of them in a frozen clip


def of(records: Records, record: int) -> Content:
    """Read every frame of one record.

    Raises:
      UserError: its JPEG frames are damaged, or with `check_crc` its checksum is wrong.
    """
    names = ("frames", "height", "width", "channels")
    count, *shape = (int(records.meta[name][record]) for name in names)
    step = max(1, CHUNK_BYTES // int(np.prod(shape)))
    sha, brightest = hashlib.sha256(repr((count, *shape)).encode()), 0
    before, run, still = None, 0, 0
    for start in range(0, count, step):
        frames = records.read_frames(record, range(start, min(start + step, count)))
        sha.update(frames.data)
        seen = frames[..., : channels.COLOURS]  # a black clip's flow is not black
        brightest = max(brightest, int(seen.max()))
        for frame in frames:
            run = run + 1 if before is not None and np.array_equal(frame, before) else 1
            before, still = frame, max(still, run)
    return Content(sha.hexdigest(), brightest, still)


def alike(keys: Mapping[int, Hashable]) -> list[list[int]]:
    """The rows that have a key in common with another, together; first rows first."""
    found: dict[Hashable, list[int]] = collections.defaultdict(list)
    for row in sorted(keys):
        found[keys[row]].append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def merged(classes: Iterable[Sequence[int]]) -> list[list[int]]:
    """Sets of rows that overlap are one: what two different keys say of the same clips."""
    found: dict[int, list[int]] = {}
    for rows in classes:
        known = [found[row] for row in rows if row in found]
        one = sorted(set(rows).union(*known))
        found |= dict.fromkeys(one, one)
    return sorted({id(rows): rows for rows in found.values()}.values())


def source_keys(records: Records) -> dict[int, Hashable]:
    """Row of the card -> the bytes it was converted from, and which seconds of them.

    Clips without a file (rendered, enhanced) have none.
    """
    return {
        row["clip"]: (row["source_sha256"], row.get("start"), row.get("end"))
        for row in records.clips
        if row["shard"] >= 0 and row["path"] and row.get("source_sha256")
    }


def sides(records: Records) -> dict[str, dict[int, str]]:
    """For each protocol ("" of a dataset with one split): row of a good clip -> its part.

    Rows that a protocol leaves out are not there. Folds, where there are any, are a protocol too:
    "folds", with parts "1", "2", ….
    """
    good = [row for row in records.clips if row["shard"] >= 0]
    if records.protocols:
        found = {
            name: {row["clip"]: row["assigned"][k] for row in good if row["assigned"][k]}
            for k, name in enumerate(records.protocols)
        }
    else:
        found = {"": {row["clip"]: row["split"] for row in good}}
    folds = {row["clip"]: str(row["fold"]) for row in good if row["fold"] > 0}
    return found | ({"folds": folds} if folds else {})


def across(
    parts: Mapping[int, str], together: Iterable[Sequence[int]]
) -> dict[tuple[str, str], list[int]]:
    """Which of the sets of rows `together` lie on both sides of a split.

    Returns:
      For each pair of parts that has any: the numbers of those sets, in their order.
    """
    found: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for number, rows in enumerate(together):
        here = sorted({parts[row] for row in rows if row in parts})
        for pair in itertools.combinations(here, 2):
            found[pair].append(number)
    return dict(sorted(found.items()))
