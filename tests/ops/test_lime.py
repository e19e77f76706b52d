"""LIME: the solver against sparse direct solves, the weights against scipy, closed forms."""

import enhancing
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.ndimage import convolve
from scipy.sparse.linalg import spsolve

from darkjax.data.decode import read_video
from darkjax.errors import UserError
from darkjax.ops import smooth
from darkjax.ops.lime import illumination, lime, lime_uint8

RNG = np.random.default_rng(0)


def direct(couplings, b):
    """The same system by scipy in float64: weight k[i, j] leads from (i, j) to its neighbour."""
    height, width = b.shape
    number = np.arange(b.size).reshape(b.shape)
    matrix = scipy.sparse.lil_matrix((b.size, b.size))
    for weight, di, dj in zip(couplings, (0, 0, -1, 1), (-1, 1, 0, 0), strict=True):
        for i, j in np.ndindex(height, width):
            if 0 <= i + di < height and 0 <= j + dj < width:
                matrix[number[i, j], number[i + di, j + dj]] -= weight[i, j]
                matrix[number[i, j], number[i, j]] += weight[i, j]
    system = (scipy.sparse.eye(b.size) + matrix).tocsc()
    return spsolve(system, b.ravel()).reshape(b.shape)


def released(light, lam=0.15, eps=1e-3, sigma=3, size=15):
    """pvnieo's refined map, plainly: Sobel of size 1, scipy's convolution, a direct solve."""
    line = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    kernel = np.outer(line, line)
    padded = np.pad(light, 1, mode="reflect")
    slopes = (
        padded[1:-1, 2:] - padded[1:-1, :-2],
        padded[2:, 1:-1] - padded[:-2, 1:-1],
    )
    across, down = (
        convolve(np.ones_like(light), kernel, mode="constant")
        / (np.abs(convolve(s, kernel, mode="constant")) + eps)
        / (np.abs(s) + eps)
        for s in slopes
    )
    of_neighbour = [np.roll(across, 1, 1), np.roll(across, -1, 1),
                    np.roll(down, 1, 0), np.roll(down, -1, 0)]  # fmt: skip
    return direct([lam * w for w in of_neighbour], light)


@pytest.mark.parametrize("shape", [(2, 2), (1, 9), (7, 5), (13, 30)])
def test_solver_is_exact_over_seven_orders_of_magnitude(shape):
    couplings = [10.0 ** RNG.uniform(0, 7, shape) for _ in range(4)]
    b = RNG.uniform(0, 1, shape)
    found = smooth.solve(
        smooth.Couplings(*(jnp.asarray(w, jnp.float32) for w in couplings)),
        jnp.asarray(b, jnp.float32),
    )
    np.testing.assert_allclose(found, direct(couplings, b), atol=2e-6)


def test_solver_of_two_pixels_by_hand():
    # x0 + 3 (x0 - x1) = 1 and x1 + 1 (x1 - x0) = 0: x1 = x0 / 2, x0 = 1 / 2.5.
    zero = jnp.zeros((1, 2))
    couplings = smooth.Couplings(jnp.asarray([[9.0, 1.0]]), jnp.asarray([[3.0, 9.0]]), zero, zero)
    np.testing.assert_allclose(smooth.solve(couplings, jnp.asarray([[1.0, 0.0]])), [[0.4, 0.2]])


def test_released_map():
    light = RNG.integers(0, 256, (17, 21)) / 255
    light[4:9, 6:12] = 0.1  # a flat part: weights of 5e7
    found = illumination(jnp.asarray(light, jnp.float32))
    np.testing.assert_allclose(found, released(light), atol=1e-5)


def test_released_enhancement():
    frame = RNG.integers(0, 80, (11, 14, 3)).astype(np.uint8)
    light = np.clip(released(frame.max(-1) / 255), 1e-3, 1) ** 0.6
    expected = np.clip(frame / 255 / light[..., None], 0, 1)
    np.testing.assert_allclose(lime(jnp.asarray(frame / 255, jnp.float32)), expected, atol=1e-5)
    off = lime_uint8(jnp.asarray(frame)).astype(int) - (expected * 255).astype(int)
    assert np.abs(off).max() <= 1 and np.mean(off != 0) < 0.02


def test_paper_form_weighs_edges():
    light = RNG.uniform(0, 0.3, (9, 8))
    line = np.exp(-0.5 * (np.arange(-7, 8) / 3.0) ** 2)
    kernel = np.outer(line, line)
    down, across = (np.diff(light, axis=a, append=light.take([-1], a)) for a in (0, 1))
    wy, wx = (
        0.15 * convolve(np.ones_like(light), kernel, mode="constant")
        / (np.abs(convolve(s, kernel, mode="constant")) + 1e-3) / (np.abs(s) + 1e-3)
        for s in (down, across)
    )  # fmt: skip
    expected = direct([np.roll(wx, 1, 1), wx, np.roll(wy, 1, 0), wy], light)
    found = illumination(jnp.asarray(light, jnp.float32), form="paper")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flat_frame_in_closed_form():
    # T = 0.25 everywhere: I / T ** 0.5 = 2 I.
    frame = jnp.broadcast_to(jnp.asarray([0.25, 0.1, 0.0]), (6, 7, 3))
    np.testing.assert_allclose(lime(frame, gamma=0.5), 2 * frame, atol=1e-6)
    np.testing.assert_allclose(lime(frame, gamma=0.0), frame, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_stay_and_are_finite(level):
    enhancing.keeps(lime, level, rtol=1e-5)


def test_batches_dtypes_and_one_channel():
    video, out = enhancing.takes_any_batch(lime, atol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(lime))(video), out, atol=1e-5)


def test_errors():
    with pytest.raises(UserError, match="'released' or 'paper', found 'quick'"):
        lime(jnp.zeros((3, 3, 3)), form="quick")
    with pytest.raises(UserError, match="odd number of pixels, found 4"):
        lime(jnp.zeros((3, 3, 3)), size=4)


@pytest.mark.slow
def test_a_real_dark_frame(shared):
    frame = read_video(shared / "data/arid11_samples/Run_22_25.mp4").frames[3][:100, :120]
    light = frame.max(-1) / 255
    found = illumination(jnp.asarray(light, jnp.float32))
    np.testing.assert_allclose(found, released(light), atol=1e-5)
