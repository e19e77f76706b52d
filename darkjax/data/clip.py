"""What a clip is, and how recording groups are dealt into folds."""

import collections
import dataclasses
import pathlib
from collections.abc import Sequence

FOLDS = 5
Root = pathlib.Path | None  # a dataset's folder; rendered clips and records need none
Count = int | None  # of pixels or frames; None: as many as there are


@dataclasses.dataclass(frozen=True)
class Clip:
    """One labelled video of a dataset, before it is decoded.

    `group` is the recording session, performer or source video: what may never be on both
    sides of a split. `fold` is the number of the cross-validation fold of that group (1-based),
    or -1 outside the folds. `seed` and `group_index` are used by rendered clips only, which
    have no `path`. Where a dataset's authors split the same clips several times, `split` is "all"
    and `assigned` has the clip's part ("train", "test", …; "" for none) in each of the dataset's
    `protocols`, in their order. `start` and `end` are seconds of a longer video, None for its own
    beginning and end.
    """

    id: str  # any text; a path that is no UTF-8 is made `printable`
    path: str  # relative to the dataset's root, with forward slashes
    label: int
    group: str
    split: str
    domain: str
    fold: int = -1
    seed: int = 0
    group_index: int = 0
    assigned: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None


def printable(text: str) -> str:
    r"""A name from a disc as text that can be stored and shown.

    Bytes that are no UTF-8 (Python keeps them as lone surrogates) and control characters are
    written `\xe9`.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c >= " " else f"\\x{ord(c):02x}" for c in text)


def deal_folds(clips: Sequence[Clip], split: str = "train", folds: int = FOLDS) -> list[Clip]:
    """Give every clip of `split` a fold from 1 to `folds`, whole groups together.

    Greedy and deterministic: the largest group first, each to the fold that holds the fewest
    clips of the group's own classes, then the fewest clips, then the lowest number. Clips of
    other splits are returned as they are, in the order given.
    """
    groups: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for clip in clips:
        if clip.split == split:
            groups[clip.group][clip.label] += 1
    filled: list[collections.Counter[int]] = [collections.Counter() for _ in range(folds)]
    fold_of = {}
    for name in sorted(groups, key=lambda name: (-groups[name].total(), name)):
        counts = groups[name]

        def cost(fold: int, counts: collections.Counter[int] = counts) -> tuple[int, int, int]:
            same_class = sum(filled[fold][label] * n for label, n in counts.items())
            return same_class, filled[fold].total(), fold

        chosen = min(range(folds), key=cost)
        filled[chosen].update(counts)
        fold_of[name] = chosen + 1
    return [
        dataclasses.replace(clip, fold=fold_of[clip.group]) if clip.split == split else clip
        for clip in clips
    ]
