"""The augmentation chain: each transform's own laws, then the chain's."""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkjax.errors import UserError
from darkjax.ops import augment as aug
from darkjax.ops.colour import colour_matrix
from darkjax.ops.rearrange import _beta_quantiles

KEY = jax.random.key(3)
T, H, W = 6, 20, 24

# Each transform at a strength that surely changes a clip, and at zero strength.
STRONG = {
    "flip": functools.partial(aug.flip, p=1.0),
    "jitter": functools.partial(
        aug.colour_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
    ),
    "affine": aug.affine,
    "optical": functools.partial(aug.optical_distortion, limit=0.5),
    "elastic": functools.partial(aug.elastic_distortion, sigma=3.0),
    "rain": functools.partial(aug.rain, density=0.5, length=5.0),
    "frame_shuffle": functools.partial(aug.frame_shuffle, p=1.0),
}
ZERO = {
    "flip": functools.partial(aug.flip, p=0.0),
    "jitter": aug.colour_jitter,
    "affine": functools.partial(
        aug.affine, degrees=0.0, translate=0.0, scale=(1.0, 1.0), shear=0.0
    ),
    "optical": functools.partial(aug.optical_distortion, limit=0.0),
    "elastic": functools.partial(aug.elastic_distortion, alpha=0.0),
    "rain": functools.partial(aug.rain, density=0.0),
    "frame_shuffle": functools.partial(aug.frame_shuffle, p=0.0),
}


@functools.cache
def jitted(name, strength="strong"):
    """A transform compiled once for all the tests that use it."""
    return jax.jit({"strong": STRONG, "zero": ZERO}[strength][name])


def clip(seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((T, H, W, 3), np.float32))


def batch(n, seed=0):
    shape = (n, T, H, W, 3)
    return jnp.asarray(np.random.default_rng(seed).random(shape, np.float32))


@pytest.mark.parametrize("name", STRONG)
def test_zero_strength_is_the_identity(name):
    np.testing.assert_allclose(jitted(name, "zero")(KEY, clip()), clip(), atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(STRONG) - {"flip"}))
def test_probability_zero_is_the_identity(name):
    off = jax.jit(functools.partial(STRONG[name], p=0.0))
    np.testing.assert_allclose(off(KEY, clip()), clip(), atol=1e-5)


@pytest.mark.parametrize("name", STRONG)
def test_range_dtype_change_and_determinism(name):
    video = clip()
    out = jitted(name)(KEY, video)
    assert out.shape == video.shape and out.dtype == video.dtype
    assert float(out.min()) >= 0.0 and float(out.max()) <= 1.0
    assert np.abs(out - video).max() > 0.05
    np.testing.assert_array_equal(out, jitted(name)(KEY, video))
    if name != "flip":
        assert np.abs(out - jitted(name)(jax.random.key(4), video)).max() > 1e-3


@pytest.mark.parametrize("name", sorted(set(STRONG) - {"rain"}))
def test_a_static_clip_stays_static(name):
    still = jnp.broadcast_to(clip()[:1], (T, H, W, 3))
    out = np.asarray(jitted(name)(KEY, still))
    np.testing.assert_array_equal(out, np.broadcast_to(out[:1], out.shape))


@pytest.mark.parametrize("name", STRONG)
def test_gradients_are_finite(name):
    slope = jax.jit(jax.grad(lambda v: jnp.sum(STRONG[name](KEY, v) ** 2)))(clip())
    assert np.isfinite(slope).all() and np.any(slope)


def test_flip_is_an_involution_that_mirrors():
    once = aug.flip(KEY, clip(), p=1.0)
    np.testing.assert_array_equal(once[:, :, 0], clip()[:, :, -1])
    np.testing.assert_array_equal(aug.flip(KEY, once, p=1.0), clip())


def test_jitter_leaves_grey_grey_and_brightness_is_a_factor():
    def jitter(**fields):
        return jax.jit(functools.partial(aug.colour_jitter, **fields))

    grey = jnp.full((T, H, W, 3), 0.4)
    out = np.asarray(jitter(contrast=0.5, saturation=0.9, hue=0.5)(KEY, grey))
    np.testing.assert_allclose(out, 0.4, atol=1e-6)  # its own mean, and no colour to turn
    video = clip() * 0.5
    ratio = np.asarray(jitter(brightness=0.3)(KEY, video)) / np.asarray(video)
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)
    assert 0.7 <= ratio.flat[0] <= 1.3 and abs(ratio.flat[0] - 1) > 0.01


def test_jitter_of_one_channel():
    infrared = clip()[..., :1]
    out = aug.colour_jitter(KEY, infrared, brightness=0.4, saturation=0.4, hue=0.1)
    assert out.shape == infrared.shape


