"""3-D ShuffleNets: V1 and V2 of Efficient-3DCNNs [Köpüklü et al. 2019, arXiv 1904.02422].

V1 [Zhang et al. 2018, arXiv 1707.01083]: pointwise group convolutions, a channel shuffle between
them, depthwise 3x3x3. V2 [Ma et al. 2018, arXiv 1807.11164]: half of the channels passes by, no
groups. Both: stem with stride (1, 2, 2), 3x3x3 max pooling, three stages of 4, 8, 4 units. With 11
classes V1 of 3 groups has 955,475 parameters, V2 1,310,455 (600 classes: 1,521,504 and 1,914,180).

Deviations: V1's stride-2 shortcut averages pairs of frames, which fails in the original where
their number is odd (clips that are not multiples of 16 frames); here the last frame is then
averaged with itself.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.backbone import Backbone, Block

STAGE_SIZES = (4, 8, 4)
STEM = 24
# V1 Table 1: channels of the stages by number of groups, at width 1.0
V1_CHANNELS = {
    1: (144, 288, 567),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
# V2 Table 5: channels of the stages and of the last layer, by width
V2_CHANNELS = {
    0.25: (32, 64, 128, 1024),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (224, 488, 976, 2048),
}


def channel_shuffle(x: Float[Array, "*B C"], groups: int) -> Float[Array, "*B C"]:
    """Channel `j` of group `g` goes to place `j * groups + g` (V1 Section 3.1)."""
    *lead, c = x.shape
    return x.reshape(*lead, groups, c // groups).swapaxes(-1, -2).reshape(x.shape)


class UnitV1(Block):
    """V1 Figure 2: (b) with stride 1, (c) with stride 2."""

    groups: int = 3

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B t h w O"]:
        conv = self.conv
        inputs, mid = x.shape[-1], self.features // 4
        # The unit after the stem has too few inputs for groups (V1 Section 3.2). The original asks
        # for exactly 24 of them: at another width that unit has groups too.
        first = 1 if inputs == STEM else self.groups
        features = self.features - (inputs if self.stride == 2 else 0)
        for channels, groups in ((inputs, first), (mid, self.groups), (features, self.groups)):
            if channels % groups:
                raise UserError(
                    f"the model's {groups} groups do not divide {channels} channels: choose "
                    "another width"
                )
        y = channel_shuffle(conv(mid, 1, groups=first, name="conv1")(x, train), self.groups)
        y = conv(mid, 3, strides=(self.stride,) * 3, groups=mid, act=None, name="conv2")(y, train)
        y = conv(features, 1, groups=self.groups, act=None, name="conv3")(y, train)
        if self.stride == 1:
            return nn.relu(x + y)
        if x.shape[1] % 2:
            x = jnp.concatenate([x, x[:, -1:]], axis=1)
        return nn.relu(jnp.concatenate([y, _halve(x)], axis=-1))


def _halve(x: Float[Array, "B T H W C"]) -> Float[Array, "B t h w C"]:
    """2x3x3 average pooling with stride 2; the border's zeros count."""
    pad = ((0, 0), (1, 1), (1, 1))
    return nn.pooling.pool(x, 0.0, jax.lax.add, (2, 3, 3), (2, 2, 2), pad) / 18


class UnitV2(Block):
    """V2 Figure 3: (c) with stride 1, (d) with stride 2."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B t h w O"]:
        conv = self.conv
        inputs, half, strides = x.shape[-1], self.features // 2, (self.stride,) * 3
        if self.stride == 1:
            x, y = jnp.split(x, [inputs // 2], axis=-1)
        else:
            y = x
            depthwise = conv(inputs, 3, strides=strides, groups=inputs, act=None, name="shortcut1")
            x = conv(half, 1, name="shortcut2")(depthwise(x, train), train)
        y = conv(half, 1, name="conv1")(y, train)
        y = conv(half, 3, strides=strides, groups=half, act=None, name="conv2")(y, train)
        y = conv(half, 1, name="conv3")(y, train)
        return channel_shuffle(jnp.concatenate([x, y], axis=-1), 2)


class ShuffleNetV1(Backbone):
    """3-D ShuffleNet V1 of 1, 2, 3, 4 or 8 `groups`; `width` multiplies the channels.

    `out`: `stem` (after pooling), `stage{1-3}/{i}`, `features` (the last map), `pre_logits`
    (`[B, E]`, its mean). With `num_classes=None` the first result is `pre_logits`.
    """

    width: float = 1.0
    dropout: float = 0.2
    groups: int = 3

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        channels = layers.chosen("groups", self.groups, V1_CHANNELS)
        norm = self.norm()
        out: dict[str, Array] = {}
        stem = layers.ConvNorm(
            int(STEM * self.width), 3, norm, self.dtype, strides=(1, 2, 2), name="stem"
        )
        x = stem(video.astype(self.dtype), train)
        x = out["stem"] = layers.max_pool3d(x, 3, 2, 1)
        unit = self.repeated(UnitV1)
        for stage, (c, units) in enumerate(zip(channels, STAGE_SIZES, strict=True), start=1):
            for i in range(units):
                features, stride = int(c * self.width), 1 if i else 2
                name = f"stage{stage}_{i}"
                x = unit(features, stride, norm, self.dtype, self.groups, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        return self.classified(x, out, train, dropout=self.dropout)


class ShuffleNetV2(Backbone):
    """3-D ShuffleNet V2 of `width` 0.25, 0.5, 1.0, 1.5 or 2.0.

    `out`: `stem` (after pooling), `stage{1-3}/{i}`, `features` (the map of the last 1x1x1 layer),
    `pre_logits` (`[B, E]`, its mean). With `num_classes=None` the first result is `pre_logits`.
    """

    width: float = 1.0
    dropout: float = 0.2

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        *channels, last = layers.chosen("width", self.width, V2_CHANNELS)
        norm = self.norm()
        conv = functools.partial(layers.ConvNorm, norm=norm, dtype=self.dtype)
        out: dict[str, Array] = {}
        x = conv(STEM, 3, strides=(1, 2, 2), name="stem")(video.astype(self.dtype), train)
        x = out["stem"] = layers.max_pool3d(x, 3, 2, 1)
        unit = self.repeated(UnitV2)
        for stage, (features, units) in enumerate(zip(channels, STAGE_SIZES, strict=True), start=1):
            for i in range(units):
                name = f"stage{stage}_{i}"
                x = unit(features, 1 if i else 2, norm, self.dtype, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        return self.classified(
            conv(last, 1, name="last")(x, train), out, train, dropout=self.dropout
        )
