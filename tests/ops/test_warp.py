"""Warps: hand-computed shifts and turns, borders, exact identity, one geometry for all frames."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.ops import warp

# Compiled, because an eager call compiles each of its operations by itself.
sample = jax.jit(warp.sample, static_argnames="border")
affine_points = jax.jit(warp.affine_points)


def clip(frames=2, height=5, width=7, channels=3):
    shape = (frames, height, width, channels)
    return jnp.asarray(np.random.default_rng(1).random(shape, np.float32))


@pytest.mark.parametrize("border", warp.BORDERS)
def test_identity_is_exact(border):
    video = clip()
    np.testing.assert_array_equal(
        sample(video, warp.pixel_points(5, 7), border=border), np.asarray(video)
    )


def test_translation_by_hand():
    video = clip()
    points = affine_points(warp.pixel_points(5, 7), translate=(1.0, 2.0))
    out = sample(video, points, border="zero")
    np.testing.assert_allclose(out[:, 1:, 2:], video[:, :-1, :-2], atol=1e-6)
    assert not np.any(out[:, 0]) and not np.any(out[:, :, :2])


def test_half_a_pixel_is_the_mean_of_two():
    video = clip()
    points = affine_points(warp.pixel_points(5, 7), translate=(0.0, 0.5))
    out = sample(video, points)
    np.testing.assert_allclose(out[:, :, 1:], (video[:, :, 1:] + video[:, :, :-1]) / 2, atol=1e-6)


def test_quarter_turn_is_clockwise():
    video = clip(height=6, width=6)
    points = affine_points(warp.pixel_points(6, 6), angle=math.pi / 2)
    out = sample(video, points)
    np.testing.assert_allclose(out, np.rot90(video, k=-1, axes=(1, 2)), atol=1e-5)


def test_scale_and_shear_points_by_hand():
    grid = warp.pixel_points(5, 5)  # centre (2, 2)
    np.testing.assert_allclose(affine_points(grid, scale=2.0)[0, 4], [1.0, 3.0], atol=1e-6)
    # Sheared by 45 degrees the row below the centre moves right by 1: pixel (3, 2) reads (3, 1).
    sheared = affine_points(grid, shear=math.pi / 4)
    np.testing.assert_allclose(sheared[3, 2], [3.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(sheared[2], grid[2], atol=1e-6)


def test_optical_points_by_hand():
    grid = warp.pixel_points(5, 9)
    assert np.array_equal(warp.optical_points(grid, 0.0), grid)
    # Right end of the middle row: r = 4/9, so it reads 4 + 4 * k * (r^2 + r^4) from the centre.
    r2 = (4 / 9) ** 2
    expected = 4 + 4 + 4 * 0.1 * (r2 + r2**2)
    np.testing.assert_allclose(warp.optical_points(grid, 0.1)[2, 8], [2.0, expected], rtol=1e-6)


def test_elastic_displacement_is_smooth_and_has_the_stated_size():
    alpha, sigma = 40.0, 4.0
    field = warp.elastic_displacement(jax.random.key(0), 64, 64, alpha=alpha, sigma=sigma)
    assert field.shape == (64, 64, 2)
    inner = np.asarray(field)[12:-12, 12:-12]
    rms = math.sqrt(float(np.mean(inner**2)))
    assert 0.6 < rms / (alpha / sigma / math.sqrt(12 * math.pi)) < 1.5
    # A Gaussian-blurred field changes by about rms / (sigma * sqrt 2) from pixel to pixel.
    assert np.sqrt(np.mean(np.diff(inner, axis=0) ** 2)) < 1.5 * rms / sigma
    assert np.abs(np.mean(inner)) < rms


def test_borders_by_hand():
    row = jnp.asarray([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    at = jnp.stack([jnp.zeros((1, 5)), jnp.asarray([[-2.0, -1.0, 1.0, 3.0, 4.5]])], axis=-1)
    read = {b: np.ravel(sample(row, at, border=b)).tolist() for b in warp.BORDERS}
    assert read["reflect"] == [3.0, 2.0, 2.0, 2.0, 1.5]
    assert read["edge"] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert read["zero"] == [0.0, 0.0, 2.0, 0.0, 0.0]


def test_points_far_outside_stay_in_range_and_one_pixel_frames_work():
    far = warp.pixel_points(5, 7) * 100.0 - 250.0
    out = sample(clip(), far)
    assert float(out.min()) >= 0.0 and float(out.max()) <= 1.0
    dot = jnp.ones((2, 1, 1, 3))
    np.testing.assert_array_equal(sample(dot, warp.pixel_points(1, 1) + 3.0), dot)


def test_output_may_have_another_size():
    assert sample(clip(), warp.pixel_points(3, 4)).shape == (2, 3, 4, 3)


def test_gradients_reach_video_and_points():
    video, points = clip(), warp.pixel_points(5, 7) + 0.25
    slopes = jax.jit(jax.grad(lambda v, p: jnp.sum(sample(v, p) ** 2), argnums=(0, 1)))
    for slope in slopes(video, points):
        assert np.isfinite(slope).all() and np.any(slope)


def test_errors():
    with pytest.raises(UserError, match="border: expected one of reflect, edge, zero"):
        sample(clip(), warp.pixel_points(5, 7), border="wrap")
    key, points = jax.random.key(0), warp.pixel_points(5, 7)
    with pytest.raises(UserError, match="elastic sigma"):
        warp.random_elastic_points(key, points, alpha=1.0, sigma=0.0)
    with pytest.raises(UserError, match="affine scale"):
        warp.random_affine_points(
            key, points, degrees=0.0, translate=0.0, scale=(0.0, 1.0), shear=0.0
        )
