"""The U-Net of StableLLVE [Zhang et al. 2021, "Learning Temporal Consistency for Low Light Video
Enhancement from Single Images"]: 4,316,259 parameters.

Four levels down (2x2 maxima), four up (bilinear, corners aligned), two 3x3 convolutions with ReLU
at each. The output is not clipped. The published weights take BGR frames in [0, 1] and give BGR.

Deviations: none known.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.framewise import Conv2D, Enhanced, Frames, as_clips, like

DOWN = (32, 64, 128, 256, 256)
UP = (128, 64, 32, 32)


class UNet(nn.Module):
    """Frames `[*B, H, W, C]` of at least 16x16 -> (enhanced, `out`), float32.

    `out`: `down0` ... `down4`, `up1` ... `up4`, the maps of the levels `[*B, h, w, E]`.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Frames, *, train: bool) -> Enhanced:
        del train
        least = 2 ** (len(DOWN) - 1)
        if min(frames.shape[-3:-1]) < least:
            raise UserError(f"expected frames of {least}x{least} or more, found {frames.shape}")
        x, maps, out = as_clips(frames, self.dtype), [], {}
        for i, features in enumerate(DOWN):
            if i:
                x = layers.max_pool3d(x, (1, 2, 2), (1, 2, 2))
            x = DoubleConv(features, features, self.dtype, name=f"down{i}")(x)
            out[f"down{i}"] = like(x, frames)
            maps.append(x)
        for i, features in enumerate(UP, start=1):
            skip = maps[-1 - i]
            x = jnp.concatenate([skip, _fill(_twice(x), skip)], axis=-1)
            x = DoubleConv(x.shape[-1] // 2, features, self.dtype, name=f"up{i}")(x)
            out[f"up{i}"] = like(x, frames)
        x = Conv2D(frames.shape[-1], 1, dtype=self.dtype, name="last")(x)
        return like(x, frames), out


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with ReLU."""

    mid: int
    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W O"]:
        x = nn.relu(Conv2D(self.mid, dtype=self.dtype, name="conv1")(x))
        return nn.relu(Conv2D(self.features, dtype=self.dtype, name="conv2")(x))


def _twice(x: Float[Array, "B T h w C"]) -> Float[Array, "B T H W C"]:
    """Bilinear to twice the size: the first and last pixel stay where they are."""
    for axis in (2, 3):
        n = x.shape[axis]
        at = np.arange(2 * n) * (n - 1) / (2 * n - 1)
        low = np.minimum(at.astype(int), max(n - 2, 0))
        share = jnp.asarray(at - low, x.dtype).reshape([-1 if a == axis else 1 for a in range(5)])
        below = jnp.take(x, low, axis=axis)
        above = jnp.take(x, np.minimum(low + 1, n - 1), axis=axis)
        x = below * (1 - share) + above * share
    return x


def _fill(x: Float[Array, "B T h w C"], like: Array) -> Float[Array, "B T H W C"]:
    """Zeros around a map that pooling made smaller, the odd one at the end."""
    gaps = [like.shape[axis] - x.shape[axis] for axis in (2, 3)]
    pads = [(gap // 2, gap - gap // 2) for gap in gaps]
    return jnp.pad(x, ((0, 0), (0, 0), *pads, (0, 0)))
