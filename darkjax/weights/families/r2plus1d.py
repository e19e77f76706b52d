"""R(2+1)D: the IG-65M release and torchvision, which name alike."""

from __future__ import annotations

from darkjax.weights.arch import KINETICS, Arch, Preprocess, classes_of
from darkjax.weights.names import SHORTCUT, NameMap

NAMES = NameMap(
    (
        (r"stem\.0", "stem_spatial"),
        (r"stem\.1", "stem_bn1"),
        (r"stem\.3", "stem_temporal"),
        (r"stem\.4", "stem_bn2"),
        *SHORTCUT,
        (r"layer(\d)\.(\d+)\.conv(\d)\.0\.0", r"stage\1_\2/conv\3/spatial"),
        (r"layer(\d)\.(\d+)\.conv(\d)\.0\.1", r"stage\1_\2/conv\3/bn"),
        (r"layer(\d)\.(\d+)\.conv(\d)\.0\.3", r"stage\1_\2/conv\3/temporal"),
        (r"layer(\d)\.(\d+)\.conv(\d)\.1", r"stage\1_\2/bn\3"),
        (r"fc", "head"),
    )
)

ARCHS = {
    "r2plus1d18": Arch(
        paper="Tran et al. 2018, arXiv 1711.11248",
        model={"name": "r2plus1d18"},
        names=NAMES,
        infer=classes_of("fc.weight"),
        preprocess=Preprocess(**KINETICS),
        input=(16, 112, 112),
        files=("r2plus1d_18-91a641e6.pth",),
        licence="BSD-3-Clause (torchvision)",
    ),
    "r2plus1d34": Arch(
        paper="Tran et al. 2018; Ghadiyaram et al. 2019 (IG-65M), arXiv 1905.00561",
        model={"name": "r2plus1d34"},
        names=NAMES,
        infer=classes_of("fc.weight"),
        preprocess=Preprocess(**KINETICS, frames=32),
        input=(32, 112, 112),
        files=(
            "r2plus1d_34_clip8_ig65m_from_scratch-9bae36ae.pth",
            "r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth",
            "r2plus1d_34_clip8_ft_kinetics_from_ig65m-0aa0550b.pth",
            "r2plus1d_34_clip32_ft_kinetics_from_ig65m-ade133f1.pth",
        ),
        licence="MIT (ig65m-pytorch)",
    ),
}
