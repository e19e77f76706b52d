"""KinD, "Kindling the Darkness" [Zhang et al. 2019, arXiv 1905.04161]: three nets.

Decomposition (235,876 parameters) cuts a frame into reflectance R and illumination I,
restoration (7,760,739) cleans R with I's help, adjustment (19,393) brightens I by a wished
ratio. `KinD` joins them as the released evaluation does.

Deviations:
- As in the released code the last layers of the decomposition are 1x1 where the paper has 3x3.
- The restoration weights were not published with the others; `KinD(restoration=False)` uses R
  as it is.
- Odd sizes: pooling keeps the last row and column, the transposed convolutions' surplus is cut,
  which is what the original's SAME padding does.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.framewise import Conv2D, Enhanced, Frames, as_clips, like

GLOROT = nn.initializers.glorot_uniform()
GREY = (0.2125, 0.7154, 0.0721)
lrelu = functools.partial(nn.leaky_relu, negative_slope=0.2)


def _pool(x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w C"]:
    """2x2 maxima; an odd last row or column is a cell of its own."""
    pad = ((0, 0), (0, x.shape[2] % 2), (0, x.shape[3] % 2))
    return layers.max_pool3d(x, (1, 2, 2), (1, 2, 2), pad)


class Up(nn.Module):
    """Transposed 2x2 convolution with stride 2, without bias, joined with an earlier map.

    No two of its windows overlap, so it is a linear layer of each pixel whose outputs become
    a 2x2 square. Parameters: `kernel [2, 2, C, O]`.
    """

    features: int
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T h w C"], skip: Float[Array, "B T H W S"]
    ) -> Float[Array, "B T H W OS"]:
        kernel = self.param("kernel", GLOROT, (2, 2, x.shape[-1], self.features), jnp.float32)
        y = jnp.einsum("bthwc,ijco->bthiwjo", x, kernel.astype(self.dtype))
        b, t, h, _, w, _, o = y.shape
        y = y.reshape(b, t, 2 * h, 2 * w, o)[:, :, : skip.shape[2], : skip.shape[3]]
        return jnp.concatenate([y, skip], axis=-1)


class KinDDecomposition(nn.Module):
    """Frames `[*B, H, W, 3]` -> (reflectance `[*B, H, W, 3]`, `out`), in (0, 1), float32.

    `out`: `reflectance`, `illumination` (`[*B, H, W, 1]`).
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Frames, *, train: bool) -> Enhanced:
        del train
        conv = functools.partial(Conv2D, init=GLOROT, dtype=self.dtype)
        x = as_clips(frames, self.dtype)
        x1 = lrelu(conv(32, name="conv1")(x))
        x2 = lrelu(conv(64, name="conv2")(_pool(x1)))
        x3 = lrelu(conv(128, name="conv3")(_pool(x2)))
        y = lrelu(conv(64, name="conv8")(Up(64, self.dtype, name="up1")(x3, x2)))
        y = lrelu(conv(32, name="conv9")(Up(32, self.dtype, name="up2")(y, x1)))
        reflectance = conv(frames.shape[-1], 1, name="reflectance")(y)
        light = lrelu(conv(32, name="light_conv")(x1))
        light = conv(1, 1, name="illumination")(jnp.concatenate([light, y], axis=-1))
        out = {"reflectance": reflectance, "illumination": light}
        out = {k: nn.sigmoid(like(v, frames)) for k, v in out.items()}
        return out["reflectance"], out


class KinDAdjustment(nn.Module):
    """Illumination and ratio `[*B, H, W, 2]` -> (illumination `[*B, H, W, 1]`, `out`), float32.

    The ratio (how much brighter) is the same number everywhere. `out`: `illumination`.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, light: Float[Array, "*B H W 2"], *, train: bool
    ) -> tuple[Float[Array, "*B H W 1"], dict[str, Array]]:
        del train
        x = as_clips(light, self.dtype)
        for i, features in enumerate((32, 32, 32, 1), start=1):
            x = lrelu(Conv2D(features, init=GLOROT, dtype=self.dtype, name=f"conv{i}")(x))
        out = {"illumination": nn.sigmoid(like(x, light))}
        return out["illumination"], out


class KinDRestoration(nn.Module):
    """Reflectance and illumination `[*B, H, W, 4]` -> (reflectance `[*B, H, W, 3]`, `out`).

    A U-Net of five levels, two convolutions in each. `out`: `reflectance`.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, parts: Float[Array, "*B H W 4"], *, train: bool) -> Enhanced:
        del train
        conv = functools.partial(Conv2D, init=GLOROT, dtype=self.dtype)

        def level(x: Array, i: int, features: int) -> Array:
            x = lrelu(conv(features, name=f"conv{i}_1")(x))
            return lrelu(conv(features, name=f"conv{i}_2")(x))

        x, skips = as_clips(parts, self.dtype), []
        for i, features in enumerate((32, 64, 128, 256), start=1):
            skips.append(level(x, i, features))
            x = _pool(skips[-1])
        x = level(x, 5, 512)
        for i, features in enumerate((256, 128, 64, 32), start=6):
            x = level(Up(features, self.dtype, name=f"up{i}")(x, skips.pop()), i, features)
        out = {"reflectance": nn.sigmoid(like(conv(3, name="last")(x), parts))}
        return out["reflectance"], out


class KinD(nn.Module):
    """The three nets as the released evaluation joins them: frames `[*B, H, W, 3]` -> enhanced.

    Very dark regions keep their darkness (a mask from the blurred reflectance), bright ones their
    own pixels (weighted by I). `out`: `reflectance`, `illumination`, `adjusted`, `restored`.
    """

    ratio: float = 5.0
    restoration: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Frames, *, train: bool) -> Enhanced:
        frames = frames.astype(jnp.float32)
        decompose = KinDDecomposition(self.dtype, name="decomposition")
        reflectance, out = decompose(frames, train=train)
        light = out["illumination"]
        wished = jnp.concatenate([light, jnp.full_like(light, self.ratio)], axis=-1)
        adjusted, _ = KinDAdjustment(self.dtype, name="adjustment")(wished, train=train)
        restored = reflectance
        if self.restoration:
            parts = jnp.concatenate([reflectance, light], axis=-1)
            restored, _ = KinDRestoration(self.dtype, name="restoration")(parts, train=train)
        out |= {"adjusted": adjusted, "restored": restored}
        mask = jnp.minimum(jnp.sqrt(2.0 * _blur(_grey(reflectance), 3.0)), 1.0)
        return light * frames + (1.0 - light) * (restored * mask * adjusted), out


def _grey(x: Float[Array, "*B H W 3"]) -> Float[Array, "*B H W 1"]:
    return (x * jnp.asarray(GREY, x.dtype)).sum(-1, keepdims=True)


def _blur(x: Float[Array, "*B H W 1"], sigma: float) -> Float[Array, "*B H W 1"]:
    """Gaussian blur to four deviations, borders repeated (scikit-image's `filters.gaussian`)."""
    radius = int(4.0 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = [float(v) for v in taps / taps.sum()]
    for axis in (x.ndim - 3, x.ndim - 2):
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)]
        padded, n = jnp.pad(x, pad, mode="edge"), x.shape[axis]
        shifted = [
            w * jnp.take(padded, jnp.arange(i, i + n), axis=axis) for i, w in enumerate(weights)
        ]
        x = functools.reduce(jnp.add, shifted)
    return x
