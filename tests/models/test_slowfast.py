"""SlowFast: pathways, slow frames, names of PySlowFast and of its caffe2 files, parity."""

import functools

import chex
import family
import flax.linen as nn
import golden_weights as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.slowfast import SlowFast, slow_frames
from darkjax.weights import names
from darkjax.weights.families.slowfast import ARCHS, caffe2_name, from_caffe2

R50_4X16 = {"alpha": 8, "fusion_kernel": 5}
R50_8X8 = {"alpha": 4, "fusion_kernel": 7}
TINY = {"variant": "10", "width": 16, "beta_inv": 4}
CLIP = np.random.default_rng(0).standard_normal((2, 16, 32, 40, 3)).astype(np.float32)


def struct(channels=3):
    return jax.ShapeDtypeStruct((2, 32, 64, 64, channels), jnp.float32)


@pytest.mark.parametrize(
    ("fields", "classes", "count"),
    [
        (R50_4X16, 400, 34_480_216),
        (R50_4X16, 11, 33_583_571),
        (R50_8X8, 400, 34_566_488),
        (R50_8X8, 48, 33_755_128),
        ({"variant": "101", "alpha": 4}, 400, 53_774_808),  # 16x8
    ],
)
def test_parameters_are_the_originals(fields, classes, count):
    assert family.count(SlowFast(classes, **fields), struct()) == count


def test_slow_frames_are_pytorchs():
    """`torch.linspace(0, T - 1, T // alpha).long()`."""
    assert slow_frames(32, 8) == [0, 10, 20, 31]
    assert slow_frames(32, 4) == [0, 4, 8, 13, 17, 22, 26, 31]
    assert slow_frames(64, 4) == [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63]
    assert slow_frames(16, 8) == [0, 15]
    assert slow_frames(8, 8) == [0]
    # 13 * 159 / 39 is 53, but not in float32.
    exact = [i * 159 // 39 for i in range(40)]
    assert slow_frames(160, 4) == [*exact[:13], 52, *exact[14:]]
    assert slow_frames(32, 1) == list(range(32))


def test_maps_by_name():
    model, x = SlowFast(None, **R50_8X8, dtype=jnp.bfloat16, remat=True), struct(2)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    assert "head" not in variables["params"]
    features, out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, x)
    assert (features.shape, features.dtype) == ((2, 2304), jnp.float32)
    blocks = [f"stage{s}/{i}" for s, n in enumerate((3, 4, 6, 3), 1) for i in range(n)]
    one = ["stem", *blocks, "features"]
    fuses = [f"fuse{i}" for i in (1, 2, 3, 4)]
    assert set(out) == {*one, *(f"fast/{name}" for name in one), *fuses, "pre_logits"}
    shapes = {name: value.shape[1:] for name, value in out.items()}
    assert shapes["stem"] == (8, 16, 16, 64)
    assert shapes["fast/stem"] == (32, 16, 16, 8)
    assert shapes["fuse1"] == (8, 16, 16, 64 + 16)
    assert shapes["fuse4"] == (8, 4, 4, 1024 + 256)
    assert shapes["features"] == (8, 2, 2, 2048)
    assert shapes["fast/features"] == (32, 2, 2, 256)
    assert {v.dtype for k, v in out.items() if k != "pre_logits"} == {jnp.dtype(jnp.bfloat16)}


def test_pathways_see_their_frames():
    """A frame that the slow pathway skips reaches it through the lateral convolutions alone."""
    fields, x = {**TINY, **R50_4X16}, CLIP[:1, :, :16, :16]
    source = family.generated(names_of(fields, 3, sizes=(1, 1, 1, 1))[0])
    model, v = family.convert(ARCHS["slowfast_r50_4x16"], SlowFast, source, x, **fields)
    run = functools.partial(family.evaluate, model, v)
    changed = x.copy()
    changed[:, 7] += 1.0  # the slow frames are 0 and 15
    (_, before), (_, after) = run(x), run(changed)
    np.testing.assert_array_equal(before["stem"], after["stem"])
    assert all(np.any(before[k] != after[k]) for k in ("fast/stem", "fuse1"))
    # Lateral channels follow the slow ones.
    width = before["stem"].shape[-1]
    np.testing.assert_array_equal(before["fuse1"][..., :width], before["stem"])
    assert before["fuse1"].shape[-1] == width + 2 * before["fast/stem"].shape[-1]