def test_colour_matrix_by_hand():
    np.testing.assert_array_equal(colour_matrix(1.0, 0.0), np.eye(3))
    luma = np.asarray([0.299, 0.587, 0.114])
    np.testing.assert_allclose(colour_matrix(0.0, 0.0), np.tile(luma, (3, 1)), atol=1e-6)
    np.testing.assert_allclose(luma @ np.asarray(colour_matrix(0.7, 1.0)), luma, atol=1e-6)
    # A third of a turn sends red's difference from grey to green's place.
    turned = np.asarray(colour_matrix(1.0, 2 * np.pi / 3)) @ [1.0, 0.0, 0.0]
    np.testing.assert_allclose(turned - turned.min(), [0.0, 1.0, 0.0], atol=1e-6)


def test_affine_translates_within_its_limit():
    ramp = jnp.broadcast_to(jnp.arange(W, dtype=jnp.float32)[:, None] / W, (T, H, W, 3))
    only = {"degrees": 0.0, "translate": 0.1, "scale": (1.0, 1.0), "shear": 0.0}
    out = jax.jit(functools.partial(aug.affine, border="edge", **only))(KEY, ramp)
    middle = np.asarray(out - ramp)[:, :, 5:-5] * W  # the shift in pixels, with its sign
    np.testing.assert_allclose(middle, middle.flat[0], atol=1e-3)
    assert 0 < abs(middle.flat[0]) <= 0.1 * W


def test_rain_only_brightens_and_falls():
    def shower(**fields):
        return jax.jit(functools.partial(aug.rain, **fields))

    dark = jnp.full((T, H, W, 3), 0.1)
    out = np.asarray(shower(density=0.3, length=4.0, brightness=0.5)(KEY, dark))
    assert (out >= 0.1 - 1e-7).all() and out.max() <= 0.1 + 0.5 * 0.9 + 1e-6
    assert out.max() > 0.3
    assert np.abs(np.diff(out, axis=0)).max() > 0.1  # it moves
    # Without slant, a column's brightest row goes down by 0.75 to 1.25 lengths a frame.
    column_rain = np.asarray(shower(density=1.0, length=4.0, slant=0.0)(KEY, dark))[..., 0]
    heads = column_rain.argmax(axis=1).astype(int)  # [T, W]
    visible = (column_rain.max(axis=1) > 0.25) & (heads < H - 6) & (heads > 0)
    falls = np.diff(heads, axis=0)[visible[:-1] & visible[1:]]
    assert falls.size > 10 and falls.min() >= 2 and falls.max() <= 6


def test_frame_shuffle_is_a_permutation():
    video = jnp.broadcast_to(jnp.arange(T, dtype=jnp.float32)[:, None, None, None], (T, 2, 2, 1))
    order = np.asarray(aug.frame_shuffle(KEY, video, p=1.0))[:, 0, 0, 0]
    assert sorted(order) == list(range(T)) and list(order) != list(range(T))
    for seed in range(5):
        windowed = np.asarray(aug.frame_shuffle(jax.random.key(seed), video, p=1.0, window=4))
        order = windowed[:, 0, 0, 0]
        assert sorted(order[:4]) == [0, 1, 2, 3] and sorted(order[4:]) == [4, 5]


def test_cutmix_target_is_the_area_of_the_partner():
    n = 16
    video = jnp.broadcast_to(
        jnp.arange(n, dtype=jnp.float32).reshape(n, 1, 1, 1, 1), (n, 2, H, W, 1)
    )
    keys = aug.example_keys(KEY, n)
    mixed, target = jax.jit(aug.cutmix)(keys, video, jax.nn.one_hot(jnp.arange(n), n))
    mixed, target = np.asarray(mixed), np.asarray(target)
    shares = []
    for b in range(n):
        partner = (b - 1) % n
        share = float(np.mean(mixed[b, 0] == partner))
        assert np.all((mixed[b] == b) | (mixed[b] == partner))
        np.testing.assert_array_equal(mixed[b, 0], mixed[b, 1])  # the same box in all frames
        np.testing.assert_allclose(target[b, partner], share, atol=1e-6)
        np.testing.assert_allclose(target[b, b], 1 - share, atol=1e-6)
        rows, columns = np.nonzero(mixed[b, 0, :, :, 0] == partner)
        if rows.size:  # a full rectangle
            assert rows.size == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        shares.append(share)
    assert len(set(shares)) > n // 2
    untouched, same = jax.jit(functools.partial(aug.cutmix, p=0.0))(
        keys, video, jnp.asarray(target)
    )
    np.testing.assert_array_equal(untouched, video)
    np.testing.assert_array_equal(same, target)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_beta_table_has_the_moments_of_beta(alpha):
    draws = (np.arange(20_000) + 0.5) / 20_000
    x = np.interp(draws, *(np.asarray(a) for a in _beta_quantiles(alpha)))
    assert abs(x.mean() - 0.5) < 1e-3
    assert abs(x.var() - 1 / (4 * (2 * alpha + 1))) < 2e-3


