"""MobileNet V1 and V2, ShuffleNet V1 and V2, SqueezeNet: structure, names, inference, parity."""

import family
import flax.linen as nn
import golden_weights as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.models import mobilenet3d, shufflenet3d
from darkjax.models.mobilenet3d import MobileNetV1, MobileNetV2
from darkjax.models.shufflenet3d import ShuffleNetV1, ShuffleNetV2, channel_shuffle
from darkjax.models.squeezenet3d import SqueezeNet
from darkjax.weights.families import mobilenet3d as mobilenet_weights
from darkjax.weights.families import shufflenet3d as shufflenet_weights
from darkjax.weights.families import squeezenet3d as squeezenet_weights

CLIP = np.random.default_rng(0).standard_normal((2, 6, 20, 24, 3)).astype(np.float32)
# class -> parameters with 600 classes (with 11: test_zoo.py), stages, width of pre_logits
MODELS = {
    MobileNetV1: (3_912_984, (1, 2, 2, 6, 2), 1024),
    MobileNetV2: (3_122_648, (1, 2, 3, 4, 3, 3, 1), 1280),
    ShuffleNetV1: (1_521_504, (4, 8, 4), 960),
    ShuffleNetV2: (1_914_180, (4, 8, 4), 1024),
    SqueezeNet: (2_145_560, (2, 2, 2, 2), 512),
}
ARCHS = {
    MobileNetV1: mobilenet_weights.ARCHS["mobilenet3d_v1"],
    MobileNetV2: mobilenet_weights.ARCHS["mobilenet3d_v2"],
    ShuffleNetV1: shufflenet_weights.ARCHS["shufflenet3d_v1"],
    ShuffleNetV2: shufflenet_weights.ARCHS["shufflenet3d_v2"],
    SqueezeNet: squeezenet_weights.ARCHS["squeezenet3d"],
}
every_model = pytest.mark.parametrize("cls", MODELS, ids=lambda c: c.__name__)


def struct(channels=3, frames=16):
    return jax.ShapeDtypeStruct((2, frames, 64, 64, channels), jnp.float32)


def traced(model, train):
    """The parameters of a model with an rng for dropout, and of each dropout whether it acts."""
    acts = []

    def watch(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            acts.append(context.module.rate > 0 and not context.module.deterministic)
        return call(*args, **kwargs)

    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with nn.intercept_methods(watch):
        found = jax.eval_shape(lambda x: model.init(rngs, x, train=train), struct())
    return sum(x.size for x in jax.tree.leaves(found["params"])), acts


@every_model
def test_parameters_are_the_originals_and_dropout_acts_in_training(cls):
    assert traced(cls(600), train=False) == (MODELS[cls][0], [False])
    assert traced(cls(3), train=True)[1] == [True]


@every_model
def test_a_backbone_of_two_channels_names_its_maps(cls):
    """Of one: test_zoo.py."""
    _, stages, width = MODELS[cls]
    model, x = cls(None, remat=True, dtype=jnp.bfloat16), struct(channels=2)
    (features, out), variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), x
    )
    assert "head" not in variables["params"]
    assert (features.shape, features.dtype) == ((2, width), jnp.float32)
    names = [f"stage{s}/{i}" for s, n in enumerate(stages, start=1) for i in range(n)]
    assert set(out) == {"stem", *names, "features", "pre_logits"}
    # 16 frames become one; 64 pixels two, and four in V1 and V2 whose last stage keeps its size.
    assert out["features"].shape[1:4] == (1, 2, 2)
    assert out["features"].dtype == jnp.bfloat16


def test_dropout_needs_an_rng():
    """What it needs is code that all five share."""
    family.dropout_needs_training_and_an_rng(SqueezeNet(3), CLIP)


