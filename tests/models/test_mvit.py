"""MViT: torchvision's logits, pooling by hand, names of three originals."""

import golden_weights as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokens import apply, clips, headless, initial, parameters

from darkjax.errors import UserError
from darkjax.models import mvit
from darkjax.models.mvit import MViT
from darkjax.optim import flatten, unflatten
from darkjax.weights import names, zoo

TINY = {"depth": 4, "splits": (1, 2), "width": 8, "kv_stride": 4}
MVIT_B = {"depth": 16, "splits": (1, 3, 14), "pool_kernel": (3, 3, 3)}


@pytest.mark.parametrize(
    ("fields", "classes", "frames", "count"),
    [
        ({}, 11, 16, 36_311_531),
        pytest.param({}, 400, 16, 36_610_672, marks=pytest.mark.slow),
        ({}, 400, 32, 36_611_440),
        pytest.param({}, 400, 64, 36_612_976, marks=pytest.mark.slow),
        ({"depth": 24, "splits": (2, 5, 21), "pool_kernel": None}, 400, 32, 53_115_280),
    ],
)
def test_parameter_counts(fields, classes, frames, count):
    params = parameters(MViT(classes, **fields), (1, frames, 224, 224, 3))
    assert sum(x.size for x in jax.tree.leaves(params)) == count


def torchvision(frames, size, classes):
    """Names and shapes of torchvision's mvit_v1_b."""
    found = {
        "conv_proj.weight": (96, 3, 3, 7, 7),
        "conv_proj.bias": (96,),
        "pos_encoding.class_token": (96,),
        "pos_encoding.spatial_pos": (size[0] * size[1] // 16, 96),
        "pos_encoding.temporal_pos": (frames // 2, 96),
        "pos_encoding.class_pos": (96,),
    }

    def linear(name, inputs, outputs):
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name, width):
        found[f"{name}.weight"], found[f"{name}.bias"] = (width,), (width,)

    width = 96
    for i in range(16):
        block, wider = f"blocks.{i}", 2 * width if i + 1 in (1, 3, 14) else width
        norm(f"{block}.norm1", width)
        norm(f"{block}.norm2", width)
        linear(f"{block}.attn.qkv", width, 3 * width)
        linear(f"{block}.attn.project.0", width, width)
        for part in "qkv" if i in (1, 3, 14) else "kv":
            found[f"{block}.attn.pool_{part}.pool.weight"] = (96, 1, 3, 3, 3)
            norm(f"{block}.attn.pool_{part}.norm_act.0", 96)
        linear(f"{block}.mlp.0", width, 4 * width)
        linear(f"{block}.mlp.3", 4 * width, wider)
        if wider != width:
            linear(f"{block}.project", width, wider)
        width = wider
    norm("norm", width)
    linear("head.1", width, classes)
    return found


PYSLOWFAST = (
    ("conv_proj", "patch_embed.proj"),
    ("attn.project.0", "attn.proj"),
    (".project.", ".proj."),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
    ("head.1", "head.projection"),
    *((f"pool_{p}.pool", f"pool_{p}") for p in "qkv"),
    *((f"pool_{p}.norm_act.0", f"norm_{p}") for p in "qkv"),
    ("pos_encoding.class_token", "cls_token"),
    ("pos_encoding.class_pos", "pos_embed_class"),
    ("pos_encoding.spatial_pos", "pos_embed_spatial"),
    ("pos_encoding.temporal_pos", "pos_embed_temporal"),
)
PYTORCHVIDEO = (
    ("patch_embed.proj", "patch_embed.patch_model"),
    ("cls_token", "cls_positional_encoding.cls_token"),
    ("pos_embed", "cls_positional_encoding.pos_embed"),
    ("head.projection", "head.proj"),
)


def renamed(state, pairs):
    found = {}
    for name, value in state.items():
        for old, new in pairs:
            name = name.replace(old, new)
        found[
            f"norm_embed.{name[5:]}" if pairs is PYTORCHVIDEO and name[:5] == "norm." else name
        ] = value[None] if value.ndim < 3 and "pos_embed_" in name else value
    return found


def test_logits_are_torchvisions():
    """Weights by the rules of generator.md (g = 1), frames of unequal height and width."""
    meta = {"g": 1.0, "std_override": {}, "norm_scale_suffixes": []}
    state = {
        name: golden.entry(name, shape, meta) for name, shape in torchvision(4, (64, 48), 5).items()
    }
    arch = zoo.get("mvit_b_16x4")
    fields = arch.infer(state)
    assert fields == {"num_classes": 5, "frames": 4, **MVIT_B}
    model = MViT(**fields)
    x = np.random.default_rng(2026).standard_normal((1, 4, 64, 48, 3)).astype(np.float32)
    found = names.rename(state, arch.names)
    wanted = {k: v.shape for k, v in flatten(parameters(model, x.shape)).items()}
    fit = names.fit(found.params, wanted)
    assert (found.unknown, fit.missing, fit.extra, fit.other_shape) == ([], [], [], [])
    logits, _ = apply(model, {"params": unflatten(fit.placed)}, x)
    # torchvision 0.29.2, mvit_v1_b with temporal_size 4 and spatial_size (64, 48), in float64
    theirs = [[0.4692628140, -1.4499013790, -0.7655336911, 1.0086544957, 0.2898830119]]
    np.testing.assert_allclose(logits, theirs, rtol=0, atol=3e-5 * 1.45)


def test_names_of_three_originals_give_the_same_tree():
    rng = np.random.default_rng(0)
    shapes = torchvision(8, (32, 32), 7)
    # The values of one row stand for all: the tree is compared, not a network run.
    mine = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items() if s[0] < 400}
    mine |= {k: np.zeros(s, np.float32) for k, s in shapes.items() if s[0] >= 400}
    slowfast = renamed(mine, PYSLOWFAST)
    video = renamed(slowfast, PYTORCHVIDEO)
    for name in [k for k in video if ".attn.qkv." in k]:  # kept apart there
        for part, value in zip("qkv", np.split(video.pop(name), 3), strict=True):
            video[name.replace("qkv", part)] = value
    again = {k.replace("pool_k", "_attention_pool_k.pool"): v for k, v in video.items()}
    arch = zoo.get("mvit_b_16x4")
    trees = [names.rename(s, arch.names) for s in (mine, slowfast, {**video, **again})]
    for tree in trees:
        assert tree.unknown == []
        assert tree.params.keys() == trees[0].params.keys()
        for path, value in tree.params.items():
            np.testing.assert_array_equal(value.ravel(), trees[0].params[path].ravel())
    expected = {"num_classes": 7, "frames": 8, **MVIT_B}
    assert [arch.infer(s) for s in (mine, slowfast, video)] == [expected] * 3
    # PySlowFast's 32x3: kernels that follow the strides.
    flat = {**slowfast, "blocks.0.attn.pool_k.weight": np.zeros((96, 1, 1, 9, 9))}
    assert arch.infer(flat)["pool_kernel"] is None


