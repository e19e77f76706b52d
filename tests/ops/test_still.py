"""A still frame of another clip over a clip: what is added, to whom, and what is left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.ops import augment as aug
from darkjax.ops.still import mix_still

KEYS = aug.example_keys(jax.random.key(0), 4)


def clips(channels=3):
    return jnp.asarray(np.random.default_rng(0).random((4, 5, 6, 7, channels), np.float32))


def test_what_is_added_is_one_frame_of_the_clip_half_a_batch_before():
    video = clips()
    out = np.asarray(jax.jit(mix_still)(KEYS, video))
    for b in range(4):
        before = np.asarray(video[b - 2])
        # out = v + s (f - v): for the right frame f the same s explains every pixel
        fits = []
        for frame in before:
            away = frame - np.asarray(video[b])
            share = float(
                (out[b] - video[b]).ravel() @ away.ravel() / (away.ravel() @ away.ravel())
            )
            fits.append((np.abs(video[b] + share * away - out[b]).max(), share))
        error, share = min(fits)
        assert error < 1e-6 and 0 < share <= 0.5
        # differences over time are those of the clip, smaller by the same factor
        np.testing.assert_allclose(
            np.diff(out[b], axis=0), (1 - share) * np.diff(video[b], axis=0), atol=1e-6
        )
    assert out.min() >= 0 and out.max() <= 1


def test_none_of_it_is_the_identity_and_flow_is_left_alone():
    video = clips(6)
    np.testing.assert_array_equal(mix_still(KEYS, video, p=0.0), video)
    out = mix_still(KEYS, video)
    np.testing.assert_array_equal(out[..., 3:], video[..., 3:])
    assert np.abs(out[..., :3] - video[..., :3]).max() > 0.01


def test_it_is_in_the_chain_where_it_is_asked_for_and_labels_stay():
    key, target = jax.random.key(1), jnp.eye(4)
    off = {"flip": {"p": 0.0}}
    on, labels = aug.augment(key, clips(), target, off | {"still": {"p": 1.0, "limit": 0.5}})
    np.testing.assert_array_equal(labels, target)
    assert np.abs(on - clips()).max() > 0.01
    none, _ = aug.augment(key, clips(), target, off | {"still": {"p": 0.0, "limit": 0.5}})
    np.testing.assert_array_equal(none, clips())
    with pytest.raises(UserError, match=r"augment.still.share: unknown; expected one of p, limit"):
        aug.check_config({"still": {"p": 1.0, "share": 0.5}})


@pytest.mark.parametrize(("count", "views"), [(2, 2), (3, 2), (2, 3), (5, 4)])
def test_another_view_of_the_same_clip_is_never_what_is_added(count, views):
    """They stand beside each other, and show the same place."""
    place = jnp.repeat(jnp.linspace(0.1, 0.9, count), views)
    video = jnp.broadcast_to(place[:, None, None, None, None], (count * views, 2, 3, 4, 3))
    keys = aug.example_keys(jax.random.key(3), count * views)
    changed = np.asarray(jax.jit(mix_still)(keys, video)) != np.asarray(video)
    assert changed.reshape(count * views, -1).all()
