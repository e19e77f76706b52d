"""P3D: names of qijiezhao/pseudo-3d-pytorch."""

from __future__ import annotations

from darkjax.weights.arch import IMAGENET, Arch, Preprocess, classes_of
from darkjax.weights.names import SHORTCUT, NameMap

BLOCK = r"layer(\d)\.(\d+)\."
# `conv_normal` is the 2-D convolution of the last stage, which has no conv2 and conv3.
LAYERS = {"1": "reduce", "2": "spatial", "3": "temporal", "4": "expand", "_normal": "spatial"}
NAMES = NameMap(
    (
        (r"conv1_custom", "stem"),
        (r"bn1", "stem_bn"),
        *SHORTCUT,
        *((BLOCK + f"conv{n}", rf"stage\1_\2/{name}") for n, name in LAYERS.items()),
        *((BLOCK + f"bn{n}", rf"stage\1_\2/{name}_bn") for n, name in LAYERS.items()),
        (r"fc", "head"),
    )
)

ARCHS = {
    "p3d199": Arch(
        paper="Qiu et al. 2017, arXiv 1711.10305",
        model={"name": "p3d199"},
        names=NAMES,
        infer=classes_of("fc.weight"),
        # the RGB file's; flow has two channels, mean 0.5 and std 0.226. The paper resizes
        # frames to 182x242.
        preprocess=Preprocess(**IMAGENET, size=160, short_side=182),
        input=(16, 160, 160),
        files=("p3d_rgb_199.checkpoint.pth.tar", "p3d_flow_199.checkpoint.pth.tar"),
        licence="MIT (pseudo-3d-pytorch)",
    ),
}
