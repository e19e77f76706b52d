"""3-D SqueezeNet 1.1: names of Efficient-3DCNNs."""

from __future__ import annotations

from collections.abc import Iterator

from darkjax.weights.arch import classes_of
from darkjax.weights.families.mobilenet3d import LAYERS, arch

PAIRS = (4, 7, 10, 13)  # places of the first of two fire modules; pooling stands between
FIRE = {"squeeze": "squeeze", "expand1x1": "expand1", "expand3x3": "expand3"}


def _rules() -> Iterator[tuple[str, str]]:
    for index, part in LAYERS.items():
        yield rf"features\.{index}", f"stem/{part}"
    for stage, first in enumerate(PAIRS, start=1):
        for i in (0, 1):
            for theirs, ours in FIRE.items():
                for suffix, part in (("", "conv"), ("_bn", "bn")):
                    fire = rf"features\.{first + i}\.{theirs}{suffix}"
                    yield fire, f"stage{stage}_{i}/{ours}/{part}"
    yield r"classifier\.1", "head"  # a 1x1x1 convolution


ARCHS = {
    "squeezenet3d": arch(
        "squeezenet3d",
        _rules(),
        classes_of("classifier.1.weight"),
        ("kinetics_squeezenet_RGB_16_best.pth",),
    )
}
