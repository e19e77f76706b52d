"""TSN, TSM and TIN: the originals' outputs, counts and names; what each sees of time."""

import functools

import family
import golden_weights as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.models.resnet_frames import STAGE_SIZES, Interlace, ResNetFrames
from darkjax.ops import shift
from darkjax.optim import flatten
from darkjax.weights.families.resnet_frames import ARCHS

EIGHT = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), jnp.float32)
TINY = {"variant": "14", "width": 16}


def tiny(temporal="none", **fields):
    return ResNetFrames(5, temporal=temporal, shift_div=4, **TINY, **fields)


def clip(shape=(2, 4, 32, 32, 3)):
    return jax.random.normal(jax.random.key(7), shape)


def test_tsm_gives_the_originals_logits_and_frame_features(shared):
    meta, arrays = golden.load(shared / "golden", "tsm_resnet50")
    x = golden.inputs(meta)
    model, variables = family.convert(
        ARCHS["tsm_resnet50"], ResNetFrames, golden.state_dict(meta), x
    )
    for suffix, video in (("", x), ("_b", golden.blocky(meta))):
        logits, out = family.evaluate(model, variables, video)
        family.close(logits, arrays["logits" + suffix], 1e-4)
        family.close(out["frame_features"], arrays["features" + suffix], 1e-4)
        family.close(out["pre_logits"], arrays["features" + suffix].mean(1), 1e-4)


@pytest.mark.parametrize(
    ("arch", "classes", "expected"),
    [
        ("tsn_resnet50", 400, 24_327_632),  # 11 of TSN and TSM: test_zoo.py
        pytest.param("tsm_resnet50", 48, 23_606_384, marks=pytest.mark.slow),
        pytest.param("tin_resnet50", 48, 23_637_392, marks=pytest.mark.slow),
        pytest.param("tin_resnet50", 174, 23_895_566, marks=pytest.mark.slow),
        ("tin_resnet50", 400, 24_358_640),
    ],
)
def test_parameters_are_the_originals(arch, classes, expected):
    fields = {k: v for k, v in ARCHS[arch].model.items() if k != "name"}
    assert family.count(ResNetFrames(classes, **fields), EIGHT) == expected


