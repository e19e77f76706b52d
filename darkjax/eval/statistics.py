"""What a table says beyond its means: spread, intervals of differences, tests of paired answers.

Arrays and numbers alone: nothing is read here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

DRAWS = 10_000
_AT_A_TIME = 500  # draws whose weights are in memory together


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1 below; NaN of fewer than two) of n values."""

    mean: float
    sd: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Of some repetitions of one thing; of none the mean is NaN too."""
    found = np.asarray(values, np.float64)
    mean = float(found.mean()) if len(found) else math.nan
    sd = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    return Spread(mean, sd, len(found))


def bootstrap(
    scores: Float[np.ndarray, "G R N"],
    seen: Bool[np.ndarray, "R N"],
    draws: int = DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "draws G"]:
    """Means of G things in draws that they all share, so that differences of columns are paired.

    A draw takes N clips and R repetitions with replacement, each independently of the other (Owen
    2007, "The pigeonhole bootstrap", doi:10.1214/07-AOAS122), and its mean is over the drawn
    repetitions of the mean over the drawn clips. Clips that other repetitions judged (another fold)
    are drawn among themselves, so that every repetition keeps its number of clips. One repetition
    alone leaves the clips: such means say nothing of training again with another seed.

    Args:
      scores: of each thing, repetition and clip, such as 1 where the answer was right.
      seen: which clips a repetition judged, the same of all things; scores elsewhere count nothing.
      draws: how many.
      seed: of the draws: the same arguments give the same means.

    Raises:
      ValueError: a repetition judged no clip.
    """
    things, repetitions, clips = scores.shape
    if not repetitions or not seen.any(1).all():
        raise ValueError("expected one clip or more of every repetition, and one repetition")
    rng = np.random.default_rng(seed)
    _, alike = np.unique(seen, axis=1, return_inverse=True)
    strata = [np.flatnonzero(alike.reshape(-1) == k) for k in range(alike.max() + 1)]
    counted = np.where(seen, scores, 0.0).reshape(things * repetitions, clips)
    found = []
    for start in range(0, draws, _AT_A_TIME):
        count = min(_AT_A_TIME, draws - start)
        weight = np.empty((count, clips))
        for mine in strata:
            weight[:, mine] = _drawn(rng, len(mine), count)
        means = (weight @ counted.T).reshape(count, things, repetitions) / seen.sum(1)
        chosen = _drawn(rng, repetitions, count) / repetitions
        found.append(np.einsum("dgr,dr->dg", means, chosen))
    return np.concatenate(found)


def _drawn(rng: np.random.Generator, number: int, count: int) -> Int[np.ndarray, "count number"]:
    """How often each of `number` things was taken, in `count` draws of as many."""
    taken = rng.integers(0, number, (count, number)) + number * np.arange(count)[:, None]
    return np.bincount(taken.reshape(-1), minlength=count * number).reshape(count, number)


def interval(means: Float[np.ndarray, " draws"], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of what was drawn."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def flips(ours: Bool[np.ndarray, " N"], theirs: Bool[np.ndarray, " N"]) -> Int[np.ndarray, "2 2"]:
    """How many clips were right: `[ours, theirs]`, 0 wrong and 1 right."""
    return np.array([[np.sum((ours == i) & (theirs == j)) for j in (0, 1)] for i in (0, 1)])


def mcnemar(only_ours: int, only_theirs: int) -> float:
    """The exact two-sided p-value that as many clips flip one way as the other [McNemar 1947].

    Of the clips that one of two alone has right, each is as likely to be either's: the p-value is
    twice the binomial tail, at most 1.
    """
    flipped, fewer = only_ours + only_theirs, min(only_ours, only_theirs)
    ways, tail = 1, 0
    for k in range(fewer + 1):
        tail += ways
        ways = ways * (flipped - k) // (k + 1)
    return min(1.0, 2 * tail / 2**flipped)
