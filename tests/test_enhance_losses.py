"""Enhancement losses: hand-computed values, the six tests each, the originals' golden numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from darkjax import enhance_losses as el
from darkjax import sci_losses
from darkjax.errors import UserError
from darkjax.losses import masked_mean

RNG = np.random.default_rng(0)


def frames(*shape, high=1.0):
    return jnp.asarray(RNG.uniform(0.02, high, shape), jnp.float32)


# name: (loss of one array, its shape behind the batch axes); other arguments are fixed.
def _against(loss, **fields):
    """A loss of (enhanced, original) with the original made from the same call's shape."""

    def call(enhanced):
        base = jnp.linspace(0, 1, int(np.prod(enhanced.shape[-3:])), dtype=jnp.float32) ** 2
        original = 0.3 * jnp.broadcast_to(base.reshape(enhanced.shape[-3:]), enhanced.shape)
        if enhanced.ndim > 3 and "video" in fields:
            times = 1 + 0.5 * jnp.arange(enhanced.shape[-4], dtype=jnp.float32) ** 2
            original = original * times[:, None, None, None]
        return loss(enhanced, original, **{k: v for k, v in fields.items() if k != "video"})

    return call


FRAME, CLIP, CURVES = (9, 13, 3), (3, 8, 9, 3), (4, 5, 6)
CASES = {}
for _form in ("paper", "code"):
    for _n in (4, 8):
        CASES[f"spatial_{_form}_{_n}"] = (
            _against(el.spatial_consistency, form=_form, neighbours=_n), FRAME,
        )  # fmt: skip
    CASES[f"temporal_{_form}"] = (_against(el.temporal_consistency, form=_form, video=1), CLIP)
    CASES[f"both_{_form}"] = (_against(el.spatio_temporal_consistency, form=_form, video=1), CLIP)
    CASES[f"exposure_{_form}"] = (functools.partial(el.exposure, form=_form, region=4), FRAME)
    CASES[f"colour_{_form}"] = (functools.partial(el.colour_constancy, form=_form), FRAME)
    CASES[f"smoothness_{_form}"] = (
        functools.partial(el.illumination_smoothness, form=_form), CURVES,
    )  # fmt: skip
CASES["sci_fidelity"] = (_against(sci_losses.fidelity), (5, 6, 3))
CASES["sci_smoothness"] = (_against(sci_losses.smoothness, sigma=0.3), (5, 6, 3))
CASES["sci_mixed"] = (_against(sci_losses.smoothness, sigma=0.3, mixed_pixels=True), (5, 6, 3))
CASES = {name: (jax.jit(loss), shape) for name, (loss, shape) in CASES.items()}  # quicker
every_loss = pytest.mark.parametrize("name", CASES)


def close(found, expected, tol=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tol, atol=1e-7)


# ---------------------------------------------------------------- hand-computed, one example


def blocks(values):
    """Regions of 4 x 4 pixels with the given intensities, grey, as a frame."""
    return jnp.repeat(jnp.kron(jnp.asarray(values), jnp.ones((4, 4)))[..., None], 3, -1)


def test_spatial_consistency_of_four_regions():
    # Enhanced [[0, .5], [0, 0]], original black: each of the three others differs from the
    # bright one by .5, seen from both sides: 6 * .25 / 4 regions with eight neighbours; without
    # the diagonal pair 4 * .25 / 4.
    enhanced, black = blocks([[0.0, 0.5], [0.0, 0.0]]), blocks([[0.0, 0.0], [0.0, 0.0]])
    close(el.spatial_consistency(enhanced, black), 6 * 0.25 / 4)
    close(el.spatial_consistency(enhanced, black, neighbours=4), 4 * 0.25 / 4)
    # The code's border: the bright region also differs by .5 from two zeros outside (four sides
    # minus two neighbours), its two neighbours by .5 from it.
    code = el.spatial_consistency(enhanced, black, neighbours=4, form="code")
    close(code, (4 * 0.25 + 2 * 0.25) / 4)


def test_the_paper_forgives_a_reversed_contrast_and_the_code_does_not():
    one, other = blocks([[0.2, 0.6]]), blocks([[0.6, 0.2]])
    close(el.spatial_consistency(one, other), 0)
    assert float(el.spatial_consistency(one, other, neighbours=4, form="code")) > 0.1


def test_pixels_that_fill_no_region_do_not_count():
    enhanced = blocks([[0.0, 0.5], [0.0, 0.0]])
    wider = jnp.pad(enhanced, ((0, 3), (0, 2), (0, 0)), constant_values=1.0)
    black = jnp.zeros_like(wider)
    close(el.spatial_consistency(wider, black), 6 * 0.25 / 4)


