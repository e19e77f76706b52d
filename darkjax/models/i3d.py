"""I3D [Carreira and Zisserman 2017, arXiv 1705.07750], the graph of piergiaj/pytorch-i3d.

Inception-v1 with every kernel inflated over time. Each convolution and pooling is padded
TensorFlow's way ("SAME"): the output has `ceil(size / stride)` cells and the odd zero goes behind,
so the padding depends on the clip's size. Both wide branches of a block have 3x3x3 kernels. At the
end a (2, 7, 7) window with stride 1 averages the map, a 1x1x1 convolution classifies every
cell. 12,298,539 parameters with 11 classes, 12,287,264 without the classifier.

Deviations: the original returns logits for every time of the pooled map, `[B, K, T']`, and for
every place where frames are larger than 224; here they are averaged (`logit_map` has them
all). Where the map is smaller than the window the whole axis is averaged; the original fails
there. Max pooling pads with minus infinity, the original with zeros: the same after ReLU.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.backbone import Backbone

# Widths of the Inception blocks by stage: 1x1x1 | 1x1x1, 3x3x3 | 1x1x1, 3x3x3 | pooling, 1x1x1.
STAGES = {
    2: ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),  # Mixed_3b, 3c
    3: (  # Mixed_4b to 4f
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    4: ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),  # Mixed_5b, 5c
}
WINDOW = (2, 7, 7)  # of the last average pooling
Pads = tuple[tuple[int, int], ...]


def same(
    shape: tuple[int, ...], window: tuple[int, int, int], strides: tuple[int, int, int]
) -> Pads:
    """TensorFlow's padding "SAME" of a clip `[B, T, H, W, C]`: (before, after) for T, H, W."""
    pads = []
    for n, k, s in zip(shape[1:4], window, strides, strict=True):
        total = max(k - (n % s or s), 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def scaled(widths: tuple[int, ...], width: float) -> tuple[int, ...]:
    """Channel counts times `width`, at least one each."""
    return tuple(max(1, round(n * width)) for n in widths)


def window_mean(x: Float[Array, "B T H W C"]) -> Float[Array, "B t h w C"]:
    """Float32 averages over `WINDOW` with stride 1; the whole axis where that is shorter."""
    window = tuple(min(n, k) for n, k in zip(x.shape[1:4], WINDOW, strict=True))
    total = nn.pooling.pool(x.astype(jnp.float32), 0.0, jax.lax.add, window, (1, 1, 1), "VALID")
    return total / math.prod(window)


class Unit(nn.Module):
    """Convolution, batch norm, ReLU; padded as TensorFlow does, or by half the kernel."""

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    norm: Any
    dtype: Any
    same: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], *, train: bool) -> Float[Array, "B t h w O"]:
        pads = same(x.shape, self.kernel, self.strides) if self.same else None
        conv = layers.Conv3D(
            self.features, self.kernel, self.strides, padding=pads, dtype=self.dtype, name="conv"
        )
        return nn.relu(self.norm(name="bn")(conv(x), train=train))


class Inception(nn.Module):
    """Four branches side by side; `widths` as in `STAGES`."""

    widths: tuple[int, ...]
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T H W O"]:
        def unit(x: Array, at: int, k: int, name: str) -> Array:
            return self.unit(self.widths[at], k, name)(x, train=train)

        branches = [
            unit(x, 0, 1, "b0"),
            unit(unit(x, 1, 1, "b1a"), 2, 3, "b1b"),
            unit(unit(x, 3, 1, "b2a"), 4, 3, "b2b"),
            unit(self.pooled(x), 5, 1, "b3b"),
        ]
        return jnp.concatenate(branches, axis=-1)

    def unit(self, features: int, k: int, name: str) -> nn.Module:
        """A convolution of kxkxk, batch norm and ReLU."""
        return Unit(features, (k, k, k), (1, 1, 1), self.norm, self.dtype, name=name)

    def pooled(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        """Maxima of 3x3x3 around every cell."""
        return _max_pool(x, (3, 3, 3), (1, 1, 1))


class InceptionNet(Backbone):
    """Fields and head of I3D and S3D; `width` multiplies all channel counts (1.0: the paper's)."""

    width: float = 1.0
    dropout: float = 0.5
    bn_eps: float = 1e-3
    bn_momentum: float = 0.01

    def averaged(
        self, x: Float[Array, "B t h w C"], out: dict[str, Array], train: bool
    ) -> layers.Answer:
        """`features`, `pooled` (windows), `pre_logits`, `logit_map` and logits, its mean."""
        out["features"] = x
        x = out["pooled"] = window_mean(x)
        out["pre_logits"] = x.mean((1, 2, 3))
        if self.num_classes is None:
            return out["pre_logits"], out
        x = self.dropped(x, self.dropout, train)
        x = out["logit_map"] = nn.Dense(self.num_classes, name="head")(x)
        return x.mean((1, 2, 3)), out


class I3D(InceptionNet):
    """Inception-v1 I3D; `width` multiplies all channel counts (1.0: the paper's).

    `dropout` acts on the pooled map before the classifier where an rng "dropout" is given.

    `out`: `stem`, `stage1/{0,1}` (Conv3d_2b, 2c), `stage2/{0,1}` (Mixed_3b, 3c), `stage3/{0-4}`
    (Mixed_4b to 4f), `stage4/{0,1}` (Mixed_5b, 5c), `features` (the last map), `pooled`
    (`[B, t, h, w, E]`, the averages of the windows), `logit_map` (`[B, t, h, w, K]`),
    `pre_logits` (`[B, E]`, the mean of `pooled`). The logits are the mean of `logit_map`.
    With `num_classes=None` the first result is `pre_logits`.
    """

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        norm = self.norm()

        def unit(x: Array, features: int, k: int, stride: int, name: str) -> Array:
            channels = scaled((features,), self.width)[0]
            return Unit(channels, (k,) * 3, (stride,) * 3, norm, self.dtype, name=name)(
                x, train=train
            )

        out = {}
        x = out["stem"] = unit(video.astype(self.dtype), 64, 7, 2, "stem")
        x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        x = out["stage1/0"] = unit(x, 64, 1, 1, "stage1_0")
        x = out["stage1/1"] = unit(x, 192, 3, 1, "stage1_1")
        block = self.repeated(Inception)
        pools = {2: ((1, 3, 3), (1, 2, 2)), 3: ((3, 3, 3), (2, 2, 2)), 4: ((2, 2, 2), (2, 2, 2))}
        for stage, blocks in STAGES.items():
            x = _max_pool(x, *pools[stage])
            for i, widths in enumerate(blocks):
                name = f"stage{stage}_{i}"
                x = block(scaled(widths, self.width), norm, self.dtype, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        return self.averaged(x, out, train)


def _max_pool(x: Array, window: tuple[int, int, int], strides: tuple[int, int, int]) -> Array:
    return layers.max_pool3d(x, window, strides, same(x.shape, window, strides))
