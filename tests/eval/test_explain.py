"""Where a network looked: planted squares are found, by class, by every kind of network."""

import dataclasses
import functools
import types
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_families import TINY

from darkjax import loaded, methods, models
from darkjax.data.decode import read_video, write_video
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError
from darkjax.eval import cut, explain, heat
from darkjax.intake import Intake
from darkjax.methods import base
from darkjax.models.dce import ZeroDCE
from darkjax.tools import explain as tool

CLASSES = ("red", "green", "blue")
PLACES = {"red": (2, 5, 1), "blue": (6, 2, 7)}  # frame, row and column of the map
GRID = (8, 6, 8)
CONFIG = types.SimpleNamespace(method="colour", get=lambda *_: {"name": "colours"})


class Colours(nn.Module):
    """A map of how much of each colour there is in cells of 4 x 4, its mean the classes' scores."""

    @nn.compact
    def __call__(self, video, *, train):
        b, t, h, w, c = video.shape
        x = video.reshape(b, t, h // 4, 4, w // 4, 4, c).mean((3, 5))
        dark = jnp.concatenate([x, -x.sum(-1, keepdims=True)], -1)  # a channel that votes for none
        logits = dark.mean((1, 2, 3)) @ jnp.concatenate([40 * jnp.eye(3), jnp.zeros((1, 3))])
        return logits, {"features": dark, "pre_logits": dark.mean((1, 2, 3))}


@dataclasses.dataclass(frozen=True, eq=False)
class Of(methods.Method):
    """Any module as a method."""

    net: Any = None

    def predict(self, variables, batch):
        views = getattr(self.net, "views", 1)
        video = base.to_float(batch["video"])
        return self.net.apply(variables, *[video] * views, train=False)


def of(net, variables, size=(24, 32), frames=8, method=None):
    method = method or Of(CONFIG, methods.Spec(CLASSES), net)
    views = ViewConfig(frames=frames, size=size, crop="resized")
    intake = Intake(short_side=min(size), fps=10, channels=3)
    return loaded.Model(
        "runs/any/only", CLASSES, {"only": CONFIG}, method, variables, intake, views
    )


@pytest.fixture(scope="module")
def model():
    return of(Colours(), {})


@pytest.fixture(scope="module")
def clip():
    """A dark clip of ten frames with a red and a blue square, each in two frames."""
    video = np.random.default_rng(0).integers(0, 12, (8, 24, 32, 3), np.uint8)
    for name, (t, y, x) in PLACES.items():
        at = video[t, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        at[..., CLASSES.index(name)] = 220
    return video


def test_scores_are_those_of_a_changed_value():
    """And slopes those of autodiff, through jitted parts, of values with two names."""

    def function(w, x):
        h = jax.nn.relu(jnp.sin(x * w))
        y = jnp.sum(h**2) + jnp.sum(jax.jit(lambda q: 3 * q)(h))
        return y, {"features": h, "again": h}

    @jax.jit
    def found(w, x):
        scores, out, rest = cut.at(function, w, x)
        ones = {"features": jnp.ones(4), "again": jnp.ones(4)}
        return scores, out, rest(ones), jax.grad(rest)({"features": out["features"]})

    x = jnp.arange(4.0)
    scores, out, ones, slope = found(jnp.float32(2), x)
    h = np.maximum(np.sin(2 * np.arange(4)), 0)
    np.testing.assert_allclose(scores, (h**2 + 3 * h).sum(), rtol=1e-5)
    np.testing.assert_allclose(out["features"], h, atol=1e-6)
    np.testing.assert_allclose(ones, 16)
    np.testing.assert_allclose(slope["features"], 2 * h + 3, rtol=1e-5)


def test_the_planted_square_of_the_class_is_found(model, clip):
    for name, place in PLACES.items():
        found = explain.explain(model, clip, name)
        assert (found.heat.shape, found.heat.dtype, found.name) == (GRID, np.float32, name)
        assert np.unravel_index(found.heat.argmax(), GRID) == place
        amount = clip[..., CLASSES.index(name)].reshape(8, 6, 4, 8, 4).mean((2, 4))
        np.testing.assert_allclose(found.heat, amount / amount.max(), atol=1e-5)
    best = explain.explain(model, clip)
    scores = model.probabilities(clip)
    assert best.name == CLASSES[scores.argmax()]
    assert best.probability == pytest.approx(scores.max(), abs=1e-5)
    np.testing.assert_array_equal(best.video, clip)


def test_a_look_without_heat_of_its_own_gets_one(model, clip):
    seen, found = model.look(clip)
    np.testing.assert_array_equal(seen, clip)
    np.testing.assert_allclose(found, explain.explain(model, clip).heat, atol=1e-6)


def test_what_cannot_be_explained_is_one_line(model, clip):
    for args, said in (
        (("gren",), "runs/any/only has no class 'gren': did you mean 'green'"),
        ((None, "gradkam"), "how='gradkam': expected one of gradcam, rollout, attention"),
        ((None, "rollout"), "model 'colours' has no class token .*: take --how=gradcam"),
    ):
        with pytest.raises(UserError, match=said):
            explain.explain(model, clip, *args)
    with pytest.raises(UserError, match="has no enhancer of curves"):
        explain.curves(model, clip)


def attentions(rng, lead, tokens, heads=2):
    x = rng.random((lead, heads, tokens, tokens)).astype(np.float32)
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize("how", ["attention", "rollout"])
@pytest.mark.parametrize("over_time", [False, True])
def test_rollout_is_the_product_of_whole_matrices(how, over_time):
    """Of all tokens at once; the code takes one row through space and time."""
    rng = np.random.default_rng(0)
    t, h, w = 3, 2, 2
    p = h * w
    maps, weights = {}, {}
    for i in range(3):
        maps[f"block{i}/attention"] = attentions(rng, t, 1 + p)
        if over_time:
            maps[f"block{i}/temporal_attention"] = attentions(rng, p, t)
    for name, x in maps.items():
        weights[name] = rng.standard_normal(x.shape).astype(np.float32)

    def rest(values):
        return sum((values[n] * weights[n]).sum() for n in values)[None, None]

    of_class = how == "rollout"
    chosen = jnp.int32(0) if of_class else None
    found = heat.rollout(
        {k: jnp.asarray(v) for k, v in maps.items()}, rest, (1, t, 2, 2, 3), chosen
    )

    def step(name):
        x = maps[name]
        return np.maximum(x * weights[name], 0).mean(1) if of_class else x.mean(1) / 2

    stay = np.eye(1 + t * p) * (1.0 if of_class else 0.5)
    index = 1 + np.arange(t * p).reshape(t, p)
    if not over_time:  # a ViT of each frame: their class tokens are averaged
        expected = np.zeros((t, p))
        for frame in range(t):
            row = np.eye(1 + p)[0] / t
            for i in (2, 1, 0):
                row = row @ (np.eye(1 + p) * stay[0, 0] + step(f"block{i}/attention")[frame])
            expected[frame] = row[1:]
    else:
        row = np.eye(1 + t * p)[0]
        for i in (2, 1, 0):
            space, time = stay.copy(), stay.copy()
            time[0, 0] = 1.0  # the class token stands beside the attention over time
            for frame in range(t):
                a = step(f"block{i}/attention")[frame]
                share = 1.0 if of_class else 1 / t
                space[0, 0] += share * a[0, 0]
                space[0, index[frame]] += share * a[0, 1:]
                space[index[frame], 0] += a[1:, 0]
                space[np.ix_(index[frame], index[frame])] += a[1:, 1:]
            for place in range(p):
                own = np.ix_(index[:, place], index[:, place])
                time[own] += step(f"block{i}/temporal_attention")[place]
            row = row @ space @ time
        expected = row[1:].reshape(t, p)
    np.testing.assert_allclose(np.asarray(found).reshape(t, p), expected, rtol=1e-4)


def drawn(rng, path, value):
    """An array of weights, of about the size that keeps what goes through it."""
    if path[-1].key in ("scale", "var"):
        return np.ones(value.shape, np.float32)
    fan = max(np.prod(value.shape[:-1]), 1)
    return (rng.standard_normal(value.shape) / fan**0.5).astype(np.float32)


FAST = ("resnet3d", "vit", "timesformer")  # the others take longer to compile


@pytest.mark.parametrize(
    "family", [f if f in FAST else pytest.param(f, marks=pytest.mark.slow) for f in TINY]
)
def test_networks_of_every_kind_are_looked_into(family):
    """Shapes, range, and a map that is that of the class."""
    fields, (frames, height, width) = TINY[family]
    net = models.build(fields, 3)
    method = Of(CONFIG, methods.Spec(CLASSES), net)
    views = [jax.ShapeDtypeStruct((1, frames, height, width, 3), np.float32)]
    views *= getattr(net, "views", 1)
    shapes = jax.eval_shape(lambda *x: net.init(jax.random.key(0), *x, train=False), *views)
    for seed in range(8):  # by some weights all that speaks for a class is negative: no heat then
        rng = np.random.default_rng(seed)
        video = rng.integers(0, 255, (frames, height, width, 3), np.uint8)
        variables = jax.tree_util.tree_map_with_path(functools.partial(drawn, rng), shapes)
        model = of(net, variables, (height, width), frames, method)
        every = [explain.explain(model, video, name) for name in CLASSES]
        if np.abs(every[0].heat - every[1].heat).max() > 0.01:
            break
    for found in every:
        assert found.heat.ndim == 3 and found.heat.size > 1
        assert np.isfinite(found.heat).all() and found.heat.min() >= 0 and found.heat.max() <= 1
    assert max(found.heat.max() for found in every) == pytest.approx(1)
    assert np.abs(every[0].heat - every[1].heat).max() > 0.01
    assert min(every[0].heat.shape[1:]) >= 2 + 2 * (family not in ("vit", "timesformer"))
    if family in ("vit", "timesformer"):
        cams = [explain.explain(model, video, name, "gradcam").heat for name in CLASSES]
        assert cams[0].shape == every[0].heat.shape == (frames, 2, 2)
        assert max(cam.max() for cam in cams) == pytest.approx(1)  # no slope, no heat
    if family == "timesformer":
        plain = [explain.explain(model, video, n, "attention").heat for n in CLASSES[:2]]
        np.testing.assert_array_equal(*plain)
    elif family != "vit":
        with pytest.raises(UserError, match="no roll-out: take --how=gradcam"):
            explain.explain(model, video, "red", "attention")


class Enhancer(Of):
    """Zero-DCE alone."""

    judge = "frames"


def test_curves_are_those_of_the_frames(clip):
    """Of a group the frames share them: applied, they give what was enhanced."""
    k, net = 3, ZeroDCE(iterations=2, width=4, k=3)
    video = jnp.zeros((1, *clip.shape))
    variables = jax.tree.map(
        lambda x: 20 * np.asarray(x), net.init(jax.random.key(0), video, train=False)
    )
    model = of(net, variables, method=Enhancer(CONFIG, methods.Spec(CLASSES), net))
    found = explain.curves(model, clip)
    assert found.curves.shape == (8, 24, 32, 2, 3) and np.abs(found.curves).max() < 1
    x = clip / 255
    for i in range(2):
        x = x + found.curves[..., i, :] * (x * x - x)
    np.testing.assert_allclose(found.enhanced / 255, x, atol=0.5 / 255 + 1e-4)
    assert (found.enhanced != clip).any()
    shared = (found.curves[0] == found.curves[k - 1]).all()
    assert shared and not (found.curves[0] == found.curves[k]).all()


@pytest.fixture
def file(tmp_path, clip):
    path = tmp_path / "clip.mp4"
    write_video(path, np.concatenate([clip, clip, clip[:4]]), 10)
    return path


@pytest.fixture
def program(model, monkeypatch):
    """The tool with this model in the place of every run."""
    monkeypatch.setattr(loaded, "load", lambda run: model)
    return lambda *words: tool.main(["--run=runs/any", *map(str, words)])


def test_a_sheet_and_a_video(program, file, tmp_path, capsys):
    from PIL import Image

    assert program(file, "--class=blue", f"--output={tmp_path / 'why.png'}") == 0
    said = capsys.readouterr().out
    assert "where it looked for blue (0." in said and "clip.mp4: " in said
    sheet = np.asarray(Image.open(tmp_path / "why.png"))
    assert sheet.shape[0] > 260 and sheet.shape[1] > 6 * 150
    assert program(file, f"--output={tmp_path / 'why.mp4'}") == 0
    lines = capsys.readouterr().out.splitlines()
    windows = [line.split()[1:5:2] for line in lines[:-1]]
    assert windows == [["0.00", "0.80"], ["0.80", "1.60"], ["1.60", "2.00"]]
    video = read_video(tmp_path / "why.mp4")
    assert len(video.frames) == 20 and video.frames.shape[2] > 32


def test_curves_on_a_sheet_and_in_a_video(file, tmp_path, monkeypatch, capsys, clip):
    net = ZeroDCE(iterations=2, width=4)
    variables = net.init(jax.random.key(0), jnp.zeros((1, *clip.shape)), train=False)
    model = of(net, variables, method=Enhancer(CONFIG, methods.Spec(CLASSES), net))
    monkeypatch.setattr(loaded, "load", lambda run: model)
    for name in ("curves.png", "curves.mp4"):
        assert tool.main([str(file), f"--output={tmp_path / name}"]) == 0
        assert (tmp_path / name).stat().st_size > 1000
    said = capsys.readouterr().out
    assert "before\nafter\nr1: mean" in said and "s  brightened 0." in said
    with pytest.raises(UserError, match="does not name classes"):
        explain.explain(model, clip)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.mp4", "--output=x.png"), "none.mp4: no such file"),
        (("FILE", "--output=x.gif"), "--output=x.gif: expected a file .png, .jpg"),
        (("FILE", "--output=x.png", "--how=saliency"), "--how=saliency: expected one of gradcam"),
        (("FILE", "--output=FILE"), "is the input: give another name"),
        (("FILE", "--output=nowhere/x.png"), "no folder nowhere"),
        (("FILE", "--output=x.png", "--class=red", "--how=attention"), "the same for every class"),
        (("FILE", "--output=x.png", "--how=curves"), "has no enhancer of curves"),
    ],
)
def test_what_the_tool_refuses(program, file, words, said):
    with pytest.raises(UserError, match=said):
        program(*(word.replace("FILE", str(file)) for word in words))
