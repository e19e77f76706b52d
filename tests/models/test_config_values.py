"""Values of a config that a network cannot take: one line that says what was expected.

Each is reached by a field that the ranges let through: names of variants, and numbers that do not
fit together.
"""

import jax
import numpy as np
import pytest

from darkjax import models
from darkjax.errors import UserError
from darkjax.ops import curves, shift

TINY_VIT = {"depth": 1, "width": 8, "heads": 1, "patch": 4}
LIFT = {
    "repeats": 1,
    "width": 8,
    "heads": 2,
    "tokens": (1, 1, 1),
    "head_width": 8,
    "luminous": {"variant": (1,), "width": 4, "stem_mid": 4},
    "pvit": TINY_VIT,
}
CLIP = (4, 16, 16)
SHARE = "do not divide the embedding of 8"


@pytest.mark.parametrize(
    ("model", "fields", "clip", "said"),
    [
        ("resnet3d", {"variant": "19"}, CLIP, "variant='19': expected one of '10', '18', '34'"),
        ("resnet3d", {"variant": "10", "stem": "k"}, CLIP, "stem='k': expected one of 'hara', 't"),
        ("resnet3d", {"variant": "10", "shortcut": "C"}, CLIP, "shortcut='C': expected one of 'A'"),
        ("resnet3d", {"variant": "resnext50", "width": 8}, CLIP, "32 groups do not divide 16 and"),
        ("r2plus1d", {"variant": "50"}, CLIP, "variant='50': expected one of '10', '18', '34'"),
        ("resnet_frames", {"variant": "18"}, CLIP, "variant='18': expected one of '14', '50'"),
        ("resnet_frames", {"variant": "14", "temporal": "tsm"}, CLIP, "temporal='tsm': expected"),
        (
            "resnet_frames",
            {"variant": "14", "width": 8, "temporal": "interlace", "shift_div": 4},
            CLIP,
            "shift_div=4 leaves 2 of 8 channels to move in 4 groups",
        ),
        (
            "resnet_frames",
            {"variant": "14", "width": 8, "temporal": "shift", "shift_div": 1},
            CLIP,
            "div >= 2",
        ),
        ("c3d", {"variant": "batch"}, CLIP, "variant='batch': expected one of 'plain', 'bn'"),
        ("c3d", {"width": 4, "hidden": 4}, (4, 8, 8), "smaller than the pooling's 1x2x2"),
        ("p3d", {"variant": "198"}, CLIP, "variant='198': expected one of '17', '63'"),
        ("p3d", {"variant": "17", "form": "tf"}, CLIP, "form='tf': expected one of 'port', 'caff"),
        ("slowfast", {"variant": "34"}, (8, 16, 16), "variant='34': expected one of '10', '50'"),
        ("slowfast", {"variant": "10"}, CLIP, "a multiple of alpha=8 frames, found 4: set data."),
        ("slowfast", {"variant": "10", "width": 4}, (8, 16, 16), "0 channels: choose a larger wid"),
        ("shufflenet3d_v2", {"width": 0.3}, CLIP, "width=0.3: expected one of 0.25, 0.5, 1.0"),
        ("shufflenet3d_v1", {"width": 0.1}, CLIP, "3 groups do not divide"),
        ("swin3d", {"variant": "l"}, CLIP, "variant='l': expected one of 't', 's', 'b'"),
        ("swin3d", {"variant": (8, (1,))}, CLIP, "head_dim=32 does not divide its width of 8"),
        ("mvit", {"depth": 1, "splits": (), "width": 8, "heads": 3}, CLIP, f"3 heads {SHARE}"),
        ("mvit", {"depth": 1, "splits": (), "width": 8, "frames": 8}, CLIP, "found clips of 4"),
        ("vit", {**TINY_VIT, "heads": 3}, CLIP, f"3 heads {SHARE}"),
        ("vit", {**TINY_VIT, "gelu": "relu"}, CLIP, "gelu='relu': expected one of 'erf', 'tanh'"),
        ("vit", {**TINY_VIT, "patch": 7}, CLIP, "16x16 are not whole patches of 7"),
        ("timesformer", {**TINY_VIT, "patch": 7}, CLIP, "16x16 are not whole patches of 7"),
        ("timesformer", {**TINY_VIT, "heads": 3}, CLIP, f"3 heads {SHARE}"),
        ("r2plus1d_bert", {"backbone": LIFT["luminous"], "views": 4}, CLIP, "views=4 takes 4"),
        ("darklight_r2plus1d34", {"backbone": {"variant": "18"}}, CLIP, "stands for variant='34'"),
        ("views_bert", {"backbone_net": "c3d"}, CLIP, "expected one of r2plus1d, resnet3d and"),
        (
            "views_bert",
            {"backbone": LIFT["luminous"], "views": 2, "fusion": "mean"},
            CLIP,
            "fusion='mean': expected one of 'softmax', 'sigmoid'",
        ),
        (
            "r2plus1d_bert",
            {"backbone": {**LIFT["luminous"], "variant": (1, 1)}, "heads": 3},
            CLIP,
            f"3 heads {SHARE}",
        ),
        (
            "lift_net",
            {**LIFT, "fusion_scale": "width"},
            CLIP,
            "'width': expected one of 'head_dim'",
        ),
        ("lift_net", {**LIFT, "heads": 3}, CLIP, f"3 heads {SHARE}"),
        ("stable_llve", {}, (1, 8, 8), "expected frames of 16x16 or more"),
    ],
)
def test_what_a_network_cannot_take_is_one_line(model, fields, clip, said):
    net = models.build({"name": model, **fields}, None if model == "stable_llve" else 3)
    video = jax.ShapeDtypeStruct((2, *clip, 3), np.float32)
    inputs = (video, video) if model == "lift_net" else (video,)
    with pytest.raises(UserError) as error:
        jax.eval_shape(lambda *x: net.init(jax.random.key(0), *x, train=False), *inputs)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_batch_norm_over_groups_that_do_not_divide_the_batch():
    net = models.build({"name": "resnet3d", "variant": "10", "width": 4, "bn_group": 3}, 3)
    video = jax.ShapeDtypeStruct((2, *CLIP, 3), np.float32)
    with pytest.raises(UserError, match="bn_group=3 does not divide the batch of 2"):
        jax.eval_shape(lambda x: net.init(jax.random.key(0), x, train=True), video)


def test_numbers_of_array_functions():
    with pytest.raises(UserError, match="k must be 1 or more frames that share curves, found 0"):
        curves.key_frames(8, 0)
    with pytest.raises(UserError, match="3 groups do not divide 8 channels"):
        shift.interlace(np.zeros((1, 4, 8), np.float32), np.zeros((1, 3), np.float32))
