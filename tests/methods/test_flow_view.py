"""The flow that a network sees: of records or computed in the step; augmented; on devices."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import padding
import pytest
import tiny_run
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkjax import config as configs
from darkjax import methods
from darkjax.errors import UserError
from darkjax.methods import base
from darkjax.ops import augment as aug
from darkjax.ops import flow as flows
from darkjax.ops import flow_image
from darkjax.ops.tvl1 import TVL1

B, T, H, W = 8, 3, 24, 32
BOUND = 4.0
KEY = jax.random.key(3)
QUICK = TVL1(nscales=2, warps=2, outer_iterations=2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A method that compiles at once, under both names."""
    monkeypatch.setattr(flows, "METHODS", {"brox": lambda: QUICK, "tvl1": lambda: QUICK})


def config(**fields):
    given = {"flow_method": "tvl1", "flow_bound": BOUND, "flow_enhance": "", "label_smoothing": 0.0}
    return ml_collections.ConfigDict(given | {"luminous_input": "flow", "augment": {}} | fields)


def clips(seed=0):
    """Smooth noise that moves to the right by two pixels a frame, uint8 [B, T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    noise = rng.random((B, H // 4 + 1, W // 4 + 4, 3), np.float32)
    wide = np.asarray(jax.image.resize(noise, (B, H, W + 2 * T, 3), "cubic"))
    frames = [wide[:, :, 2 * (T - t) : 2 * (T - t) + W] for t in range(T)]
    return np.rint(np.clip(np.stack(frames, 1), 0, 1) * 255).astype(np.uint8)


def batch(video):
    n = len(video)
    return {"video": jnp.asarray(video), "label": jnp.zeros(n, jnp.int32), "mask": jnp.ones(n)}


def recorded(video):
    """The clips with the flow that records would have, uint8 [B, T, H, W, 6]."""
    found = flow_image.to_image(flows.flow(jnp.asarray(video), QUICK), BOUND)
    return np.concatenate([video, np.concatenate([found, found[:, -1:]], 1)], -1)


def test_flow_in_the_step_is_the_records_within_rounding():
    video = clips()
    now = base.flow_view(config(), base.to_float(video))
    then = base.flow_view(config(), base.to_float(recorded(video)))
    assert now.shape == then.shape == (B, T, H, W, 3)
    np.testing.assert_allclose(now, then, atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(now[:, -1], now[:, -2])  # the last flow again
    inside = np.asarray(now)[:, :, 6:-6, 6:-6]
    assert abs(inside[..., 0].mean() * 255 - (128 + 2 * 127 / BOUND)) < 12  # 2 pixels to the right
    assert abs(inside[..., 1].mean() * 255 - 128) < 6


def test_colours_are_what_is_not_flow():
    video = base.to_float(recorded(clips()))
    np.testing.assert_array_equal(base.colours(video), video[..., :3])
    for channels in (1, 2, 3, 4):
        assert base.colours(video[..., :channels]).shape[-1] == channels


def test_other_luminous_views_look_at_the_colours_alone():
    video = base.to_float(recorded(clips()))
    for view in ("dark", "gamma", "he"):
        seen = base.luminous_view(config(luminous_input=view, gamma=2.0), video)
        only = base.luminous_view(config(luminous_input=view, gamma=2.0), video[..., :3])
        np.testing.assert_array_equal(seen, only)


def test_flow_may_be_of_the_brightened_clip():
    dark = jnp.asarray(base.to_float(clips())) * 0.01
    plain = base.flow_view(config(), dark)
    bright = base.flow_view(config(flow_enhance="gic"), dark)
    want = base.flow_view(config(), dark ** (1 / 1.8))
    np.testing.assert_allclose(bright, want, atol=1e-4)
    assert np.abs(bright - plain).max() > 0.1


def test_flow_of_the_mirrored_clip_is_the_mirrored_flow():
    video = base.to_float(recorded(clips()))
    mirrored = jax.vmap(lambda v: aug.flip(KEY, v, p=1.0))(video)
    np.testing.assert_array_equal(mirrored[..., :3], video[..., ::-1, :3])
    again = base.flow_view(config(), mirrored[..., :3])
    # Not to the last bit: a median and a pyramid are not symmetric in how they round.
    inside = np.abs(again - mirrored[..., 3:])[:, :, 6:-6, 6:-6]
    assert inside.mean() * 255 < 4, inside.mean() * 255
    flow = flow_image.from_image(jnp.round(video[..., 3:] * 255).astype(jnp.uint8), BOUND)
    turned = flow_image.from_image(jnp.round(mirrored[..., 3:] * 255).astype(jnp.uint8), BOUND)
    want = np.asarray(flow)[..., ::-1, :] * [-1, 1]
    np.testing.assert_allclose(turned, want, atol=1e-5)
    twice = jax.vmap(lambda v: aug.flip(KEY, v, p=1.0))(mirrored)
    np.testing.assert_allclose(twice, video, atol=1e-6)


@pytest.mark.parametrize("name", ["jitter", "rain"])
def test_colour_jitter_and_rain_leave_the_flow(name):
    strong = {
        "jitter": {"p": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
        "rain": {"p": 1.0, "density": 0.5, "length": 5.0},
    }
    video = base.to_float(recorded(clips()))
    change = {name: strong[name]}
    out, _ = aug.augment(KEY, video, jnp.ones((B, 1)), change)
    alone, _ = aug.augment(KEY, video[..., :3], jnp.ones((B, 1)), change)
    np.testing.assert_array_equal(out[..., 3:], video[..., 3:])
    np.testing.assert_allclose(out[..., :3], alone, atol=1e-6)
    assert np.abs(out - video).max() > 0.05


def test_a_black_border_does_not_move():
    video = base.to_float(recorded(clips()))
    affine = {"p": 1.0, "degrees": 0.0, "translate": 0.0, "scale": (0.5, 0.5), "shear": 0.0}
    change = {"affine": affine, "border": "zero"}
    out, _ = aug.augment(KEY, video, jnp.ones((B, 1)), change)
    np.testing.assert_allclose(out[:, :, 0, 0] * 255, [[[0, 0, 0, 128, 128, 0]] * T] * B, atol=1e-3)
    assert np.abs(np.asarray(out)[:, :, 12, 16, 3] * 255 - 128).max() > 20


def test_augmented_clips_get_their_flow_before_they_are_changed():
    video = clips()
    rain = {"rain": {"p": 1.0, "density": 0.5, "length": 5.0}}
    given = batch(video), 2, KEY
    out, _ = base.augmented(config(augment=rain), *given)
    np.testing.assert_array_equal(out[..., 3:], base.flow_view(config(), base.to_float(video)))
    plain, _ = base.augmented(config(augment=rain, luminous_input="dark"), *given)
    np.testing.assert_array_equal(out[..., :3], plain)


def test_clips_of_one_channel_are_refused():
    with pytest.raises(UserError, match=r"found 1: make records.*darkjax.data.flow"):
        base.augmented(config(), batch(clips()[..., :1]), 2, KEY)


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_networks_see_the_flow_of_records_or_of_the_step(stage, monkeypatch):
    """Both stages of LIFT-Net; the main pathway sees the colours alone."""
    padding.small_networks(monkeypatch)
    c = configs.load(f"{tiny_run.ROOT}/configs/lift_arid.py:demo,flow")
    section = c[stage]
    section.flow_bound, section.flow_enhance = BOUND, ""
    for fields in section.augment.values():
        if fields != section.augment.border:
            fields.p = 0.0
    method = methods.make(configs.resolve(c)[stage], methods.Spec.numbered(3))
    now, then = batch(clips()), batch(recorded(clips()))
    init = [jax.eval_shape(method.init, KEY, given) for given in (now, then)]
    assert jax.tree.map(jnp.shape, init[0]) == jax.tree.map(jnp.shape, init[1])
    views = method.views if stage == "student" else lambda video: (method.view(video),)
    seen, recorded_ones = (views(base.to_float(given["video"])) for given in (now, then))
    # A rounded level is half of 255ths, over a deviation of some tens of them.
    np.testing.assert_allclose(seen[-1], recorded_ones[-1], atol=0.05)
    view = base.normalise(base.flow_view(section, base.to_float(clips())), (), ())
    np.testing.assert_allclose(seen[-1], view, atol=1e-4)
    if stage == "student":
        colours = base.normalise(base.to_float(clips()), (), ())
        np.testing.assert_array_equal(seen[0], colours)
        np.testing.assert_array_equal(recorded_ones[0], colours)
    losses = jax.eval_shape(method.loss, init[0], then, KEY, jnp.zeros(()))
    assert losses[0].shape == ()


def test_each_device_computes_the_flow_of_its_own_clips():
    video = base.to_float(clips())
    expected = base.flow_view(config(), video)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        spread = jax.device_put(video, NamedSharding(mesh, P("data")))
        compiled = jax.jit(lambda v: base.flow_view(config(), v)).lower(spread).compile()
        found = compiled(spread)
    assert "all-gather" not in compiled.as_text() and "all-reduce" not in compiled.as_text()
    np.testing.assert_allclose(found, expected, atol=1e-4)
