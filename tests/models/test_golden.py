"""The networks give the originals' outputs for the same weights (1e-4 of scale, 3e-5 for ViT)."""

import golden_weights as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.models.r2plus1d import R2Plus1D
from darkjax.models.resnet3d import ResNet3D
from darkjax.models.vit import ViT
from darkjax.optim import unflatten


def close(found, expected, share):
    scale = np.abs(expected).max()
    assert np.abs(np.asarray(found) - expected).max() <= share * scale


def convert(source, conv_names, bn_names, dense_names):
    params, stats = {}, {}
    for ours, theirs in conv_names.items():
        params[f"{ours}/kernel"] = golden.conv(source[f"{theirs}.weight"])
    for ours, theirs in bn_names.items():
        p, s = golden.batch_norm(source, theirs)
        params |= {f"{ours}/{k}": v for k, v in p.items()}
        stats |= {f"{ours}/{k}": v for k, v in s.items()}
    for ours, theirs in dense_names.items():
        params |= {f"{ours}/{k}": v for k, v in golden.dense(source, theirs).items()}
    return {"params": unflatten(params), "batch_stats": unflatten(stats)}


def apply(model, variables, x):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(x), train=False))
    assert jax.tree.map(np.shape, dict(shapes)) == jax.tree.map(np.shape, variables)
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)


def blocks(source):
    return sorted({k.rsplit(".", 1)[0] for k in source if k.startswith("layer")})


def r2plus1d_variables(source):
    convs = {"stem_spatial": "stem.0", "stem_temporal": "stem.3"}
    norms = {"stem_bn1": "stem.1", "stem_bn2": "stem.4"}
    inner = {"0.0": "spatial", "0.1": "bn", "0.3": "temporal", "1": None}
    for name in blocks(source):  # layer2.0.conv1.0.0 -> stage2_0/conv1/spatial
        layer, block, part, rest = name.split(".", 3)
        ours = f"stage{layer[5:]}_{block}"
        if part == "downsample":
            (convs if rest == "0" else norms)[
                f"{ours}/shortcut" + ("" if rest == "0" else "_bn")
            ] = name
        elif rest == "1":
            norms[f"{ours}/bn{part[4:]}"] = name
        else:
            (norms if inner[rest] == "bn" else convs)[f"{ours}/{part}/{inner[rest]}"] = name
    return convert(source, convs, norms, {"head": "fc"})


def resnet3d_variables(source):
    convs, norms = {"stem": "conv1"}, {"stem_bn": "bn1"}
    for name in blocks(source):
        layer, block, part = name.split(".", 2)
        ours = f"stage{layer[5:]}_{block}"
        if part.startswith("downsample"):
            (convs if part[-1] == "0" else norms)[
                f"{ours}/shortcut" + ("" if part[-1] == "0" else "_bn")
            ] = name
        else:
            (norms if part.startswith("bn") else convs)[f"{ours}/{part}"] = name
    return convert(source, convs, norms, {"head": "fc"})


@pytest.mark.parametrize(
    ("name", "model", "variables"),
    [
        ("r3d18_A", ResNet3D(11, "18", shortcut="A"), resnet3d_variables),
        pytest.param("r3d50_B", ResNet3D(11, "50"), resnet3d_variables, marks=pytest.mark.slow),
        ("r2plus1d34_ig65m", R2Plus1D(11, "34"), r2plus1d_variables),
        (
            "r2plus1d_18_tv",
            R2Plus1D(400, "18", caffe2_mid=False, bn_eps=1e-5, bn_momentum=0.1),
            r2plus1d_variables,
        ),
    ],
)
def test_3d_networks_give_the_originals_logits(shared, name, model, variables):
    meta, arrays = golden.load(shared / "golden", name)
    v = variables(golden.state_dict(meta))
    logits, out = apply(model.clone(num_classes=meta["classes"]), v, golden.inputs(meta))
    close(logits, arrays["logits"], 1e-4)
    close(out["pre_logits"], arrays["features"], 1e-4)
    logits, _ = apply(model.clone(num_classes=meta["classes"]), v, golden.blocky(meta))
    close(logits, arrays["logits_b"], 1e-4)


def test_five_vit_blocks_give_the_originals_tokens(shared):
    meta, arrays = golden.load(shared / "golden", "vit_b16_5blocks")
    source = golden.state_dict(meta)
    params = {
        "cls": source["cls_token"],
        "position": source["pos_embed"],
        "embedding/kernel": golden.conv(source["patch_embed.proj.weight"]),
        "embedding/bias": source["patch_embed.proj.bias"],
    }
    names = {"norm1": "norm1", "norm2": "norm2", "attention/out": "attn.proj"}
    names |= {"mlp/fc1": "mlp.fc1", "mlp/fc2": "mlp.fc2"}
    for i in range(5):
        for ours, theirs in names.items():
            found = golden.dense(source, f"blocks.{i}.{theirs}")
            params |= {f"block{i}/{ours}/{k}": v for k, v in found.items()}
        packed = golden.dense(source, f"blocks.{i}.attn.qkv")
        for j, part in enumerate(("query", "key", "value")):
            params[f"block{i}/attention/{part}/kernel"] = np.split(packed["kernel"], 3, 1)[j]
            params[f"block{i}/attention/{part}/bias"] = np.split(packed["bias"], 3)[j]
    x = golden.inputs(meta)
    model = ViT(None, depth=5, final_norm=False)
    _, out = jax.jit(lambda v, x: model.apply(v, x, train=False))({"params": unflatten(params)}, x)
    close(out["tokens"], arrays["features"], 3e-5)


def test_the_generator_gives_its_test_vector():
    meta = {"g": 2.0, "std_override": {"cls_token": 0.5}, "norm_scale_suffixes": ["a_2"]}
    kernel = golden.entry("conv1.weight", (8, 3, 3, 3, 3), meta)
    np.testing.assert_array_equal(kernel.ravel()[:2], np.float32([0.0199404936, 0.0854536891]))
    assert golden.entry("blk.norm.b_2", (6,), meta)[0] == np.float32(-0.019207226112484932)
    assert golden.entry("cls_token", (1, 1, 4), meta)[0, 0, 0] == np.float32(0.5031756162643433)
