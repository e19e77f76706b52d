"""R(2+1)D-BERT and DarkLight: the originals' outputs, counts and names; masks and views."""

import family
import golden_weights as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.models.bert import Bert, LayerNorm
from darkjax.models.r2plus1d import R2Plus1D
from darkjax.models.views_bert import ViewsBert
from darkjax.optim import flatten, unflatten
from darkjax.weights import names
from darkjax.weights.families import r2plus1d
from darkjax.weights.families.views_bert import ARCHS, RULES

TINY = {"backbone": {"variant": (1,), "width": 16, "stem_mid": 4, "first_stride": 2}}
CLIP = jax.ShapeDtypeStruct((1, 64, 112, 112, 3), jnp.float32)


def head(source, prefix):
    """The transformer's variables from a state dict of the head alone."""
    found = names.rename({f"{prefix}.{k}": v for k, v in source.items()}, names.NameMap(RULES))
    assert found.unknown == []
    return {"params": unflatten({k.removeprefix("bert/"): v for k, v in found.params.items()})}


def clip(seed=1, frames=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, frames, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("entry", "prefix"), [("bert5_512", "bert"), ("darklight_attention", "self_attention")]
)
def test_the_transformer_is_the_originals(shared, entry, prefix):
    meta, arrays = golden.load(shared / "golden", entry)
    source, x = golden.state_dict(meta), golden.inputs(meta)
    assert family.count(Bert(), x) == meta["params"]
    y, (weights,) = family.evaluate(Bert(), head(source, prefix), x)
    family.close(y, arrays["features"], 3e-5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_the_small_transformer_is_the_originals(shared):
    with np.load(shared / "golden" / "bert5_d64_io.npz") as arrays:
        source = {k.removeprefix("p:"): v for k, v in arrays.items() if k.startswith("p:")}
        x, y = arrays["x"], arrays["y"]
    found, _ = family.evaluate(Bert(), head(source, "bert"), x)
    family.close(found, y, 1e-5)


def test_the_norm_has_the_unbiased_deviation_plus_eps():
    x = jnp.asarray([[1.0, 2.0, 3.0, 6.0]])  # mean 3, squares 4 1 0 9: variance 14 / 3
    y = LayerNorm().apply({"params": {"scale": jnp.full(4, 2.0), "bias": jnp.ones(4)}}, x)
    std = np.sqrt(14 / 3) + 1e-6
    np.testing.assert_allclose(y[0], 1 + 2 * np.array([-2, -1, 0, 3]) / std, rtol=1e-6)


def test_the_norm_of_equal_entries_is_finite():
    params = {"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}
    y, grad = jax.value_and_grad(lambda x: LayerNorm().apply(params, x).sum())(jnp.ones((1, 3)))
    assert float(y) == 0
    assert np.isfinite(grad).all()


@pytest.mark.parametrize(
    ("arch", "expected"),
    [("darklight_r2plus1d34", 66_659_218), ("r2plus1d34_bert", 66_655_122)],
)
def test_parameters_are_the_originals(arch, expected):
    fields = {k: v for k, v in ARCHS[arch].model.items() if k != "name"}
    assert family.count(ViewsBert(11, **fields), CLIP) == expected


def test_resnext_s_tokens_are_as_wide_as_its_last_map():
    """BERT of width W has 12 W^2 + (15 + L) W parameters over L tokens, here 4 of each view.

    In a table of DTCM's paper DarkLight with ResNeXt-101 has 97.97 million.
    """
    net = ViewsBert(11, views=2, backbone_net="resnext101")
    assert family.count(net, CLIP) == 47_543_755 + 12 * 2048**2 + (15 + 8) * 2048


def test_fused_views_become_one_set_of_tokens():
    clips = [clip(seed) for seed in (1, 2, 3)]
    model = ViewsBert(3, views=3, fusion="sigmoid", **TINY)
    variables = family.init(model, *clips)
    assert set(variables["params"]) == {"backbone", "bert", "fusion", "head"}
    _, out = family.evaluate(model, variables, *clips)
    maps = np.stack([out[f"{view}/features"] for view in ("dark", "bright", "third")], axis=1)
    weights = np.asarray(out["fusion/weights"])
    assert weights.shape == maps.shape[:-1] == (2, 3, 2, 4, 4)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    expected = (weights[..., None] * maps).sum(1).mean((2, 3))
    np.testing.assert_allclose(out["tokens"], expected, rtol=1e-4, atol=1e-5)


def test_without_attention_the_mean_of_all_tokens_is_classified():
    model = ViewsBert(3, views=2, attention=False, **TINY)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), clip())
    assert set(shapes["params"]) == {"backbone", "head"}
    variables = family.init(model, clip())
    logits, out = family.evaluate(model, variables, clip(1), clip(2))
    mean = np.asarray(out["tokens"]).mean(1)
    np.testing.assert_allclose(out["pre_logits"], mean, rtol=1e-5)
    np.testing.assert_allclose(logits, mean @ variables["params"]["head"]["kernel"], rtol=1e-4)
    assert out["tokens"].shape == (2, 4, 16)


