"""C3D, I3D, S3D, P3D: counts, shapes, hand-computed blocks, every original name."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax import models
from darkjax.errors import UserError
from darkjax.models import i3d, layers, p3d
from darkjax.models.c3d import C3D
from darkjax.models.i3d import I3D
from darkjax.models.p3d import P3D
from darkjax.models.s3d import S3D
from darkjax.optim import flatten
from darkjax.weights import names, zoo

# Small nets: class, fields, (T, H, W), width of `pre_logits`, blocks of stages 1 to 4.
TINY = {
    "c3d": (C3D, {"width": 2, "hidden": 8}, (16, 32, 32), 8, (1, 2, 2, 2)),
    "c3d_bn": (C3D, {"variant": "bn", "width": 2, "hidden": 8}, (16, 32, 32), 8, (1, 2, 2, 2)),
    "i3d": (I3D, {"width": 1 / 16}, (8, 32, 32), 64, (2, 2, 5, 2)),
    "s3d": (S3D, {"width": 1 / 16}, (8, 32, 32), 64, (2, 2, 5, 2)),
    "p3d": (P3D, {"variant": "17", "width": 2}, (16, 32, 32), 64, (1, 1, 2, 1)),
}


def build(arch, num_classes):
    return models.build(zoo.get(arch).model, num_classes)


def shapes_of(model, size, channels=3, batch=1):
    x = jax.ShapeDtypeStruct((batch, *size, channels), jnp.float32)
    return x, jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)


def init(model, x):
    """He-normal kernels, by numpy: compiling flax's initialisers takes longer than the test."""
    rng = np.random.default_rng(0)
    _, shapes = shapes_of(model, x.shape[1:4], x.shape[4])

    def leaf(path, value):
        name = path[-1].key
        if name == "kernel":
            fan_in = np.prod(value.shape[:-1])
            made = rng.normal(0, np.sqrt(2 / fan_in), value.shape)
        else:
            made = np.full(value.shape, 1.0 if name in ("scale", "var") else 0.0)
        return jnp.asarray(made, jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@pytest.mark.parametrize(
    ("arch", "num_classes", "size", "count"),
    [
        ("c3d", 487, (16, 112, 112), 79_991_015),
        ("c3d_bn", 600, (16, 224, 224), 181_122_776),
        pytest.param("i3d", 400, (16, 224, 224), 12_697_264, marks=pytest.mark.slow),
        ("i3d", None, (16, 224, 224), 12_287_264),
        ("s3d", 400, (16, 224, 224), 8_320_048),
        ("p3d199", 400, (16, 160, 160), 66_492_240),
    ],
)
def test_parameters_are_the_originals(arch, num_classes, size, count):
    """With 11 classes: test_zoo.py."""
    _, variables = shapes_of(build(arch, num_classes), size)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize("name", TINY)
def test_outputs(name):
    cls, fields, size, width, blocks = TINY[name]
    for num_classes, channels in ((5, 1), (None, 2)):
        model = cls(num_classes, **fields)
        (first, out), variables = jax.eval_shape(
            lambda x, m=model: m.init_with_output(jax.random.key(0), x, train=False),
            jax.ShapeDtypeStruct((2, *size, channels), jnp.float32),
        )
        assert ("head" in variables["params"]) == (num_classes is not None)
        assert first.shape == (2, num_classes or width)
        assert first.dtype == out["pre_logits"].dtype == jnp.float32
        assert out["pre_logits"].shape == (2, width)
        assert {f"stage{s}/{i}" for s, n in enumerate(blocks, 1) for i in range(n)} <= set(out)
        assert out["stem"].ndim == out["features"].ndim == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ("i3d", "s3d") else n for n in TINY]
)
def test_trains_in_bfloat16_with_and_without_dropout(name):
    cls, fields, size, _, _ = TINY[name]
    model = cls(3, dtype=jnp.bfloat16, remat=True, **fields)
    x = jax.random.normal(jax.random.key(1), (2, *size, 2))
    variables = init(model, x)

    @jax.jit
    def step(variables, key):
        def loss(params):
            (logits, _), new = model.apply(
                {**variables, "params": params},
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return jnp.abs(logits).sum(), (logits, new)

        return jax.grad(loss, has_aux=True)(variables["params"])

    grads, (logits, new) = step(variables, jax.random.key(2))
    assert logits.dtype == jnp.float32
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    for path, before in flatten(variables.get("batch_stats", {})).items():
        if path.endswith("mean"):
            assert not np.allclose(before, flatten(new["batch_stats"])[path]), path
    _, (others, _) = step(variables, jax.random.key(3))
    assert not np.allclose(logits, others, rtol=1e-3)
    # Without an rng there is no dropout, and no complaint.
    jax.eval_shape(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"]), variables)


def test_c3d_flattens_as_the_original():
    model = C3D(None, width=1, hidden=3)
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 16, 3))
    variables = init(model, x)
    _, out = jax.jit(lambda v: model.apply(v, x, train=False))(variables)
    features = np.asarray(out["features"])[0]
    assert features.shape == (2, 2, 1, 8)
    flat = [features[t, h, 0, c] for c in range(8) for t in range(2) for h in range(2)]
    fc6 = variables["params"]["fc6"]
    want = np.maximum(np.array(flat) @ fc6["kernel"] + fc6["bias"], 0)
    np.testing.assert_allclose(out["fc6"][0], want, rtol=1e-5)