def names_of(net, width=1.0, groups=3, classes=7):
    """The original's names and shapes, in its own way: `{name: shape}`."""
    found = {}

    def conv(name, bn, o, i, k=3, bias=False):
        found[f"{name}.weight"] = (o, i, k, k, k)
        if bias:
            found[f"{name}.bias"] = (o,)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            found[f"{bn}.{leaf}"] = (o,)
        found[f"{bn}.num_batches_tracked"] = ()

    c = int(32 * width)
    if net is MobileNetV1:
        conv("features.0.0", "features.0.1", c, 3)
        outs = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
        for n, o in enumerate((int(o * width) for o in outs), start=1):
            conv(f"features.{n}.conv1", f"features.{n}.bn1", c, 1)
            conv(f"features.{n}.conv2", f"features.{n}.bn2", o, c, 1)
            c = o
    elif net is MobileNetV2:
        conv("features.0.0", "features.0.1", c, 3)
        outs = [16, 24, 24, 32, 32, 32, *[64] * 4, *[96] * 3, *[160] * 3, 320]
        for n, o in enumerate((int(o * width) for o in outs), start=1):
            at, hidden = f"features.{n}.conv", c * (1 if n == 1 else 6)
            shift = 0
            if n > 1:
                conv(f"{at}.0", f"{at}.1", hidden, c, 1)
                shift = 3
            conv(f"{at}.{shift}", f"{at}.{shift + 1}", hidden, 1)
            conv(f"{at}.{shift + 3}", f"{at}.{shift + 4}", o, hidden, 1)
            c = o
        last = 1280 if width <= 1 else int(1280 * width)
        conv("features.18.0", "features.18.1", last, c, 1)
        c = last
    elif net is ShuffleNetV1:
        table = {1: (144, 288, 567), 2: (200, 400, 800), 3: (240, 480, 960)}[groups]
        c = int(24 * width)
        conv("conv1.0", "conv1.1", c, 3)
        for layer, n in enumerate((4, 8, 4), start=1):
            o = int(table[layer - 1] * width)
            for i in range(n):
                at, mid, g = f"layer{layer}.{i}", o // 4, 1 if c == 24 else groups
                conv(f"{at}.conv1", f"{at}.bn1", mid, c // g, 1)
                conv(f"{at}.conv2", f"{at}.bn2", mid, 1)
                conv(f"{at}.conv3", f"{at}.bn3", o - (0 if i else c), mid // groups, 1)
                c = o
    elif net is ShuffleNetV2:
        *table, last = {0.25: (32, 64, 128, 1024), 1.0: (116, 232, 464, 1024)}[width]
        c, at = 24, 0
        conv("conv1.0", "conv1.1", c, 3)
        for o, n in zip(table, (4, 8, 4), strict=True):
            for i in range(n):
                half = o // 2
                if i == 0:
                    conv(f"features.{at}.banch1.0", f"features.{at}.banch1.1", c, 1)
                    conv(f"features.{at}.banch1.2", f"features.{at}.banch1.3", half, c, 1)
                branch = f"features.{at}.banch2"
                conv(f"{branch}.0", f"{branch}.1", half, half if i else c, 1)
                conv(f"{branch}.3", f"{branch}.4", half, 1)
                conv(f"{branch}.5", f"{branch}.6", half, half, 1)
                c, at = o, at + 1
        conv("conv_last.0", "conv_last.1", last, c, 1)
        c = last
    else:
        conv("features.0", "features.1", 64, 3, bias=True)
        c, at = 64, 4
        for squeeze, expand in ((16, 64), (32, 128), (48, 192), (64, 256)):
            for n in (at, at + 1):
                fire = f"features.{n}"
                conv(f"{fire}.squeeze", f"{fire}.squeeze_bn", squeeze, c, 1, bias=True)
                conv(f"{fire}.expand1x1", f"{fire}.expand1x1_bn", expand, squeeze, 1, bias=True)
                conv(f"{fire}.expand3x3", f"{fire}.expand3x3_bn", expand, squeeze, 3, bias=True)
                c = 2 * expand
            at += 3
    ones = (1, 1, 1) if net is SqueezeNet else ()
    found["classifier.1.weight"], found["classifier.1.bias"] = (classes, c, *ones), (classes,)
    return found


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (MobileNetV1, {"width": 1.0}),
        (MobileNetV1, {"width": 0.35}),
        (MobileNetV2, {"width": 1.0}),
        (MobileNetV2, {"width": 0.45}),
        pytest.param(MobileNetV2, {"width": 1.1}, marks=pytest.mark.slow),
        (ShuffleNetV1, {"width": 1.0, "groups": 3}),
        (ShuffleNetV1, {"width": 0.5, "groups": 3}),
        pytest.param(ShuffleNetV1, {"width": 1.0, "groups": 2}, marks=pytest.mark.slow),
        (ShuffleNetV1, {"width": 1.0, "groups": 1}),
        (ShuffleNetV2, {"width": 1.0}),
        (ShuffleNetV2, {"width": 0.25}),
        (SqueezeNet, {}),
    ],
)
def test_published_names_fill_the_model_they_describe(cls, fields):
    """Every name is mapped and every parameter filled; width, groups and classes are read off."""
    source = family.blank(names_of(cls, **fields))
    assert ARCHS[cls].infer(source) == {"num_classes": 7, **fields}
    published = {f"module.{name}": value for name, value in source.items()}
    model, _ = family.convert(ARCHS[cls], cls, published, CLIP)
    assert model.num_classes == 7
    headless = {k: v for k, v in source.items() if "classifier" not in k}
    assert ARCHS[cls].infer(headless) == {"num_classes": None, **fields}


