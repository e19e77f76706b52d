"""The clip less its temporal median, and frame differences."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkjax.errors import UserError
from darkjax.methods import base
from darkjax.ops import motion

CLIP = np.random.default_rng(0).random((8, 6, 4, 5, 3), np.float32)


@pytest.mark.parametrize("frames", [2, 3, 5, 6, motion.FEW + 1, motion.FEW + 2])
def test_the_median_is_numpys(frames):
    clip = np.random.default_rng(frames).random((2, frames, 3, 4, 1), np.float32)
    found = motion.median(jnp.asarray(clip))
    np.testing.assert_allclose(found, np.median(clip, 1, keepdims=True), atol=1e-7)


def test_less_median_by_hand():
    """One pixel over five frames: 0.2 but for a passer-by, 1.0, who leaves the median alone."""
    clip = jnp.asarray([0.2, 0.2, 1.0, 0.2, 0.0]).reshape(1, 5, 1, 1, 1)
    seen = motion.less_median(clip).reshape(-1)
    np.testing.assert_allclose(seen, [0.5, 0.5, 0.9, 0.5, 0.4], atol=1e-7)


def test_difference_by_hand():
    clip = jnp.asarray([0.2, 0.6, 0.0]).reshape(1, 3, 1, 1, 1)
    seen = motion.difference(clip).reshape(-1)
    np.testing.assert_allclose(seen, [0.7, 0.2, 0.2], atol=1e-7)


@pytest.mark.parametrize("name", base.MOTION)
def test_neither_knows_the_place_nor_leaves_its_range(name):
    view = base.MOTION[name]
    place = CLIP[:, :1]
    figure = (CLIP > 0.9) * 0.3
    still = view(jnp.asarray(np.repeat(place, 6, 1)))
    np.testing.assert_array_equal(still, 0.5)
    here, elsewhere = (view(jnp.asarray(0.4 * p + figure)) for p in (place, place[::-1]))
    np.testing.assert_allclose(here, elsewhere, atol=1e-6)
    black = np.zeros((1, 3, 1, 1, 1), np.float32)
    black[:, 1] = 1.0
    for clip in (black, 1 - black):
        seen = view(jnp.asarray(clip))
        assert seen.min() >= 0 and seen.max() <= 1


@pytest.mark.parametrize("name", base.MOTION)
def test_a_luminous_pathway_sees_it_of_the_brightened_clip(name):
    config = ml_collections.ConfigDict({"luminous_input": name, "gamma": 2.5})
    wide = np.concatenate([CLIP, CLIP], -1)  # records with flow: the colours alone
    seen = base.luminous_view(config, jnp.asarray(wide))
    np.testing.assert_allclose(
        seen, base.MOTION[name](jnp.asarray(CLIP ** np.float32(0.4))), atol=1e-6
    )
    with pytest.raises(UserError, match=r"'motoin'.*motion, difference, flow"):
        base.luminous_view(ml_collections.ConfigDict({"luminous_input": "motoin"}), CLIP)


@pytest.mark.parametrize("name", base.MOTION)
def test_one_frame_is_refused(name):
    with pytest.raises(UserError, match=f"{name}.*at least 2 frames, found 1: set data.frames"):
        base.MOTION[name](jnp.asarray(CLIP[:, :1]))


def test_each_device_orders_the_frames_of_its_own_clips():
    expected = motion.less_median(jnp.asarray(CLIP))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        spread = jax.device_put(CLIP, NamedSharding(mesh, P("data")))
        compiled = jax.jit(motion.less_median).lower(spread).compile()
        found = compiled(spread)
    assert "all-gather" not in compiled.as_text()
    np.testing.assert_allclose(found, expected, atol=1e-7)
