"""Judging embeddings: votes of neighbours by hand, a linear layer by another minimiser."""

import math

import numpy as np
import pytest
import scipy.optimize

from darkjax.eval import codes

X, Y = (3.0, 0.0), (0.0, 5.0)  # lengths mean nothing


def test_neighbours_vote_by_their_similarity():
    half = (1.0, math.sqrt(3.0))  # 60 degrees from X: similarity 0.5
    known, labels = np.asarray([X, half, Y]), np.asarray([2, 0, 0])
    near = math.exp((0.5 - 1) / 0.07)
    far = math.exp((0.0 - 1) / 0.07)
    found = codes.knn(known, labels, np.asarray([X, Y]), 3, k=2)
    expected = [[near / (1 + near), 0, 1 / (1 + near)], [1, 0, 0]]  # of Y both are of class 0
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for k in (3, 5):  # all, where there are fewer
        found = codes.knn(known, labels, np.asarray([X]), 3, k=k)
        total = 1 + near + far
        np.testing.assert_allclose(found, [[(near + far) / total, 0, 1 / total]], rtol=1e-12)


def test_the_first_of_equally_near_ones_votes():
    known, labels = np.asarray([X, X, X]), np.asarray([1, 0, 0])
    np.testing.assert_array_equal(codes.knn(known, labels, np.asarray([X]), 2, k=1), [[0, 1]])
    nothing = codes.knn(known, labels, np.zeros((1, 2)), 2)  # near nobody: all vote alike
    np.testing.assert_allclose(nothing, [[2 / 3, 1 / 3]])
    five = codes.knn(np.asarray([X] * 6), np.asarray([0, 0, 0, 0, 1, 1]), np.asarray([X]), 2)
    np.testing.assert_allclose(five, [[4 / 5, 1 / 5]])


def drawn(n, seed):
    """Codes whose third number says the class, roughly, and whose fourth says nothing."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.normal(size=(n, 4)) * (0.1, 5.0, 1.0, 0.0) + (7.0, -2.0, 0.0, 1.0)
    x[:, 2] += labels
    return x, labels


@pytest.mark.parametrize("decay", [codes.DECAY, 0.1])
def test_the_linear_layer_is_the_least_of_its_loss(decay):
    (known, labels), (queries, _) = drawn(60, 0), drawn(7, 1)
    x = (known - known.mean(0)) / (known.std(0) + 1e-6)

    def scores(w, x):
        w = w.reshape(5, 3)
        return x @ w[:4] + w[4]

    def loss(w):
        z = scores(w, x)
        entropy = np.log(np.exp(z).sum(1)) - z[np.arange(60), labels]
        return entropy.mean() + decay / 2 * np.square(w[:12]).sum()

    best = scipy.optimize.minimize(loss, np.zeros(15), tol=1e-10).x
    e = np.exp(scores(best, (queries - known.mean(0)) / (known.std(0) + 1e-6)))
    found = codes.probe(known, labels, queries, 3, decay)
    np.testing.assert_allclose(found, e / e.sum(1, keepdims=True), atol=1e-3)


def test_the_linear_layer_does_not_see_where_codes_lie_and_how_large_they_are():
    (known, labels), (queries, _) = drawn(60, 0), drawn(7, 1)
    one = codes.probe(known, labels, queries, 3)
    np.testing.assert_allclose(one.sum(1), 1, rtol=1e-6)
    other = codes.probe(known * 8 - 3, labels, queries * 8 - 3, 3)
    np.testing.assert_allclose(other, one, atol=1e-4)
    # Scores whose exp would be infinite.
    far = codes.probe(known, labels, queries + np.asarray([0, 0, 1e4, 0]), 3)
    np.testing.assert_allclose(far, np.tile([0.0, 0, 1], (7, 1)), atol=1e-6)
