"""What is known of left-out clips by how common each class is among the others: less than nothing.

Where the clips of a group are all of one class, or nearly, a fold that leaves groups out takes most
of some classes with it: they are rare among the clips that are trained on and common among those
that are judged. Whoever learns how common classes are is then wrong more often than a coin.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Prior(NamedTuple):
    """Expected top-1 in [0, 1], pooled over the folds, of who does not look at the clips.

    Attributes:
      share: guesses by the shares of the classes in the other folds.
      common: always names the most common class of the other folds (mean over equal ones).
      whole: guesses by the shares in all clips: 1 / K where all classes are equally common.
    """

    share: float
    common: float
    whole: float


def left_out(counts: np.ndarray) -> Prior:
    """What a guess is worth when each fold in turn is left out.

    Args:
      counts: int `[F, K]`, clips of each fold and class; two folds at least have clips.

    Raises:
      ValueError: fewer folds.
    """
    counts = np.asarray(counts, float)
    counts = counts[counts.sum(1) > 0]
    if len(counts) < 2:
        raise ValueError(f"expected counts of two folds or more, found {len(counts)} with clips")
    others = counts.sum(0) - counts
    most = others == others.max(1, keepdims=True)
    by_share = counts * others / others.sum(1, keepdims=True)
    by_most = counts * most / most.sum(1, keepdims=True)
    shares = counts.sum(0) / counts.sum()
    n = counts.sum()
    return Prior(float(by_share.sum() / n), float(by_most.sum() / n), float(shares @ shares))
