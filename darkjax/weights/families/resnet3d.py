"""3-D ResNet and ResNeXt: names of 3D-ResNets-PyTorch (2018, 2020) and of torchvision."""

from __future__ import annotations

import dataclasses

from darkjax.weights.arch import (
    ACTIVITYNET,
    KINETICS,
    KINETICS_2020,
    Arch,
    Preprocess,
    classes_of,
)
from darkjax.weights.names import SHORTCUT, NameMap

NAMES = NameMap(
    (
        (r"conv1", "stem"),
        (r"bn1", "stem_bn"),
        *SHORTCUT,
        (r"layer(\d)\.(\d+)\.(conv\d|bn\d)", r"stage\1_\2/\3"),
        (r"fc", "head"),
    )
)
NAMES_TV = NameMap(
    (
        (r"stem\.0", "stem"),
        (r"stem\.1", "stem_bn"),
        *SHORTCUT,
        (r"layer(\d)\.(\d+)\.conv(\d)\.0", r"stage\1_\2/conv\3"),
        (r"layer(\d)\.(\d+)\.conv(\d)\.1", r"stage\1_\2/bn\3"),
        (r"fc", "head"),
    )
)
HARA = "Hara et al. 2018, arXiv 1711.09577"
FIRST = Preprocess(**ACTIVITYNET, short_side=112)  # files NAME-kinetics.pth
SECOND = Preprocess(**KINETICS_2020, short_side=112)  # files NAME_K_200ep.pth, _KM_, …


def _hara(name: str, *files: str) -> Arch:
    return Arch(
        paper=HARA,
        model={"name": name},
        names=NAMES,
        infer=classes_of("fc.weight"),
        preprocess=FIRST if any("-kinetics" in file for file in files) else SECOND,
        releases=((r"_[KMS]+_\d+ep", SECOND), (r"-kinetics", FIRST)),
        input=(16, 112, 112),
        files=files,
        licence="MIT (3D-ResNets-PyTorch)",
    )


ARCHS = {
    "r3d18": _hara("r3d18", "r3d18_K_200ep.pth"),
    "r3d34": _hara("r3d34", "r3d34_K_200ep.pth"),
    "r3d50": _hara("r3d50", "resnet-50-kinetics.pth", "r3d50_K_200ep.pth"),
    "r3d101": _hara("r3d101", "resnet-101-kinetics.pth", "r3d101_K_200ep.pth"),
    "r3d18_a": _hara("r3d18_a", "resnet-18-kinetics.pth"),
    "r3d34_a": _hara("r3d34_a", "resnet-34-kinetics.pth"),
    "r3d18_tv": Arch(
        paper="Tran et al. 2018, arXiv 1711.11248",
        model={"name": "r3d18_tv"},
        names=NAMES_TV,
        infer=classes_of("fc.weight"),
        preprocess=Preprocess(**KINETICS),
        input=(16, 112, 112),
        files=("r3d_18-b3b3357e.pth",),
        licence="BSD-3-Clause (torchvision)",
    ),
    "resnext101": dataclasses.replace(
        _hara(
            "resnext101",
            "resnext-101-kinetics.pth",
            "resnext-101-64f-kinetics-ucf101_split1.pth",
            "resnext-101-64f-kinetics-hmdb51_split1.pth",
        ),
        input=(64, 112, 112),
    ),
}
