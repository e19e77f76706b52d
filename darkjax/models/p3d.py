"""Pseudo-3D ResNet [Qiu et al. 2017, arXiv 1711.10305].

A bottleneck's 3x3x3 convolution becomes a spatial 1x3x3 S and a temporal 3x1x1 T, combined in one
of three ways that take turns from block to block:

- A, serial: `T(S(x))`
- B, parallel: `S(x) + T(x)`
- C, both: `S(x) + T(S(x))`

Time is halved by max pooling after the stem and after stages 1 to 3; the last stage is a 2-D
network on the one frame that is left of 16. P3D-199 has 65,695,179 parameters with 11 classes,
66,492,240 with 400.

Two graphs with the same parameters:

- `form="port"`: qijiezhao/pseudo-3d-pytorch, whose weights are published. S and T each end in
  ReLU, nothing after the sum; the stem's pooling is padded by one on both sides.
- `form="caffe"`: the authors' network definition. In B and C the temporal branch has no ReLU of
  its own, the sum has one, and C takes half the sum; the stem's pooling starts at the first cell
  and may reach over the end.

Deviations: the originals know 16 frames of 160x160. Here the last stage runs on every
remaining frame of longer clips and the mean over time and space is taken (the port would mix
frames and channels); with a shorter clip a pooling window is cut to the one frame left.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.backbone import Backbone, places

STAGE_SIZES = {
    "17": (1, 1, 2, 1),
    "63": (3, 4, 6, 3),
    "131": (3, 4, 23, 3),
    "199": (3, 8, 36, 3),
}
KINDS = ("A", "B", "C")
EXPANSION = 4


class Block(nn.Module):
    """1x1x1, then S and T as `kind` says ("2D": S alone), then 1x1x1, and a shortcut."""

    planes: int
    stride: int  # over height and width, in the first 1x1x1
    kind: str
    form: str
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T h w O"]:
        def conv(x: Array, features: int, kernel: tuple, name: str, stride: int = 1) -> Array:
            x = layers.Conv3D(features, kernel, (1, stride, stride), dtype=self.dtype, name=name)(x)
            return self.norm(name=f"{name}_bn")(x, train=train)

        width = self.planes * EXPANSION
        y = nn.relu(conv(x, self.planes, (1, 1, 1), "reduce", self.stride))
        spatial = nn.relu(conv(y, self.planes, (1, 3, 3), "spatial"))
        if self.kind == "2D":
            y = spatial
        else:
            temporal = conv(y if self.kind == "B" else spatial, self.planes, (3, 1, 1), "temporal")
            if self.kind == "A":
                y = nn.relu(temporal)
            elif self.form == "port":
                y = spatial + nn.relu(temporal)
            else:
                y = nn.relu((spatial + temporal) * (0.5 if self.kind == "C" else 1.0))
        y = conv(y, width, (1, 1, 1), "expand")
        if self.stride != 1 or x.shape[-1] != width:
            x = conv(x, width, (1, 1, 1), "shortcut", self.stride)
        return nn.relu(x + y)


class P3D(Backbone):
    """P3D ResNet; `variant` is "17" (tiny), "63", "131" or "199"; `form` "port" or "caffe".

    `dropout` acts before the classifier where an rng "dropout" is given.

    `out`: `stem` (pooled), `stage{1-4}/{i}`, `features` (the last map), `pre_logits` (`[B, E]`, its
    mean). With `num_classes=None` the first result is `pre_logits`.
    """

    variant: str = "199"
    form: str = "port"
    width: int = 64
    dropout: float = 0.5

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        layers.chosen("form", self.form, dict.fromkeys(("port", "caffe")))
        sizes = layers.chosen("variant", self.variant, STAGE_SIZES)

        norm = self.norm()
        out = {}
        x = video.astype(self.dtype)
        x = layers.Conv3D(self.width, (1, 7, 7), (1, 2, 2), dtype=self.dtype, name="stem")(x)
        x = out["stem"] = self._stem_pool(nn.relu(norm(name="stem_bn")(x, train=train)))
        block = self.repeated(Block)
        # A, B and C go on from stage to stage.
        for number, (stage, i, stride) in enumerate(places(sizes)):
            if stage > 1 and i == 0:
                x = layers.max_pool3d(x, (min(2, x.shape[1]), 1, 1), (2, 1, 1))
            planes, name = self.width * 2 ** (stage - 1), f"stage{stage}_{i}"
            kind = "2D" if stage == 4 else KINDS[number % len(KINDS)]
            x = block(planes, stride, kind, self.form, norm, self.dtype, name=name)(x, train)
            out[f"stage{stage}/{i}"] = x
        return self.classified(x, out, train, dropout=self.dropout)

    def _stem_pool(self, x: Array) -> Array:
        """2x3x3, stride 2."""
        frames, *places = x.shape[1:4]
        if self.form == "port":
            return layers.max_pool3d(x, (min(2, frames), 3, 3), 2, (0, 1, 1))
        # Caffe rounds the number of windows up; the last may reach over the end.
        ends = [(0, frames % 2), *((0, (n - 3) % 2) for n in places)]
        return layers.max_pool3d(x, (2, 3, 3), 2, tuple(ends))