def test_generated_names_are_the_goldens(shared):
    meta, _ = golden.load(shared / "golden", "mobilenet3d_v2")
    assert names_of(MobileNetV2, classes=11) == {k: tuple(v) for k, v in meta["keys"]}


# Logits of PyTorch models of these graphs (torch 2.13, written apart) for `names_of` weights with
# that g and this clip (a fading net would answer alike to every clip: V1 needs a larger one).
G = dict.fromkeys(MODELS, 2.0) | {MobileNetV1: 6.0, ShuffleNetV1: 1.0}
LARGER = np.random.default_rng(1).standard_normal((2, 16, 48, 48, 3)).astype(np.float32)
TORCH = {
    (MobileNetV1, 1.0): [
        [2396.362305, 448.908417, 15996.94043],
        [3282.162598, 1528.069702, 16443.919922],
    ],
    (MobileNetV1, 0.5): [
        [1310.481689, -17692.835938, -1206.519043],
        [248.034424, -15675.525391, 1086.171631],
    ],
    (ShuffleNetV1, 1.0): [[1.022465, 0.16565, 0.021647], [1.121443, 0.193237, 0.16539]],
    (ShuffleNetV1, 0.5): [[0.52379, -1.082754, 0.229063], [0.616999, -0.915755, 0.179097]],
    (ShuffleNetV2, 1.0): [[-6.692125, -20.578836, 24.82612], [-5.695125, -16.355831, 25.575645]],
    (ShuffleNetV2, 0.25): [[-50.240993, -0.31205, 37.774567], [-49.019871, 1.37186, 37.607143]],
    (SqueezeNet, 1.0): [[30.530981, 77.705994, 36.179691], [31.622137, 80.992722, 34.907951]],
}


@pytest.mark.parametrize(  # a narrower one is the same code; its names are tried above
    ("cls", "width"),
    [pytest.param(*case, marks=pytest.mark.slow) if case[1] < 1 else case for case in TORCH],
    ids=str,
)
def test_logits_are_those_of_torch(cls, width):
    fields = {} if cls is SqueezeNet else {"width": width}
    shapes = names_of(cls, classes=3, **fields)
    source = {k: golden.entry(k, v, {**family.META, "g": G[cls]}) for k, v in shapes.items()}
    model, v = family.convert(ARCHS[cls], cls, source, LARGER)
    family.close(family.evaluate(model, v, LARGER)[0], np.array(TORCH[cls, width]), 1e-4)


@pytest.mark.parametrize("width", [w / 100 for w in range(20, 201, 5)])
def test_the_width_is_read_off_the_widest_layer(width):
    for full in (320, 960, 1024):
        assert mobilenet_weights.width_of(int(full * width), full) == width


