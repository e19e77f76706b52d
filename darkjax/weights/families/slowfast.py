"""SlowFast: names of PySlowFast, and of the caffe2 files it publishes."""

from __future__ import annotations

import re

from darkjax.weights.arch import HALF, Arch, Preprocess, classes_of
from darkjax.weights.names import NameMap, StateDict

# caffe2 module, without the fast pathway's "t_" -> PySlowFast's; {p} is the pathway's number
CAFFE2_MODULES = (
    (r"conv1", r"s1.pathway{p}_stem.conv"),
    (r"res_conv1_bn", r"s1.pathway{p}_stem.bn"),
    (r"pool1_subsample", r"s1_fuse.conv_f2s"),
    (r"pool1_subsample_bn", r"s1_fuse.bn"),
    (r"res(\d)_\d+_branch2c_bn_subsample", r"s\1_fuse.conv_f2s"),
    (r"res(\d)_\d+_branch2c_bn_subsample_bn", r"s\1_fuse.bn"),
    (r"res(\d)_(\d+)_branch1(_bn)?", r"s\1.pathway{p}_res\2.branch1\3"),
    (r"res(\d)_(\d+)_branch2([abc])(_bn)?", r"s\1.pathway{p}_res\2.branch2.\3\4"),
    (r"pred", r"head.projection"),
)
CAFFE2_LEAVES = {
    "w": "weight",
    "s": "weight",
    "b": "bias",
    "rm": "running_mean",
    "riv": "running_var",
}
SOLVER = ("momentum", "lr", "model_iter")  # blobs of the training, not of the network


def from_caffe2(state: StateDict) -> StateDict:
    """The blobs of a caffe2 file under PySlowFast's names; other state dicts as they are.

    Blobs of the solver are left out; what no rule knows keeps its name.
    """
    if "conv1_w" not in state:
        return state
    kept = {k: v for k, v in state.items() if not any(word in k for word in SOLVER)}
    return {caffe2_name(k): v for k, v in kept.items()}


def caffe2_name(name: str) -> str:
    """`t_res2_0_branch2a_bn_riv` -> `s2.pathway1_res0.branch2.a_bn.running_var`."""
    module, _, leaf = name.rpartition("_")
    pathway = int(module.startswith("t_"))
    for pattern, theirs in CAFFE2_MODULES:
        match = re.fullmatch(pattern, module.removeprefix("t_"))
        if match and leaf in CAFFE2_LEAVES:
            return match.expand(theirs).format(p=pathway) + f".{CAFFE2_LEAVES[leaf]}"
    return name


def _rules() -> tuple[tuple[str, str], ...]:
    rules = [(r"head\.projection", "head")]
    for number, path in enumerate(("slow", "fast")):
        for stage in (1, 2, 3, 4):  # theirs begin with the stem: s2 is stage 1
            block = rf"s{stage + 1}\.pathway{number}_res(\d+)\."
            ours = rf"{path}_stage{stage}_\1/"
            rules.append((block + r"branch1(_bn)?", ours + r"shortcut\2"))
            for i, letter in enumerate("abc", start=1):
                rules.append((block + rf"branch2\.{letter}", f"{ours}conv{i}"))
                rules.append((block + rf"branch2\.{letter}_bn", f"{ours}bn{i}"))
        rules.append((rf"s1\.pathway{number}_stem\.conv", f"{path}_stem"))
        rules.append((rf"s1\.pathway{number}_stem\.bn", f"{path}_stem_bn"))
    rules.append((r"s(\d)_fuse\.conv_f2s", r"fuse\1"))
    rules.append((r"s(\d)_fuse\.bn", r"fuse\1_bn"))
    return tuple(rules)


def _arch(name: str, file: str) -> Arch:
    return Arch(
        paper="Feichtenhofer et al. 2019, arXiv 1812.03982",
        model={"name": name},
        names=NameMap(_rules(), prepare=from_caffe2),
        infer=classes_of("head.projection.weight", "pred_w"),
        preprocess=Preprocess(**HALF, size=224, short_side=256, frames=32, stride=2),
        input=(32, 224, 224),
        files=(file,),
        licence="Apache-2.0 (PySlowFast)",
    )


ARCHS = {
    "slowfast_r50_4x16": _arch("slowfast_r50_4x16", "SLOWFAST_4x16_R50.pkl"),
    "slowfast_r50_8x8": _arch("slowfast_r50_8x8", "SLOWFAST_8x8_R50.pkl"),
}