def names_of(arch, segments, fc="new_fc"):
    """Names and shapes of a published state dict, below `module.base_model.`."""
    found = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name, width):
        leaves = ("weight", "bias", "running_mean", "running_var")
        found.update({f"{name}.{leaf}": (width,) for leaf in leaves})
        found[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    inputs = 64
    for layer, blocks in enumerate(STAGE_SIZES["50"], start=1):
        planes = 32 * 2**layer
        for i in range(blocks):
            at, fold = f"layer{layer}.{i}", inputs // 4
            conv1 = {"tsn_resnet50": "conv1", "tsm_resnet50": "conv1.net"}.get(arch, "conv1.net2")
            found[f"{at}.{conv1}.weight"] = (planes, inputs, 1, 1)
            if arch == "tin_resnet50":
                bias, weight = f"{at}.conv1.net1.biasnet.net", f"{at}.conv1.net1.weightnet.net"
                found |= {
                    f"{bias}.conv.weight": (1, fold, 3),
                    f"{bias}.conv.bias": (1,),
                    f"{bias}.fc.weight": (segments, segments),
                    f"{bias}.fc.bias": (segments,),
                    f"{bias}.lastlayer.weight": (2, segments),
                    f"{bias}.lastlayer.bias": (2,),
                    f"{weight}.lastlayer.weight": (2, fold, 3),
                    f"{weight}.lastlayer.bias": (2,),
                }
            found[f"{at}.conv2.weight"] = (planes, planes, 3, 3)
            found[f"{at}.conv3.weight"] = (4 * planes, planes, 1, 1)
            for j, width in enumerate((planes, planes, 4 * planes), start=1):
                norm(f"{at}.bn{j}", width)
            if i == 0:
                found[f"{at}.downsample.0.weight"] = (4 * planes, inputs, 1, 1)
                norm(f"{at}.downsample.1", 4 * planes)
            inputs = 4 * planes
    head = {"weight": (7, 2048), "bias": (7,)}
    if fc == "fc":  # torchvision's own, or a TSN without dropout
        return found | {f"fc.{leaf}": shape for leaf, shape in head.items()}
    found = {f"module.base_model.{name}": shape for name, shape in found.items()}
    return found | {f"module.{fc}.{leaf}": shape for leaf, shape in head.items()}


@pytest.mark.parametrize(
    ("arch", "segments", "fc"),
    [
        ("tsn_resnet50", 8, "new_fc"),
        ("tsn_resnet50", 8, "fc"),
        ("tsm_resnet50", 8, "new_fc"),
        ("tsm_resnet50", 8, "fc"),
        ("tin_resnet50", 5, "new_fc"),
    ],
)
def test_every_published_name_has_its_place(arch, segments, fc):
    shapes = names_of("tsn_resnet50" if fc == "fc" else arch, segments, fc)
    source = family.blank(shapes)
    video = jax.ShapeDtypeStruct((1, segments, 32, 32, 3), jnp.float32)
    model, variables = family.convert(ARCHS[arch], ResNetFrames, source, video)
    assert model.num_classes == 7
    learnt = [v for k, v in shapes.items() if not k.endswith(("_mean", "_var", "_tracked"))]
    placed = flatten(variables["params"]).values()
    assert sum(x.size for x in placed) == sum(int(np.prod(shape)) for shape in learnt)


def test_the_golden_names_are_the_ones_built_here(shared):
    meta, _ = golden.load(shared / "golden", "tsm_resnet50")
    built = {k.removeprefix("module."): v for k, v in names_of("tsm_resnet50", 8).items()}
    built |= {"new_fc.weight": (11, 2048), "new_fc.bias": (11,)}
    assert built == {key: tuple(shape) for key, shape in meta["keys"]}


def test_the_interlacing_is_what_its_weights_say():
    """By hand: offsets 4 (sigmoid(l) - 1/2) and their negatives, weights 2 sigmoid(l)."""
    x = np.random.default_rng(0).standard_normal((1, 3, 2, 2, 32)).astype(np.float32)
    logit = np.log(3.0)  # sigmoid 3/4: one frame; its negative 1/4: minus one frame
    zeros = {"kernel": np.zeros((3, 8, 1), np.float32), "bias": np.zeros(1, np.float32)}
    params = {
        "offset_conv": zeros,
        "offset_fc1": {"kernel": np.eye(3, dtype=np.float32), "bias": np.zeros(3, np.float32)},
        "offset_fc2": {
            "kernel": np.zeros((3, 2), np.float32),
            "bias": np.float32([logit, 0]),
        },
        "weight_conv": {
            "kernel": np.zeros((3, 8, 2), np.float32),
            "bias": np.float32([0, logit]),
        },
    }
    y = jax.jit(Interlace(4).apply)({"params": params}, x)
    expected = x.copy()
    expected[..., 0:2] = 0
    expected[:, 1:, ..., 0:2] = x[:, :-1, ..., 0:2]  # offset 1, weight 1
    expected[..., 2:4] = 1.5 * x[..., 2:4]  # offset 0, weight 3/2
    expected[..., 4:6] = 0
    expected[:, :-1, ..., 4:6] = x[:, 1:, ..., 4:6]  # offset -1, weight 1
    expected[..., 6:8] = 1.5 * x[..., 6:8]
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_interlacing_starts_at_half_a_frame():
    x = jnp.zeros((1, 4, 2, 2, 16))
    params = jax.jit(Interlace(4).init)(jax.random.key(0), x)["params"]
    bias = params["offset_fc2"]["bias"]
    np.testing.assert_allclose(4 * (jax.nn.sigmoid(bias) - 0.5), [0.5, 0.5], atol=1e-4)


@functools.cache
def weights():
    """Of the tiny network; shifting has none of its own."""
    return family.init(tiny(), clip())


@functools.cache
def answers(model):
    """Of two clips, and of the two with their frames in reverse."""
    x = clip()
    return family.evaluate(model, weights(), jnp.concatenate([x, x[:, ::-1]]))


@pytest.mark.parametrize(("temporal", "order_matters"), [("none", False), ("shift", True)])
def test_only_shifting_sees_the_order_of_frames(temporal, order_matters):
    logits, out = answers(tiny(temporal))
    forward, backward = np.split(logits, 2)
    differs = np.abs(forward - backward).max() > 1e-3 * np.abs(forward).max()
    assert differs == order_matters
    np.testing.assert_allclose(out["frame_logits"].mean(1), logits, atol=1e-7)


@pytest.mark.parametrize(
    ("sizes", "shifts"), [((1, 2, 22, 1), 26), ((1, 2, 23, 1), 1 + 1 + 12 + 1)]
)
def test_a_deep_tsm_shifts_in_every_second_block(monkeypatch, sizes, shifts):
    seen = []
    monkeypatch.setitem(STAGE_SIZES, "deep", sizes)
    monkeypatch.setattr(shift, "temporal_shift", lambda x, div: seen.append(div) or x)
    model = ResNetFrames(3, variant="deep", width=8, temporal="shift")
    jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), EIGHT)
    assert seen == [8] * shifts


