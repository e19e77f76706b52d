"""S3D [Xie et al. 2018, arXiv 1712.04851], torchvision's graph (without the paper's gating).

I3D's Inception with every kxkxk convolution cut into 1xkxk and kx1x1, each with batch norm and
ReLU. 7,921,323 parameters with 11 classes, 8,320,048 with 400.

Deviations: the original averages the logits over what is left of time and space; `logit_map`
keeps them. Where the last map is smaller than the (2, 7, 7) window of the average pooling the whole
axis is averaged, and the last max pooling's window is cut to the map: clips of fewer than 14 frames
or smaller than 224 work, where the original fails.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from darkjax.models import i3d, layers
from darkjax.models.i3d import STAGES, InceptionNet, scaled

Unit = functools.partial(i3d.Unit, same=False)


class Separable(nn.Module):
    """1xkxk, then kx1x1: stands for one kxkxk convolution."""

    features: int
    kernel: int
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], *, train: bool) -> Float[Array, "B t h w O"]:
        k, s = self.kernel, self.stride
        parts = {"spatial": ((1, k, k), (1, s, s)), "temporal": ((k, 1, 1), (s, 1, 1))}
        for name, (kernel, strides) in parts.items():
            x = Unit(self.features, kernel, strides, self.norm, self.dtype, name=name)(
                x, train=train
            )
        return x


class Inception(i3d.Inception):
    """I3D's, its wide convolutions cut in two."""

    def unit(self, features: int, k: int, name: str) -> nn.Module:
        """A convolution of kxkxk, in two parts where k is above 1, batch norm and ReLU."""
        if k > 1:
            return Separable(features, k, 1, self.norm, self.dtype, name=name)
        return Unit(features, (1, 1, 1), (1, 1, 1), self.norm, self.dtype, name=name)

    def pooled(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        """Maxima of 3x3x3 around every cell."""
        return layers.max_pool3d(x, 3, 1, 1)


class S3D(InceptionNet):
    """S3D; `width` multiplies all channel counts (1.0: the paper's).

    `dropout` acts on the pooled map before the classifier where an rng "dropout" is given.

    `out`: `stem`, `stage1/{0,1}`, `stage2/{0,1}`, `stage3/{0-4}`, `stage4/{0,1}`, `features` (the
    last map), `pooled` (`[B, t, h, w, E]`, the averages of the windows), `logit_map`
    (`[B, t, h, w, K]`), `pre_logits` (`[B, E]`, the mean of `pooled`). The logits are the mean of
    `logit_map`. With `num_classes=None` the first result is `pre_logits`.
    """

    dropout: float = 0.2
    bn_momentum: float = 1e-3

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        dtype, norm = self.dtype, self.norm()
        first, second, third = scaled((64, 64, 192), self.width)
        out = {}
        x = Separable(first, 7, 2, norm, dtype, name="stem")(video.astype(dtype), train=train)
        out["stem"] = x
        x = layers.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        x = Unit(second, (1, 1, 1), (1, 1, 1), norm, dtype, name="stage1_0")(x, train=train)
        out["stage1/0"] = x
        x = Separable(third, 3, 1, norm, dtype, name="stage1_1")(x, train=train)
        out["stage1/1"] = x
        block = self.repeated(Inception)
        for stage, blocks in STAGES.items():
            if stage == 2:
                x = layers.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
            elif stage == 3:
                x = layers.max_pool3d(x, 3, 2, 1)
            else:
                t, h, w = (min(2, n) for n in x.shape[1:4])
                x = layers.max_pool3d(x, (t, h, w), 2)
            for i, widths in enumerate(blocks):
                name = f"stage{stage}_{i}"
                x = block(scaled(widths, self.width), norm, dtype, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        return self.averaged(x, out, train)