def test_pooling_by_hand():
    """The class token is only normalised; every head has the same kernel, its own norm."""
    size, heads = (2, 3, 3), 2
    pool = mvit.Pool(heads, (3, 3, 3), 2, jnp.float32)
    x = clips(1, 1 + 18, 6)
    kernel = np.zeros((3, 3, 3, 1, 3), np.float32)
    kernel[1, 1, 1, 0], kernel[0, 1, 2, 0] = [1, 2, 3], 1.0  # itself, and right in the frame before
    params = {"kernel": jnp.asarray(kernel), "norm": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}}
    found = np.asarray(pool.apply({"params": params}, x, size))
    assert found.shape == (1, 1 + 2 * 2 * 2, heads, 3)
    at = np.asarray(x)[0, 1:].reshape(2, 3, 3, 2, 3)
    last = at[1, 0, 2] * [1, 2, 3]  # nothing to the right of the last column
    inner = at[1, 2, 0] * [1, 2, 3] + at[0, 2, 1]
    for token, value in ((0, np.asarray(x)[0, 0].reshape(2, 3)), (6, last), (7, inner)):
        normed = (value - value.mean(1, keepdims=True)) / value.std(1, keepdims=True)
        np.testing.assert_allclose(found[0, token], normed, rtol=1e-3, atol=1e-3)


def test_any_channels_and_the_names_of_out():
    model = MViT(None, **TINY)
    for shape in ((2, 4, 36, 20, 1), (1, 6, 32, 32, 2)):
        first, out = headless(model, shape)
        assert first.shape == out["pre_logits"].shape == (shape[0], 32)
        stages = {"stage1/0", "stage2/0", "stage3/0", "stage3/1"}
        assert set(out) == {"stem", "embedded", *stages, "features", "pre_logits"}
        t, h, w = shape[1] // 2, shape[2] // 4, shape[3] // 4
        assert out["stage1/0"].shape == (shape[0], 1 + t * h * w, 16)
        h, w = -(-h // 2), -(-w // 2)
        assert out["stage2/0"].shape == (shape[0], 1 + t * h * w, 32)
        assert out["features"].shape == (shape[0], t, -(-h // 2), -(-w // 2), 32)


def test_positions_are_a_place_in_time_plus_one_in_space():
    x = clips(1, 4, 16, 8, 3)
    model = MViT(3, **TINY)
    v = initial(model, x)
    # Only these are asked for: the blocks are not compiled.
    keys = ("stem", "embedded")
    run = jax.jit(lambda v, x: {k: model.apply(v, x, train=False)[1][k] for k in keys})
    out, p = run(v, x), v["params"]
    found = (out["embedded"][0, 1:] - out["stem"][0].reshape(-1, 8)).reshape(2, 8, 8)
    for t, place in ((0, 3), (1, 6)):
        expected = p["position_time"][t, 0] + p["position_space"][place]
        np.testing.assert_allclose(found[t, place], expected, atol=1e-6)
    np.testing.assert_allclose(out["embedded"][0, 0], p["cls"] + p["position_cls"], atol=1e-6)


def test_another_number_of_frames_is_refused():
    x = jax.ShapeDtypeStruct((1, 8, 16, 16, 3), jnp.float32)
    model = MViT(3, **TINY, frames=16)
    with pytest.raises(UserError, match="positions for 16 frames, found clips of 8"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
