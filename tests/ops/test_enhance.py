"""Gamma intensity correction: hand-computed values, the exact 8-bit table, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.ops.enhance import (
    METHODS,
    enhance,
    gamma_correct,
    gamma_correct_uint8,
    gamma_table,
)


def test_hand_computed_values():
    x = jnp.asarray([0.0, 0.25, 0.49, 1.0])
    np.testing.assert_allclose(gamma_correct(x, 2.0), [0.0, 0.5, 0.7, 1.0], atol=1e-6)
    np.testing.assert_allclose(gamma_correct(x, 0.5), [0.0, 0.0625, 0.2401, 1.0], atol=1e-6)


def test_gamma_one_is_the_identity_and_the_curve_rises():
    x = jnp.linspace(0.0, 1.0, 1001)
    np.testing.assert_allclose(gamma_correct(x, 1.0), x, atol=1e-6)
    tiny = jnp.concatenate([jnp.asarray([0.0, 1e-8, 1e-7, 9e-7, 1.1e-6, 1e-5]), x[1:]])
    assert np.all(np.diff(np.asarray(gamma_correct(tiny, 2.2))) > 0)


@pytest.mark.parametrize("gamma", [0.4, 1.0, 1.8, 10.0])
def test_gradient_is_finite_at_zero(gamma):
    slope = jax.vmap(jax.grad(lambda x: gamma_correct(x[None], gamma)[0]))(
        jnp.asarray([0.0, 1e-9, 0.5, 1.0])
    )
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[3], 1.0 / gamma, rtol=1e-5)


def test_traced_gamma_compiles_once_and_bfloat16_stays():
    f = jax.jit(gamma_correct)
    x = jnp.asarray([0.25], jnp.bfloat16)
    assert f(x, jnp.float32(2.0)).dtype == jnp.bfloat16
    np.testing.assert_allclose(f(x, jnp.float32(2.0)).astype(jnp.float32), [0.5], atol=1e-2)
    f(x, jnp.float32(3.0))
    assert f._cache_size() == 1


def test_table_truncates():
    # (64/255)^(1/2) * 255 = 127.75 and (2/255)^(1/2) * 255 = 22.58: rounding would add one.
    table = gamma_table(2.0)
    assert table.dtype == np.uint8
    assert (table[0], table[2], table[64], table[255]) == (0, 22, 127, 255)
    assert np.all(np.diff(table.astype(int)) >= 0)


def test_uint8_form_is_the_table_for_numpy_and_jax():
    video = np.arange(256, dtype=np.uint8).reshape(2, 8, 4, 4)
    expected = [int(((i / 255) ** (1 / 1.8)) * 255) for i in range(256)]
    out = gamma_correct_uint8(video, 1.8)
    assert isinstance(out, np.ndarray) and out.shape == video.shape
    np.testing.assert_array_equal(out.reshape(-1), expected)
    on_device = jax.jit(lambda v: gamma_correct_uint8(v, 1.8))(jnp.asarray(video))
    assert isinstance(on_device, jax.Array) and on_device.dtype == jnp.uint8
    np.testing.assert_array_equal(on_device, out)


def test_errors():
    with pytest.raises(UserError, match="gamma: expected a number above 0, found 0"):
        gamma_correct(jnp.zeros(1), 0.0)
    with pytest.raises(UserError, match="found -1"):
        gamma_correct_uint8(np.zeros(1, np.uint8), -1.0)
    with pytest.raises(TypeError, match=r"uint8|u8"):
        gamma_correct(jnp.zeros(1, jnp.uint8), 2.0)
    with pytest.raises(TypeError, match=r"float32|f32"):
        gamma_correct_uint8(np.zeros(1, np.float32), 2.0)


@pytest.mark.parametrize("method", ["gic", "he", "msr", "msrcr", "lime", "bimef"])
def test_every_method_keeps_kind_shape_and_range(method):
    video = np.random.default_rng(0).integers(0, 40, (2, 5, 7, 3)).astype(np.uint8)
    out = enhance(video, method)
    assert isinstance(out, np.ndarray) and out.dtype == np.uint8 and out.shape == video.shape
    assert out.mean() > video.mean()
    floats = enhance(jnp.asarray(video / 255, jnp.float32), method)
    assert isinstance(floats, jax.Array) and floats.dtype == jnp.float32
    # 8-bit results are the float ones, rounded or (gic, lime) truncated.
    assert np.abs(np.asarray(floats) * 255 - out).max() <= 1.001


def test_table_of_methods():
    assert list(METHODS) == ["gic", "he", "msr", "msrcr", "lime", "bimef"]
    frame = np.full((4, 4, 3), 64, np.uint8)
    np.testing.assert_array_equal(enhance(frame, "gic", gamma=2.0), 127)
    with pytest.raises(UserError, match=r"expected one of gic, he, .* found 'clahe'"):
        enhance(frame, "clahe")
    with pytest.raises(UserError, match="uint16: scale 16-bit frames"):
        enhance(frame.astype(np.uint16), "he")
