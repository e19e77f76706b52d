"""k nearest neighbours of each class, by hand and against numpy."""

import math

import jax
import numpy as np
import pytest

from darkjax.ops.neighbours import class_distances, knn_probabilities

CODES = np.asarray([[0, 0], [0, 1], [0, 4], [3, 4], [6, 8]], np.float32)
LABELS = np.asarray([1, 0, 1, 0, 1], np.int32)


def test_distances_and_similarities_by_hand():
    """From (0, 0): to class 0 they are 1 and 5, to class 1 they are 0, 4 and 10."""
    asked = np.zeros((1, 2), np.float32)
    np.testing.assert_allclose(class_distances(asked, CODES, LABELS, 2, 1), [[1, 0]])
    np.testing.assert_allclose(class_distances(asked, CODES, LABELS, 2, 2), [[3, 2]])
    # Class 0 has two alone; nothing is of class 2.
    np.testing.assert_allclose(
        class_distances(asked, CODES, LABELS, 3, 3), [[3, 14 / 3, np.inf]], rtol=1e-6
    )
    found = knn_probabilities(asked, CODES, LABELS, 3, 2, gamma=0.05)
    one, other = math.exp(-0.05 * 9), math.exp(-0.05 * 4)
    np.testing.assert_allclose(found, [[one / (one + other), other / (one + other), 0]], rtol=1e-5)


def test_what_is_far_from_everything_still_has_probabilities():
    """exp(-gamma d^2) of both is 0 in any float; one is 1e4 times smaller than the other."""
    far = np.asarray([[1e5, 0]], np.float32)
    found = np.asarray(knn_probabilities(far, CODES[:2], np.asarray([0, 1]), 2, 5))
    assert np.isfinite(found).all() and found.sum() == 1
    near = np.asarray([[100.0, 0.0]], np.float32)  # squares 1e4 and 1e4 + 1
    found = np.asarray(knn_probabilities(near, CODES[:2], np.asarray([0, 1]), 2, 5))
    np.testing.assert_allclose(found, [[0.5125, 0.4875]], atol=2e-3)


@pytest.mark.parametrize("k", [1, 5, 9])
def test_they_are_those_of_numpy(k):
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(40, 33)).astype(np.float32)
    asked = np.concatenate([rng.normal(size=(10, 33)), codes[:3] + 1e-4]).astype(np.float32)
    labels = rng.integers(0, 6, 40).astype(np.int32)
    far = np.linalg.norm(asked[:, None].astype(np.float64) - codes[None], axis=-1)
    expected = np.stack([np.sort(far[:, labels == c], 1)[:, :k].mean(1) for c in range(6)], 1)
    found = jax.jit(lambda *a: class_distances(*a, 6, k))(asked, codes, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