@pytest.mark.parametrize(  # the first layer is the same for all three
    ("temporal", "channels"), [("none", 1), ("shift", 2), ("interlace", 1)]
)
def test_any_number_of_channels_and_bfloat16(temporal, channels):
    x = jax.ShapeDtypeStruct((2, 4, 32, 32, channels), jnp.float32)
    model = tiny(temporal, dtype=jnp.bfloat16)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    (logits, out), _ = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, x
    )
    assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
    assert out["features"].dtype == jnp.bfloat16
    assert (out["frame_features"].shape, out["pre_logits"].shape) == ((2, 4, 512), (2, 512))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_a_backbone_has_no_head():
    x = jax.ShapeDtypeStruct((2, 4, 32, 32, 3), jnp.float32)
    model = tiny().clone(num_classes=None)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    assert "head" not in variables["params"]
    features, out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, x)
    blocks = [f"stage{s}/0" for s in (1, 2, 3, 4)]
    assert features.shape == (2, 512)
    assert set(out) == {"stem", *blocks, "features", "frame_features", "pre_logits"}


@pytest.mark.slow
def test_dropout_needs_training_and_an_rng_and_every_parameter_learns():
    x = clip()
    model = tiny("interlace")
    variables = family.init(model, x)

    @jax.jit
    def loss(params, key):
        v = {**variables, "params": params}
        rngs = {"dropout": key}
        (logits, _), _ = model.apply(v, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return jnp.square(logits - jnp.arange(5.0)).sum()

    first, second = (float(loss(variables["params"], jax.random.key(k))) for k in (1, 2))
    assert first != second
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[0][0])
    np.testing.assert_array_equal(apply(variables, x), apply(variables, x))
    # at the start no gradient passes a frame's logits: give the head something to say
    params = {**variables["params"]}
    params["head"] = {**params["head"], "kernel": params["head"]["kernel"] * 100}
    grads = flatten(jax.jit(jax.grad(loss))(params, jax.random.key(1)))
    assert [k for k, g in grads.items() if not np.abs(g).max() > 0] == []


def test_rematerialisation_changes_no_number():
    (plain, _), (again, _) = (answers(tiny("shift", remat=remat)) for remat in (False, True))
    np.testing.assert_allclose(plain, again, rtol=1e-6)


def test_an_unknown_way_through_time_is_refused():
    with pytest.raises(UserError, match="temporal='shfit': expected one of 'none', 'shift'"):
        tiny("shfit").init(jax.random.key(0), clip(), train=False)