@pytest.mark.parametrize(("variant", "frames"), [("plain", (16, 1)), ("bn", (15, 1))])
def test_c3d_time_of_the_two_graphs(variant, frames):
    model = C3D(None, variant=variant, width=2, hidden=4)
    x, variables = shapes_of(model, (16, 112, 112))
    _, out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, x)
    assert (out["stem"].shape[1], out["features"].shape[1]) == frames
    assert out["features"].shape[2:4] == (4, 4)


def test_same_padding_by_hand():
    def pads(n, k, s):
        return i3d.same((1, n, n, n, 3), (k,) * 3, (s,) * 3)[0]

    assert pads(224, 7, 2) == (2, 3)
    assert pads(225, 7, 2) == (3, 3)
    assert pads(56, 3, 2) == (0, 1)
    assert pads(55, 3, 2) == (1, 1)
    assert pads(14, 3, 1) == (1, 1)
    assert pads(8, 2, 2) == (0, 0)
    assert pads(7, 2, 2) == (0, 1)
    assert pads(9, 1, 1) == (0, 0)
    for n, k, s in ((64, 7, 2), (13, 3, 2), (1, 3, 2), (1, 2, 2)):
        assert (n + sum(pads(n, k, s)) - k) // s + 1 == -(-n // s)


def test_windows_of_the_last_map_by_hand():
    x = jnp.zeros((1, 3, 8, 2, 1)).at[0, 2, 7, 1, 0].set(84.0)
    found = i3d.window_mean(x)  # windows (2, 7, 2): two positions in time, two in height
    assert found.shape == (1, 2, 2, 1, 1)
    np.testing.assert_allclose(found.ravel(), [0, 0, 0, 3])


