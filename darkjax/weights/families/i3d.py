"""I3D: names of piergiaj/pytorch-i3d."""

from __future__ import annotations

from darkjax.weights.arch import Arch, Preprocess, classes_of
from darkjax.weights.names import NameMap

UNITS = {"Conv3d_1a_7x7": "stem", "Conv3d_2b_1x1": "stage1_0", "Conv3d_2c_3x3": "stage1_1"}
BLOCKS = {
    f"Mixed_{stage + 1}{letter}": f"stage{stage}_{i}"
    for stage, letters in ((2, "bc"), (3, "bcdef"), (4, "bc"))
    for i, letter in enumerate(letters)
}


def _rules() -> tuple[tuple, ...]:
    rules: list[tuple] = [(r"logits\.conv3d", "head")]
    for theirs, ours in (("conv3d", "conv"), ("bn", "bn")):
        rules += [(rf"{unit}\.{theirs}", f"{name}/{ours}") for unit, name in UNITS.items()]
        rules += [
            (rf"{block}\.(b\w+)\.{theirs}", rf"{name}/\1/{ours}") for block, name in BLOCKS.items()
        ]
    return tuple(rules)


ARCHS = {
    "i3d": Arch(
        paper="Carreira and Zisserman 2017, arXiv 1705.07750",
        model={"name": "i3d"},
        names=NameMap(_rules()),
        infer=classes_of("logits.conv3d.weight"),
        # [-1, 1]; the flow files take two channels in the same range
        preprocess=Preprocess(
            mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=224, short_side=256, frames=64
        ),
        input=(64, 224, 224),
        files=("rgb_imagenet.pt", "flow_imagenet.pt", "rgb_charades.pt", "flow_charades.pt"),
        licence="Apache-2.0 (pytorch-i3d)",
    ),
}