def test_channel_shuffle_by_hand():
    found = channel_shuffle(jnp.arange(6.0).reshape(1, 6), 3)
    np.testing.assert_array_equal(found[0], [0, 2, 4, 1, 3, 5])
    np.testing.assert_array_equal(channel_shuffle(found, 2)[0], np.arange(6))  # its inverse


def test_shuffle_unit_v1_averages_pairs_of_frames():
    """The last channels of a stride-2 unit are its pooled input; an odd last frame stands alone."""
    x = jnp.abs(CLIP[:, :5, :8, :8])
    norm = shufflenet3d.layers.BatchNorm
    unit = shufflenet3d.UnitV1(12, 2, norm, jnp.float32, groups=3)
    y, _ = unit.init_with_output(jax.random.key(0), x, False)
    assert y.shape == (2, 3, 4, 4, 12)
    np.testing.assert_allclose(y[:, 1, 1, 1, -3:], x[:, 2:4, 1:4, 1:4].mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(y[:, 2, 1, 1, -3:], x[:, 4, 1:4, 1:4].mean((1, 2)), rtol=1e-5)
    # At the border the zeros outside count: 2 x 2 of 3 x 3 are inside.
    corner = x[:, :2, :2, :2].mean((1, 2, 3)) * 4 / 9
    np.testing.assert_allclose(y[:, 0, 0, 0, -3:], corner, rtol=1e-5)


def test_shuffle_unit_v2_passes_half_of_the_channels():
    x = jnp.asarray(CLIP.repeat(4, axis=-1))
    unit = shufflenet3d.UnitV2(12, 1, shufflenet3d.layers.BatchNorm, jnp.float32)
    y, _ = unit.init_with_output(jax.random.key(0), x, False)
    np.testing.assert_array_equal(y[..., ::2], x[..., :6])


def test_inverted_residuals_add_their_input():
    """With a projection that gives zero the block is the identity."""
    x = jnp.asarray(CLIP[:1, :2, :4, :4].repeat(2, axis=-1))
    norm = mobilenet3d.layers.BatchNorm
    block = mobilenet3d.InvertedResidual(6, 1, norm, jnp.float32, expansion=1)
    v = block.init(jax.random.key(0), x, False)
    v["params"]["project"]["bn"]["scale"] = jnp.zeros(6)
    np.testing.assert_array_equal(block.apply(v, x, False), x)
    for features, stride in ((8, 1), (6, 2)):  # no sum: the block gives zero
        block = mobilenet3d.InvertedResidual(features, stride, norm, jnp.float32, expansion=1)
        v = block.init(jax.random.key(0), x, False)
        v["params"]["project"]["bn"]["scale"] = jnp.zeros(features)
        assert not np.any(block.apply(v, x, False))


def test_squeezenet_logits_are_never_negative():
    """ReLU comes before the mean, as in the original: a class may be exactly 0."""
    x = CLIP[:, :2, :16, :16]
    source = family.generated(names_of(SqueezeNet, classes=3))
    model, v = family.convert(ARCHS[SqueezeNet], SqueezeNet, source, x)
    v["params"]["head"]["bias"] = jnp.array([-1e3, 0.0, 1e3])
    logits, out = family.evaluate(model, v, x)
    maps = out["features"] @ v["params"]["head"]["kernel"] + v["params"]["head"]["bias"]
    np.testing.assert_allclose(logits, np.maximum(maps, 0).mean((1, 2, 3)), rtol=1e-4)
    assert np.all(logits[:, 0] == 0)
    assert np.all(logits >= 0)


def test_impossible_widths_and_groups_say_so():
    x = struct()
    for model, message in (
        (ShuffleNetV1(3, groups=5), "groups=5: expected one of 1, 2, 3, 4, 8"),
        (ShuffleNetV1(3, groups=8, width=1.5), "8 groups do not divide 36 channels"),
        (ShuffleNetV2(3, width=0.7), "width=0.7: expected one of 0.25, 0.5"),
    ):
        with pytest.raises(UserError, match=message):
            jax.eval_shape(lambda x, m=model: m.init(jax.random.key(0), x, train=False), x)