def published(meta, arch, tokens, classes):
    """A state dict of the whole model: R(2+1)D's names below `features`, head and classifier."""
    shapes = {}
    for key, shape in meta["keys"]:
        module, _, rest = key.partition(".")
        if module != "fc":
            index = 0 if module == "stem" else int(module.removeprefix("layer"))
            shapes[f"module.features.{index}.{rest}"] = shape
    bert = "self_attention" if arch == "darklight_r2plus1d34" else "bert"
    block = f"module.{bert}.transformer_blocks.0"
    linears = {f"attention.linear_layers.{i}": (512, 512) for i in range(3)}
    linears |= {"attention.output_linear": (512, 512)}
    linears |= {"feed_forward.w_1": (2048, 512), "feed_forward.w_2": (512, 2048)}
    shapes |= {
        f"module.{bert}.clsToken": (1, 1, 512),
        f"module.{bert}.embedding.learnedPosition.pe": (1, tokens + 1, 512),
        **{f"{block}.{name}.weight": shape for name, shape in linears.items()},
        **{f"{block}.{name}.bias": shape[:1] for name, shape in linears.items()},
        "module.fc_action.weight": (classes, 512),
        "module.fc_action.bias": (classes,),
    }
    for sublayer in ("input_sublayer", "output_sublayer"):
        shapes |= {f"{block}.{sublayer}.norm.{leaf}": (512,) for leaf in ("a_2", "b_2")}
    return family.generated(shapes)


@pytest.mark.parametrize(
    ("arch", "frames", "tokens"),
    [("darklight_r2plus1d34", 64, 16), ("r2plus1d34_bert", 64, 8), ("r2plus1d34_bert", 32, 4)],
)
def test_every_published_name_has_its_place(shared, arch, frames, tokens):
    meta, _ = golden.load(shared / "golden", "r2plus1d34_ig65m")
    source = published(meta, arch, tokens, 48)
    x = jax.ShapeDtypeStruct((1, frames, 112, 112, 3), jnp.float32)
    model, variables = family.convert(ARCHS[arch], ViewsBert, source, x)
    assert (model.num_classes, model.views) == (48, 2 if tokens == 16 else 1)
    kernel = variables["params"]["backbone"]["stage4_2"]["conv2"]["temporal"]["kernel"]
    theirs = source["module.features.4.2.conv2.0.3.weight"]
    np.testing.assert_array_equal(kernel, names.kernel(theirs))


@pytest.mark.slow
def test_the_whole_is_its_parts(shared):
    """Backbone and head are each the originals': here the path between them, at 112x112.

    R(2+1)D's own golden fixes its last map; its mean over each frame is the head's input.
    """
    meta, _ = golden.load(shared / "golden", "r2plus1d34_ig65m")
    source = published(meta, "darklight_r2plus1d34", 2, 7)
    dark, bright = clip(1, 8), clip(2, 8)
    model, variables = family.convert(
        ARCHS["darklight_r2plus1d34"], ViewsBert, source, dark, bright
    )
    logits, out = family.evaluate(model, variables, dark, bright)
    own = {k.replace("module.features.0", "stem"): v for k, v in source.items()}
    own = {k.replace("module.features.", "layer"): v for k, v in own.items()}
    own = {k: v for k, v in own.items() if k.startswith(("stem", "layer"))}
    net, weights = family.convert(r2plus1d.ARCHS["r2plus1d34"], R2Plus1D, own, dark)
    tokens = [family.evaluate(net, weights, x)[1]["features"].mean((2, 3)) for x in (dark, bright)]
    tokens = np.concatenate(tokens, axis=1)
    np.testing.assert_allclose(out["tokens"], tokens, rtol=1e-4, atol=1e-5)
    y, _ = family.evaluate(Bert(), {"params": variables["params"]["bert"]}, tokens)
    kernel, bias = source["module.fc_action.weight"].T, source["module.fc_action.bias"]
    family.close(logits, np.asarray(y)[:, 0] @ kernel + bias, 1e-4)


def test_two_views_share_one_backbone_and_come_in_order():
    model = ViewsBert(3, views=2, **TINY)
    dark, bright = clip(1), clip(2)
    variables = family.init(model, dark, bright)
    assert set(variables["params"]) == {"backbone", "bert", "head"}
    _, out = family.evaluate(model, variables, dark, bright)
    single = ViewsBert(3, **TINY)
    params = {
        **variables["params"],
        "bert": {**variables["params"]["bert"], "position": jnp.zeros((1, 3, 16))},
    }
    for i, x in enumerate((dark, bright)):
        _, alone = family.evaluate(single, {**variables, "params": params}, x)
        half = out["tokens"][:, 2 * i : 2 * i + 2]
        np.testing.assert_allclose(half, alone["tokens"], rtol=1e-5, atol=1e-6)
    assert out["bert0/attention"].shape == (2, 8, 5, 5)
    _, twice = family.evaluate(model, variables, dark)
    np.testing.assert_array_equal(twice["tokens"][:, :2], twice["tokens"][:, 2:])
    with pytest.raises(UserError, match=r"views=1 takes 1 clip\(s\), found 2"):
        single.apply(variables, dark, bright, train=False)


