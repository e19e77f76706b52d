"""ViT and TimeSformer: the originals' outputs, names and counts; images as one-frame videos."""

import chex
import family
import golden_weights as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.timesformer import TimeSformer
from darkjax.models.vit import ViT
from darkjax.weights import fitting
from darkjax.weights.families import timesformer as timesformer_weights
from darkjax.weights.families import vit as vit_weights

VIT = vit_weights.ARCHS["vit_b16"]
TIMESFORMER = timesformer_weights.ARCHS["timesformer_b"]
WIDTH, DEPTH, PATCH, FRAMES, GRID = 128, 2, 4, 3, 2


def block_names(prefix, temporal, bias=True):
    found = {}
    for part in ("attn", "temporal_attn") if temporal else ("attn",):
        found[f"{prefix}.{part}.qkv.weight"] = (3 * WIDTH, WIDTH)
        if bias:
            found[f"{prefix}.{part}.qkv.bias"] = (3 * WIDTH,)
        found |= {f"{prefix}.{part}.proj.{k}": s for k, s in dense(WIDTH, WIDTH).items()}
    for norm in ("norm1", "norm2", *(("temporal_norm1",) if temporal else ())):
        found |= {f"{prefix}.{norm}.{leaf}": (WIDTH,) for leaf in ("weight", "bias")}
    if temporal:
        found |= {f"{prefix}.temporal_fc.{k}": s for k, s in dense(WIDTH, WIDTH).items()}
    found |= {f"{prefix}.mlp.fc1.{k}": s for k, s in dense(WIDTH, 4 * WIDTH).items()}
    return found | {f"{prefix}.mlp.fc2.{k}": s for k, s in dense(4 * WIDTH, WIDTH).items()}


def dense(inputs, outputs):
    return {"weight": (outputs, inputs), "bias": (outputs,)}


def state_dict(temporal=False, bias=True, classes=7):
    """A small ViT or TimeSformer under the original's names."""
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + GRID * GRID, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
        "head.weight": (classes, WIDTH),
        "head.bias": (classes,),
    }
    if temporal:
        shapes["time_embed"] = (1, FRAMES, WIDTH)
    for i in range(DEPTH):
        shapes |= block_names(f"blocks.{i}", temporal, bias)
    found = family.generated(shapes)
    for name in ("cls_token", "pos_embed", "time_embed"):
        if name in found:  # large enough that a mistake in adding them shows
            found[name] = found[name] * 8
    return found


def video(frames=FRAMES, height=GRID * PATCH, width=GRID * PATCH, channels=3):
    rng = np.random.default_rng(3)
    return rng.standard_normal((2, frames, height, width, channels)).astype(np.float32)


# ViT


def test_five_blocks_through_the_conversion_path(shared):
    meta, arrays = golden.load(shared / "golden", "vit_b16_5blocks")
    x = golden.inputs(meta)
    model, variables = family.convert(VIT, ViT, golden.state_dict(meta), x)
    assert (model.depth, model.heads, model.final_norm) == (5, 12, True)
    _, out = family.evaluate(model, variables, x)
    family.close(out["block4"], arrays["features"], 3e-5)
    family.close(out["tokens"], arrays["features_norm"], 3e-5)


def test_vit_b16_has_its_parameters():
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    assert family.count(ViT(1000), image) == 86_567_656  # timm's vit_base_patch16_224
    assert family.count(ViT(11), image) == 85_807_115
    assert family.count(ViT(11, qkv_bias=False), image) == 85_807_115 - 12 * 3 * 768


