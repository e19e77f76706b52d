"""TSN, TSM and TIN: names of temporal-shift-module, TIN and torchvision's ResNet.

The three name alike but for the first convolution of a block: `conv1` (TSN, and the ImageNet
weights all three start from), `conv1.net` (TSM), `conv1.net2` with `conv1.net1` the interlacing
(TIN). A file of one loads into another where the parameters agree; for TIN from ImageNet weights
the interlacing is then missing and keeps its initial values.
"""

from __future__ import annotations

from darkjax.weights.arch import IMAGENET, Arch, Preprocess, classes_of
from darkjax.weights.names import SHORTCUT, NameMap

BLOCK = r"layer(\d)\.(\d+)\."
NAMES = NameMap(
    (
        (r"conv1", "stem"),
        (r"bn1", "stem_bn"),
        *SHORTCUT,
        (BLOCK + r"conv1\.net2?", r"stage\1_\2/conv1"),
        (BLOCK + r"conv1\.net1\.biasnet\.net\.conv", r"stage\1_\2/interlace/offset_conv"),
        (BLOCK + r"conv1\.net1\.biasnet\.net\.fc", r"stage\1_\2/interlace/offset_fc1"),
        (BLOCK + r"conv1\.net1\.biasnet\.net\.lastlayer", r"stage\1_\2/interlace/offset_fc2"),
        (BLOCK + r"conv1\.net1\.weightnet\.net\.lastlayer", r"stage\1_\2/interlace/weight_conv"),
        (BLOCK + r"(conv\d|bn\d)", r"stage\1_\2/\3"),
        (r"new_fc|fc", "head"),
    ),
    strip=(r"module\.", r"base_model\."),
)


def _arch(paper: str, licence: str, files: tuple[str, ...] = (), **fields: object) -> Arch:
    return Arch(
        paper=paper,
        model={"name": "resnet_frames", "variant": "50", **fields},
        names=NAMES,
        infer=classes_of("new_fc.weight", "fc.weight"),
        # stride 8 is TSM's dense sampling, 8 frames of 64; TSN samples the whole video
        preprocess=Preprocess(**IMAGENET, size=224, short_side=256, frames=8, stride=8),
        input=(8, 224, 224),
        files=files,
        licence=licence,
    )


ARCHS = {
    "tsn_resnet50": _arch(
        "Wang et al. 2016, arXiv 1608.00859",
        "MIT (temporal-shift-module)",
        ("TSM_kinetics_RGB_resnet50_avg_segment5_e50.pth",),
    ),
    "tsm_resnet50": _arch(
        "Lin et al. 2019, arXiv 1811.08383",
        "MIT (temporal-shift-module)",
        ("TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth",),
        temporal="shift",
        shift_div=8,
    ),
    "tin_resnet50": _arch(
        "Shao et al. 2020, arXiv 2001.06499",
        "none stated (deepcs233/TIN)",
        temporal="interlace",
        shift_div=4,
    ),
}
