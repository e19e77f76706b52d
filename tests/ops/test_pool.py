"""Max pooling: both forms give the same numbers and send gradients to the same places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.ops import pool


def case(seed):
    """Random sizes, windows, strides and pads with at least one output on each axis."""
    rng = np.random.default_rng(seed)
    window = rng.integers(1, 5, 3)
    pads = [tuple(int(rng.integers(0, w)) for _ in range(2)) for w in window]
    size = [int(rng.integers(max(1, w - sum(p)), 9)) for w, p in zip(window, pads, strict=True)]
    x = rng.integers(-4, 5, (2, *size, 3)).astype(np.float32)  # many ties
    return jnp.asarray(x), tuple(map(int, window)), tuple(rng.integers(1, 4, 3).tolist()), pads


EVERY = [seed if seed < 6 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(20)]


@pytest.mark.parametrize("seed", EVERY)
def test_forms_agree(seed):
    x, window, strides, pads = case(seed)
    native, back = jax.vjp(lambda x: pool.max_pool3d(x, window, strides, pads, "native"), x)
    ours, our_back = jax.vjp(lambda x: pool.max_pool3d(x, window, strides, pads, "separable"), x)
    np.testing.assert_array_equal(native, ours)
    # Windows of padding alone are minus infinity in both and have no input to give a gradient to.
    dy = jax.random.normal(jax.random.key(seed), ours.shape) * jnp.isfinite(ours).astype(
        jnp.float32
    )
    np.testing.assert_allclose(our_back(dy)[0], back(dy)[0], atol=1e-5)


def test_gradient_goes_to_the_first_of_equal_values():
    x = jnp.zeros((1, 2, 2, 2, 1))
    for form in ("native", "separable"):
        dx = jax.grad(
            lambda x, f=form: pool.max_pool3d(x, (2,) * 3, (2,) * 3, ((0, 0),) * 3, f)[0].sum()
        )
        np.testing.assert_array_equal(dx(x).ravel(), [1, 0, 0, 0, 0, 0, 0, 0], form)


def test_hand_computed():
    x = jnp.asarray([3.0, 1.0, 2.0, 5.0, 4.0]).reshape(1, 1, 1, 5, 1)
    y = pool.max_pool3d(x, (1, 1, 3), (1, 1, 2), ((0, 0), (0, 0), (1, 1)), "separable")
    np.testing.assert_array_equal(y.ravel(), [3, 5, 5])


def test_keeps_bfloat16():
    x, window, strides, pads = case(3)
    y = pool.max_pool3d(x.astype(jnp.bfloat16), window, strides, pads, "separable")
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        y.astype(jnp.float32), pool.max_pool3d(x, window, strides, pads, "native")
    )


def test_an_unknown_form_is_named():
    x, window, strides, pads = case(0)
    with pytest.raises(ValueError, match="found 'fast'"):
        pool.max_pool3d(x, window, strides, pads, "fast")