def as_google(state, hidden=None):
    """The same weights as a Google npz has them: flax's names, heads apart."""
    heads, size = WIDTH // 64, 64
    found = {
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
    }
    for i in range(DEPTH):
        ours, theirs = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        for norm, name in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            found[f"{theirs}/{name}/scale"] = state[f"{ours}.{norm}.weight"]
            found[f"{theirs}/{name}/bias"] = state[f"{ours}.{norm}.bias"]
        for fc, name in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            found[f"{theirs}/MlpBlock_3/{name}/kernel"] = state[f"{ours}.mlp.{fc}.weight"].T
            found[f"{theirs}/MlpBlock_3/{name}/bias"] = state[f"{ours}.mlp.{fc}.bias"]
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        for j, name in enumerate(("query", "key", "value")):
            rows = slice(j * WIDTH, (j + 1) * WIDTH)
            weight = state[f"{ours}.attn.qkv.weight"][rows].T
            found[f"{attention}/{name}/kernel"] = weight.reshape(WIDTH, heads, size)
            bias = state[f"{ours}.attn.qkv.bias"][rows]
            found[f"{attention}/{name}/bias"] = bias.reshape(heads, size)
        proj = state[f"{ours}.attn.proj.weight"].T
        found[f"{attention}/out/kernel"] = proj.reshape(heads, size, WIDTH)
        found[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
    if hidden is not None:
        found |= {"pre_logits/kernel": hidden, "pre_logits/bias": state["norm.bias"]}
    return found


def test_googles_file_gives_the_same_tree():
    state, x = state_dict(), video(1)
    model, theirs = family.convert(VIT, ViT, as_google(state), x)
    assert (model.gelu, model.num_classes, model.representation) == ("tanh", 7, None)
    _, ours = family.convert(VIT, ViT, state, x)
    chex.assert_trees_all_equal(theirs, ours)


def test_googles_hidden_layer_is_a_tanh():
    hidden = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    state, x = state_dict(), video(1)[:, 0]
    model, variables = family.convert(VIT, ViT, as_google(state, hidden), x)
    _, out = family.evaluate(model, variables, x)
    expected = np.tanh(np.asarray(out["tokens"])[:, 0] @ hidden + state["norm.bias"])
    np.testing.assert_allclose(out["pre_logits"], expected, atol=1e-5)


def test_miils_file_has_no_query_key_value_biases():
    state = {f"module.{k}": v for k, v in state_dict(bias=False).items()}
    model, variables = family.convert(VIT, ViT, state, video(1))
    assert not model.qkv_bias
    assert set(variables["params"]["block0"]["attention"]["query"]) == {"kernel"}


def test_a_video_is_the_mean_of_its_frames():
    x = video()
    model, variables = family.convert(VIT, ViT, state_dict(), x)
    logits, out = family.evaluate(model, variables, x)
    frames, _ = family.evaluate(model, variables, x.reshape(-1, *x.shape[2:]))
    np.testing.assert_allclose(logits, frames.reshape(2, FRAMES, -1).mean(1), atol=1e-5)
    assert out["pre_logits"].shape == (2, WIDTH)
    assert out["tokens"].shape == (2 * FRAMES, 1 + GRID * GRID, WIDTH)


def test_resized_positions():
    flat = np.ones((1, 1 + 16, 5), np.float32) * np.arange(5, dtype=np.float32)
    assert vit_weights.resize_position(flat, (4, 4)) is flat
    found = vit_weights.resize_position(flat, (6, 3))
    np.testing.assert_allclose(found, np.broadcast_to(flat[:, :1], (1, 19, 5)), atol=1e-6)
    # a slope stays one away from the edges, half as steep on twice the grid
    slope = np.zeros((1, 1 + 64, 1), np.float32)
    slope[0, 1:, 0] = np.repeat(np.arange(8), 8)
    found = vit_weights.resize_position(slope, (16, 8))[0, 1:, 0].reshape(16, 8)
    np.testing.assert_allclose(found[4:12, 3], np.arange(4, 12) / 2 - 0.25, atol=1e-5)
    with pytest.raises(ValueError, match="square grid"):
        vit_weights.resize_position(np.zeros((1, 8, 2), np.float32), (2, 2))


def test_other_frame_sizes_resize_the_positions():
    """`--input=1,16,8`: 4 x 2 patches of 4 pixels where the file has 2 x 2."""
    state = state_dict()
    found = fitting.fitted("vit_b16", VIT, state, input=(1, 16, 8), say=lambda line: None)
    assert found.params["position"].shape == (1, 1 + 8, WIDTH)
    expected = vit_weights.resize_position(state["pos_embed"].astype(np.float32), (4, 2))
    np.testing.assert_array_equal(found.params["position"], expected)
    assert found.preprocess.size == 8


# TimeSformer


def reference(state, x):
    """Divided attention in the original's own token order, (place, frame) after the class token.

    Written out in NumPy; float64.
    """
    state = {k: v.astype(np.float64) for k, v in state.items()}
    b, t = x.shape[:2]
    p = GRID * GRID

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attend(x, name):
        n, length, _ = x.shape
        qkv = linear(x, f"{name}.qkv").reshape(n, length, 3, WIDTH // 64, 64)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        logits = q @ k.swapaxes(-1, -2) / 8
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
        return linear((weights @ v).swapaxes(1, 2).reshape(n, length, WIDTH), f"{name}.proj")

    patches = x.reshape(b, t, GRID, PATCH, GRID, PATCH, 3).transpose(0, 1, 2, 4, 6, 3, 5)
    kernel = state["patch_embed.proj.weight"].reshape(WIDTH, -1)
    x = patches.reshape(b, t, p, -1) @ kernel.T + state["patch_embed.proj.bias"]
    cls = np.broadcast_to(state["cls_token"] + state["pos_embed"][:, :1], (b, 1, WIDTH))
    x = x + state["pos_embed"][:, 1:] + state["time_embed"][0][:, None]
    x = x.swapaxes(1, 2).reshape(b, p * t, WIDTH)
    for i in range(DEPTH):
        at = f"blocks.{i}"
        y = attend(norm(x.reshape(b * p, t, WIDTH), f"{at}.temporal_norm1"), f"{at}.temporal_attn")
        x = x + linear(y.reshape(b, p * t, WIDTH), f"{at}.temporal_fc")
        y = x.reshape(b, p, t, WIDTH).swapaxes(1, 2).reshape(b * t, p, WIDTH)
        y = np.concatenate([np.repeat(cls, t, axis=0), y], axis=1)
        y = attend(norm(y, f"{at}.norm1"), f"{at}.attn").reshape(b, t, 1 + p, WIDTH)
        x = x + y[:, :, 1:].swapaxes(1, 2).reshape(b, p * t, WIDTH)
        y = np.concatenate([cls + y[:, :, 0].mean(1, keepdims=True), x], axis=1)
        z = linear(norm(y, f"{at}.norm2"), f"{at}.mlp.fc1")
        z = z * 0.5 * (1 + np.asarray(jax.scipy.special.erf(z / np.sqrt(2)), np.float64))
        y = y + linear(z, f"{at}.mlp.fc2")
        cls, x = y[:, :1], y[:, 1:]
    return linear(norm(cls[:, 0], "norm"), "head")


def test_divided_attention_is_the_originals():
    source, x = state_dict(temporal=True), video()
    published = {f"model.{k}": v for k, v in source.items()}
    model, variables = family.convert(TIMESFORMER, TimeSformer, published, x)
    assert (model.frames, model.grid, model.num_classes) == (FRAMES, (GRID, GRID), 7)
    logits, out = family.evaluate(model, variables, x)
    family.close(logits, reference(source, x).astype(np.float32), 3e-5)
    tokens = 1 + FRAMES * GRID * GRID
    assert out["tokens"].shape == out["block1"].shape == (2, tokens, WIDTH)
    for name, n in (("temporal_attention", FRAMES), ("attention", 1 + GRID * GRID)):
        np.testing.assert_allclose(out[f"block1/{name}"].sum(-1), 1, atol=1e-5)
        assert out[f"block1/{name}"].shape[-1] == n


@pytest.mark.parametrize(("frames", "expected"), [(8, 121_566_352), (96, 121_633_936)])
def test_timesformer_has_the_originals_parameters(frames, expected):
    x = jax.ShapeDtypeStruct((1, frames, 224, 224, 3), jnp.float32)
    assert family.count(TimeSformer(400), x) == expected


def test_another_size_takes_the_nearest_embeddings():
    """Twice the frames and height: each embedding twice, as if the file held them so."""
    source, x = state_dict(temporal=True), video(2 * FRAMES, 2 * GRID * PATCH)
    model, variables = family.convert(TIMESFORMER, TimeSformer, source, x)
    _, out = family.evaluate(model, variables, x)
    places = source["pos_embed"][0, 1:].reshape(GRID, GRID, WIDTH).repeat(2, axis=0)
    params = variables["params"]
    larger = {
        **params,
        "position": np.concatenate([params["position"][:, :1], places.reshape(1, -1, WIDTH)], 1),
        "time": source["time_embed"].repeat(2, axis=1),
    }
    exact = model.clone(frames=None, grid=None)
    _, expected = family.evaluate(exact, {"params": larger}, x)
    np.testing.assert_array_equal(out["embedded"], expected["embedded"])
    np.testing.assert_allclose(out["pre_logits"], expected["pre_logits"], atol=1e-5)


@pytest.mark.parametrize("source", ["timm", "google", "miil"])
def test_an_image_vit_starts_divided_attention(source):
    """Frames that are all alike, nothing from time: the image network's logits."""
    image = state_dict(bias=source != "miil")
    published = as_google(image) if source == "google" else image
    started = timesformer_weights.from_image(published)
    x = video(1).repeat(FRAMES, axis=1)
    zeros = {k: v * 0 for k, v in state_dict(temporal=True).items() if "temporal_fc" in k}
    zeros["time_embed"] = np.zeros((1, FRAMES, WIDTH), np.float32)
    model, variables = family.convert(TIMESFORMER, TimeSformer, started | zeros, x)
    logits, _ = family.evaluate(model, variables, x)
    image_model, image_variables = family.convert(VIT, ViT, image, x[:, 0])
    expected, _ = family.evaluate(image_model, image_variables, x[:, 0])
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    block = variables["params"]["block1"]
    for time, space in (("temporal_attention", "attention"), ("temporal_norm", "norm1")):
        chex.assert_trees_all_equal(block[time], block[space])


def test_a_started_file_is_left_alone_and_a_hidden_head_is_dropped():
    whole = state_dict(temporal=True)
    assert timesformer_weights.from_image(whole) is whole
    google = as_google(state_dict(), np.eye(WIDTH, dtype=np.float32))
    started = timesformer_weights.from_image(google)
    assert not [k for k in started if k.startswith(("head", "pre_logits"))]
    assert timesformer_weights.infer(google)["num_classes"] is None


def test_only_the_first_block_of_a_new_network_reads_time():
    x = video()
    model = TimeSformer(3, depth=3, width=32, heads=2, patch=PATCH)
    params = family.init(model, x)["params"]
    learnt = [bool(np.abs(params[f"block{i}"]["temporal_out"]["kernel"]).max()) for i in range(3)]
    assert learnt == [True, False, False]
    assert not np.abs(params["time"]).max()


def test_stochastic_depth_keeps_the_mean():
    x = jnp.ones((4000, 2))
    drop = layers.DropPath(0.25)
    y = drop.apply({}, x, True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(np.unique(y), np.float32([0, 1 / 0.75]))
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    assert abs(float(y.mean()) - 1) < 0.03
    for off in (drop.apply({}, x, True), drop.apply({}, x, False)):
        np.testing.assert_array_equal(off, x)


@pytest.mark.slow
def test_every_parameter_of_timesformer_learns_in_bfloat16():
    x = video(channels=2)
    config = {"depth": 2, "width": 32, "heads": 2, "patch": PATCH, "drop_path": 0.3}
    model = TimeSformer(3, **config, dtype=jnp.bfloat16)
    params = family.init(model, x)["params"]
    for block in ("block0", "block1"):  # zeros would stop the gradient to what is before them
        params[block]["temporal_out"]["kernel"] += 0.1

    def loss(params):
        rngs = {"dropout": jax.random.key(2)}
        logits, out = model.apply({"params": params}, x, train=True, rngs=rngs)
        assert (logits.dtype, out["embedded"].dtype) == (jnp.float32, jnp.bfloat16)
        return jnp.square(logits - jnp.arange(3.0)).sum()

    grads = jax.jit(jax.grad(loss))(params)
    still = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(grads)
        if not (np.isfinite(g).all() and np.abs(g).max() > 0)
    ]
    assert still == []


def test_sizes_that_are_no_whole_patches_are_refused():
    with pytest.raises(UserError, match="whole patches of 4"):
        TimeSformer(3, patch=4, width=8, heads=1).init(
            jax.random.key(0), jnp.zeros((1, 2, 8, 9, 3)), train=False
        )