CONFIG = {
    **{
        name: {**fields, "p": 0.7}
        for name, fields in aug.default_config().items()
        if name != "border"
    },
    "border": "reflect",
}


@functools.cache
def chained():
    return jax.jit(lambda key, *arrays: aug.augment(key, *arrays[:2], CONFIG, index=arrays[2]))


INDEX = np.arange(8, dtype=np.int32)


def test_chain_keeps_range_shapes_and_the_targets_mass():
    video, target = batch(8), jax.nn.one_hot(jnp.arange(8) % 5, 5)
    out, soft = chained()(KEY, video, target, INDEX)
    assert out.shape == video.shape and out.dtype == jnp.float32
    assert float(out.min()) >= 0.0 and float(out.max()) <= 1.0
    np.testing.assert_allclose(np.sum(soft, axis=1), 1.0, atol=1e-6)
    assert (np.abs(out - video).max(axis=(1, 2, 3, 4)) > 0.01).all()
    other, _ = chained()(jax.random.key(9), video, target, INDEX)
    assert np.abs(other - out).max() > 0.1


def test_jit_equals_eager():
    cfg = {name: CONFIG[name] for name in ("flip", "jitter")}
    video, target = batch(2), jax.nn.one_hot(jnp.arange(2), 5)
    jitted = jax.jit(lambda k, v, t: aug.augment(k, v, t, cfg))(KEY, video, target)
    for a, b in zip(aug.augment(KEY, video, target, cfg), jitted, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_sharded_equals_unsharded():
    video, target = batch(8), jax.nn.one_hot(jnp.arange(8) % 5, 5)
    expected = chained()(KEY, video, target, INDEX)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, P("data"))
    with jax.set_mesh(mesh):
        inputs = jax.device_put((video, target, INDEX), spread)
        compiled = chained().lower(KEY, *inputs).compile()
        out = compiled(KEY, *inputs)
    assert "all-gather" not in compiled.as_text()
    for a, b in zip(out, expected, strict=True):
        assert a.sharding.is_equivalent_to(spread, a.ndim)
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_example_depends_on_its_index_alone():
    # The batch is rolled as a whole, so that cutmix still meets the same partner.
    video, target = batch(8), jax.nn.one_hot(jnp.arange(8) % 5, 5)
    whole = chained()(KEY, video, target, INDEX)
    rolled = (jnp.roll(video, 3, axis=0), jnp.roll(target, 3, axis=0), np.roll(INDEX, 3))
    for a, b in zip(chained()(KEY, *rolled), whole, strict=True):
        np.testing.assert_allclose(a, np.roll(b, 3, axis=0), atol=1e-6)


def test_the_default_index_is_the_place_in_the_batch():
    given = aug.example_keys(KEY, 3, jnp.arange(3))
    np.testing.assert_array_equal(
        jax.random.key_data(given), jax.random.key_data(aug.example_keys(KEY, 3))
    )


def test_turning_one_transform_off_leaves_the_others():
    video, target = batch(2), jax.nn.one_hot(jnp.arange(2), 5)
    only = ml_collections.ConfigDict({"flip": {"p": 0.5}})
    flip_only, _ = aug.augment(KEY, video, target, only)
    with_zeroes, _ = aug.augment(KEY, video, target, {**_all_off(), "flip": {"p": 0.5}})
    np.testing.assert_array_equal(flip_only, with_zeroes)


def _all_off():
    return {n: {**f, "p": 0.0} for n, f in CONFIG.items() if n != "border"}


def test_off_is_not_traced():
    video, target = batch(2), jnp.zeros((2, 5))
    program = jax.make_jaxpr(lambda k, v, t: aug.augment(k, v, t, _all_off()))(KEY, video, target)
    assert program.jaxpr.outvars == program.jaxpr.invars[1:]


def test_config_errors():
    check = aug.check_config
    check(aug.default_config())
    check(ml_collections.ConfigDict(aug.default_config()).lock())
    with pytest.raises(UserError, match=r"augment\.flipp: unknown; expected one of flip, jitter"):
        check({"flipp": {"p": 1.0}})
    with pytest.raises(UserError, match=r"augment\.rain\.drops: unknown; .*density"):
        check({"rain": {"p": 1.0, "drops": 3}})
    with pytest.raises(UserError, match=r"augment\.flip\.p: expected 0\.0 to 1\.0, found 1\.5"):
        check({"flip": {"p": 1.5}})
    with pytest.raises(UserError, match=r"augment\.rain\.p: expected a probability"):
        check({"rain": {"density": 0.1}})
    with pytest.raises(UserError, match=r"cutmix alpha"):
        aug.cutmix(aug.example_keys(KEY, 2), batch(2), jnp.zeros((2, 5)), alpha=0.0)
