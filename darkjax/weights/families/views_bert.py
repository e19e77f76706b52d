"""R(2+1)D-BERT and DarkLight: names of LateTemporalModeling3DCNN and Darklight-Pytorch.

Both keep R(2+1)D's children in a Sequential, `features.0` the stem and `features.1` to `4` the
layers. The transformer is `bert` in the one, `self_attention` in the other.
"""

from __future__ import annotations

import re

from darkjax.weights.arch import KINETICS, Arch, Preprocess, classes_of
from darkjax.weights.families import r2plus1d
from darkjax.weights.names import NameMap, StateDict

BERT = r"(?:bert|self_attention)\."
BLOCK = BERT + r"transformer_blocks\.(\d+)\."
BERT_RULES = (
    (BERT + r"clsToken", "bert/cls"),
    (BERT + r"embedding\.learnedPosition\.pe", "bert/position"),
    (BLOCK + r"attention\.linear_layers\.0", r"bert/block\1/query"),
    (BLOCK + r"attention\.linear_layers\.1", r"bert/block\1/key"),
    (BLOCK + r"attention\.linear_layers\.2", r"bert/block\1/value"),
    (BLOCK + r"attention\.output_linear", r"bert/block\1/out"),
    (BLOCK + r"feed_forward\.w_([12])", r"bert/block\1/fc\2"),
    (BLOCK + r"input_sublayer\.norm\.a_2", r"bert/block\1/norm1/scale"),
    (BLOCK + r"input_sublayer\.norm\.b_2", r"bert/block\1/norm1/bias"),
    (BLOCK + r"output_sublayer\.norm\.a_2", r"bert/block\1/norm2/scale"),
    (BLOCK + r"output_sublayer\.norm\.b_2", r"bert/block\1/norm2/bias"),
)
RULES = (
    (r"fc_action", "head"),
    *BERT_RULES,
    *((rule, f"backbone/{ours}") for rule, ours in r2plus1d.NAMES.rules if ours != "head"),
)


def named_layers(state: StateDict) -> StateDict:
    """`features.0` as `stem`, `features.{n}` as `layer{n}`: R(2+1)D's own names."""
    found = {}
    for key, value in state.items():
        key = re.sub(r"\Afeatures\.0\.", "stem.", key)
        found[re.sub(r"\Afeatures\.([1-4])\.", r"layer\1.", key)] = value
    return found


def _arch(paper: str, licence: str, views: int, mask_prob: float) -> Arch:
    return Arch(
        paper=paper,
        model={"name": "r2plus1d_bert", "views": views, "mask_prob": mask_prob},
        names=NameMap(RULES, prepare=named_layers),
        infer=classes_of("fc_action.weight"),
        # DarkLight trains on ImageNet's mean and std but its evaluation has these
        preprocess=Preprocess(**KINETICS, frames=64),
        input=(64, 112, 112),
        licence=licence,
        views=views,
    )


ARCHS = {
    "darklight_r2plus1d34": _arch(
        "Chen et al. 2021, DarkLight Networks for Action Recognition in the Dark",
        "none stated (Ticuby/Darklight-Pytorch)",
        views=2,
        mask_prob=1.0,
    ),
    "r2plus1d34_bert": _arch(
        "Kalfaoglu et al. 2020, arXiv 2008.01232",
        "MIT (LateTemporalModeling3DCNN)",
        views=1,
        mask_prob=0.8,
    ),
}
