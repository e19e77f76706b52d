"""Multi-scale retinex (MSR), and with colour restoration (MSRCR).

The released MATLAB code behind the published comparisons is followed, quirks included: each
nested call of it scales its picture by 255 and adds 1 again, so that MSR works on
(255 I + 1) 255 + 1 and MSRCR's MSR on that once more.

Deviations:
- MSR's result is clipped to [0, 1] (there it is left as it is, and clipped when shown).
- MSRCR there ignores the scales it is given (a misspelt variable); here they count.
- One channel is its own sum in MSRCR's colour restoration; there only three work.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MSR_SCALES = (25.0, 100.0, 240.0)
MSRCR_SCALES = (15.0, 80.0, 250.0)
_BINS = 256


def msr(
    video: Float[Array, "*B H W C"], scales: Sequence[float] = MSR_SCALES
) -> Float[Array, "*B H W C"]:
    """Multi-scale retinex of each frame and channel.

    The mean over the scales of `log I - log(G I + 1) + 0.5`, G a Gaussian blur.

    Args:
      video: values in [0, 1].
      scales: standard deviations of the blurs in pixels.

    Returns:
      The same shape and dtype, clipped to [0, 1].

    References:
      Jobson, Rahman, Woodell, A multiscale retinex for bridging the gap between color images and
      the human observation of scenes, 1997; baidut/BIMEF, lowlight/multiscaleRetinex.m.
    """
    picture = _scaled(video.astype(jnp.float32))
    return jnp.clip(_mean_retinex(picture, scales), 0, 1).astype(video.dtype)


def msrcr(
    video: Float[Array, "*B H W C"],
    scales: Sequence[float] = MSRCR_SCALES,
    left: float = 1.0,
    right: float = 1.0,
) -> Float[Array, "*B H W C"]:
    """Multi-scale retinex with colour restoration and the simplest colour balance.

    `balance(unit(C MSR))` with `C_c = log(125 I_c) - log(sum of I over the channels)`, each
    channel stretched to [0, 1] and then so that `left` % of its pixels are black and `right` %
    are white.

    Args:
      video: values in [0, 1].
      scales: standard deviations of the blurs in pixels.
      left, right: percent.

    Returns:
      The same shape and dtype, values in [0, 1].

    References:
      Jobson et al. 1997; Petro, Sbert, Morel, Multiscale retinex, IPOL 2014; baidut/BIMEF,
      lowlight/multiscaleRetinex.m and colorBalance.m.
    """
    picture = _scaled(video.astype(jnp.float32))
    retinex = _mean_retinex(_scaled(picture), scales)
    total = jnp.sum(picture, -1, keepdims=True)
    restored = (jnp.log(125 * picture) - jnp.log(total)) * retinex
    return _balance(_unit(restored), left / 100, 1 - right / 100).astype(video.dtype)


def _scaled(picture: Array) -> Array:
    return picture * 255 + 1


def _mean_retinex(picture: Array, scales: Sequence[float]) -> Array:
    picture = _scaled(picture)
    blurred = [jnp.log(_blur(picture, float(sigma)) + 1) for sigma in scales]
    return jnp.log(picture) + 0.5 - sum(blurred[1:], blurred[0]) / len(blurred)


def _blur(picture: Array, sigma: float) -> Array:
    """MATLAB's `imgaussfilt`, as one matrix product along each side.

    The scales are as large as the picture, where a product is cheaper than a convolution.
    """
    rows, columns = (_blur_matrix(n, sigma) for n in picture.shape[-3:-1])
    precise = jax.lax.Precision.HIGHEST
    picture = jnp.einsum("ij,...jwc->...iwc", rows, picture, precision=precise)
    return jnp.einsum("ij,...hjc->...hic", columns, picture, precision=precise)


@functools.lru_cache(64)
def _blur_matrix(length: int, sigma: float) -> np.ndarray:
    """[length, length]: 2 ceil(2 sigma) + 1 taps, the border pixel repeated outside."""
    radius = math.ceil(2 * sigma)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    matrix = np.zeros((length, length))
    for i in range(length):
        source = np.clip(np.arange(i - radius, i + radius + 1), 0, length - 1)
        np.add.at(matrix[i], source, taps)
    return matrix.astype(np.float32)


def _unit(picture: Array) -> Array:
    """MATLAB's `mat2gray`: each channel from its least to its largest value; flat ones clipped."""
    least = jnp.min(picture, axis=(-3, -2), keepdims=True)
    spread = jnp.max(picture, axis=(-3, -2), keepdims=True) - least
    flat = spread <= 0
    scaled = (picture - least) / jnp.where(flat, jnp.ones_like(spread), spread)
    return jnp.clip(jnp.where(flat, picture, scaled), 0, 1)


def _balance(picture: Array, low: float, high: float) -> Array:
    """MATLAB's `stretchlim` in 256 bins, then `imadjust`: linear between two quantiles."""
    height, width, channels = picture.shape[-3:]
    flat = jnp.moveaxis(picture, -1, -3).reshape(-1, height * width)
    limits = jax.vmap(lambda pixels: _limits(pixels, low, high))(jax.lax.stop_gradient(flat))
    below, above = (x.reshape(*picture.shape[:-3], 1, 1, channels) for x in limits)
    return (jnp.clip(picture, below, above) - below) / (above - below)


def _limits(pixels: Array, low: float, high: float) -> tuple[Array, Array]:
    """The first levels that more than `low`, and at least `high`, of the pixels do not exceed."""
    bins = jnp.floor(pixels * (_BINS - 1) + 0.5).astype(jnp.int32)
    counts = jnp.cumsum(jnp.zeros(_BINS, jnp.int32).at[bins].add(1))
    share = counts.astype(jnp.float32) / pixels.size
    first = jnp.argmax(share > low)
    last = jnp.argmax(share >= high)
    same = first == last
    first = jnp.where(same, 0, first).astype(jnp.float32)
    last = jnp.where(same, _BINS - 1, last).astype(jnp.float32)
    return first / (_BINS - 1), last / (_BINS - 1)
