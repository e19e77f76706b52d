"""Brighten dark video without parameters: gamma intensity correction (GIC), and the table of all.

The other methods have a file each: `equalise`, `retinex`, `lime`, `bimef`.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array as JaxArray
from jaxtyping import Array, Float, UInt8

from darkjax.errors import UserError
from darkjax.ops.bimef import bimef
from darkjax.ops.equalise import equalise, equalise_uint8
from darkjax.ops.lime import lime, lime_uint8
from darkjax.ops.retinex import msr, msrcr

# Below this value the curve is replaced by its chord to zero: x ** (1 / gamma) has an
# infinite slope at 0, and one black pixel would turn every gradient into NaN or inf.
_TOE = 1e-6


def gamma_correct(
    video: Float[Array, "*B C"], gamma: float | Float[Array, ""]
) -> Float[Array, "*B C"]:
    """Gamma intensity correction ``x ** (1 / gamma)`` with a finite gradient everywhere.

    Computed in float32; below 1e-6 (far under one 8-bit step) the curve is the straight
    line from the origin, so that the slope at 0 is large but finite.

    Args:
        video: any shape, floating point, values in [0, 1].
        gamma: above 1 brightens, 1 is the identity; a number or a traced scalar.

    Returns:
        The same shape and dtype, values in [0, 1].

    Raises:
        UserError: ``gamma`` is a number that is not above 0.
        TypeError: ``video`` is not floating point.

    Source: ARID (Xu et al. 2020), gamma intensity correction; DarkLight (Chen et al. 2021).
    """
    _check_gamma(gamma)
    if not jnp.issubdtype(video.dtype, jnp.floating):
        raise TypeError(
            f"gamma_correct takes float video in [0, 1], got {video.dtype}; "
            "use gamma_correct_uint8 for 8-bit frames"
        )
    x = video.astype(jnp.float32)
    power = 1.0 / jnp.asarray(gamma, jnp.float32)
    curve = jnp.maximum(x, _TOE) ** power
    toe = x * _TOE ** (power - 1.0)
    return jnp.where(x > _TOE, curve, toe).astype(video.dtype)


def gamma_table(gamma: float) -> np.ndarray:
    """The 256-entry uint8 table of the published code: trunc(((i / 255) ** (1 / gamma)) * 255).

    It truncates where one would expect rounding; DarkLight's and ARID's frames were made so.

    Raises:
        UserError: ``gamma`` is not above 0.
    """
    _check_gamma(gamma)
    # Python's scalar pow, as in the original: numpy's vector pow may differ in the last
    # bit, which truncation would turn into a whole grey level.
    levels = [int(((i / 255.0) ** (1.0 / float(gamma))) * 255.0) for i in range(256)]
    return np.asarray(levels, np.uint8)


def gamma_correct_uint8(
    video: UInt8[np.ndarray, "..."] | UInt8[Array, "..."], gamma: float
) -> UInt8[np.ndarray, "..."] | UInt8[Array, "..."]:
    """Gamma intensity correction of 8-bit frames, bit for bit as the published code does it.

    Args:
        video: uint8, any shape; a numpy array gives a numpy array, a jax array a jax array.
        gamma: above 1 brightens; a plain number (the table is made when tracing).

    Raises:
        UserError: ``gamma`` is not above 0.
        TypeError: ``video`` is not uint8.
    """
    if video.dtype != np.uint8:
        raise TypeError(f"gamma_correct_uint8 takes uint8 frames, got {video.dtype}")
    table = gamma_table(gamma)
    if isinstance(video, JaxArray):
        return jnp.asarray(table)[video.astype(jnp.int32)]
    return table[video]


def _check_gamma(gamma: float | JaxArray) -> None:
    if isinstance(gamma, int | float) and not gamma > 0:
        raise UserError(f"gamma: expected a number above 0, found {gamma}; 1 changes nothing")


def gic(video: Float[Array, "*B C"], gamma: float = 1.8) -> Float[Array, "*B C"]:
    """`gamma_correct` with the gamma of DarkLight's published training command."""
    return gamma_correct(video, gamma)


def gic_uint8(video: Any, gamma: float = 1.8) -> Any:
    """`gamma_correct_uint8`, likewise."""
    return gamma_correct_uint8(video, gamma)


# Float video [*B, H, W, C] in [0, 1] to the same; keyword arguments are the method's fields.
METHODS: dict[str, Callable[..., Any]] = {
    "gic": gic,
    "he": equalise,
    "msr": msr,
    "msrcr": msrcr,
    "lime": lime,
    "bimef": bimef,
}
# Those whose published 8-bit form is not the float one rounded.
METHODS_UINT8: dict[str, Callable[..., Any]] = {
    "gic": gic_uint8,
    "he": equalise_uint8,
    "lime": lime_uint8,
}


def enhance(video: Any, method: str, **fields: Any) -> Any:
    """Enhance each frame of a video by a method of `METHODS`.

    Args:
      video: [*B, H, W, C], float in [0, 1] or uint8; numpy or jax.
      method: a name of `METHODS`.
      **fields: of the method, as `gamma=2.2`.

    Returns:
      Frames of the same shape and dtype (8-bit ones are rounded, or bit for bit as the published
      code made them: `METHODS_UINT8`); numpy for numpy, jax for jax.

    Raises:
      UserError: no such method, or frames that are neither float nor uint8.
    """
    if method not in METHODS:
        raise UserError(f"enhancement: expected one of {', '.join(METHODS)}; found {method!r}")
    if video.dtype == np.uint8 and method in METHODS_UINT8:
        out = METHODS_UINT8[method](video, **fields)
    elif video.dtype == np.uint8:
        bright = METHODS[method](jnp.asarray(video).astype(jnp.float32) / 255, **fields)
        out = jnp.round(bright * 255).astype(jnp.uint8)
    elif jnp.issubdtype(video.dtype, jnp.floating):
        out = METHODS[method](jnp.asarray(video), **fields)
    else:
        raise UserError(
            f"enhancement: expected frames as uint8 or as float in [0, 1]; found {video.dtype}: "
            "scale 16-bit frames to [0, 1] first"
        )
    return out if isinstance(video, JaxArray) else np.asarray(out)
