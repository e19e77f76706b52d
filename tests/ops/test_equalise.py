"""Histogram equalisation: hand-computed levels, OpenCV's numbers, and OpenCV itself if here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.ops.equalise import (
    equalise,
    equalise_levels,
    equalise_uint8,
    luma_uint8,
    rgb_to_ycrcb,
    ycrcb_to_rgb,
)  # fmt: skip

RNG = np.random.default_rng(0)


def test_hand_computed_levels():
    # Four pixels of 10, two of 20, one of 30, one of 40: those above the darkest are 4, so the
    # levels go to 255 * (0, 2, 3, 4) / 4 = 0, 127.5, 191.25, 255; a half goes to the even one.
    grey = jnp.asarray([[10, 10, 10, 10], [20, 20, 30, 40]], jnp.uint8)
    expected = [[0, 0, 0, 0], [128, 128, 191, 255]]
    np.testing.assert_array_equal(equalise_levels(grey), expected)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_one_level_stays(level):
    grey = jnp.full((1, 3, 5), level, jnp.uint8)
    np.testing.assert_array_equal(equalise_levels(grey), grey)
    video = np.full((2, 3, 5, 3), level, np.uint8)
    np.testing.assert_array_equal(equalise_uint8(video), video)


def test_colour_transform_of_known_pixels():
    # cv2.cvtColor(..., cv2.COLOR_RGB2YCrCb), OpenCV 5.0.0.
    rgb = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [12, 34, 56], [255, 255, 255]], np.uint8)
    ycrcb = [[76, 255, 85], [150, 21, 43], [29, 107, 255], [30, 115, 143], [255, 128, 128]]
    np.testing.assert_array_equal(rgb_to_ycrcb(jnp.asarray(rgb)), ycrcb)
    np.testing.assert_array_equal(luma_uint8(rgb), [76, 150, 29, 30, 255])
    back = np.asarray(ycrcb_to_rgb(jnp.asarray(ycrcb, jnp.uint8))).astype(int)
    np.testing.assert_array_equal(
        back, [[254, 0, 0], [0, 255, 0], [0, 0, 254], [12, 34, 57], [255] * 3]
    )


def test_opencv_itself():
    cv2 = pytest.importorskip("cv2")
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3), -1).astype(np.uint8)
    grid = grid.reshape(52, -1, 3)
    to, back = cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB
    np.testing.assert_array_equal(rgb_to_ycrcb(jnp.asarray(grid)), cv2.cvtColor(grid, to))
    np.testing.assert_array_equal(ycrcb_to_rgb(jnp.asarray(grid)), cv2.cvtColor(grid, back))
    for frame in RNG.integers(0, 60, (5, 37, 53, 3)).astype(np.uint8):
        ycrcb = cv2.cvtColor(frame, to)
        ycrcb[..., 0] = cv2.equalizeHist(np.ascontiguousarray(ycrcb[..., 0]))
        np.testing.assert_array_equal(equalise_uint8(frame), cv2.cvtColor(ycrcb, back))


def reference(frame):
    """The same in plain numpy, level by level."""
    ycrcb = np.asarray(rgb_to_ycrcb(jnp.asarray(frame)))
    counts = np.bincount(ycrcb[..., 0].ravel(), minlength=256)
    first = np.flatnonzero(counts)[0]
    scale = np.float32(255) / np.float32(counts.sum() - counts[first])
    table, below = np.zeros(256, np.uint8), 0
    for level in range(first + 1, 256):
        below += counts[level]
        table[level] = np.clip(np.rint(np.float32(below) * scale), 0, 255)
    out = ycrcb.copy()
    out[..., 0] = table[ycrcb[..., 0]]
    return np.asarray(ycrcb_to_rgb(jnp.asarray(out)))


def test_every_frame_of_a_batch_on_its_own():
    video = RNG.integers(0, 60, (2, 3, 9, 11, 3)).astype(np.uint8)
    out = equalise_uint8(video)
    assert isinstance(out, np.ndarray)
    for b, t in np.ndindex(2, 3):
        np.testing.assert_array_equal(out[b, t], reference(video[b, t]))
    traced = jax.jit(equalise_uint8)(jnp.asarray(video))
    np.testing.assert_array_equal(traced, out)


def test_float_goes_through_256_levels():
    video = RNG.integers(0, 60, (2, 9, 11, 3)).astype(np.uint8)
    wobble = RNG.uniform(-0.4, 0.4, video.shape)
    floats = jnp.asarray((video + wobble) / 255, jnp.float32)
    out = equalise(floats)
    np.testing.assert_array_equal(np.rint(np.asarray(out) * 255), equalise_uint8(video))
    assert equalise(floats.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    slope = jax.grad(lambda v: jnp.sum(equalise(v)))(floats)
    np.testing.assert_array_equal(slope, jnp.zeros_like(slope))


def test_one_channel():
    grey = RNG.integers(0, 60, (9, 11, 1)).astype(np.uint8)
    expected = equalise_levels(jnp.asarray(grey[..., 0]))
    np.testing.assert_array_equal(equalise_uint8(grey)[..., 0], expected)


def test_float_frames_are_refused_by_the_8_bit_form():
    with pytest.raises(TypeError, match=r"float32|f32"):
        equalise_uint8(np.zeros((2, 2, 3), np.float32))
