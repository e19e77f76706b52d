"""R(2+1)D [Tran et al. 2018, arXiv 1711.11248], the graph of the IG-65M release.

A 3-D convolution becomes a spatial 1x3x3 one, batch norm, ReLU and a temporal 3x1x1 one, with
so many channels between them that the parameter count stays that of the 3x3x3 kernel. No pooling
before the global average. R(2+1)D-34 with 11 classes has 63,497,618 parameters.

Deviations: none known. The IG-65M files override the middle width of the second convolution in
the first block of stages 2-4 (`caffe2_mid`), use eps 1e-3 and momentum 0.9 in PyTorch's sense;
torchvision's R(2+1)D-18 does neither.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.backbone import Backbone

STAGE_SIZES = {"10": (1, 1, 1, 1), "18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}


def mid_planes(inputs: int, outputs: int) -> int:
    """Channels between the spatial and the temporal kernel (Tran et al. Section 3.5)."""
    return (inputs * outputs * 27) // (inputs * 9 + 3 * outputs)


class Conv2Plus1D(nn.Module):
    """1x3x3, batch norm, ReLU, 3x1x1: stands for one 3x3x3 convolution."""

    features: int
    mid: int
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], *, train: bool) -> Float[Array, "B t h w O"]:
        s = self.stride
        spatial = layers.Conv3D(self.mid, (1, 3, 3), (1, s, s), dtype=self.dtype, name="spatial")
        x = nn.relu(self.norm(name="bn")(spatial(x), train=train))
        return layers.Conv3D(
            self.features, (3, 1, 1), (s, 1, 1), dtype=self.dtype, name="temporal"
        )(x)


class Block(nn.Module):
    """The basic residual block: two factorised convolutions and a shortcut."""

    features: int
    mids: tuple[int, int]
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B t h w O"]:
        kwargs = {"norm": self.norm, "dtype": self.dtype}
        y = Conv2Plus1D(self.features, self.mids[0], self.stride, name="conv1", **kwargs)(
            x, train=train
        )
        y = nn.relu(self.norm(name="bn1")(y, train=train))
        y = Conv2Plus1D(self.features, self.mids[1], 1, name="conv2", **kwargs)(y, train=train)
        y = self.norm(name="bn2")(y, train=train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = layers.Conv3D(
                self.features, (1, 1, 1), (self.stride,) * 3, dtype=self.dtype, name="shortcut"
            )(x)
            x = self.norm(name="shortcut_bn")(x, train=train)
        return nn.relu(x + y)


class R2Plus1D(Backbone):
    """R(2+1)D; `variant` is the depth, "10" (tiny), "18", "34", or the blocks of each stage.

    `out`: `stem`, `stage{1-4}/{i}`, `features` (the last map), `pre_logits` (`[B, E]`, its mean).
    With `num_classes=None` the first result is `pre_logits`.
    """

    variant: str | tuple[int, ...] = "34"
    width: int = 64
    stem_mid: int = 45
    stem_kernel: int = 7  # over height and width
    first_stride: int = 1  # of stage 1, in time and space; a tiny net may take 2
    caffe2_mid: bool = True
    bn_eps: float = 1e-3
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        dtype, norm = self.dtype, self.norm()
        out = {}
        x = video.astype(dtype)
        kernel = (1, self.stem_kernel, self.stem_kernel)
        x = layers.Conv3D(self.stem_mid, kernel, (1, 2, 2), dtype=dtype, name="stem_spatial")(x)
        x = nn.relu(norm(name="stem_bn1")(x, train=train))
        x = layers.Conv3D(self.width, (3, 1, 1), dtype=dtype, name="stem_temporal")(x)
        x = out["stem"] = nn.relu(norm(name="stem_bn2")(x, train=train))
        sizes = self.variant
        if isinstance(sizes, str):
            sizes = layers.chosen("variant", sizes, STAGE_SIZES)
        block = self.repeated(Block)
        for stage, blocks in enumerate(sizes, start=1):
            planes = self.width * 2 ** (stage - 1)
            for i in range(blocks):
                mid = mid_planes(x.shape[-1], planes)  # computed once per block, used twice
                second = mid_planes(planes, planes) if self.caffe2_mid else mid
                stride = 1 if i else (2 if stage > 1 else self.first_stride)
                name = f"stage{stage}_{i}"
                x = block(planes, (mid, second), stride, norm, dtype, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        return self.classified(x, out, train)
