"""Brighten dark video: gamma intensity correction (GIC)."""

import jax.numpy as jnp
import numpy as np
from jax import Array as JaxArray
from jaxtyping import Array, Float, UInt8

from darkjax.errors import UserError

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
