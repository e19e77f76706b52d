"""BIMEF: solver, search and resizing against scipy and hand-computed numbers, closed forms."""

import enhancing
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import fminbound
from scipy.sparse.linalg import spsolve

from darkjax.ops.bimef import (
    _resize,
    best_ratio,
    bimef,
    bounded_minimum,
    response,
    smooth_texture,
)  # fmt: skip

RNG = np.random.default_rng(0)


def smoothed(light, lam=0.5, sigma=5, sharpness=1e-3):
    """The system of BIMEF.m, built pixel by pixel and solved directly."""
    height, width = light.shape
    n = light.size
    number = np.arange(n).reshape(light.shape)
    matrix = scipy.sparse.lil_matrix((n, n))
    for axis in (0, 1):
        slope = np.roll(light, -1, axis) - light
        box = np.apply_along_axis(lambda s: np.convolve(s, np.ones(sigma), "same"), axis, slope)
        weight = lam / (np.abs(box * slope) + sharpness)
        for i, j in np.ndindex(height, width):
            p = number[i, j]
            q = number[(i + 1) % height, j] if axis == 0 else number[i, (j + 1) % width]
            for a, b in ((p, q), (q, p)):
                matrix[a, b] -= weight[i, j]
                matrix[a, a] += weight[i, j]
    system = (scipy.sparse.eye(n) + matrix).tocsc()
    return spsolve(system, light.ravel()).reshape(light.shape)


def entropy(x, k):
    """MATLAB's entropy(applyK(x, k))."""
    power = k**-0.3293
    bright = np.exp(1.1258 * (1 - power)) * x**power
    counts = np.bincount(np.rint(np.clip(bright, 0, 1) * 255).astype(int), minlength=256)
    share = counts[counts > 0] / x.size
    return -np.sum(share * np.log2(share))


def test_smoothing():
    light = RNG.uniform(0, 0.4, (12, 15))
    light[2:7, 3:9] = 0.1
    found = smooth_texture(jnp.asarray(light[None], jnp.float32))[0]
    np.testing.assert_allclose(found, smoothed(light), atol=2e-6)


@pytest.mark.parametrize("centre", [1.7, 4.0, 6.9])
def test_search_is_fminbnd(centre):
    f = lambda k: (k - centre) ** 2 + 0.1 * (k - centre) ** 3  # noqa: E731
    found = bounded_minimum(f, 1.0, 7.0)
    expected = fminbound(f, 1.0, 7.0, xtol=1e-4)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(found, centre, atol=2e-3)


def test_search_goes_to_the_end_of_a_slope():
    np.testing.assert_allclose(bounded_minimum(lambda k: -k, 1.0, 7.0), 7.0, atol=1e-3)


def test_response_by_hand():
    # k = 1 changes nothing; power 1/2 (k^a with a = -1/2, k = 4), b = 2: e^(2/2) sqrt(x).
    x = jnp.asarray([0.0, 0.04, 0.25])
    np.testing.assert_allclose(response(x, jnp.float32(1.0)), x, atol=1e-6)
    found = response(x, jnp.float32(4.0), a=-0.5, b=2.0)
    np.testing.assert_allclose(found, np.e * np.array([0, 0.2, 0.5]), rtol=1e-5, atol=1e-6)


def test_bicubic_halving_by_hand():
    # Keys' kernel stretched by two, between the pixels: (-3, -9, 29, 111, 111, 29, -9, -3) / 256.
    taps = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    x = RNG.uniform(0, 1, (1, 16))
    found = _resize(jnp.asarray(x, jnp.float32), 1, 8)[0]
    np.testing.assert_allclose(found[4], taps @ x[0, 5:13], atol=1e-6)
    mirrored = np.concatenate([x[0, 2::-1], x[0]])
    np.testing.assert_allclose(found[0], taps @ mirrored[:8], atol=1e-6)
    flat = _resize(jnp.full((5, 7), 0.3), 50, 4)
    np.testing.assert_allclose(flat, 0.3, atol=1e-6)


def test_ratio_has_the_greatest_entropy():
    frame = RNG.uniform(0, 0.15, (50, 50, 3))  # of the judged size: no resizing
    ratio, any_dark = best_ratio(jnp.asarray(frame, jnp.float32), jnp.ones((50, 50), bool))
    grey = np.prod(frame, -1).ravel() ** (1 / 3)
    expected = fminbound(lambda k: -entropy(grey, k), 1, 7, xtol=1e-4)
    assert bool(any_dark)
    assert entropy(grey, float(ratio)) >= entropy(grey, expected) - 0.02
    assert entropy(grey, float(ratio)) > entropy(grey, 1.0) + 0.3


def test_given_ratio_step_by_step():
    frame = RNG.uniform(0, 0.3, (12, 16, 3))
    half = _resize(jnp.asarray(frame.max(-1), jnp.float32), 6, 8)
    light = _resize(jnp.asarray(smoothed(np.asarray(half, np.float64)), jnp.float32), 12, 16)
    weight = np.sqrt(np.asarray(light))[..., None]
    power = 3.0**-0.3293
    bright = np.minimum(np.exp(1.1258 * (1 - power)) * frame**power, 1)
    expected = frame * weight + bright * (1 - weight)
    np.testing.assert_allclose(
        bimef(jnp.asarray(frame, jnp.float32), k=3.0), np.clip(expected, 0, 1), atol=2e-5
    )


def test_a_bright_frame_stays():
    frame = jnp.asarray(RNG.uniform(0.8, 1, (9, 11, 3)), jnp.float32)
    np.testing.assert_allclose(bimef(frame), frame, atol=1e-6)


def test_a_dark_frame_is_brightened():
    frame = jnp.asarray(RNG.uniform(0, 0.1, (21, 30, 3)), jnp.float32)
    assert float(jnp.mean(bimef(frame))) > 2 * float(jnp.mean(frame))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_are_finite(level):
    enhancing.keeps(bimef, level, atol=1e-4)


def test_batches_dtypes_and_one_channel():
    enhancing.takes_any_batch(bimef, atol=1e-4)
