"""Histogram equalisation of the luma, as OpenCV does it to the bit, and its colour transform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

# OpenCV's fixed-point BT.601 numbers: 14 binary digits after the point.
_SHIFT = 14
_HALF = 1 << (_SHIFT - 1)
_LUMA = (4899, 9617, 1868)  # 0.299, 0.587, 0.114
_CR, _CB = 11682, 9241  # 0.713, 0.564
_R_FROM_CR, _G_FROM_CR, _G_FROM_CB, _B_FROM_CB = 22987, -11698, -5636, 29049


def luma_uint8(frames: UInt8[Array, "*B 3"] | UInt8[np.ndarray, "*B 3"]) -> Array | np.ndarray:
    """Y of YCrCb of 8-bit RGB pixels, rounded as OpenCV's `RGB2YCrCb` does; int32, numpy or jax."""
    red, green, blue = (frames[..., c].astype(np.int32) for c in range(3))
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue + _HALF) >> _SHIFT


def rgb_to_ycrcb(frames: UInt8[Array, "*B 3"]) -> UInt8[Array, "*B 3"]:
    """OpenCV's 8-bit `RGB2YCrCb`."""
    y = jnp.asarray(luma_uint8(frames))
    red, blue = (frames[..., c].astype(jnp.int32) for c in (0, 2))
    cr = ((red - y) * _CR + (128 << _SHIFT) + _HALF) >> _SHIFT
    cb = ((blue - y) * _CB + (128 << _SHIFT) + _HALF) >> _SHIFT
    return jnp.clip(jnp.stack([y, cr, cb], -1), 0, 255).astype(jnp.uint8)


def ycrcb_to_rgb(frames: UInt8[Array, "*B 3"]) -> UInt8[Array, "*B 3"]:
    """OpenCV's 8-bit `YCrCb2RGB`."""
    y, cr, cb = (frames[..., c].astype(jnp.int32) for c in range(3))
    cr, cb = cr - 128, cb - 128
    red = y + ((cr * _R_FROM_CR + _HALF) >> _SHIFT)
    green = y + ((cb * _G_FROM_CB + cr * _G_FROM_CR + _HALF) >> _SHIFT)
    blue = y + ((cb * _B_FROM_CB + _HALF) >> _SHIFT)
    return jnp.clip(jnp.stack([red, green, blue], -1), 0, 255).astype(jnp.uint8)


def equalise_levels(grey: UInt8[Array, "*B H W"]) -> UInt8[Array, "*B H W"]:
    """OpenCV's `equalizeHist` of each picture.

    The darkest level found goes to 0, the brightest to 255, others by their share of the pixels
    that are not the darkest. A picture of one level stays as it is.
    """
    height, width = grey.shape[-2:]
    out = jax.vmap(_equalise)(grey.reshape(-1, height * width).astype(jnp.int32))
    return out.reshape(grey.shape)


def _equalise(pixels: Array) -> Array:
    """[N] levels as int32 to uint8."""
    counts = jnp.zeros(256, jnp.int32).at[pixels].add(1)
    first = jnp.argmax(counts > 0)
    others = pixels.size - counts[first]
    # In float32, rounding half to even, as there.
    scale = jnp.float32(255) / jnp.maximum(others, 1).astype(jnp.float32)
    below = (jnp.cumsum(counts) - counts[first]).astype(jnp.float32)
    table = jnp.clip(jnp.round(below * scale), 0, 255).astype(jnp.uint8)
    table = jnp.where(others == 0, first.astype(jnp.uint8), table)
    return table[pixels]


def equalise_uint8(
    video: UInt8[np.ndarray, "*B H W C"] | UInt8[Array, "*B H W C"],
) -> UInt8[np.ndarray, "*B H W C"] | UInt8[Array, "*B H W C"]:
    """Histogram equalisation of 8-bit frames, bit for bit as OpenCV.

    RGB to YCrCb, `equalizeHist` of each frame's Y, and back; one channel is equalised itself.

    Args:
      video: 3 channels (RGB) or 1; a numpy array gives a numpy array, a jax array a jax array.

    References:
      ARID (Xu et al. 2020), scripts/histogram_equalization.py.
    """
    if video.dtype != np.uint8:
        raise TypeError(f"equalise_uint8 takes uint8 frames, got {video.dtype}")
    if isinstance(video, np.ndarray):
        return np.asarray(_equalise_uint8(jnp.asarray(video)))
    return _equalise_uint8(video)


@jax.jit
def _equalise_uint8(video: Array) -> Array:
    if video.shape[-1] == 1:
        return equalise_levels(video[..., 0])[..., None]
    ycrcb = rgb_to_ycrcb(video)
    y = equalise_levels(ycrcb[..., 0])
    return ycrcb_to_rgb(ycrcb.at[..., 0].set(y))


def equalise(video: Float[Array, "*B H W C"]) -> Float[Array, "*B H W C"]:
    """Histogram equalisation of the luma of float frames, through 256 levels.

    The frames are rounded to 8 bits, equalised as OpenCV does and given back in [0, 1]: a step
    function, whose gradient is 0 everywhere.

    Args:
      video: values in [0, 1], 3 channels (RGB) or 1.

    Returns:
      The same shape and dtype, values in [0, 1].
    """
    levels = jnp.round(jnp.clip(video.astype(jnp.float32), 0, 1) * 255).astype(jnp.uint8)
    return (_equalise_uint8(levels).astype(jnp.float32) / 255).astype(video.dtype)
