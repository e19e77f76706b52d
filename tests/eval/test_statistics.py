"""Spread, paired bootstrap and McNemar's test: by hand, by their properties, against scipy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkjax.eval import statistics

RNG = np.random.default_rng(3)


def means(scores, seen=None, draws=2000):
    scores = np.asarray(scores, float)
    seen = np.ones(scores.shape[1:], bool) if seen is None else np.asarray(seen, bool)
    return statistics.bootstrap(scores, seen, draws)


def test_spread_by_hand():
    assert statistics.spread([0.2, 0.4, 0.9]) == pytest.approx((0.5, math.sqrt(0.13), 3))
    one, none = statistics.spread([0.2]), statistics.spread([])
    assert one.mean == 0.2 and one.n == 1 and math.isnan(one.sd)
    assert none.n == 0 and math.isnan(none.mean) and math.isnan(none.sd)


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [(0, 0, 1), (1, 0, 1), (5, 0, 2 / 32), (3, 1, 10 / 16), (4, 4, 1), (8, 2, 2 * 56 / 1024)],
)
def test_mcnemar_by_hand(ours, theirs, p):
    assert statistics.mcnemar(ours, theirs) == statistics.mcnemar(theirs, ours) == p


@given(st.integers(0, 60), st.integers(0, 60))
@settings(deadline=None, max_examples=40)
def test_mcnemar_counts_every_way_to_divide_the_clips(ours, theirs):
    flipped = ours + theirs
    ways = [math.comb(flipped, k) for k in range(flipped + 1)]
    as_far = [w for k, w in enumerate(ways) if abs(2 * k - flipped) >= abs(ours - theirs)]
    assert statistics.mcnemar(ours, theirs) == pytest.approx(sum(as_far) / 2**flipped, rel=1e-12)


def test_flips_by_hand():
    ours, theirs = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 0], bool)
    assert statistics.flips(ours, theirs).tolist() == [[1, 1], [2, 1]]


def test_bootstrap_draws_what_can_be_counted():
    """Two clips, one repetition: 0, 1/2 and 1 in a quarter, a half and a quarter of the draws."""
    found = means([[[0, 1]]], draws=20_000)[:, 0]
    shares = [np.mean(found == value) for value in (0, 0.5, 1)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.015)  # 4 standard errors
    # Two repetitions of one clip: the same, of repetitions.
    found = means([[[0], [1]]], draws=20_000)[:, 0]
    shares = [np.mean(found == value) for value in (0, 0.5, 1)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.015)


def test_every_case_of_two_repetitions_of_two_clips():
    scores = np.array([[0.0, 1.0], [5.0, 9.0]])
    pairs = list(itertools.product((0, 1), repeat=2))
    every = [scores[np.ix_(r, c)].mean() for r in pairs for c in pairs]
    found = means(scores[None], draws=40_000)[:, 0]
    assert set(np.round(found, 9)) == set(np.round(every, 9))
    for value in set(every):
        share = every.count(value) / len(every)
        assert np.mean(np.isclose(found, value)) == pytest.approx(share, abs=0.011)


def test_rows_share_their_draws():
    a = RNG.integers(0, 2, (3, 40)).astype(float)
    found = means([a, a, a + 0.25, 1 - a])
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    np.testing.assert_allclose(found[:, 2] - found[:, 0], 0.25, atol=1e-12)
    np.testing.assert_allclose(found[:, 3], 1 - found[:, 0], atol=1e-12)
    low, high = statistics.interval(found[:, 3] - found[:, 0])
    assert statistics.interval(found[:, 0] - found[:, 3]) == pytest.approx((-high, -low))
    np.testing.assert_array_equal(found, means([a, a, a + 0.25, 1 - a]))


def test_folds_keep_their_clips():
    """Each repetition judged clips of its own: equal ones in a fold leave no spread of clips."""
    seen = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]], bool)
    scores = np.array([[0.2, 0.2, 0.2, 99, 99], [99, 99, 99, 0.6, 0.6]])
    found = means(scores[None], seen)[:, 0]
    assert set(np.round(found, 12)) == {0.2, 0.4, 0.6}
    with pytest.raises(ValueError, match="one clip or more of every repetition"):
        means(scores[None], seen & np.array([[True], [False]]))


@pytest.mark.slow  # importing scipy.stats takes seconds
def test_as_scipy_says_of_one_repetition():
    stats = pytest.importorskip("scipy.stats")
    a, b = RNG.random((2, 1, 200)) < np.array([[[0.8]], [[0.6]]])
    found = means([a, b], draws=10_000)
    ours = statistics.interval(found[:, 0] - found[:, 1])
    theirs = stats.bootstrap(
        (a[0].astype(float), b[0].astype(float)),
        lambda x, y, axis: np.mean(x, axis) - np.mean(y, axis),
        paired=True, method="percentile", n_resamples=10_000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.006)
    for only in ((37, 60), (0, 900), (1000, 1100)):
        exact = stats.binomtest(only[0], sum(only)).pvalue
        assert statistics.mcnemar(*only) == pytest.approx(exact, rel=1e-9)


def test_the_interval_covers_what_is_true():
    """95 % intervals of 60 clips' accuracy, over 200 samples of them."""
    covered = 0
    for _ in range(200):
        low, high = statistics.interval(means([RNG.random((1, 60)) < 0.7], draws=300)[:, 0])
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99
