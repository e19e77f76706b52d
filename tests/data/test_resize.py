"""Resizing a clip: what must hold of any antialiased bilinear filter."""

import numpy as np
import pytest
from PIL import Image
from tiny import noise

from darkjax.data.resize import resize_clip, resize_matrix


def test_rows_sum_to_one():
    for size, new in ((7, 7), (13, 5), (5, 13), (160, 112)):
        matrix = resize_matrix(size, new)
        assert matrix.shape == (new, size) and matrix.min() >= 0
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


def test_identity():
    np.testing.assert_array_equal(resize_matrix(9, 9), np.eye(9, dtype=np.float32))
    clip = noise(0, (2, 6, 7, 3))
    assert resize_clip(clip, (6, 7)) is clip


def test_halving_and_doubling_by_hand():
    # shrinking 4 to 2: triangle of half width 2 around 0.5 and 2.5, weights 3:3:1 cut at the border
    np.testing.assert_allclose(
        resize_matrix(4, 2), np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7, atol=1e-6
    )
    np.testing.assert_allclose(
        resize_matrix(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], atol=1e-6
    )


@pytest.mark.parametrize("size", [(5, 4), (12, 20), (3, 30)])
def test_constant_stays_constant(size):
    for value in (0, 1, 127, 255):
        clip = np.full((3, 9, 11, 3), value, np.uint8)
        out = resize_clip(clip, size)
        assert out.shape == (3, *size, 3) and (out == value).all()


@pytest.mark.parametrize(("size", "new"), [(40, 20), (39, 13), (20, 40)])
def test_linear_ramp_is_exact_inside(size, new):
    """For whole scales; a widened triangle at others wavers by some hundredths of a pixel."""
    scale = size / new
    out = resize_matrix(size, new) @ np.arange(size)
    centres = (np.arange(new) + 0.5) * scale - 0.5
    inside = slice(int(np.ceil(scale)), -int(np.ceil(scale)))
    np.testing.assert_allclose(out[inside], centres[inside], atol=1e-5)


@pytest.mark.parametrize("size", [(40, 50), (37, 91), (112, 112)])
def test_as_pillow(size):
    """Pillow's bilinear filter is defined alike; it works in fixed point."""
    frame = noise(3, (1, 60, 80, 3))
    theirs = Image.fromarray(frame[0]).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.abs(resize_clip(frame, size)[0].astype(int) - np.asarray(theirs)).max() <= 1


def test_axes_channels_and_frames_are_not_mixed():
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    clip[1, :, 4:, 2] = 200  # frame 1, right half, third channel
    out = resize_clip(clip, (4, 4))
    assert (out[0] == 0).all() and (out[1, :, :, :2] == 0).all()
    assert (out[1, :, 0, 2] == 0).all() and (out[1, :, 3, 2] == 200).all()
    assert (out[1] == out[1, :1]).all()  # the same in every row


def test_mean_is_kept_within_rounding():
    clip = noise(1, (4, 60, 80, 3))
    out = resize_clip(clip, (30, 40))
    assert abs(out.mean() - clip.mean()) < 1.5
    assert out.std() < clip.std() / 1.5  # averaged, not picked
