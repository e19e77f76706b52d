"""3-D MobileNets: V1 and V2 of Efficient-3DCNNs [Köpüklü et al. 2019, arXiv 1904.02422].

V1 [Howard et al. 2017, arXiv 1704.04861]: blocks of a depthwise 3x3x3 and a pointwise convolution.
V2 [Sandler et al. 2018, arXiv 1801.04381]: inverted residuals (expand, depthwise 3x3x3, linear
projection) with ReLU6. Every stride 2 acts on time, height and width; the stem keeps time. With 11
classes and width 1.0 V1 has 3,309,259 parameters, V2 2,368,139 (600 classes: 3,912,984 and
3,122,648).

Deviations: none known.
"""

from __future__ import annotations

import functools

import flax.linen as nn
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.backbone import Backbone, Block

# (channels at width 1.0, blocks, stride of the first)
V1_STAGES = ((64, 1, 2), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 1))
# (expansion, channels at width 1.0, blocks, stride of the first): Table 2 of V2
V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST = 32, 1280


class Separable(Block):
    """V1's block: depthwise 3x3x3, pointwise, each with batch norm and ReLU."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B t h w O"]:
        conv = self.conv
        c, strides = x.shape[-1], (self.stride,) * 3
        x = conv(c, 3, strides=strides, groups=c, name="depthwise")(x, train)
        return conv(self.features, 1, name="pointwise")(x, train)


class InvertedResidual(Block):
    """V2's block: expand, depthwise 3x3x3, project without activation (V2 Section 3.3)."""

    expansion: int = 6

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B t h w O"]:
        conv = self.conv
        hidden, strides = x.shape[-1] * self.expansion, (self.stride,) * 3
        y = x
        if self.expansion != 1:
            y = conv(hidden, 1, act=nn.relu6, name="expand")(y, train)
        y = conv(hidden, 3, strides=strides, groups=hidden, act=nn.relu6, name="depthwise")(
            y, train
        )
        y = conv(self.features, 1, act=None, name="project")(y, train)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV1(Backbone):
    """3-D MobileNet V1; `width` multiplies every number of channels.

    `out`: `stem`, `stage{1-5}/{i}`, `features` (the last map), `pre_logits` (`[B, E]`, its mean).
    With `num_classes=None` the first result is `pre_logits`.
    """

    width: float = 1.0
    dropout: float = 0.2

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        norm = self.norm()
        out: dict[str, Array] = {}
        stem = layers.ConvNorm(
            int(STEM * self.width), 3, norm, self.dtype, strides=(1, 2, 2), name="stem"
        )
        x = out["stem"] = stem(video.astype(self.dtype), train)
        block = self.repeated(Separable)
        for stage, (channels, blocks, stride) in enumerate(V1_STAGES, start=1):
            for i in range(blocks):
                features, s = int(channels * self.width), 1 if i else stride
                x = block(features, s, norm, self.dtype, name=f"stage{stage}_{i}")(x, train)
                out[f"stage{stage}/{i}"] = x
        return self.classified(x, out, train, dropout=self.dropout)


class MobileNetV2(Backbone):
    """3-D MobileNet V2; `width` multiplies the channels, the last layer's only where above 1.

    `out`: `stem`, `stage{1-7}/{i}`, `features` (the map of the last 1x1x1 layer), `pre_logits`
    (`[B, E]`, its mean). With `num_classes=None` the first result is `pre_logits`.
    """

    width: float = 1.0
    dropout: float = 0.2

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        norm = self.norm()
        conv = functools.partial(layers.ConvNorm, norm=norm, dtype=self.dtype, act=nn.relu6)
        out: dict[str, Array] = {}
        stem = conv(int(STEM * self.width), 3, strides=(1, 2, 2), name="stem")
        x = out["stem"] = stem(video.astype(self.dtype), train)
        block = self.repeated(InvertedResidual)
        for stage, (expansion, channels, blocks, stride) in enumerate(V2_STAGES, start=1):
            for i in range(blocks):
                features, s = int(channels * self.width), 1 if i else stride
                name = f"stage{stage}_{i}"
                x = block(features, s, norm, self.dtype, expansion, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        x = conv(int(LAST * max(self.width, 1.0)), 1, name="last")(x, train)
        init = nn.initializers.normal(0.01)  # the original's
        return self.classified(x, out, train, dropout=self.dropout, init=init)
