"""The 3-D networks of benchmarks/conv.py in PyTorch, the same graphs as darkjax.models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from darkjax.models import r2plus1d, resnet3d


def conv_bn(
    i: int, o: int, k: int | tuple, s: int | tuple = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch norm and maybe ReLU."""
    pad = tuple(n // 2 for n in k) if isinstance(k, tuple) else k // 2
    parts = [nn.Conv3d(i, o, k, s, pad, groups=groups, bias=False), nn.BatchNorm3d(o)]
    return nn.Sequential(*parts, *([nn.ReLU(inplace=True)] if relu else []))


def factorised(i: int, o: int, mid: int, s: int, relu: bool) -> nn.Sequential:
    """R(2+1)D's stand-in for a 3x3x3 convolution."""
    space, time = (1, 3, 3), (3, 1, 1)
    return nn.Sequential(
        conv_bn(i, mid, space, (1, s, s)), conv_bn(mid, o, time, (s, 1, 1), relu=relu)
    )


class Residual(nn.Module):
    """ReLU of a path and its shortcut."""

    def __init__(self, path: nn.Module, i: int, o: int, s: int):
        super().__init__()
        self.path = path
        self.shortcut = conv_bn(i, o, 1, s, relu=False) if s > 1 or i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.shortcut(x))


def stages(
    sizes: tuple[int, ...], first: int, expansion: int, path: Callable[[int, int, int], nn.Module]
) -> tuple[list[nn.Module], int]:
    """The blocks of four stages and their last width; `path(inputs, planes, stride)`."""
    blocks, i = [], 64
    for stage, count in enumerate(sizes):
        planes = first * 2**stage
        for n in range(count):
            s = 2 if stage and not n else 1
            blocks.append(Residual(path(i, planes, s), i, planes * expansion, s))
            i = planes * expansion
    return blocks, i


def head(i: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(i, classes)]


def resnet(variant: str, classes: int) -> nn.Sequential:
    """R3D-18 or 3-D ResNeXt."""
    expansion = resnet3d.EXPANSION.get(variant, 1)
    groups, first = (resnet3d.CARDINALITY, 128) if variant.startswith("resnext") else (1, 64)

    def path(i: int, planes: int, s: int) -> nn.Sequential:
        if expansion == 1:
            return nn.Sequential(conv_bn(i, planes, 3, s), conv_bn(planes, planes, 3, relu=False))
        return nn.Sequential(
            conv_bn(i, planes, 1),
            conv_bn(planes, planes, 3, s, groups),
            conv_bn(planes, planes * expansion, 1, relu=False),
        )

    blocks, width = stages(resnet3d.STAGE_SIZES[variant], first, expansion, path)
    stem = [conv_bn(3, 64, 7, (1, 2, 2)), nn.MaxPool3d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, *head(width, classes))


def r2plus1d18(classes: int) -> nn.Sequential:
    def path(i: int, planes: int, s: int) -> nn.Sequential:
        mid = r2plus1d.mid_planes(i, planes)
        return nn.Sequential(
            factorised(i, planes, mid, s, True), factorised(planes, planes, mid, 1, False)
        )

    blocks, width = stages((2, 2, 2, 2), 64, 1, path)
    stem = [conv_bn(3, 45, (1, 7, 7), (1, 2, 2)), conv_bn(45, 64, (3, 1, 1))]
    return nn.Sequential(*stem, *blocks, *head(width, classes))


def c3d(classes: int) -> nn.Sequential:
    """The paper's graph for clips of 16x112x112."""
    parts: list[nn.Module] = []
    i = 3
    for stage, (o, count) in enumerate([(64, 1), (128, 1), (256, 2), (512, 2), (512, 2)]):
        for _ in range(count):
            parts += [nn.Conv3d(i, o, 3, padding=1), nn.ReLU(inplace=True)]
            i = o
        window = (2 if stage else 1, 2, 2)
        parts.append(nn.MaxPool3d(window, window, (0, 1, 1) if stage == 4 else 0))
    wide = [nn.Linear(8192, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), *wide, nn.Linear(4096, classes))
