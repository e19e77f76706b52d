"""Darkness of videos: hand-computed scores of both rules, the frames they look at."""

import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.ops import darkness


def test_mean_luma_is_rounded_by_pixel():
    # 12 34 56 has Y = 29.9..., rounded to 30; black is 0: the mean of the two is 15.
    frame = np.array([[[12, 34, 56], [0, 0, 0]]], np.uint8)
    assert darkness.mean_luma(frame) == 15.0
    np.testing.assert_allclose(darkness.mean_luma(jnp.asarray(frame)), 15.0)
    video = np.stack([frame, np.full_like(frame, 255)])
    np.testing.assert_allclose(darkness.mean_luma(video), [15.0, 255.0])
    np.testing.assert_allclose(darkness.mean_luma(video[..., :1]), [6.0, 255.0])


def test_scale_of_darkness():
    found = darkness.darkness(np.array([0.0, 56.0, 112.0, 168.0]))
    np.testing.assert_allclose(found, [-1, -0.5, 0, 0.5])


def test_paper_takes_the_mean():
    # Seven black frames and one well lit: -7/8 = -0.875, not below -0.877; at 111.9 levels
    # less in that frame it would be.
    luma = np.array([[0.0] * 7 + [112.0], [0.0] * 7 + [109.0], [13.0] * 8, [14.0] * 8])
    score, dark = darkness.judge(luma, "paper")
    np.testing.assert_allclose(score, [-0.875, -7 / 8 - 3 / 112 / 8, -99 / 112, -98 / 112])
    assert dark.tolist() == [False, True, True, False]


def test_code_wants_every_frame_dark():
    # A frame is dark below 112 (1 - 0.877) = 13.776.
    luma = np.array([[13.7] * 8, [13.7] * 7 + [13.8], [0.0] * 7 + [255.0], [200.0] * 8])
    score, dark = darkness.judge(luma, "code")
    np.testing.assert_allclose(score, [1, 0.875, 0.875, 0])
    assert dark.tolist() == [True, False, False, False]


def test_the_rules_differ():
    luma = np.array([0.0] * 7 + [30.0])
    assert darkness.judge(luma, "paper")[1] and not darkness.judge(luma, "code")[1]


def test_middle_frames():
    assert darkness.middle_frames(16).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert darkness.middle_frames(31).tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert darkness.middle_frames(5).tolist() == [0] * 8


@pytest.mark.parametrize("count", [1, 5, 8, 30, 97])
def test_random_frames_are_one_of_each_part(count):
    edges = np.arange(9) * count / 8
    seen = set()
    for seed in range(50):
        frames = darkness.random_frames(count, np.random.default_rng(seed))
        assert frames.shape == (8,) and frames.max() < count
        assert (frames >= np.floor(edges[:-1])).all() and (frames < np.ceil(edges[1:])).all()
        seen |= set(frames.tolist())
    assert len(seen) == count


def test_errors():
    with pytest.raises(UserError, match="expected uint8 frames, found float32"):
        darkness.mean_luma(np.zeros((2, 2, 3), np.float32))
    with pytest.raises(UserError, match="found 'best'"):
        darkness.judge(np.zeros(8), "best")