def test_temporal_consistency_of_three_frames():
    dark, left = blocks([[0.0, 0.0]]), blocks([[0.4, 0.0]])
    # Differences: .4 at the left region in both steps; the original does not move.
    enhanced, original = jnp.stack([dark, left, dark]), jnp.zeros((3, 4, 8, 3))
    each = 2 * 0.4**2 / 2
    close(el.temporal_consistency(enhanced, original), each)
    # Only the lit frame has spatial contrast: one of three.
    close(el.spatio_temporal_consistency(enhanced, original), each + each / 3)


def test_rgb_differences_are_absolute_before_the_channels_are_averaged():
    # Red rises and green falls by .3: a signed mean would be 0, the RGB difference is .2.
    first, second = jnp.asarray([0.0, 0.3, 0.0]), jnp.asarray([0.3, 0.0, 0.0])
    clip = jnp.stack([first, second])[:, None, None, :] * jnp.ones((1, 4, 8, 1))
    clip = clip.at[:, :, 4:].set(0.0)
    close(el.temporal_consistency(clip, jnp.zeros_like(clip)), 2 * 0.2**2 / 2)


def test_an_unchanged_video_is_consistent_and_one_frame_has_no_time():
    clip = frames(4, 8, 8, 3)
    close(el.spatio_temporal_consistency(clip, clip), 0)
    close(el.temporal_consistency(clip[:1], 0.5 * clip[:1]), 0)
    close(
        el.spatio_temporal_consistency(clip[:1], 0.5 * clip[:1]),
        el.spatial_consistency(clip[0], 0.5 * clip[0]),
    )


def test_exposure_of_two_regions():
    frame = jnp.repeat(blocks([[0.2, 0.7]]), 3, 0)[:8]
    close(el.exposure(frame, region=4), (0.4 + 0.1) / 2)
    close(el.exposure(frame, region=4, form="code"), (0.16 + 0.01) / 2)
    exact = jnp.repeat(blocks([[0.25, 0.75]]), 3, 0)[:8]
    close(el.exposure(exact, region=8, level=0.5), 0)


def test_colour_constancy_of_one_colour():
    frame = jnp.broadcast_to(jnp.asarray([0.6, 0.3, 0.2]), (2, 3, 3))
    close(el.colour_constancy(frame), 0.09 + 0.16 + 0.01)
    close(el.colour_constancy(frame, form="code"), np.sqrt(0.09**2 + 0.16**2 + 0.01**2))
    close(el.colour_constancy(frame[..., :1]), 0)


def test_illumination_smoothness_of_ramps():
    # Every map rises by .1 a column and .2 a row.
    i, j = jnp.meshgrid(jnp.arange(4.0), jnp.arange(5.0), indexing="ij")
    curves = jnp.repeat((0.2 * i + 0.1 * j)[..., None], 24, -1)
    close(el.illumination_smoothness(curves), 0.3**2)
    close(el.illumination_smoothness(curves, sum_channels=True), 3 * 0.3**2)
    close(el.illumination_smoothness(curves, form="code"), 2 * 24 * (0.04 + 0.01))


def test_dark_enhancement_is_the_weighted_sum():
    clip, curves = frames(2, 16, 16, 3), frames(1, 16, 16, 24)
    expected = (
        jnp.mean(el.exposure(clip)) + 0.5 * jnp.mean(el.colour_constancy(clip))
        + 20 * el.illumination_smoothness(curves)[0]
    )  # fmt: skip
    close(el.dark_enhancement(clip, curves), expected)


def test_sci_of_one_step():
    # A single bright column in a 3 x 3 illumination; the image is flat, so all weights are 1.
    light = jnp.zeros((3, 3, 3)).at[:, 1].set(0.1)
    image = jnp.full((3, 3, 3), 0.5)
    # Offsets (di, dj) by mean over their pairs: dj = ±1 always .3, dj = 0 or ±2 always 0; pairs
    # (0,1), (1,±1), (2,±1), each twice.
    close(sci_losses.smoothness(light, image), 2 * 5 * 0.3)
    close(sci_losses.fidelity(light, image), (6 * 0.25 + 3 * 0.16) / 9)
    stage = 1.5 * sci_losses.fidelity(light, image) + sci_losses.smoothness(light, image)
    close(sci_losses.total([(image, light), (image, light)]), 2 * stage)


def test_sci_weights_fall_with_colour():
    light = jnp.zeros((3, 3, 3)).at[:, 1].set(0.1)
    image = jnp.full((3, 3, 3), 0.5).at[:, 1].set(0.9)
    change = 0.4 * np.asarray(sci_losses._YCBCR).sum(0)
    expected = 2 * 5 * 0.3 * np.exp(-np.sum(change**2) / (2 * 0.2**2))
    close(sci_losses.smoothness(light, image, sigma=0.2), expected)


