"""LIME: low-light image enhancement by a refined illumination map.

The largest channel of a pixel is a first guess at the light that falls on it; the guess is
smoothed except across edges (one linear system, `ops/smooth.py`) and divided out.

Deviations:
- `form="released"` (default) is the implementation most used (pvnieo): Sobel derivatives of one
  pixel on either side, and in the equation of pixel p the weight *of its neighbour*, which makes
  the system unsymmetric. `form="paper"` has forward differences and one weight per edge (Eq. 19).
- No gradient flows through the illumination map: it is a constant of the backward pass.
- The map after `clip` and `gamma` is at least eps ** gamma, so black stays black and finite.
"""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from darkjax.errors import UserError
from darkjax.ops import smooth

Form = Literal["released", "paper"]


def lime(
    video: Float[Array, "*B H W C"],
    gamma: float = 0.6,
    lam: float = 0.15,
    eps: float = 1e-3,
    sigma: float = 3.0,
    size: int = 15,
    form: Form = "released",
) -> Float[Array, "*B H W C"]:
    """`I / T ** gamma` with T the refined illumination, each frame on its own.

    T solves `(1 + lam * Laplacian_w) T = max over channels of I`.

    Args:
      video: values in [0, 1], any number of channels.
      gamma: of the illumination; 1 removes all of it, 0 changes nothing.
      lam: weight of the smoothness term.
      eps: keeps the weights finite, and is the least illumination.
      sigma, size: of the Gaussian window of the weights, in pixels; `size` is odd.
      form: "released" or "paper", see the module.

    Returns:
      The same shape and dtype, clipped to [0, 1].

    References:
      Guo, Li, Ling, LIME: Low-light image enhancement via illumination map estimation, TIP 2017,
      Eq. 2, 14, 16 and 19; pvnieo/Low-light-Image-Enhancement, exposure_enhancement.py.
    """
    x = video.astype(jnp.float32)
    light = jax.lax.stop_gradient(
        illumination(jnp.max(x, axis=-1), lam=lam, eps=eps, sigma=sigma, size=size, form=form)
    )
    light = jnp.clip(light, eps, 1) ** gamma
    return jnp.clip(x / light[..., None], 0, 1).astype(video.dtype)


def lime_uint8(
    video: UInt8[Array | np.ndarray, "*B H W C"], **fields: float
) -> UInt8[Array, "*B H W C"]:
    """LIME of 8-bit frames, truncated to 8 bits again as the released code does."""
    out = lime(jnp.asarray(video).astype(jnp.float32) / 255, **fields)  # type: ignore[arg-type]
    return (out * 255).astype(jnp.uint8)


def illumination(
    light: Float[Array, "*B H W"],
    lam: float = 0.15,
    eps: float = 1e-3,
    sigma: float = 3.0,
    size: int = 15,
    form: Form = "released",
) -> Float[Array, "*B H W"]:
    """The refined illumination map (before clipping and gamma) of first guesses `light`."""
    if form not in ("released", "paper"):
        raise UserError(f"lime form: expected 'released' or 'paper', found {form!r}")
    if size % 2 == 0:
        raise UserError(f"lime size: expected an odd number of pixels, found {size}")
    across, down = (
        lam * _weights(_derivative(light, axis, form), eps, sigma, size) for axis in (-1, -2)
    )
    if form == "released":  # the neighbour's weight
        weights = smooth.Couplings(
            jnp.roll(across, 1, -1), jnp.roll(across, -1, -1),
            jnp.roll(down, 1, -2), jnp.roll(down, -1, -2),
        )  # fmt: skip
    else:  # the edge's weight, kept with its first pixel
        weights = smooth.Couplings(jnp.roll(across, 1, -1), across, jnp.roll(down, 1, -2), down)
    return smooth.solve(weights, light)


def _derivative(x: Array, axis: int, form: Form) -> Array:
    """Released: x[i + 1] - x[i - 1], 0 on the border (reflection). Paper: x[i + 1] - x[i]."""
    n = x.shape[axis]
    after = jax.lax.slice_in_dim(x, min(1, n - 1), n, axis=axis)
    last = jax.lax.slice_in_dim(x, n - 1, n, axis=axis)
    if form == "paper":
        return (jnp.concatenate([after, last], axis) if n > 1 else x) - x
    if n < 3:
        return jnp.zeros_like(x)
    inner = jax.lax.slice_in_dim(x, 2, n, axis=axis) - jax.lax.slice_in_dim(x, 0, n - 2, axis=axis)
    border = jnp.zeros_like(last)
    return jnp.concatenate([border, inner, border], axis)


def _weights(slope: Array, eps: float, sigma: float, size: int) -> Array:
    """Eq. 16: small where slopes of one sign gather (an edge), large in texture and flat parts."""
    window = _window_sum(jnp.ones_like(slope), sigma, size)
    gathered = jnp.abs(_window_sum(slope, sigma, size)) + eps
    return window / gathered / (jnp.abs(slope) + eps)


def _window_sum(x: Array, sigma: float, size: int) -> Array:
    """Sums under a Gaussian window of peak 1, zeros outside: a matrix product for each side."""
    rows, columns = (_window_matrix(n, sigma, size) for n in x.shape[-2:])
    precise = jax.lax.Precision.HIGHEST
    x = jnp.einsum("ij,...jw->...iw", rows, x, precision=precise)
    return jnp.einsum("ij,...hj->...hi", columns, x, precision=precise)


@functools.lru_cache(64)
def _window_matrix(length: int, sigma: float, size: int) -> np.ndarray:
    offset = np.arange(length)[:, None] - np.arange(length)
    window = np.exp(-0.5 * (offset / sigma) ** 2) * (np.abs(offset) <= size // 2)
    return window.astype(np.float32)
