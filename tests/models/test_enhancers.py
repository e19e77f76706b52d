"""Curves by hand, sharing between frames, parameter counts, and what every enhancer must do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.models import dce, framewise, kind, sci, unet
from darkjax.ops import curves

# name -> (module, input channels, its first result's channels, parameters)
NETS = {
    "zero_dce": (dce.ZeroDCE(), 3, 3, 79_416),
    "zero_dce_light": (dce.ZeroDCELight(), 3, 3, 23_768),
    "zero_dce_light without bn": (dce.ZeroDCELight(bn=False), 3, 3, 22_968),
    "sci": (sci.SCI(), 3, 3, 258 + 5_619),
    "sci for the test": (sci.SCI(stages=1), 3, 3, 258),
    "kind": (kind.KinD(), 3, 3, 235_876 + 19_393 + 7_760_739),
    "kind_decomposition": (kind.KinDDecomposition(), 3, 3, 235_876),
    "kind_adjustment": (kind.KinDAdjustment(), 2, 1, 19_393),
    "kind_restoration": (kind.KinDRestoration(), 4, 3, 7_760_739),
    "stable_llve": (unet.UNet(), 3, 3, 4_316_259),
}
LIGHT = ("zero_dce", "zero_dce_light", "zero_dce_light without bn", "sci", "kind_adjustment")


def frames(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 1, shape), jnp.float32)


@functools.cache
def begun(net, channels):
    """Once for a network: no size of its frames is in its parameters."""
    x = jnp.zeros((2, 8, 8, channels))
    return jax.jit(lambda: net.init(jax.random.key(0), x, train=False))()


def init(net, x):
    return begun(net, x.shape[-1])


def apply(net, variables, x, **options):
    """As `net.apply`, compiled."""
    options = {"train": False, **options}
    return jax.jit(lambda v, x: net.apply(v, x, **options))(variables, x)


def count(tree):
    return sum(np.prod(x.shape) for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", NETS)
def test_parameters_and_shapes(name):
    """The printed counts; leading axes and odd sizes stay; everything float32, also in bfloat16."""
    net, channels, outputs, parameters = NETS[name]
    for dtype, lead in ((jnp.float32, ()), (jnp.bfloat16, (2,)), (jnp.float32, (2, 3))):
        net = net.clone(dtype=dtype)
        x = jax.ShapeDtypeStruct((*lead, 37, 50, channels), jnp.float32)
        (enhanced, out), variables = jax.eval_shape(
            lambda x, net=net: net.init_with_output(jax.random.key(0), x, train=False), x
        )
        assert count(variables["params"]) == parameters
        assert enhanced.shape == (*lead, 37, 50, outputs)
        assert all(v.shape[: len(lead)] == lead for v in out.values())
        leaves = jax.tree.leaves((enhanced, out, variables))
        assert {v.dtype for v in leaves} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n.endswith("without bn") else n for n in LIGHT],
)
def test_gradients_reach_every_parameter(name):
    net, channels, _, _ = NETS[name]
    x = frames(2, 2, 10, 12, channels)
    variables = init(net, x)

    @jax.jit
    def gradient(params):
        def loss(params):
            apply = {**variables, "params": params}
            (y, out), _ = net.apply(apply, x, train=True, mutable=["batch_stats"])
            # Each output pulls at its own place, so that nothing cancels; what was clipped to a
            # bound has no gradient, so SCI is judged by the illumination, as its loss does.
            seen = [v for k, v in out.items() if k.endswith(("curves", "illumination"))] or [y]
            return sum((v * frames(*v.shape, seed=2)).sum() for v in seen)

        return jax.grad(loss)(params)

    for path, g in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(g).all() and np.abs(g).max() > 0, path


def test_curves_by_hand():
    """LE = I + A I (1 - I) with A = -r: 0.5 + 0.25 = 0.75, then 0.75 + 0.5 * 0.1875."""
    x = jnp.full((1, 1, 1), 0.5)
    r = jnp.asarray([-1.0, -0.5]).reshape(1, 1, 2)
    np.testing.assert_allclose([s.item() for s in curves.steps(x, r)], [0.75, 0.84375])
    with pytest.raises(ValueError, match="found 4"):
        curves.steps(frames(2, 2, 3), frames(2, 2, 4))


def test_curves_keep_the_range():
    """No curve is the identity; within [-1, 1] values stay in [0, 1]; 0 and 1 stay put."""
    x = frames(4, 5, 3)
    for step in curves.steps(x, jnp.zeros((4, 5, 24))):
        np.testing.assert_array_equal(step, x)
    r = 2 * frames(4, 5, 24, seed=3) - 1
    for step in curves.steps(jnp.round(x), r):
        np.testing.assert_array_equal(step, np.round(x))
    # To the rounding of float32: exactly at |r| = 1 a value may pass the bound by one unit.
    for step in curves.steps(x, jnp.sign(r)):
        assert step.min() >= -1e-6 and step.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("t", "k", "expected"),
    [
        (4, 1, [0, 1, 2, 3]),
        (4, 2, [1, 3]),
        (8, 4, [2, 6]),
        (16, 16, [8]),
        (10, 4, [2, 6, 9]),  # the last group is 8, 9
        (9, 4, [2, 6, 8]),
        (3, 8, [1]),
    ],
)
def test_key_frames(t, k, expected):
    assert curves.key_frames(t, k) == expected


@pytest.mark.parametrize(("t", "k"), [(4, 2), (7, 3), (3, 8), (8, 8)])
def test_groups_share_curves(t, k):
    """Each frame is iterated with its own pixels and the curves of its group."""
    x = frames(2, t, 3, 4, 3)
    r = 2 * frames(2, len(curves.key_frames(t, k)), 3, 4, 24, seed=5) - 1
    shared = curves.shared_steps(x, r, k)
    for i in range(t):
        alone = curves.steps(x[:, i], r[:, i // k])
        for mine, theirs in zip(shared, alone, strict=True):
            np.testing.assert_allclose(mine[:, i], theirs, rtol=1e-6)


def test_gradients_of_curves():
    """Those of the formula written out; what is not a number is still seen in them."""
    x = frames(2, 7, 3, 4, 3)
    r = 2 * frames(2, 3, 3, 4, 6, seed=5) - 1
    weights = frames(2, 7, 3, 4, 3, seed=6)

    def plain(x, r):
        r = jnp.repeat(r, 3, axis=1)[:, :7]
        for i in (0, 3):
            x = x + r[..., i : i + 3] * (x**2 - x)
        return x

    def gradients(enhance, weights):
        return jax.jit(jax.grad(lambda *a: (enhance(*a) * weights).sum(), (0, 1)))(x, r)

    def shared(x, r):
        return curves.shared_steps(x, r, 3)[-1]

    for mine, theirs in zip(gradients(shared, weights), gradients(plain, weights), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert all(np.isnan(g).any() for g in gradients(shared, weights * np.nan))


@pytest.mark.parametrize("net", [dce.ZeroDCE, dce.ZeroDCELight])
def test_k(net):
    """k = 1 is frame by frame; above, curves are those of the middle frames."""
    x = frames(1, 5, 8, 9, 3)
    variables = init(net(), x)
    # Curves near 0, as they begin, would hide a mistake.
    variables = jax.tree.map(lambda v: 3 * v, variables)
    alone, one = apply(net(), variables, x.reshape(-1, 8, 9, 3))
    clip, out = apply(net(), variables, x)
    np.testing.assert_allclose(clip[0], alone, atol=1e-6)
    assert out["curves"].shape == (1, 5, 8, 9, 24)

    grouped, out = apply(net(k=2), variables, x)
    assert out["curves"].shape == (1, 3, 8, 9, 24)
    keys = one["curves"][np.array([1, 3, 4])]
    np.testing.assert_allclose(out["curves"][0], keys, atol=1e-6)
    np.testing.assert_allclose(out["enhanced_8"], grouped)
    expected = curves.shared_steps(x[0], keys, 2)[-1]
    np.testing.assert_allclose(grouped[0], expected, atol=1e-6)
    assert np.abs(expected - alone)[np.array([0, 2])].max() > 1e-4  # and not their own


def test_remat_changes_nothing():
    x = frames(2, 6, 8, 3)
    net = dce.ZeroDCE()
    variables = init(net, x)

    def loss(params, net):
        return (net.apply(params, x, train=True)[0] ** 2).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    for a, b in zip(
        jax.tree.leaves(gradient(variables, net)),
        jax.tree.leaves(gradient(variables, dce.ZeroDCE(remat=True))),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_sci_divides_by_the_illumination():
    """reflectance = frame / illumination in [0, 1]; stages only where asked for or training."""
    x = frames(2, 9, 7, 3)
    net = sci.SCI()
    variables = init(net, x)
    enhanced, out = apply(net, variables, x)
    assert sorted(out) == ["illumination", "reflectance"]
    np.testing.assert_allclose(enhanced, np.clip(x / out["illumination"], 0, 1), rtol=1e-6)
    assert out["illumination"].min() >= 1e-4 and out["illumination"].max() <= 1
    (_, out), stats = apply(net, variables, x, train=True, mutable=["batch_stats"])
    assert "stage2/input" in out and "stage3/input" not in out
    np.testing.assert_array_equal(out["stage0/input"], x)
    # One block, one set of averages: both nets' have moved.
    for net_name in ("enhance", "calibrate"):
        before = variables["batch_stats"][net_name]
        for a, b in zip(
            jax.tree.leaves(before),
            jax.tree.leaves(stats["batch_stats"][net_name]),
            strict=True,
        ):
            assert np.abs(a - b).max() > 0


def test_light_net_normalises_only_while_training():
    x = frames(2, 3, 8, 8, 3)
    net = dce.ZeroDCELight()
    variables = init(net, x)
    grouped = net.clone(bn_group=1)

    @jax.jit
    def five(v, x):
        def trained(net, x):
            (y, _), stats = net.apply(v, x, train=True, mutable=["batch_stats"])
            return y, stats

        a, b = (net.apply(v, clips, train=False)[0] for clips in (x[:1], x))
        return a, b, *trained(net, x), trained(grouped, x)[0], trained(net, x[:1])[0]

    a, b, c, stats, d, e = five(variables, x)
    np.testing.assert_allclose(a, b[:1], atol=1e-6)
    assert np.abs(c - b).max() > 1e-6
    assert len(jax.tree.leaves(stats)) == 2 * (3 * 3 + 2 * 5)
    # In groups of one clip, clips do not see each other.
    np.testing.assert_allclose(d[:1], e, atol=1e-6)


def test_transposed_convolution_by_hand():
    """Pixel (i, j) becomes the square of 2i, 2j; what the earlier map lacks is cut."""
    up = kind.Up(1, jnp.float32)
    kernel = jnp.arange(4.0).reshape(2, 2, 1, 1)
    x = jnp.asarray([[1.0, 10.0]]).reshape(1, 1, 1, 2, 1)
    y = up.apply({"params": {"kernel": kernel}}, x, jnp.ones((1, 1, 2, 3, 1)))
    np.testing.assert_array_equal(y[0, 0, ..., 0], [[0, 1, 0], [2, 3, 20]])
    np.testing.assert_array_equal(y[0, 0, ..., 1], np.ones((2, 3)))


def test_kind_blur():
    """Constant stays constant to the border; a point becomes a Gaussian that sums to one."""
    np.testing.assert_allclose(kind._blur(jnp.full((5, 7, 1), 0.3), 3.0), 0.3, rtol=1e-6)
    point = np.zeros((31, 31, 1), np.float32)
    point[15, 15] = 1
    y = np.asarray(kind._blur(jnp.asarray(point), 3.0))[..., 0]
    np.testing.assert_allclose(y.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(y[15, 18] / y[15, 15], np.exp(-0.5), rtol=1e-5)
    np.testing.assert_allclose(y, y.T, rtol=1e-6)


def test_unet_enlarges_with_aligned_corners():
    """0, 1, 2 -> six numbers from 0 to 2 in equal steps; one pixel is repeated."""
    x = jnp.arange(3.0).reshape(1, 1, 1, 3, 1)
    y = np.asarray(unet._twice(x))[0, 0, ..., 0]
    np.testing.assert_allclose(y, np.tile(np.arange(6) * 0.4, (2, 1)), rtol=1e-6)
    filled = np.asarray(unet._fill(jnp.ones((1, 1, 2, 2, 1)), jnp.zeros((1, 1, 3, 5, 1))))
    np.testing.assert_array_equal(
        filled[0, 0, ..., 0], [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    )
    with pytest.raises(UserError, match="16x16 or more"):
        unet.UNet().init(jax.random.key(0), frames(15, 40, 3), train=False)


def test_leading_axes():
    x = frames(2, 3, 4, 5, 1)
    assert framewise.as_clips(x, jnp.float32).shape == x.shape
    assert framewise.as_clips(x[0], jnp.float32).shape == (3, 1, 4, 5, 1)
    y = framewise.as_clips(x[0, 0], jnp.bfloat16)
    assert y.shape == (1, 1, 4, 5, 1)
    assert framewise.like(y, x[0, 0]).shape == (4, 5, 1)
