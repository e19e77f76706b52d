"""Enhancement losses: hand-computed values, the six tests each, the originals' golden numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from compiled import Compiled
from jax.test_util import check_grads

from darkjax.errors import UserError
from darkjax.losses import enhancement, masked_mean
from darkjax.losses import sci as of_sci

el, sci = Compiled(enhancement), Compiled(of_sci)
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
CASES["sci_fidelity"] = (_against(sci.fidelity), (5, 6, 3))
CASES["sci_smoothness"] = (_against(sci.smoothness, sigma=0.3), (5, 6, 3))
CASES["sci_mixed"] = (_against(sci.smoothness, sigma=0.3, mixed_pixels=True), (5, 6, 3))
CASES = {name: (jax.jit(loss), shape) for name, (loss, shape) in CASES.items()}  # quicker
SLOPES = {name: jax.jit(jax.value_and_grad(loss)) for name, (loss, _) in CASES.items()}
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
    close(el.colour_constancy(jnp.full((2, 3, 3), 0.4), form="code"), 0)


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
    both = jnp.concatenate([curves, 2 * curves])  # four times as steep: squared
    steeper = 1.5 * 20 * el.illumination_smoothness(curves)[0]
    close(el.dark_enhancement(clip, both), expected + steeper)


def test_sci_of_one_step():
    # A single bright column in a 3 x 3 illumination; the image is flat, so all weights are 1.
    light = jnp.zeros((3, 3, 3)).at[:, 1].set(0.1)
    image = jnp.full((3, 3, 3), 0.5)
    # Offsets (di, dj) by mean over their pairs: dj = ±1 always .3, dj = 0 or ±2 always 0; pairs
    # (0,1), (1,±1), (2,±1), each twice.
    close(sci.smoothness(light, image), 2 * 5 * 0.3)
    close(sci.fidelity(light, image), (6 * 0.25 + 3 * 0.16) / 9)
    stage = 1.5 * sci.fidelity(light, image) + sci.smoothness(light, image)
    close(sci.total([(image, light), (image, light)]), 2 * stage)


def test_sci_weights_fall_with_colour():
    light = jnp.zeros((3, 3, 3)).at[:, 1].set(0.1)
    image = jnp.full((3, 3, 3), 0.5).at[:, 1].set(0.9)
    change = 0.4 * np.asarray(of_sci._YCBCR).sum(0)
    expected = 2 * 5 * 0.3 * np.exp(-np.sum(change**2) / (2 * 0.2**2))
    close(sci.smoothness(light, image, sigma=0.2), expected)


# ---------------------------------------------------------------- the equations, written out


FIELDS = {"neighbours": 4, "region": 2, "form": "code"}  # none of them the default


@pytest.mark.parametrize("form", ["paper", "code"])
@pytest.mark.parametrize("neighbours", [4, 8])
def test_spatial_consistency_is_eq_1_over_every_pair(form, neighbours):
    new, old = frames(9, 14, 3), frames(9, 14, 3)  # 3 x 4 regions of 3 x 3, two columns left over
    y, p = (
        np.asarray(x, np.float64)[:, :12].reshape(3, 3, 4, 3, 3).mean((1, 3, 4)) for x in (new, old)
    )
    expected = np.zeros((3, 4))
    for i, j, di, dj in np.ndindex(3, 4, 3, 3):
        k, m = i + di - 1, j + dj - 1
        inside = 0 <= k < 3 and 0 <= m < 4
        steps = abs(k - i) + abs(m - j)
        if steps == 0 or (steps == 2 and neighbours == 4) or (form == "paper" and not inside):
            continue
        a, b = (x[i, j] - (x[k, m] if inside else 0.0) for x in (y, p))
        expected[i, j] += (abs(a) - abs(b)) ** 2 if form == "paper" else (a - b) ** 2
    fields = {"neighbours": neighbours, "region": 3, "form": form}
    found = el.spatial_consistency_map(jnp.stack([new, old]), jnp.stack([old, old]), **fields)
    close(found[0], expected)
    close(el.spatial_consistency(new, old, **fields), expected.mean())


@pytest.mark.parametrize("fields", [{}, FIELDS])
def test_time_is_space_of_what_moved(fields):
    new, old = frames(3, 8, 8, 3), frames(3, 8, 8, 3)
    moved, still = (jnp.abs(x[1:] - x[:-1]) for x in (new, old))
    time = jnp.mean(el.spatial_consistency(moved, still, **fields))
    space = jnp.mean(el.spatial_consistency(new, old, **fields))
    close(el.temporal_consistency(new, old, **fields), time)
    close(el.spatio_temporal_consistency(new, old, **fields), space + time)


def test_exposure_s_regions_and_level_are_the_paper_s():
    frame = jnp.repeat(jnp.asarray([0.2, 0.9]), 16)[None, :, None] * jnp.ones((16, 1, 3))
    close(el.exposure(frame), (0.4 + 0.3) / 2)  # E = 0.6 over 16 x 16


def test_illumination_smoothness_is_eq_7_over_every_pixel():
    c = np.asarray(frames(4, 5, 6), np.float64)
    right, down = abs(c[:, 1:] - c[:, :-1]), abs(c[1:] - c[:-1])
    paper = np.mean([(right[i, j] + down[i, j]) ** 2 for i, j in np.ndindex(3, 4)])
    close(el.illumination_smoothness(jnp.asarray(c, jnp.float32)), paper)
    code = 2 * ((down**2).sum() / (3 * 5) + (right**2).sum() / (4 * 4))
    close(el.illumination_smoothness(jnp.asarray(c, jnp.float32), form="code"), code)
    two = jnp.asarray(c[..., :2], jnp.float32)
    once = el.illumination_smoothness(two)
    close(el.illumination_smoothness(two, sum_channels=True), 2 * once)


def test_dark_enhancement_passes_its_fields_on():
    clip, curves = frames(2, 16, 16, 3), frames(1, 16, 16, 24)
    expected = (
        jnp.mean(el.exposure(clip, level=0.3, form="code"))
        + 2 * jnp.mean(el.colour_constancy(clip, form="code"))
        + 3 * el.illumination_smoothness(curves, form="code")[0]
    )
    fields = {"colour_weight": 2.0, "smooth_weight": 3.0, "level": 0.3, "form": "code"}
    close(el.dark_enhancement(clip, curves, **fields), expected)


@pytest.mark.parametrize(("form", "weights"), [("paper", (1, 0.5, 20)), ("code", (10, 5, 200))])
def test_zero_dce_is_the_weighted_sum(form, weights):
    new, old, curves = frames(16, 32, 3), frames(16, 32, 3), frames(16, 32, 6)
    expected = el.spatial_consistency(new, old, neighbours=4, form=form)
    terms = ((el.exposure, new), (el.colour_constancy, new), (el.illumination_smoothness, curves))
    for weight, (term, x) in zip(weights, terms, strict=True):
        expected += weight * term(x, form=form)
    close(el.zero_dce(new, old, curves, form=form), expected)


def test_sci_smoothness_is_eq_7_over_every_pair():
    light, image = frames(4, 6, 3), frames(4, 6, 3)
    matrix = np.array([[0.257, 0.564, 0.098], [-0.148, -0.291, 0.439], [0.439, -0.368, -0.071]])
    offset = np.array([16, 128, 128]) / 255
    shades, lit = (np.asarray(x, np.float64) for x in (image, light))
    plain = shades @ matrix.T + offset
    # Channel after channel, row after row, in threes: there the offsets do not cancel.
    mixed = np.moveaxis(shades, -1, 0).reshape(-1, 3) @ matrix.T + offset
    mixed = np.moveaxis(mixed.reshape(3, 4, 6), 0, -1)
    for colour, fields in ((plain, {}), (mixed, {"mixed_pixels": True})):
        expected = 0.0
        for di, dj in np.ndindex(5, 5):
            pairs = []
            for i, j in np.ndindex(4, 6):
                k, m = i + di - 2, j + dj - 2
                if (k, m) != (i, j) and 0 <= k < 4 and 0 <= m < 6:
                    w = np.exp(-((colour[i, j] - colour[k, m]) ** 2).sum() / (2 * 0.3**2))
                    pairs.append(w * abs(lit[i, j] - lit[k, m]).sum())
            expected += np.mean(pairs) if pairs else 0.0
        close(sci.smoothness(light, image, sigma=0.3, **fields), expected)


@pytest.mark.parametrize("mixed", [False, True])
def test_sci_s_total_is_the_sum_over_its_stages(mixed):
    stages = [(frames(3, 6, 3), frames(3, 6, 3)) for _ in range(2)]
    expected = sum(
        1.5 * jnp.mean((light - image) ** 2) + sci.smoothness(light, image, mixed_pixels=mixed)
        for image, light in stages
    )
    close(sci.total(stages, mixed_pixels=mixed), expected)
    if not mixed:  # the paper's smoothness unless asked
        close(sci.total(stages), expected)


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
    close(loss(x[::-1, ::-1]), found[::-1, ::-1])


@every_loss
def test_masked_equals_compacted(name):
    loss, shape = CASES[name]
    x = np.array(frames(2, 3, *shape))  # of the shapes above: nothing is compiled again
    mask = np.array([[1, 0, 1], [1, 1, 0]], bool)
    alone = [loss(jnp.asarray(clip)) for clip in x[mask]]
    x[~mask] = np.nan
    close(masked_mean(loss(jnp.asarray(x)), jnp.asarray(mask)), np.mean(alone))


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
    _, shape = CASES[name]
    value, slope = SLOPES[name](jnp.full(shape, level))
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_both_sides_black_or_white_have_no_gradient():
    slope = jax.jit(jax.grad(lambda v, c: jnp.sum(el.spatio_temporal_consistency(v, c))))
    for level in (0.0, 1.0):
        clip = jnp.full((3, 8, 8, 3), level)
        close(slope(clip, clip), np.zeros(clip.shape))


# ---------------------------------------------------------------- the originals' numbers


def last(x):
    return jnp.moveaxis(jnp.asarray(x), 1, -1)


def test_zero_dce_golden(shared):
    golden = tiny_run.arrays(shared / "golden/zero_dce_io.npz")
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
    golden = tiny_run.arrays(shared / "golden/sci_io.npz")
    names = [("x", "illu"), ("stage1_in", "stage1_illu"), ("stage2_in", "stage2_illu")]
    stages = [
        tuple(last(golden["x" if k == "x" else f"{level}_{k}"]) for k in pair) for pair in names
    ]
    close(jnp.mean(sci.total(stages, mixed_pixels=True)), golden[f"{level}_loss3"])
    # The intended colours give nearly the same, as sigma = 10 makes every weight nearly 1.
    close(jnp.mean(sci.total(stages)), golden[f"{level}_loss3"], 1e-2)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: el.spatial_consistency(x, x[:1]), r"expected the original frames .* found"),
        (lambda x: el.spatial_consistency(x, x, neighbours=6), "4 or 8 neighbours, found 6"),
        (lambda x: el.exposure(x), "at least 16 x 16 pixels, found 8 x 8"),
        (lambda x: el.exposure(x, form="paperback"), "found 'paperback'"),
        (lambda x: el.exposure(x[:, :, :1], region=2), "at least 2 x 2 pixels, found 8 x 1"),
        (lambda x: el.temporal_consistency(x, x[:1]), r"expected the original frames .* found"),
        (lambda x: el.colour_constancy(x, form="papers"), "found 'papers'"),
        (lambda x: el.spatial_consistency(x, x, form="papers"), "found 'papers'"),
        (lambda x: el.illumination_smoothness(x, form="papers"), "found 'papers'"),
        (lambda x: el.illumination_smoothness(x[:, :1]), "2 x 2 pixels, found 1 x 8"),
        (lambda x: el.illumination_smoothness(x[:, :, :1]), "2 x 2 pixels, found 8 x 1"),
        (lambda x: sci.smoothness(x[..., :1], x[..., :1]), "3 channels"),
        (lambda x: sci.smoothness(x[:, :2], x[:, :2]), "at least 3 x 3"),
        (lambda x: sci.smoothness(x[:, :, :2], x[:, :, :2]), "at least 3 x 3"),
        (lambda x: sci.smoothness(x, x[:1]), r"expected the original frames .* found"),
        (lambda x: sci.fidelity(x, x[:1]), r"expected the original frames .* found"),
    ],
)
def test_refused(call, says):
    with pytest.raises(UserError, match=says):
        call(jnp.zeros((2, 8, 8, 3)))
