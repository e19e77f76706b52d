"""3-D ResNet and ResNeXt [Hara et al. 2018, arXiv 1711.09577], the graph of the 2018 release.

Stem 7x7x7 with stride (1, 2, 2) and max pooling, basic blocks (18, 34) or bottlenecks
(50, 101), the stride in the 3x3x3 convolution, shortcut "B" (1x1x1 convolution and batch norm) or
"A" (strided, zero channels appended, no parameters). With 11 classes R3D-34 B has 63,519,179
parameters, R3D-50 B 46,221,515. ResNeXt-101 has bottlenecks of expansion 2 whose 3x3x3 convolution
is cut into 32 groups: 47,543,755 parameters. `stem="tv"` is torchvision's r3d_18: a 3x7x7 stem and
no pooling.

Deviations: the original's fixed-size average pooling is a global one here; equal at its native
size.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.backbone import Backbone, places

STAGE_SIZES = {
    "10": (1, 1, 1, 1),
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "resnext50": (3, 4, 6, 3),
    "resnext101": (3, 4, 23, 3),
}
EXPANSION = {"50": 4, "101": 4, "resnext50": 2, "resnext101": 2}
CARDINALITY = 32


class Block(nn.Module):
    """A basic block (`expansion` 1: two 3x3x3) or a bottleneck (1x1x1, 3x3x3, 1x1x1)."""

    planes: int
    expansion: int
    groups: int  # of the bottleneck's 3x3x3
    stride: int
    shortcut: str
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B t h w O"]:
        width, s = self.planes * self.expansion, self.stride
        if self.expansion == 1:
            plan = [(self.planes, 3, s, 1), (width, 3, 1, 1)]
        else:
            plan = [(self.planes, 1, 1, 1), (self.planes, 3, s, self.groups), (width, 1, 1, 1)]
        y = x
        for i, (features, k, stride, groups) in enumerate(plan, start=1):
            conv = layers.Conv3D(
                features, (k,) * 3, (stride,) * 3, groups, dtype=self.dtype, name=f"conv{i}"
            )
            y = self.norm(name=f"bn{i}")(conv(y), train=train)
            y = nn.relu(y) if i < len(plan) else y
        if s != 1 or x.shape[-1] != width:
            if self.shortcut == "B":
                x = layers.Conv3D(width, (1, 1, 1), (s, s, s), dtype=self.dtype, name="shortcut")(x)
                x = self.norm(name="shortcut_bn")(x, train=train)
            else:
                x = x[:, ::s, ::s, ::s]
                x = jnp.pad(x, ((0, 0),) * 4 + ((0, width - x.shape[-1]),))
        return nn.relu(x + y)


class ResNet3D(Backbone):
    """3-D ResNet; `variant` is the depth, "10" (tiny) to "101", or "resnext50", "resnext101".

    `stem`: "hara" (7x7x7, max pooling) or "tv" (3x7x7, none).

    `out`: `stem`, `stage{1-4}/{i}`, `features` (the last map), `pre_logits` (`[B, E]`, its mean).
    With `num_classes=None` the first result is `pre_logits`.
    """

    variant: str = "34"
    width: int = 64
    shortcut: str = "B"
    stem: str = "hara"

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        sizes = layers.chosen("variant", self.variant, STAGE_SIZES)
        layers.chosen("shortcut", self.shortcut, dict.fromkeys(("A", "B")))
        layers.chosen("stem", self.stem, dict.fromkeys(("hara", "tv")))

        norm = self.norm()
        out = {}
        x = video.astype(self.dtype)
        kernel = (7 if self.stem == "hara" else 3, 7, 7)
        x = layers.Conv3D(self.width, kernel, (1, 2, 2), dtype=self.dtype, name="stem")(x)
        x = nn.relu(norm(name="stem_bn")(x, train=train))
        if self.stem == "hara":
            x = layers.max_pool3d(x, 3, 2, 1)
        out["stem"] = x
        block = self.repeated(Block)
        expansion = EXPANSION.get(self.variant, 1)
        resnext = self.variant.startswith("resnext")
        wider, groups = (2, CARDINALITY) if resnext else (1, 1)
        for stage, i, stride in places(sizes):
            planes, name = self.width * 2 ** (stage - 1) * wider, f"stage{stage}_{i}"
            x = block(
                planes, expansion, groups, stride, self.shortcut, norm, self.dtype, name=name
            )(x, train)
            out[f"stage{stage}/{i}"] = x
        return self.classified(x, out, train)