# ---------------------------------------------------------------- the six tests


@every_loss
def test_scalar_float32_and_under_jit(name):
    loss, shape = CASES[name]
    x = frames(*shape)
    value = loss(x)
    assert value.shape == () and value.dtype == jnp.float32 and float(value) > 0
    found = loss(x.astype(jnp.bfloat16))
    assert found.dtype == jnp.float32
    close(found, loss(x.astype(jnp.bfloat16).astype(jnp.float32)))


@every_loss
def test_batched_equals_one_by_one_and_permutes(name):
    loss, shape = CASES[name]
    x = frames(2, 3, *shape)
    found = loss(x)
    assert found.shape == (2, 3)
    for i in np.ndindex(2, 3):
        close(found[i], loss(x[i]))
    close(loss(jnp.swapaxes(x, 0, 1)), found.T)


@every_loss
def test_masked_equals_compacted(name):
    loss, shape = CASES[name]
    x = frames(4, *shape)
    mask = np.array([1, 0, 1, 1], bool)
    poisoned = jnp.where(mask.reshape(-1, *[1] * len(shape)), x, jnp.nan)
    close(masked_mean(loss(poisoned), jnp.asarray(mask)), jnp.mean(loss(x[mask])))


@every_loss
def test_gradient(name):
    loss, shape = CASES[name]
    # No two values within the numerical step, where an absolute value has its kink.
    levels = RNG.permutation(np.linspace(0.02, 1, int(np.prod(shape))))
    x = jnp.asarray(levels.reshape(shape), jnp.float32)
    check_grads(loss, (x,), order=1, modes=["rev"], atol=1e-2, rtol=2e-2, eps=1e-3)


@every_loss
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_finite_on_black_and_white(name, level):
    loss, shape = CASES[name]
    value, slope = jax.value_and_grad(loss)(jnp.full(shape, level))
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_both_sides_black_or_white_have_no_gradient():
    for level in (0.0, 1.0):
        clip = jnp.full((3, 8, 8, 3), level)
        slope = jax.grad(lambda v, c=clip: jnp.sum(el.spatio_temporal_consistency(v, c)))(clip)
        close(slope, jnp.zeros_like(clip))


# ---------------------------------------------------------------- the originals' numbers


def last(x):
    return jnp.moveaxis(jnp.asarray(x), 1, -1)


def test_zero_dce_golden(shared):
    golden = np.load(shared / "golden/zero_dce_io.npz")
    x, enhanced, curves = (last(golden[k]) for k in ("x", "enhanced", "curves"))
    space = el.spatial_consistency_map(enhanced, x, neighbours=4, form="code")
    close(space, golden["L_spa"][:, 0])
    close(jnp.mean(space), golden["L_spa_mean"])
    close(el.colour_constancy(enhanced, form="code"), golden["L_color"][:, 0, 0, 0])
    close(jnp.mean(el.exposure(enhanced, form="code")), golden["L_exp"])
    close(jnp.mean(el.illumination_smoothness(curves, form="code")), golden["L_tv"])
    close(jnp.mean(el.zero_dce(enhanced, x, curves, form="code")), golden["total_code"])


@pytest.mark.parametrize("level", ["easy", "medium", "difficult"])
def test_sci_golden(shared, level):
    golden = np.load(shared / "golden/sci_io.npz")
    names = [("x", "illu"), ("stage1_in", "stage1_illu"), ("stage2_in", "stage2_illu")]
    stages = [
        tuple(last(golden["x" if k == "x" else f"{level}_{k}"]) for k in pair) for pair in names
    ]
    close(jnp.mean(sci_losses.total(stages, mixed_pixels=True)), golden[f"{level}_loss3"])
    # The intended colours give nearly the same, as sigma = 10 makes every weight nearly 1.
    close(jnp.mean(sci_losses.total(stages)), golden[f"{level}_loss3"], 1e-2)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: el.spatial_consistency(x, x[:1]), r"expected the original frames .* found"),
        (lambda x: el.spatial_consistency(x, x, neighbours=6), "4 or 8 neighbours, found 6"),
        (lambda x: el.exposure(x), "at least 16 x 16 pixels, found 8 x 8"),
        (lambda x: el.exposure(x, form="paperback"), "found 'paperback'"),
        (lambda x: el.illumination_smoothness(x[:, :1]), "2 x 2 pixels, found 1 x 8"),
        (lambda x: sci_losses.smoothness(x[..., :1], x[..., :1]), "3 channels"),
    ],
)
def test_refused(call, says):
    with pytest.raises(UserError, match=says):
        call(jnp.zeros((2, 8, 8, 3)))
