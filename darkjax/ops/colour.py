"""Random change of brightness, contrast, saturation and hue, one draw for a whole clip."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

# Luma weights of ITU-R BT.601, the usual grey of colour jitter.
_LUMA = (0.299, 0.587, 0.114)


def colour_jitter(
    key: PRNGKeyArray,
    video: Float[Array, "T H W C"],
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    p: float = 1.0,
) -> Float[Array, "T H W C"]:
    """Colour jitter with the same parameters for all frames, in a share ``p`` of the draws.

    Brightness multiplies by a factor in 1 ± brightness, contrast moves towards (or away from)
    the mean grey of the whole clip, saturation towards (or away from) each pixel's grey, hue
    turns the colours about the grey axis by up to ±hue full turns. The four are applied in
    this order and clipped to [0, 1] once, at the end. Saturation and hue need three channels
    and are left out for others.

    Args:
        video: float32 in [0, 1].
        brightness, contrast, saturation: 0 is off; the factor never goes below 0.
        hue: share of a full turn, 0 is off, at most 0.5.
    """
    channels = video.shape[-1]
    on = jax.random.bernoulli(jax.random.fold_in(key, 0), p)
    unit = jax.random.uniform(jax.random.fold_in(key, 1), (4,), minval=-1.0, maxval=1.0)
    unit = jnp.where(on, unit, jnp.zeros_like(unit))
    brighter = jnp.maximum(1.0 + unit[0] * brightness, 0.0)
    steeper = jnp.maximum(1.0 + unit[1] * contrast, 0.0)
    grey = jnp.sum(jnp.mean(video, axis=(0, 1, 2)) * luma_weights(channels)) * brighter
    offset = (1.0 - steeper) * grey
    if channels == 3 and (saturation or hue):
        colourful = jnp.maximum(1.0 + unit[2] * saturation, 0.0)
        matrix = colour_matrix(colourful, unit[3] * hue * 2.0 * math.pi)
        # Multiplied out by channel: XLA turns this into one pass over the pixels, where a
        # matrix product with three columns takes ten times as long on a CPU.
        red, green, blue = (video[..., i : i + 1] for i in range(3))
        video = red * matrix[:, 0] + green * matrix[:, 1] + blue * matrix[:, 2]
    return jnp.clip(video * (brighter * steeper) + offset, 0.0, 1.0)


def colour_matrix(
    saturation: float | Float[Array, ""], angle: float | Float[Array, ""]
) -> Float[Array, "3 3"]:
    """RGB matrix that scales a pixel's difference from its grey and turns it by ``angle`` radians.

    The grey (luma) of a pixel does not change. The turn is about the grey axis in RGB, a
    linear map: a tenth of the cost of going through HSV and smooth everywhere, at the price
    that it is not HSV's hexagonal hue for angles that are not multiples of 120 degrees.
    """
    eye = jnp.eye(3, dtype=jnp.float32)
    luma = jnp.broadcast_to(luma_weights(3), (3, 3))
    # Rodrigues' rotation about (1, 1, 1) / sqrt(3); a positive angle turns red towards green.
    cross = jnp.asarray([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], jnp.float32) / math.sqrt(3.0)
    turn = jnp.cos(angle) * eye + jnp.sin(angle) * cross + (1.0 - jnp.cos(angle)) / 3.0
    greyed = jnp.dot(luma, turn, precision=jax.lax.Precision.HIGHEST)
    # luma + saturation * (turn - greyed), ordered so that (1, 0) is the identity exactly.
    return turn + (luma - greyed) + (saturation - 1.0) * (turn - greyed)


def luma_weights(channels: int) -> Float[Array, "C"]:
    """BT.601 weights of the grey value for three channels, else equal weights."""
    weights = _LUMA if channels == 3 else (1.0 / channels,) * channels
    return jnp.asarray(weights, jnp.float32)
