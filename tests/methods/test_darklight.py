"""DarkLight: which views the network sees and how many, in each of the config's networks."""

import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import methods, models
from darkjax.errors import UserError
from darkjax.models.views_bert import ViewsBert
from darkjax.ops import enhance
from darkjax.weights import preprocess

CONFIG = f"{tiny_run.ROOT}/configs/darklight_arid.py"
TINY = {"variant": (1,), "width": 16, "stem_mid": 4, "stem_kernel": 3}
DARK = np.random.default_rng(0).integers(0, 60, (2, 4, 16, 16, 3))
BATCH = {
    "video": jnp.asarray(DARK, jnp.uint8),
    "label": jnp.asarray([0, 2], jnp.int32),
    "mask": jnp.ones(2, jnp.float32),
}


def make(words="demo", **fields):
    c = configs.load(f"{CONFIG}:{words}")
    with c.unlocked():
        c.darklight.model.backbone = TINY
        c.darklight.augment = {}
        c.darklight.update(fields)
    return methods.make(configs.resolve(c).darklight, methods.Spec.numbered(3))


def test_each_view_is_the_clip_as_its_name_says():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
    method = make("demo,md_bert", gamma=2.0, mean=mean, std=std)
    dark = DARK / 255
    equalised = np.asarray(enhance.METHODS["he"](jnp.asarray(dark, jnp.float32)))
    expected = (dark, np.sqrt(dark), equalised)
    shown = method.shown(jnp.asarray(dark, jnp.float32))
    views = method.views(jnp.asarray(dark, jnp.float32))
    for found, seen, light in zip(shown, views, expected, strict=True):
        np.testing.assert_allclose(found, light, atol=1e-6)
        np.testing.assert_allclose(seen, (light - mean) / std, rtol=1e-4, atol=1e-4)
    side_by_side = method.look(BATCH, {}).video
    assert side_by_side.shape == (2, 4, 16, 48, 3)
    np.testing.assert_allclose(side_by_side[:, :, :, 16:32], np.sqrt(dark), atol=1e-6)


def test_padding_does_not_weigh(monkeypatch):
    padding.small_networks(monkeypatch)
    padding.check(make())


@pytest.mark.parametrize(
    ("words", "parts", "tokens"),
    [
        ("demo", {"backbone", "bert", "head"}, 8),
        ("demo,no_attention", {"backbone", "head"}, 8),
        ("demo,gamma_only", {"backbone", "bert", "head"}, 4),
        ("demo,md_bert", {"backbone", "fusion", "bert", "head"}, 4),
        ("arid6,r2plus1d_bert", {"backbone", "bert", "head"}, 4),
    ],
)
def test_words_make_the_network_that_they_name(words, parts, tokens):
    method = make(words)
    variables = jax.eval_shape(method.init, jax.random.key(0), BATCH)
    assert set(variables["params"]) == parts
    logits, out = jax.eval_shape(method.predict, variables, BATCH)
    assert (logits.shape, out["tokens"].shape) == ((2, 3), (2, tokens, 16))
    key = jax.random.key(1)
    value, aux = jax.eval_shape(method.loss, variables, BATCH, key, jnp.zeros(()))
    assert value.shape == () and set(aux.metrics) == {"ce", "accuracy"}
    assert jax.tree.structure(aux.collections["batch_stats"]) == jax.tree.structure(
        variables["batch_stats"]
    )


@pytest.mark.parametrize(
    ("words", "arch"), [("", "darklight_r2plus1d34"), ("r2plus1d_bert", "r2plus1d34_bert")]
)
def test_the_paper_s_network_is_the_zoo_s(words, arch):
    """Whose parameters are counted and whose published files are converted."""
    c = configs.load(f"{CONFIG}:{words}")
    net = methods.make(configs.resolve(c).darklight, methods.Spec.numbered(11)).model
    theirs = models.build({"name": arch}, 11)
    fields = set(ViewsBert.__dataclass_fields__) - {"parent", "name", "backbone", "backbone_net"}
    assert {f: getattr(net, f) for f in fields} == {f: getattr(theirs, f) for f in fields}
    assert (net.backbone_net, dict(net.backbone)) == ("r2plus1d", {"variant": "34"})
    assert models.resolve(theirs.backbone_net, {})[1] == {"variant": "34"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "count"),
    [("pretrained", 66_659_218), ("r2plus1d_bert", 66_655_122), ("md_bert", 66_986_005)],
)
def test_parameters_at_paper_size(words, count):
    c = preprocess.settle(configs.resolve(configs.load(f"{CONFIG}:{words}")), needed=False)
    method = methods.make(c.darklight, methods.Spec.numbered(11))
    clip = {"video": jax.ShapeDtypeStruct((1, 64, 112, 112, 3), jnp.uint8)}
    params = jax.eval_shape(method.init, jax.random.key(0), clip)["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == count


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"views": ("dark",), "model": {"name": "darklight_r2plus1d34"}}, "are 1, and model 'dark"),
        ({"model": {"name": "r2plus1d"}}, r"views=\('dark', 'gamma'\) are 2, and model 'r2plus1d'"),
        ({"views": ("dark", "flow")}, "views=.*expected a tuple of 1 or 2 or 3"),
    ],
)
def test_views_that_a_network_cannot_take_are_named(fields, said):
    c = configs.load(f"{CONFIG}:demo")
    with c.unlocked():
        for name, value in fields.items():
            c.darklight[name] = value
    with pytest.raises(UserError, match=said):
        methods.make(configs.resolve(c).darklight, methods.Spec.numbered(3))
