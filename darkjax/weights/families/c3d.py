"""C3D: names of c3d-pytorch and pytorch-video-recognition, and of Efficient-3DCNNs (batch norm).

pytorch-video-recognition's model names like DavideA's c3d-pytorch, but its published file numbers
the layers of two sequences, `features.N` and `classifier.N`; both are read.
"""

from __future__ import annotations

from darkjax.weights.arch import ACTIVITYNET, Arch, Preprocess, classes_of
from darkjax.weights.names import NameMap

FEATURES = {
    0: "conv1",
    3: "conv2",
    6: "conv3a",
    8: "conv3b",
    11: "conv4a",
    13: "conv4b",
    16: "conv5a",
    18: "conv5b",
}
NAMES = NameMap(
    (
        (r"(conv\d[ab]?)", r"\1/conv"),
        (r"(fc[67])", r"\1"),
        (r"fc8", "head"),
        *((rf"features\.{n}", f"{name}/conv") for n, name in FEATURES.items()),
        (r"classifier\.0", "fc6"),
        (r"classifier\.3", "fc7"),
        (r"classifier\.6", "head"),
    )
)
NAMES_BN = NameMap(
    (
        (r"group([12])\.0", r"conv\1/conv"),
        (r"group([12])\.1", r"conv\1/bn"),
        (r"group(\d)\.0", r"conv\1a/conv"),
        (r"group(\d)\.1", r"conv\1a/bn"),
        (r"group(\d)\.3", r"conv\1b/conv"),
        (r"group(\d)\.4", r"conv\1b/bn"),
        (r"fc1\.0", "fc6"),
        (r"fc2\.0", "fc7"),
        (r"fc\.0", "head"),
    )
)
PAPER = "Tran et al. 2015, arXiv 1412.0767"

ARCHS = {
    "c3d": Arch(
        paper=PAPER,
        model={"name": "c3d"},
        names=NAMES,
        infer=classes_of("fc8.weight", "classifier.6.weight"),
        # pytorch-video-recognition's; c3d.pickle's own example subtracts nothing and feeds RGB
        preprocess=Preprocess(
            mean=(90.0, 98.0, 102.0), std=(1.0, 1.0, 1.0), scale=255.0, order="BGR"
        ),
        input=(16, 112, 112),
        files=("c3d.pickle", "c3d-pretrained.pth"),
        licence="MIT (c3d-pytorch, pytorch-video-recognition)",
    ),
    "c3d_bn": Arch(
        paper=PAPER,
        model={"name": "c3d_bn"},
        names=NAMES_BN,
        infer=classes_of("fc.0.weight"),
        preprocess=Preprocess(**ACTIVITYNET, size=112, short_side=112),
        input=(16, 112, 112),
        licence="MIT (Efficient-3DCNNs)",
    ),
}
