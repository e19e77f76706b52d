"""S3D: names of torchvision, which numbers everything."""

from __future__ import annotations

from darkjax.weights.arch import KINETICS, Arch, Preprocess, classes_of
from darkjax.weights.names import NameMap

# position in `features` -> our Inception block; 1, 4, 7 and 13 are poolings
BLOCKS = {5: "stage2_0", 6: "stage2_1", 14: "stage4_0", 15: "stage4_1"}
BLOCKS |= {8 + i: f"stage3_{i}" for i in range(5)}
BRANCHES = {r"branch0": "b0", r"branch1\.0": "b1a", r"branch2\.0": "b2a", r"branch3\.1": "b3b"}
SEPARABLE = {r"branch1\.1": "b1b", r"branch2\.1": "b2b"}
PARTS = (("0", "spatial"), ("1", "temporal"))
LEAVES = (("0", "conv"), ("1", "bn"))


def _rules() -> tuple[tuple, ...]:
    units = {r"features\.2": "stage1_0"}
    separable = {r"features\.0": "stem", r"features\.3": "stage1_1"}
    for at, block in BLOCKS.items():
        units |= {rf"features\.{at}\.{b}": f"{block}/{name}" for b, name in BRANCHES.items()}
        separable |= {rf"features\.{at}\.{b}": f"{block}/{name}" for b, name in SEPARABLE.items()}
    for theirs, ours in separable.items():
        units |= {rf"{theirs}\.{i}": f"{ours}/{part}" for i, part in PARTS}
    rules: list[tuple] = [(r"classifier\.1", "head")]
    for theirs, ours in units.items():
        rules += [(rf"{theirs}\.{i}", f"{ours}/{leaf}") for i, leaf in LEAVES]
    return tuple(rules)


ARCHS = {
    "s3d": Arch(
        paper="Xie et al. 2018, arXiv 1712.04851",
        model={"name": "s3d"},
        names=NameMap(_rules()),
        infer=classes_of("classifier.1.weight"),
        # 128 frames at 15 a second; torchvision squeezes the frame to 256x256 before the crop
        preprocess=Preprocess(**KINETICS, size=224, short_side=256, frames=128, stride=2),
        input=(128, 224, 224),
        files=("s3d-d76dad2f.pth",),
        licence="BSD-3-Clause (torchvision)",
    ),
}