def test_hidden_tokens_change_nothing():
    """With `mask_prob` 0 every token but the class token is hidden from all."""
    model = Bert(dropout=0.0, mask_prob=0.0)
    x = jax.random.normal(jax.random.key(0), (2, 4, 16))
    variables = family.init(model, x)
    rngs = {"dropout": jax.random.key(1)}
    y, (weights,) = model.apply(variables, x, train=True, rngs=rngs)
    np.testing.assert_array_equal(weights, np.broadcast_to(np.eye(5)[0], weights.shape))
    z, _ = model.apply(variables, x * 3, train=True, rngs=rngs)
    np.testing.assert_array_equal(y[:, 0], z[:, 0])
    seen, _ = model.apply(variables, x * 3, train=False)
    assert np.abs(seen[:, 0] - y[:, 0]).max() > 1e-3


def test_four_fifths_of_the_tokens_are_seen():
    model = Bert(dropout=0.0)
    x = jax.random.normal(jax.random.key(0), (500, 8, 16))
    variables = family.init(model, x)
    rngs = {"dropout": jax.random.key(1)}
    _, (weights,) = jax.jit(lambda v, x: model.apply(v, x, train=True, rngs=rngs))(variables, x)
    seen = weights[:, 0, 0] > 0  # the same for every head and asking token
    np.testing.assert_array_equal(weights > 0, np.broadcast_to(seen[:, None, None], weights.shape))
    assert seen[:, 0].all()
    assert abs(float(seen[:, 1:].mean()) - 0.8) < 0.02
    everything = model.clone(mask_prob=1.0)
    _, (weights,) = everything.apply(variables, x, train=True, rngs=rngs)
    assert (weights > 0).all()


def test_training_without_an_rng_is_evaluation():
    model = Bert()
    x = jax.random.normal(jax.random.key(0), (2, 4, 16))
    variables = family.init(model, x)
    y, _ = jax.jit(lambda v, x: model.apply(v, x, train=True))(variables, x)
    np.testing.assert_array_equal(y, family.evaluate(model, variables, x)[0])


@pytest.mark.slow
def test_every_parameter_learns_and_each_view_updates_the_statistics():
    model = ViewsBert(3, views=2, mask_prob=1.0, **TINY, dtype=jnp.bfloat16)
    dark, bright = clip(1)[..., :2], clip(2)[..., :2]
    variables = family.init(model, dark, bright)

    def loss(params):
        (logits, out), updated = model.apply(
            {**variables, "params": params},
            dark,
            bright,
            train=True,
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats"],
        )
        assert (logits.dtype, out["bright/features"].dtype) == (jnp.float32, jnp.bfloat16)
        return jnp.square(logits - jnp.arange(3.0)).sum(), (out["dark/stem"], updated)

    grads, (_, updated) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    still = [k for k, g in flatten(grads).items() if not np.abs(g).max() > 0]
    # softmax does not see what all keys share
    assert still in ([], ["bert/block0/key/bias"])
    assert all(np.isfinite(g).all() for g in flatten(grads).values())
    # momentum .9 twice: .01 of the initial variance 1 is left, .09 dark, .9 bright
    kernel = np.asarray(variables["params"]["backbone"]["stem_spatial"]["kernel"])
    var = []
    for x in (dark, bright):
        y = jax.lax.conv_general_dilated(
            x.reshape(-1, *x.shape[2:]),
            kernel[0],
            (2, 2),
            ((3, 3), (3, 3)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        var.append(np.asarray(y).reshape(-1, 4).var(0, ddof=1))
    found = updated["batch_stats"]["backbone"]["stem_bn1"]["var"]
    np.testing.assert_allclose(found, 0.01 + 0.09 * var[0] + 0.9 * var[1], rtol=2e-2)


def test_a_backbone_has_no_head_and_names_its_parts():
    x = jax.ShapeDtypeStruct((2, 4, 16, 16, 1), jnp.float32)
    model = ViewsBert(None, **TINY)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    assert set(variables["params"]) == {"backbone", "bert"}
    features, out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, x)
    assert features.shape == (2, 16)
    assert {"backbone/features", "tokens", "attended", "bert0/attention", "pre_logits"} <= set(out)
    assert out["attended"].shape == (2, 2, 16)
