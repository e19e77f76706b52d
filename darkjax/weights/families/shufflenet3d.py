"""3-D ShuffleNet V1 and V2: names of Efficient-3DCNNs (`banch` is theirs)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from darkjax.models.shufflenet3d import STAGE_SIZES, V1_CHANNELS, V2_CHANNELS
from darkjax.weights.arch import classes_of
from darkjax.weights.families.mobilenet3d import LAYERS, arch, blocks, width_of
from darkjax.weights.names import StateDict

# Place in the Sequential of a branch -> our layer; activations stand between.
BRANCHES = {
    "banch1": {
        "0": "shortcut1/conv",
        "1": "shortcut1/bn",
        "2": "shortcut2/conv",
        "3": "shortcut2/bn",
    },
    "banch2": {
        "0": "conv1/conv",
        "1": "conv1/bn",
        "3": "conv2/conv",
        "4": "conv2/bn",
        "5": "conv3/conv",
        "6": "conv3/bn",
    },
}


def _v1_rules() -> Iterator[tuple[str, str]]:
    for index, part in LAYERS.items():
        yield rf"conv1\.{index}", f"stem/{part}"
    yield r"layer(\d)\.(\d+)\.(conv|bn)(\d)", r"stage\1_\2/conv\4/\3"
    yield r"classifier\.1", "head"


def _v2_rules() -> Iterator[tuple[str, str]]:
    for index, part in LAYERS.items():
        yield rf"conv1\.{index}", f"stem/{part}"
        yield rf"conv_last\.{index}", f"last/{part}"
    for number, block in blocks(STAGE_SIZES, first=0):
        for branch, layers in BRANCHES.items():
            for index, ours in layers.items():
                yield rf"features\.{number}\.{branch}\.{index}", f"{block}/{ours}"
    yield r"classifier\.1", "head"


def _v1_infer(state: StateDict) -> dict[str, Any]:
    """Classes; groups and width from a unit whose inputs are as many as its outputs."""
    fields = classes_of("classifier.1.weight")(state)
    reduce, expand = (state.get(f"layer3.3.conv{i}.weight") for i in (1, 3))
    if reduce is None or expand is None:
        return fields
    groups = expand.shape[0] // reduce.shape[1]
    if groups in V1_CHANNELS:
        width = width_of(expand.shape[0], V1_CHANNELS[groups][-1])
        fields |= {"groups": groups, "width": width}
    return fields


def _v2_infer(state: StateDict) -> dict[str, Any]:
    """Classes; the width whose stages end in the channels that the last layer reads."""
    fields = classes_of("classifier.1.weight")(state)
    last = state.get("conv_last.0.weight")
    for width, channels in V2_CHANNELS.items():
        if last is not None and channels[2] == last.shape[1]:
            fields["width"] = width
    return fields


ARCHS = {
    "shufflenet3d_v1": arch(
        "shufflenet3d_v1",
        _v1_rules(),
        _v1_infer,
        tuple(f"kinetics_shufflenet_{w}x_G3_RGB_16_best.pth" for w in (0.5, 1.0, 1.5, 2.0)),
    ),
    "shufflenet3d_v2": arch(
        "shufflenet3d_v2",
        _v2_rules(),
        _v2_infer,
        tuple(f"kinetics_shufflenetv2_{w}x_RGB_16_best.pth" for w in (0.25, 1.0, 1.5, 2.0)),
    ),
}
