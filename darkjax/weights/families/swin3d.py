"""Video Swin: names of torchvision and of the release (mmaction), which share every shape."""

from __future__ import annotations

from typing import Any

from darkjax.weights.arch import IMAGENET, Arch, Preprocess
from darkjax.weights.names import NameMap, StateDict, split_qkv


def release_names(state: StateDict) -> StateDict:
    """Torchvision's stages as the release counts them: `features.{2 i}` is `layers.{i}.blocks`.

    Torchvision puts blocks and merging in one list, so the stage is half the position there;
    a regex cannot halve.
    """
    found = {}
    for name, value in state.items():
        if name.startswith("features."):
            _, place, rest = name.split(".", 2)
            stage, merging = divmod(int(place), 2)
            name = f"layers.{stage}.{'downsample' if merging else 'blocks'}.{rest}"
        found[name] = value
    return found


# The release counts stages from 0, ours from 1; its `downsample` ends a stage, our `merge` begins
# the next.
STAGES = tuple(
    rule
    for i in range(4)
    for rule in (
        (rf"layers\.{i}\.downsample\.(norm|reduction)", rf"merge{i + 2}/\1"),
        (rf"layers\.{i}\.blocks\.(\d+)\.(norm[12])", rf"stage{i + 1}_\1/\2"),
        (rf"layers\.{i}\.blocks\.(\d+)\.attn\.qkv", rf"stage{i + 1}_\1/attention", split_qkv),
        (rf"layers\.{i}\.blocks\.(\d+)\.attn\.proj", rf"stage{i + 1}_\1/attention/out"),
        (
            rf"layers\.{i}\.blocks\.(\d+)\.attn\.relative_position_bias_table",
            rf"stage{i + 1}_\1/attention/bias_table",
        ),
        (rf"layers\.{i}\.blocks\.(\d+)\.mlp\.(?:fc1|0)", rf"stage{i + 1}_\1/mlp/fc1"),
        (rf"layers\.{i}\.blocks\.(\d+)\.mlp\.(?:fc2|3)", rf"stage{i + 1}_\1/mlp/fc2"),
    )
)
NAMES = NameMap(
    (
        (r"patch_embed\.proj", "stem"),
        (r"patch_embed\.norm", "stem_norm"),
        *STAGES,
        (r"layers\.\d+\.blocks\.\d+\.attn\.relative_position_index", None),  # follows from window
        (r"norm", "norm"),
        (r"head|cls_head\.fc_cls", "head"),
    ),
    strip=(r"module\.", r"backbone\."),
    prepare=release_names,
)


def infer(state: StateDict) -> dict[str, Any]:
    """Classes from the head; patch and window from the shapes of the embedding and the bias table.

    Windows are 7x7 in every release; their length in time (8, or 16 for Something-Something)
    is what the rows of the table leave: `(2 wt - 1) 13 13`.
    """
    found: dict[str, Any] = {"num_classes": None}
    for name, value in state.items():
        if name in ("head.weight", "cls_head.fc_cls.weight"):
            found["num_classes"] = int(value.shape[0])
        elif name == "patch_embed.proj.weight":
            found["patch"] = tuple(int(n) for n in value.shape[2:])
        elif name.endswith("relative_position_bias_table"):
            found["window"] = ((value.shape[0] // 13**2 + 1) // 2, 7, 7)
    return found


def _swin(name: str, *files: str) -> Arch:
    return Arch(
        paper="Liu et al. 2022, arXiv 2106.13230",
        model={"name": name},
        names=NAMES,
        infer=infer,
        # The release's 123.675, 116.28, 103.53 of 255 and its deviations are these.
        preprocess=Preprocess(**IMAGENET, size=224, short_side=256, frames=32, stride=2),
        input=(32, 224, 224),
        files=files,
        licence="BSD-3-Clause (torchvision), Apache-2.0 (Video-Swin-Transformer)",
    )


ARCHS = {
    "swin3d_t": _swin(
        "swin3d_t", "swin3d_t-7615ae03.pth", "swin_tiny_patch244_window877_kinetics400_1k.pth"
    ),
    "swin3d_s": _swin(
        "swin3d_s", "swin3d_s-da41c237.pth", "swin_small_patch244_window877_kinetics400_1k.pth"
    ),
    "swin3d_b": _swin(
        "swin3d_b",
        "swin3d_b_1k-24f7c7c6.pth",
        "swin3d_b_22k-7c6ae6fa.pth",
        "swin_base_patch244_window877_kinetics400_1k.pth",
        "swin_base_patch244_window877_kinetics400_22k.pth",
        "swin_base_patch244_window877_kinetics600_22k.pth",
        "swin_base_patch244_window1677_sthv2.pth",
    ),
}
