"""Every form of the convolution gives the native one's outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.ops import conv

SHAPES = [
    # input, kernel (kt, kh, kw, O), strides, padding
    ((2, 5, 9, 8, 3), (1, 7, 7, 6), (1, 2, 2), (0, 3, 3)),
    ((2, 5, 9, 8, 3), (7, 7, 7, 6), (1, 2, 2), (3, 3, 3)),
    ((2, 6, 7, 8, 12), (3, 1, 1, 5), (1, 1, 1), (1, 0, 0)),
    ((2, 6, 7, 8, 20), (3, 1, 1, 5), (2, 1, 1), (1, 0, 0)),
    ((2, 5, 7, 8, 20), (3, 1, 1, 5), (2, 1, 1), (1, 0, 0)),
    ((2, 4, 7, 8, 9), (1, 3, 3, 5), (1, 2, 2), (0, 1, 1)),
    ((2, 4, 7, 7, 9), (3, 3, 3, 5), (1, 1, 1), (1, 1, 1)),
    ((2, 5, 7, 7, 9), (3, 3, 3, 5), (2, 2, 2), (1, 1, 1)),
    ((2, 5, 7, 7, 9), (1, 1, 1, 5), (2, 2, 2), (0, 0, 0)),
    ((1, 2, 5, 5, 8), (3, 3, 3, 4), (2, 2, 2), (1, 1, 1)),
    ((1, 1, 4, 4, 8), (5, 1, 1, 4), (1, 1, 1), (2, 0, 0)),
]


def functions(strides, padding, form, groups=1):
    pads = tuple((p, p) for p in padding)

    def f(x, k):
        return conv.conv3d(x, k, strides=strides, padding=pads, groups=groups, form=form)

    def loss(x, k):
        y = f(x, k)
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()

    return jax.jit(f), jax.jit(jax.grad(loss, argnums=(0, 1)))


@pytest.mark.parametrize(("shape", "kernel", "strides", "padding"), SHAPES)
def test_taps_equal_native(shape, kernel, strides, padding):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    k = jnp.asarray(rng.standard_normal((*kernel[:3], shape[-1], kernel[3])), jnp.float32)
    found, expected = (functions(strides, padding, form) for form in ("taps", "native"))
    for a, b in zip(
        jax.tree.leaves([f(x, k) for f in found]),
        jax.tree.leaves([f(x, k) for f in expected]),
        strict=True,
    ):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 1.0)


def test_a_mean_kernel_by_hand():
    x = jnp.arange(2 * 3 * 3, dtype=jnp.float32).reshape(1, 2, 3, 3, 1)
    y = conv.conv3d(x, jnp.ones((2, 3, 3, 1, 1)) / 18)
    np.testing.assert_allclose(y, [[[[[8.5]]]]], rtol=1e-6)


def test_groups_and_unknown_forms():
    x = jnp.ones((1, 2, 4, 4, 4))
    k = jnp.ones((1, 3, 3, 2, 6))
    f, _ = functions((1, 1, 1), (0, 1, 1), "auto", groups=2)
    assert float(f(x, k)[0, 0, 1, 1, 0]) == 18  # 9 taps of 2 channels
    with pytest.raises(ValueError, match="form must be one of"):
        conv.conv3d(x, k, form="fast")
