"""The p-hot codes and the discriminative loss, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.losses.codes import discriminative_codes, p_hot


def test_codes_of_the_paper():
    """m = 12, N = 4096: p = 341, and 4 neurons are left for the classes that vary most."""
    spread = [0.0, 5.0, 1.0, 9.0, 2.0, 3.0, 9.0, 0.5, 7.0, 1.0, 1.0, 1.0]
    codes = p_hot(12, 4096, spread)
    assert codes.shape == (12, 4096) and codes.dtype == np.float32
    assert (codes.sum(0) == 1).all()  # every neuron has one class
    for k in range(12):
        assert np.flatnonzero(codes[k])[:341].tolist() == list(range(341 * k, 341 * (k + 1)))
    left = [int(np.flatnonzero(codes[:, j])[0]) for j in range(4092, 4096)]
    assert left == [3, 6, 8, 1]  # of equals the first
    assert codes.sum(1).tolist() == [341 + (k in left) for k in range(12)]


def test_codes_where_nothing_is_left_or_known():
    np.testing.assert_array_equal(p_hot(2, 4, (1.0, 2.0)), [[1, 1, 0, 0], [0, 0, 1, 1]])
    np.testing.assert_array_equal(p_hot(2, 3), [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(p_hot(2, 3, (1.0, 2.0)), [[1, 0, 0], [0, 1, 1]])


def test_codes_that_cannot_be():
    with pytest.raises(UserError, match="code layer of 11 neurons: expected at least one"):
        p_hot(12, 11)
    with pytest.raises(UserError, match="spread of 3 classes, found 2"):
        p_hot(3, 7, (1.0, 2.0))


def test_the_loss_of_one_example_is_a_sum_over_the_neurons():
    q = jnp.asarray([1.0, 1.0, 0.0, 0.0])
    codes = jnp.asarray([0.5, 1.0, -2.0, 0.0])
    assert float(discriminative_codes(codes, q)) == 0.25 + 4
    assert float(discriminative_codes(q, q)) == 0


def test_the_gradient_is_that_of_the_paper_with_its_factor():
    """Eq. 9: of alpha |q - A x|^2 by A it is 2 alpha (A x - q) x^T; by x, 2 alpha A^T (A x - q)."""
    rng = np.random.default_rng(0)
    A, x = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((7, 5), (5,)))
    q, alpha = jnp.asarray(p_hot(3, 7)[1]), 0.02

    def loss(A, x):
        return alpha * discriminative_codes(A @ x, q)

    of_A, of_x = jax.grad(loss, (0, 1))(A, x)
    np.testing.assert_allclose(of_A, 2 * alpha * jnp.outer(A @ x - q, x), rtol=1e-5)
    np.testing.assert_allclose(of_x, 2 * alpha * A.T @ (A @ x - q), rtol=1e-5)
