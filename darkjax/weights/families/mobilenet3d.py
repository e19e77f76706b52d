"""3-D MobileNet V1 and V2: names of Efficient-3DCNNs, whose blocks are numbered through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from darkjax.models.mobilenet3d import V1_STAGES, V2_STAGES
from darkjax.weights.arch import ACTIVITYNET, Arch, Preprocess, classes_of
from darkjax.weights.names import NameMap, StateDict

PAPER = "Köpüklü et al. 2019, arXiv 1904.02422"
LICENCE = "MIT (Efficient-3DCNNs)"
CLIP = Preprocess(**ACTIVITYNET, size=112, short_side=112, frames=16)
LAYERS = {"0": "conv", "1": "bn"}  # of a Sequential of convolution, batch norm, activation


def blocks(sizes: tuple[int, ...], first: int) -> Iterator[tuple[int, str]]:
    """The original's running number of a block, and ours by stage."""
    names = [f"stage{s}_{i}" for s, n in enumerate(sizes, start=1) for i in range(n)]
    return enumerate(names, start=first)


def width_of(rows: int, full: int) -> float:
    """The width multiplier, of two decimals, under which `full` channels became `rows`.

    `rows` is `full * width` without its fraction, and `full` is above 100: only one such
    multiplier is possible.
    """
    return -(-100 * rows // full) / 100


def _v1_rules() -> Iterator[tuple[str, str]]:
    for index, part in LAYERS.items():
        yield rf"features\.0\.{index}", f"stem/{part}"
    for number, block in blocks(tuple(n for _, n, _ in V1_STAGES), first=1):
        yield rf"features\.{number}\.(conv|bn)1", rf"{block}/depthwise/\1"
        yield rf"features\.{number}\.(conv|bn)2", rf"{block}/pointwise/\1"
    yield r"classifier\.1", "head"


def _v2_rules() -> Iterator[tuple[str, str]]:
    for index, part in LAYERS.items():
        yield rf"features\.0\.{index}", f"stem/{part}"
    sizes = tuple(n for _, _, n, _ in V2_STAGES)
    for number, block in blocks(sizes, first=1):
        # Expansion 1 has no expanding layer; the indices count the activations between.
        steps = ("depthwise", "project") if number == 1 else ("expand", "depthwise", "project")
        for step, layer in enumerate(steps):
            yield rf"features\.{number}\.conv\.{3 * step}", f"{block}/{layer}/conv"
            yield rf"features\.{number}\.conv\.{3 * step + 1}", f"{block}/{layer}/bn"
    for index, part in LAYERS.items():
        yield rf"features\.{1 + sum(sizes)}\.{index}", f"last/{part}"
    yield r"classifier\.1", "head"


def _infer(key: str, full: int) -> Callable[[StateDict], dict[str, Any]]:
    """Classes, and the width from the widest scaled layer `key`."""
    classes = classes_of("classifier.1.weight")

    def infer(state: StateDict) -> dict[str, Any]:
        width = {"width": width_of(state[key].shape[0], full)} if key in state else {}
        return {**classes(state), **width}

    return infer


def arch(name: str, rules: Iterator, infer: Callable, files: tuple[str, ...]) -> Arch:
    """A network of Efficient-3DCNNs."""
    return Arch(
        paper=PAPER,
        model={"name": name},
        names=NameMap(tuple(rules)),
        infer=infer,
        preprocess=CLIP,
        input=(16, 112, 112),
        files=files,
        licence=LICENCE,
    )


ARCHS = {
    "mobilenet3d_v1": arch(
        "mobilenet3d_v1",
        _v1_rules(),
        _infer("features.13.conv2.weight", 1024),
        tuple(f"kinetics_mobilenet_{w}x_RGB_16_best.pth" for w in (0.5, 1.0, 1.5, 2.0)),
    ),
    "mobilenet3d_v2": arch(
        "mobilenet3d_v2",
        _v2_rules(),
        _infer("features.17.conv.6.weight", 320),
        tuple(f"kinetics_mobilenetv2_{w}x_RGB_16_best.pth" for w in (0.2, 0.45, 0.7, 1.0)),
    ),
}
