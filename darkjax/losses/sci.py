"""SCI's losses [Ma et al. 2022, Eq. 5 to 7]: free functions, one value per example.

float32 inside, no reduction over examples; pictures are RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from darkjax.errors import UserError
from darkjax.losses.common import absolute, expect


def total(
    stages: Sequence[tuple[Float[Array, "*B H W C"], Float[Array, "*B H W C"]]],
    *,
    mixed_pixels: bool = False,
) -> Float32[Array, "*B"]:
    """SCI's total loss: fidelity (times 1.5) and smoothness, summed over the stages.

    Args:
      stages: (the stage's input, its illumination), of each stage.
      mixed_pixels: of `smoothness`; True is what the released code computes.

    References:
      Ma et al., SCI, CVPR 2022, Eq. 5 to 7; loss.py, LossFunction.
    """
    terms = [
        1.5 * fidelity(light, image) + smoothness(light, image, mixed_pixels=mixed_pixels)
        for image, light in stages
    ]
    return sum(terms[1:], terms[0])


def fidelity(
    illumination: Float[Array, "*B H W C"], image: Float[Array, "*B H W C"]
) -> Float32[Array, "*B"]:
    """Mean squared difference of a stage's illumination from its input (SCI, Eq. 6)."""
    expect("sci.fidelity", "the original frames", image.shape, illumination.shape)
    difference = illumination.astype(jnp.float32) - image.astype(jnp.float32)
    return jnp.mean(difference**2, axis=(-3, -2, -1))


def smoothness(
    illumination: Float[Array, "*B H W C"],
    image: Float[Array, "*B H W C"],
    *,
    sigma: float = 10.0,
    mixed_pixels: bool = False,
) -> Float32[Array, "*B"]:
    """L1 differences of the illumination in a 5 x 5 window, less across edges of the image.

    `sum over the 24 offsets of mean_i w_ij |L_i - L_j|_1` with `w_ij = exp(-|I_i - I_j|^2 /
    (2 sigma^2))` and I in YCbCr.

    Args:
      illumination, image: 3 channels, at least 3 x 3 pixels.
      sigma: of the weights. The released 10 is for 8-bit values; on [0, 1] all weights are 1.
      mixed_pixels: the released code reads channels-first memory in threes, so that its
        "colours" are three neighbouring pixels of one channel; True does the same.

    References:
      SCI, Eq. 7; loss.py, SmoothLoss.
    """
    expect("sci.smoothness", "the original frames", image.shape, illumination.shape)
    height, width, channels = image.shape[-3:]
    if channels != 3 or min(height, width) < 3:
        raise UserError(
            f"sci.smoothness: expected 3 channels and at least 3 x 3 pixels, found {image.shape}"
        )
    light = illumination.astype(jnp.float32)
    colour = _ycbcr(image.astype(jnp.float32), mixed_pixels)
    total = jnp.zeros(light.shape[:-3], jnp.float32)
    for di in range(3):
        for dj in range(-2, 3):
            if di == 0 and dj <= 0:
                continue  # each pair once here, and twice in the sum
            step = _difference(light, di, dj)
            weight = jnp.exp(jnp.sum(_difference(colour, di, dj) ** 2, -1) / (-2 * sigma**2))
            total += jnp.mean(weight * jnp.sum(absolute(step), -1), axis=(-2, -1))
    return 2 * total


# BT.601, limited range, as SCI writes it: rows are R, G, B.
_YCBCR = ((0.257, -0.148, 0.439), (0.564, -0.291, -0.368), (0.098, 0.439, -0.071))
_YCBCR_BIAS = (16 / 255, 128 / 255, 128 / 255)


def _ycbcr(image: Array, mixed_pixels: bool) -> Array:
    if mixed_pixels:
        first = jnp.moveaxis(image, -1, -3)  # [*B, C, H, W]
        triples = first.reshape(*image.shape[:-3], -1, 3)
    else:
        triples = image
    matrix, bias = jnp.asarray(_YCBCR, jnp.float32), jnp.asarray(_YCBCR_BIAS, jnp.float32)
    # Written out: a matrix product may be rounded to fewer digits on an accelerator.
    out = sum(triples[..., c, None] * matrix[c] for c in range(3)) + bias
    return jnp.moveaxis(out.reshape(first.shape), -3, -1) if mixed_pixels else out


def _difference(x: Array, di: int, dj: int) -> Array:
    """x[i + di, j + dj] - x[i, j] where both are inside; di is not negative."""
    height, width = x.shape[-3:-1]
    ahead = x[..., di:, max(dj, 0) : width + min(dj, 0), :]
    behind = x[..., : height - di, max(-dj, 0) : width - max(dj, 0), :]
    return ahead - behind