@pytest.mark.parametrize("cls", [I3D, S3D])
def test_logits_are_averaged_over_the_windows(cls):
    model = cls(3, width=1 / 32)
    x = jax.random.normal(jax.random.key(0), (1, 20, 32, 32, 3))
    variables = init(model, x)
    logits, out = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)
    assert out["logit_map"].shape == (1, out["features"].shape[1] - 1, 1, 1, 3)
    assert out["logit_map"].shape[1] > 1 or cls is S3D
    np.testing.assert_allclose(logits, out["logit_map"].mean((1, 2, 3)), rtol=1e-5)
    head = variables["params"]["head"]
    want = out["pre_logits"] @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "form", "want"),
    [
        # y = 2 enters; S multiplies by 3, T by -1/2 (centre taps alone).
        ("A", "port", 0.0),  # relu(T(6))
        ("A", "caffe", 0.0),
        ("B", "port", 6.0),  # 6 + relu(T(2))
        ("B", "caffe", 5.0),  # relu(6 - 1)
        ("C", "port", 6.0),  # 6 + relu(T(6))
        ("C", "caffe", 1.5),  # relu((6 - 3) / 2)
        ("2D", "port", 6.0),
    ],
)
def test_p3d_blocks_by_hand(kind, form, want):
    def norm(name):
        return layers.BatchNorm(eps=0.0, name=name)

    block = p3d.Block(1, 1, kind, form, norm, jnp.float32)
    x = jnp.full((1, 2, 3, 3, 4), 2.0)
    variables = block.init(jax.random.key(0), x, False)
    kernels = {
        "reduce": jnp.zeros((1, 1, 1, 4, 1)).at[0, 0, 0, 1].set(1.0),
        "spatial": jnp.zeros((1, 3, 3, 1, 1)).at[0, 1, 1].set(3.0),
        "temporal": jnp.zeros((3, 1, 1, 1, 1)).at[1].set(-0.5),
        "expand": jnp.array([0.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 1, 4),
    }
    params = dict(variables["params"])
    for name in kernels.keys() & params.keys():
        params[name] = {"kernel": kernels[name]}
    y = block.apply({**variables, "params": params}, x, False)
    np.testing.assert_allclose(y[0, 0, 1, 1], [2.0, 2.0 + want, 2.0, 2.0], rtol=1e-6)


def test_p3d_stem_pooling_of_the_two_forms():
    ramp = jnp.arange(6.0)[None, None, :, None, None] * jnp.ones((1, 2, 6, 6, 1))
    port, caffe = (P3D(None, form=form)._stem_pool(ramp) for form in ("port", "caffe"))
    np.testing.assert_allclose(port[0, 0, :, 0, 0], [1, 3, 5])  # cells -1..1, 1..3, 3..5
    np.testing.assert_allclose(caffe[0, 0, :, 0, 0], [2, 4, 5])  # cells 0..2, 2..4, 4..6
    with pytest.raises(UserError, match="form='tf': expected one of 'port', 'caffe'"):
        P3D(None, form="tf").init(jax.random.key(0), jnp.zeros((1, 2, 8, 8, 3)), train=False)


def c3d_bn_keys():
    """The state dict of Efficient-3DCNNs' C3D at 16x112x112, 7 classes."""
    convs = {"1.0": (3, 64), "2.0": (64, 128), "3.0": (128, 256), "3.3": (256, 256)}
    convs |= {"4.0": (256, 512)} | dict.fromkeys(("4.3", "5.0", "5.3"), (512, 512))
    keys = {}
    for at, (inputs, outputs) in convs.items():
        group, number = at.split(".")
        keys[f"group{at}.weight"] = (outputs, inputs, 3, 3, 3)
        keys[f"group{at}.bias"] = (outputs,)
        keys |= batch_norm_keys(f"group{group}.{int(number) + 1}", outputs)
    for name, inputs, outputs in (("fc1", 8192, 4096), ("fc2", 4096, 4096), ("fc", 4096, 7)):
        keys |= {f"{name}.0.weight": (outputs, inputs), f"{name}.0.bias": (outputs,)}
    return keys


def c3d_numbered_keys():
    """pytorch-video-recognition's published file: two numbered sequences."""
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    keys = {}
    for i, at in enumerate((0, 3, 6, 8, 11, 13, 16, 18)):
        keys[f"features.{at}.weight"] = (widths[i + 1], widths[i], 3, 3, 3)
        keys[f"features.{at}.bias"] = (widths[i + 1],)
    for at, inputs, outputs in ((0, 8192, 4096), (3, 4096, 4096), (6, 4096, 101)):
        keys |= {f"classifier.{at}.weight": (outputs, inputs), f"classifier.{at}.bias": (outputs,)}
    return keys


def p3d199_keys(channels=3):
    """The state dict of pseudo-3d-pytorch's P3D199, 6 classes."""
    keys = {"conv1_custom.weight": (64, channels, 1, 7, 7)} | batch_norm_keys("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate((3, 8, 36, 3), start=1):
        planes = 32 * 2**stage
        one = (1, 1) if stage == 4 else (1, 1, 1)
        for i in range(blocks):
            name = f"layer{stage}.{i}."
            keys[f"{name}conv1.weight"] = (planes, inputs, *one)
            keys |= batch_norm_keys(f"{name}bn1", planes)
            if stage == 4:
                keys[f"{name}conv_normal.weight"] = (planes, planes, 3, 3)
                keys |= batch_norm_keys(f"{name}bn_normal", planes)
            else:
                keys[f"{name}conv2.weight"] = (planes, planes, 1, 3, 3)
                keys[f"{name}conv3.weight"] = (planes, planes, 3, 1, 1)
                keys |= batch_norm_keys(f"{name}bn2", planes)
                keys |= batch_norm_keys(f"{name}bn3", planes)
            keys[f"{name}conv4.weight"] = (4 * planes, planes, *one)
            keys |= batch_norm_keys(f"{name}bn4", 4 * planes)
            if i == 0:
                keys[f"{name}downsample.0.weight"] = (4 * planes, inputs, *one)
                keys |= batch_norm_keys(f"{name}downsample.1", 4 * planes)
            inputs = 4 * planes
    return keys | {"fc.weight": (6, 2048), "fc.bias": (6,)}


def batch_norm_keys(name, features):
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (features,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def golden_keys(entry):
    def read(shared):
        meta = json.loads((shared / "golden" / f"{entry}.json").read_text())
        return {key: tuple(shape) for key, shape in meta["keys"]}

    return read


@pytest.mark.parametrize(
    ("arch", "keys", "size", "channels", "classes"),
    [
        ("c3d", golden_keys("c3d"), (16, 112, 112), 3, 487),
        ("c3d", c3d_numbered_keys(), (16, 112, 112), 3, 101),
        ("c3d_bn", c3d_bn_keys(), (16, 112, 112), 3, 7),
        ("i3d", golden_keys("i3d"), (16, 224, 224), 3, 11),
        ("s3d", golden_keys("s3d"), (16, 224, 224), 3, 11),
        pytest.param("p3d199", p3d199_keys(), (16, 160, 160), 3, 6, marks=pytest.mark.slow),
        ("p3d199", p3d199_keys(2), (16, 160, 160), 2, 6),
    ],
    ids=["c3d", "c3d numbered", "c3d_bn", "i3d", "s3d", "p3d199", "p3d199 flow"],
)
def test_every_original_name_has_its_place(request, arch, keys, size, channels, classes):
    if callable(keys):
        keys = keys(request.getfixturevalue("shared"))
    zero = np.float32(0)  # broadcast: 300 MB of weights take no memory
    state = {f"module.{k}": np.broadcast_to(zero, shape) for k, shape in keys.items()}
    row = zoo.get(arch)
    fields = row.infer(names.stripped(state, row.names.strip))
    assert fields == {"num_classes": classes}
    _, variables = shapes_of(build(arch, **fields), size, channels)
    found = names.rename(state, row.names)
    assert found.unknown == []
    for kind in ("params", "batch_stats"):
        wanted = {path: x.shape for path, x in flatten(variables.get(kind, {})).items()}
        fit = names.fit(getattr(found, kind), wanted)
        assert (fit.missing, fit.extra, fit.other_shape) == ([], [], [])


def test_c3d_weights_of_another_clip_size_do_not_fit():
    row = zoo.get("c3d_bn")
    state = {k: np.broadcast_to(np.float32(0), s) for k, s in c3d_bn_keys().items()}
    _, variables = shapes_of(build("c3d_bn", 7), (16, 64, 64))
    wanted = {path: x.shape for path, x in flatten(variables["params"]).items()}
    fit = names.fit(names.rename(state, row.names).params, wanted)
    assert fit.other_shape == [("fc6/kernel", (8192, 4096), (4608, 4096))]
