"""Video Swin: windows by hand, padding and shift, names of both originals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokens import clips, headless, parameters

from darkjax.models import swin3d
from darkjax.models.swin3d import Swin3D
from darkjax.weights import names, zoo

TINY = {"variant": (8, (1, 2)), "window": (2, 2, 2), "head_dim": 4}


@pytest.mark.parametrize(
    ("variant", "classes", "count"),
    [
        ("t", 11, 27_858_929),
        pytest.param("t", 400, 28_158_070, marks=pytest.mark.slow),
        ("s", 400, 49_816_678),
        pytest.param("b", 400, 88_048_984, marks=pytest.mark.slow),
    ],
)
def test_parameter_counts(variant, classes, count):
    params = parameters(Swin3D(classes, variant))
    assert sum(x.size for x in jax.tree.leaves(params)) == count
    assert params["stage4_0"]["attention"]["bias_table"].shape[0] == 15 * 13 * 13


def test_bias_rows_by_hand():
    np.testing.assert_array_equal(swin3d.bias_index((1, 1, 2)), [[1, 0], [2, 1]])
    # Rows: 3 (dt + 1) + (dw + 1), tokens in the order (t, w) = 00 01 10 11.
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    np.testing.assert_array_equal(swin3d.bias_index((2, 1, 2)), expected)


def test_the_corner_of_the_index_is_right_for_fewer_frames_only():
    """What the originals do with small windows: exact in time, other offsets in space."""
    full = swin3d.bias_index((4, 2, 2))
    short, narrow = swin3d.bias_index((2, 2, 2)), swin3d.bias_index((4, 2, 1))

    def offsets(index, window):
        spans = [2 * w - 1 for w in window]
        return np.stack(np.unravel_index(index, spans)) - np.reshape(window, (3, 1, 1)) + 1

    n = len(short)
    same = offsets(full[:n, :n], (4, 2, 2)) == offsets(short, (2, 2, 2))
    assert same.all()
    n = len(narrow)
    same = offsets(full[:n, :n], (4, 2, 2)) == offsets(narrow, (4, 2, 1))
    assert not same.all()


def test_windows_shrink_on_short_axes():
    window, shift = swin3d.fitted((4, 7, 9), (8, 7, 7), (4, 3, 3))
    assert (window, shift) == ((4, 7, 7), (0, 0, 3))


def test_windows_and_back():
    x = jnp.arange(2.0 * 4 * 6 * 2).reshape(2, 4, 6, 2, 1)
    parts = swin3d.to_windows(x, (2, 3, 1))
    assert parts.shape == (2 * 2 * 2 * 2, 6, 1)
    np.testing.assert_array_equal(parts[1, :, 0], x[0, :2, :3, 1, 0].ravel())
    np.testing.assert_array_equal(swin3d.from_windows(parts, (2, 3, 1), (4, 6, 2)), x)


def test_shift_mask_by_hand():
    mask = swin3d.shift_mask((1, 1, 4), (1, 1, 2), (0, 0, 1))
    # Rolled order 1 2 | 3 0: the last window holds the end and the start.
    np.testing.assert_array_equal(mask, [[[0, 0], [0, 0]], [[0, -100], [-100, 0]]])
    assert not swin3d.shift_mask((2, 2, 2), (1, 2, 2), (0, 0, 0)).any()


def test_shifted_attention_mixes_neighbours_only():
    """Eight tokens in a row, windows of four moved by two: 0 1 | 2 3 4 5 | 6 7."""
    attention = swin3d.WindowAttention(1, (1, 1, 4), (0, 0, 2), jnp.float32)
    x = clips(1, 1, 1, 8, 2)
    v = attention.init(jax.random.key(1), x)
    v = jax.tree.map(lambda p: p * 50, v)  # weights that differ visibly from uniform
    jacobian = jax.jit(jax.jacobian(lambda x: attention.apply(v, x)[0, 0, 0]))(x)[:, :, 0, 0, 0]
    found = np.abs(np.asarray(jacobian)).max((1, 3)) > 1e-6  # output token, input token
    group = np.array([0, 0, 1, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(found, group[:, None] == group[None, :])


def test_padding_is_attended_to():
    """Three tokens, windows of two: the last token shares its window with a zero."""
    attention = swin3d.WindowAttention(1, (1, 1, 2), (0, 0, 0), jnp.float32)
    x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3, 1)
    one, bias = jnp.ones((1, 1)), lambda b: jnp.full((1,), b)
    params = {
        "query": {"kernel": one, "bias": bias(0.0)},
        "key": {"kernel": one, "bias": bias(0.5)},
        "value": {"kernel": one, "bias": bias(10.0)},
        "out": {"kernel": one, "bias": bias(0.0)},
        "bias_table": jnp.array([[0.1], [0.2], [0.3]]),
    }
    found = attention.apply({"params": params}, x)[0, 0, 0, :, 0]
    # The last token: to itself 3 * 3.5 + 0.2, to the zero 3 * 0.5 + 0.1 (one to the left of it).
    weights = np.exp([3 * 3.5 + 0.2, 3 * 0.5 + 0.1])
    np.testing.assert_allclose(found[2], weights @ [13.0, 10.0] / weights.sum(), rtol=1e-6)
    weights = np.exp([1 * 1.5 + 0.2, 1 * 2.5 + 0.1])
    np.testing.assert_allclose(found[0], weights @ [11.0, 12.0] / weights.sum(), rtol=1e-6)


def test_merging_goes_down_the_rows_first():
    x = jnp.arange(1.0, 7.0).reshape(1, 1, 3, 2, 1)  # rows 1 2, 3 4, 5 6
    merging = swin3d.Merging(jnp.float32)
    v = merging.init(jax.random.key(0), x)
    v["params"]["reduction"]["kernel"] = jnp.eye(4)[:, :2]  # the first two of the four
    found = merging.apply(v, x)
    assert found.shape == (1, 1, 2, 1, 2)
    for at, four in ((0, [1, 3, 2, 4]), (1, [5, 0, 6, 0])):
        four = np.array(four, float)
        normed = (four - four.mean()) / np.sqrt(four.var() + 1e-5)
        np.testing.assert_allclose(found[0, 0, at, 0], normed[:2], rtol=1e-5)


def test_any_size_and_channels_and_the_names_of_out():
    model = Swin3D(None, **TINY)
    for shape in ((2, 3, 18, 13, 1), (1, 8, 16, 32, 2)):
        first, out = headless(model, shape)
        assert first.shape == out["pre_logits"].shape == (shape[0], 16)
        assert set(out) == {"stem", "stage1/0", "stage2/0", "stage2/1", "features", "pre_logits"}
        stem = tuple(-(-n // p) for n, p in zip(shape[1:4], (2, 4, 4), strict=True))
        assert out["stem"].shape == (shape[0], *stem, 8)
        last = (stem[0], -(-stem[1] // 2), -(-stem[2] // 2))
        assert out["features"].shape == (shape[0], *last, 16)


def block(prefix, mlp):
    leaves = {
        "norm1.weight": (4,),
        "norm1.bias": (4,),
        "attn.relative_position_bias_table": (2535, 1),
        "attn.relative_position_index": (392, 392),
        "attn.qkv.weight": (12, 4),
        "attn.qkv.bias": (12,),
        "attn.proj.weight": (4, 4),
        "attn.proj.bias": (4,),
        "norm2.weight": (4,),
        "norm2.bias": (4,),
        f"mlp.{mlp[0]}.weight": (16, 4),
        f"mlp.{mlp[0]}.bias": (16,),
        f"mlp.{mlp[1]}.weight": (4, 16),
        f"mlp.{mlp[1]}.bias": (4,),
    }
    return {f"{prefix}.{name}": shape for name, shape in leaves.items()}


def release(table=2535):
    """Names of the release, as its files have them; two blocks and a merging."""
    shapes = {
        "backbone.patch_embed.proj.weight": (4, 3, 2, 4, 4),
        "backbone.patch_embed.proj.bias": (4,),
        "backbone.patch_embed.norm.weight": (4,),
        "backbone.patch_embed.norm.bias": (4,),
        **block("backbone.layers.0.blocks.0", ("fc1", "fc2")),
        "backbone.layers.2.downsample.reduction.weight": (8, 16),
        "backbone.layers.2.downsample.norm.weight": (16,),
        "backbone.layers.2.downsample.norm.bias": (16,),
        **block("backbone.layers.3.blocks.1", ("fc1", "fc2")),
        "backbone.norm.weight": (4,),
        "backbone.norm.bias": (4,),
        "cls_head.fc_cls.weight": (9, 4),
        "cls_head.fc_cls.bias": (9,),
    }
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return {k: v[:1].repeat(table, 0) if k.endswith("table") else v for k, v in state.items()}


TORCHVISION = (
    ("backbone.", ""),
    ("cls_head.fc_cls", "head"),
    ("layers.0.blocks", "features.0"),
    ("layers.2.downsample", "features.5"),
    ("layers.3.blocks", "features.6"),
    ("mlp.fc1", "mlp.0"),
    ("mlp.fc2", "mlp.3"),
)


def test_both_originals_names_give_the_same_tree():
    theirs = release()
    mine = {}
    for name, value in theirs.items():
        for old, new in TORCHVISION:
            name = name.replace(old, new)
        mine[name] = value
    rules = zoo.get("swin3d_t").names
    trees = [names.rename(state, rules) for state in (theirs, mine)]
    assert trees[0].unknown == trees[1].unknown == []
    assert trees[0].params.keys() == trees[1].params.keys()
    assert {
        "stem/kernel",
        "stage1_0/attention/value/kernel",
        "stage4_1/attention/bias_table",
        "merge4/reduction/kernel",
        "head/bias",
    } <= trees[0].params.keys()
    for path, value in trees[0].params.items():
        np.testing.assert_array_equal(value, trees[1].params[path])


def test_window_patch_and_classes_are_read_from_the_weights():
    arch = zoo.get("swin3d_b")
    state = names.stripped(release(), arch.names.strip)
    expected = {"num_classes": 9, "patch": (2, 4, 4), "window": (8, 7, 7)}
    assert arch.infer(state) == expected
    long = names.stripped(release(31 * 13 * 13), arch.names.strip)  # Something-Something
    assert arch.infer(long)["window"] == (16, 7, 7)
    headless = {k: v for k, v in state.items() if not k.startswith("cls_head")}
    assert arch.infer(headless)["num_classes"] is None