@pytest.mark.parametrize("zero_init", [True, False])
def test_last_norms_begin_at_zero(zero_init):
    found = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, layers.BatchNorm):
            found[context.module.path] = context.module.scale_init
        return call(*args, **kwargs)

    model = SlowFast(None, zero_init=zero_init, **TINY)
    with nn.intercept_methods(note):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), CLIP)
    zero = {path for path, init in found.items() if init is nn.initializers.zeros}
    assert zero == {path for path in found if path[-1] == "bn3" and zero_init}
    assert len(found) == 2 + 4 + 2 * 4 * 4  # stems, fusions, blocks with their shortcuts


def test_dropout_needs_training_and_an_rng():
    family.dropout_needs_training_and_an_rng(SlowFast(3, **TINY), CLIP)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"alpha": 3}, "a multiple of alpha=3 frames, found 32"), ({"frames": 64}, "64 frames")],
)
def test_other_lengths_say_what_is_expected(fields, message):
    model = SlowFast(3, **fields)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), struct())


def names_of(fields, classes, sizes=(3, 4, 6, 3)):
    """PySlowFast's names and shapes; beside each the caffe2 name."""
    width, beta = fields.get("width", 64), fields.get("beta_inv", 8)
    found, caffe2 = {}, {}

    def conv(theirs, bn, blob, blob_bn, *shape):
        found[f"{theirs}.weight"] = shape
        caffe2[f"{blob}_w"] = f"{theirs}.weight"
        leaves = ("weight", "bias", "running_mean", "running_var")
        for leaf, short in zip(leaves, ("s", "b", "rm", "riv"), strict=True):
            found[f"{bn}.{leaf}"] = shape[:1]
            caffe2[f"{blob_bn}_{short}"] = f"{bn}.{leaf}"
        found[f"{bn}.num_batches_tracked"] = ()

    channels = [width, width // beta]
    for p, (c, t, prefix) in enumerate(zip(channels, (1, 5), ("", "t_"), strict=True)):
        stem = f"s1.pathway{p}_stem"
        blobs = (f"{prefix}conv1", f"{prefix}res_conv1_bn")
        conv(f"{stem}.conv", f"{stem}.bn", *blobs, c, 3, t, 7, 7)
    blob = "t_pool1_subsample"
    for s, blocks in enumerate(sizes, start=2):
        fuse, fast = f"s{s - 1}_fuse", channels[1]
        size = (2 * fast, fast, fields["fusion_kernel"], 1, 1)
        conv(f"{fuse}.conv_f2s", f"{fuse}.bn", blob, f"{blob}_bn", *size)
        channels[0] += 2 * fast
        for p, prefix in enumerate(("", "t_")):
            mid = (width, width // beta)[p] * 2 ** (s - 2)
            time = 1 if p == 0 and s < 4 else 3
            for i in range(blocks):
                at, b = f"s{s}.pathway{p}_res{i}", f"{prefix}res{s}_{i}_branch"
                c = channels[p]
                if i == 0:
                    blobs = (f"{b}1", f"{b}1_bn")
                    conv(f"{at}.branch1", f"{at}.branch1_bn", *blobs, 4 * mid, c, 1, 1, 1)
                plan = {"a": (mid, c, time, 1, 1), "b": (mid, mid, 1, 3, 3), "c": (4 * mid, mid)}
                for letter, size in plan.items():
                    size = (*size, 1, 1, 1)[:5]
                    layer = f"{at}.branch2.{letter}"
                    conv(layer, f"{layer}_bn", f"{b}2{letter}", f"{b}2{letter}_bn", *size)
                channels[p] = 4 * mid
        blob = f"t_res{s}_{blocks - 1}_branch2c_bn_subsample"
    found["head.projection.weight"] = (classes, sum(channels))
    found["head.projection.bias"] = (classes,)
    caffe2 |= {"pred_w": "head.projection.weight", "pred_b": "head.projection.bias"}
    return found, caffe2


def test_generated_names_are_the_goldens(shared):
    meta, _ = golden.load(shared / "golden", "slowfast_r50_4x16")
    assert names_of(R50_4X16, 11)[0] == {k: tuple(v) for k, v in meta["keys"]}


def test_caffe2_names():
    expected = {
        "conv1_w": "s1.pathway0_stem.conv.weight",
        "res_conv1_bn_riv": "s1.pathway0_stem.bn.running_var",
        "t_conv1_w": "s1.pathway1_stem.conv.weight",
        "t_pool1_subsample_w": "s1_fuse.conv_f2s.weight",
        "t_pool1_subsample_bn_rm": "s1_fuse.bn.running_mean",
        "t_res2_2_branch2c_bn_subsample_w": "s2_fuse.conv_f2s.weight",
        "t_res4_5_branch2c_bn_subsample_bn_b": "s4_fuse.bn.bias",
        "res2_0_branch1_w": "s2.pathway0_res0.branch1.weight",
        "res2_0_branch1_bn_s": "s2.pathway0_res0.branch1_bn.weight",
        "t_res2_0_branch2a_bn_s": "s2.pathway1_res0.branch2.a_bn.weight",
        "res4_10_branch2b_w": "s4.pathway0_res10.branch2.b.weight",
        "t_res5_2_branch2c_bn_riv": "s5.pathway1_res2.branch2.c_bn.running_var",
        "pred_b": "head.projection.bias",
        "something_w": "something_w",
        "res2_0_branch2d_w": "res2_0_branch2d_w",
    }
    assert {name: caffe2_name(name) for name in expected} == expected
    whole, caffe2 = names_of(R50_8X8, 400)
    assert {name: caffe2_name(name) for name in caffe2} == caffe2
    kept = {name for name in whole if not name.endswith("num_batches_tracked")}
    assert set(caffe2.values()) == kept


@pytest.mark.parametrize("arch", ["slowfast_r50_4x16", "slowfast_r50_8x8"])
def test_published_names_fill_the_model(arch):
    """Both forms of a file give the same variables, and nothing is left over."""
    kernel = R50_4X16 if arch == "slowfast_r50_4x16" else R50_8X8
    fields = {**TINY, **kernel}
    whole, caffe2 = names_of(fields, 5, sizes=(1, 1, 1, 1))
    source = family.generated(whole)
    blobs = {blob: source[theirs] for blob, theirs in caffe2.items()}
    blobs |= {"conv1_w_momentum": source["s1.pathway0_stem.conv.weight"], "lr": np.ones(1)}
    blobs |= {"model_iter": np.ones(1), "res_conv1_bn_s_momentum": np.ones(16)}
    assert from_caffe2(source) is source
    assert "lr" not in from_caffe2(blobs)
    trees = []
    for state in (source, blobs):
        assert ARCHS[arch].infer(state) == {"num_classes": 5}
        model, v = family.convert(ARCHS[arch], SlowFast, state, CLIP, **fields)
        assert model.num_classes == 5
        trees.append(v)
    chex.assert_trees_all_equal(*trees)


def test_the_other_fusion_kernel_does_not_fit():
    """A file of 8x8 is not taken for 4x16, though alpha leaves no trace in it."""
    whole, _ = names_of({**TINY, **R50_8X8}, 5, sizes=(1, 1, 1, 1))
    with pytest.raises(AssertionError):
        family.convert(
            ARCHS["slowfast_r50_4x16"],
            SlowFast,
            family.generated(whole),
            CLIP,
            **TINY,
            **R50_4X16,
        )


def test_an_unknown_blob_is_named():
    found = names.rename(
        {"conv1_w": np.ones((1, 1, 1, 1, 1)), "nonlocal_conv3_1_theta_w": np.ones((1, 1))},
        ARCHS["slowfast_r50_8x8"].names,
    )
    assert found.unknown == ["nonlocal_conv3_1_theta_w"]


# Logits of a PyTorch SlowFast (torch 2.13, written apart) for `names_of` weights with g = 1.
TORCH = {
    (8, 5): [[0.052142, -0.448633, 0.186929], [0.133953, -0.443915, 0.277703]],
    (4, 7): [[0.059799, -0.499185, 0.066388], [0.043708, -0.462451, 0.062323]],
}


@pytest.mark.parametrize(("alpha", "kernel"), TORCH)
def test_logits_are_those_of_torch(alpha, kernel):
    fields = {**TINY, "alpha": alpha, "fusion_kernel": kernel}
    source = family.generated(names_of(fields, 3, sizes=(1, 1, 1, 1))[0])
    model, v = family.convert(ARCHS["slowfast_r50_8x8"], SlowFast, source, CLIP, **fields)
    found = family.evaluate(model, v, CLIP)[0]
    family.close(found, np.array(TORCH[alpha, kernel]), 1e-4)
