"""3-D SqueezeNet 1.1 of Efficient-3DCNNs [Köpüklü et al. 2019, arXiv 1904.02422].

Fire modules [Iandola et al. 2016, arXiv 1602.07360]: a 1x1x1 squeeze, then 1x1x1 and 3x3x3 expand
side by side; batch norm after every convolution; the second module of each pair has a bypass. The
head is a 1x1x1 convolution with a ReLU before the mean over the map, so logits are never negative.
With 11 classes 1,843,403 parameters, with 600 2,145,560.

Deviations: the original's fixed-size average pooling is a global one here; equal at its native
size.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.backbone import Backbone

STEM = 64
STAGES = ((16, 64), (32, 128), (48, 192), (64, 256))  # (squeeze, each expand), two modules each


class Fire(nn.Module):
    """Squeeze, then both expands concatenated; `bypass` adds the input before the last ReLU."""

    squeeze: int
    expand: int
    bypass: bool
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T H W O"]:
        conv = functools.partial(layers.ConvNorm, norm=self.norm, dtype=self.dtype, use_bias=True)
        y = conv(self.squeeze, 1, name="squeeze")(x, train)
        small = conv(self.expand, 1, act=None, name="expand1")(y, train)
        large = conv(self.expand, 3, act=None, name="expand3")(y, train)
        y = jnp.concatenate([small, large], axis=-1)
        return nn.relu(x + y if self.bypass else y)


class SqueezeNet(Backbone):
    """3-D SqueezeNet 1.1.

    `out`: `stem`, `stage{1-4}/{i}`, `features` (the last map, which the head reads),
    `pre_logits` (`[B, 512]`, its mean; the logits are the mean of the head's map instead). With
    `num_classes=None` the first result is `pre_logits`.
    """

    dropout: float = 0.5

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        norm = self.norm()
        out: dict[str, Array] = {}
        stem = layers.ConvNorm(
            STEM, 3, norm, self.dtype, strides=(1, 2, 2), use_bias=True, name="stem"
        )
        x = out["stem"] = stem(video.astype(self.dtype), train)
        fire = self.repeated(Fire)
        for stage, (squeeze, expand) in enumerate(STAGES, start=1):
            x = layers.max_pool3d(x, 3, 2, 1)
            for i in (0, 1):
                name = f"stage{stage}_{i}"
                x = fire(squeeze, expand, i == 1, norm, self.dtype, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        out["features"] = x
        x = x.astype(jnp.float32)
        out["pre_logits"] = x.mean((1, 2, 3))
        if self.num_classes is None:
            return out["pre_logits"], out
        x = self.dropped(x, self.dropout, train)
        x = nn.relu(nn.Dense(self.num_classes, name="head")(x))  # B T H W K
        return x.mean((1, 2, 3)), out
