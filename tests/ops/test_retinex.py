"""MSR and MSRCR against plain numpy and scipy, level by level as the MATLAB code goes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate1d

from darkjax.ops.retinex import _limits, _unit, msr, msrcr

RNG = np.random.default_rng(0)
FRAME = RNG.uniform(0, 0.3, (19, 26, 3))


def blur(picture, sigma):
    radius = math.ceil(2 * sigma)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        picture = correlate1d(picture, taps, axis, mode="nearest")
    return picture


def retinex(picture, scales):
    picture = picture * 255 + 1
    parts = [np.log(picture) - np.log(blur(picture, s) + 1) + 0.5 for s in scales]
    return np.mean(parts, 0)


def matlab_msrcr(frame, scales=(15, 80, 250), share=0.01):
    picture = frame * 255 + 1
    mean = retinex(picture * 255 + 1, scales)
    out = np.zeros_like(frame)
    for c in range(3):
        x = (np.log(125 * picture[..., c]) - np.log(picture.sum(-1))) * mean[..., c]
        x = (x - x.min()) / (x.max() - x.min())
        cdf = np.cumsum(np.bincount(np.rint(x * 255).astype(int).ravel(), minlength=256)) / x.size
        low = np.flatnonzero(cdf > share)[0] / 255
        high = np.flatnonzero(cdf >= 1 - share)[0] / 255
        out[..., c] = (np.clip(x, low, high) - low) / (high - low)
    return out


@pytest.mark.parametrize("scales", [(25, 100, 240), (2,)])
def test_msr_is_the_nested_one(scales):
    found = msr(jnp.asarray(FRAME, jnp.float32), scales)
    expected = np.clip(retinex(FRAME * 255 + 1, scales), 0, 1)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert 0.2 < expected.mean() < 0.8  # not all clipped


def test_msr_of_a_flat_frame_by_hand():
    # I = (255 * 0.2 + 1) * 255 + 1 = 13261, everywhere: log(13261) - log(13262) + 0.5.
    found = msr(jnp.full((4, 5, 3), 0.2))
    np.testing.assert_allclose(found, math.log(13261 / 13262) + 0.5, atol=2e-6)


def test_msrcr():
    found = msrcr(jnp.asarray(FRAME, jnp.float32))
    np.testing.assert_allclose(found, matlab_msrcr(FRAME), atol=6e-3)  # one bin of 255 is 4e-3
    assert np.median(np.abs(np.asarray(found) - matlab_msrcr(FRAME))) < 1e-4


def test_stretch_limits_by_hand():
    pixels = jnp.asarray([0.0] * 1 + [0.2] * 9 + [0.6] * 9 + [1.0] * 1)
    # Shares: 5 % at 0, 50 % at 0.2 (bin 51), 95 % at 0.6 (bin 153).
    np.testing.assert_allclose(_limits(pixels, 0.06, 0.94), (0.2, 0.6), atol=1e-6)
    np.testing.assert_allclose(_limits(jnp.full(7, 0.4), 0.01, 0.99), (0.0, 1.0))


def test_unit_range_of_each_frame_and_flat_ones_clipped():
    video = jnp.asarray([[[1.0, 3.0]], [[2.0, 2.0]]])[..., None]  # [2, 1, 2, 1]
    np.testing.assert_allclose(_unit(video)[..., 0], [[[0, 1]], [[1, 1]]])


@pytest.mark.parametrize("method", [msr, msrcr])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_are_finite(method, level):
    video = jnp.full((2, 5, 7, 3), level)
    value, slope = jax.jit(jax.value_and_grad(lambda v: jnp.sum(method(v))))(video)
    assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize("method", [msr, msrcr])
def test_frames_on_their_own_any_batch_and_dtype(method):
    video = jnp.asarray(RNG.uniform(0, 0.4, (2, 3, 9, 11, 3)), jnp.float32)
    compiled = jax.jit(method)
    out = compiled(video)
    assert out.shape == video.shape and float(out.min()) >= 0 and float(out.max()) <= 1
    np.testing.assert_allclose(out[1, 2], compiled(video[1, 2]), atol=2e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(method)))(video), out, atol=2e-5)
    assert jax.eval_shape(method, video.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert jax.eval_shape(msrcr, video[..., :1]).shape == (2, 3, 9, 11, 1)
