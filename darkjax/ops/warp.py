"""Geometric warps of a clip: where each output pixel reads, and one sampler for all of them.

A warp is a map from output points to source points, so warps compose as functions do and a
clip is resampled once however many of them are applied. ``points`` is float32 [H, W, 2] in
pixels, (y, x), with the centre of the top-left pixel at (0, 0). One set of points serves all
frames of a clip: the geometry does not flicker.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from darkjax.errors import UserError

BORDERS = ("reflect", "edge", "zero")


def pixel_points(height: int, width: int) -> Float[Array, "H W 2"]:
    """The identity warp: point (y, x) of every pixel, float32."""
    y = jnp.arange(height, dtype=jnp.float32)
    x = jnp.arange(width, dtype=jnp.float32)
    return jnp.stack(jnp.meshgrid(y, x, indexing="ij"), axis=-1)


def affine_points(
    points: Float[Array, "H W 2"],
    *,
    angle: float | Float[Array, ""] = 0.0,
    translate: tuple[float | Float[Array, ""], float | Float[Array, ""]] = (0.0, 0.0),
    scale: float | Float[Array, ""] = 1.0,
    shear: float | Float[Array, ""] = 0.0,
) -> Float[Array, "H W 2"]:
    """Source points when the picture is sheared, rotated and scaled about its centre, then moved.

    Args:
        points: output points; the frame is H by W.
        angle: radians, clockwise as seen on the screen.
        translate: (down, right) in pixels.
        scale: above 1 enlarges.
        shear: radians, along x: the row one pixel below the centre moves right by tan(shear).
    """
    height, width = points.shape[:2]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    down, right = translate
    y = points[..., 0] - centre_y - down
    x = points[..., 1] - centre_x - right
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    y, x = cos * y - sin * x, sin * y + cos * x  # inverse rotation and scale
    x = x - jnp.tan(shear) * y
    return jnp.stack([y + centre_y, x + centre_x], axis=-1)


def optical_points(
    points: Float[Array, "H W 2"], k: float | Float[Array, ""]
) -> Float[Array, "H W 2"]:
    """Source points of a lens distortion: radius r reads from r * (1 + k r^2 + k r^4).

    ``r`` is measured from the centre with the frame's height and width as units, and one
    coefficient serves both powers, as in albumentations' OpticalDistortion. ``k`` above 0
    pulls the corners in (barrel), below 0 pushes them out (pincushion).
    """
    size = jnp.asarray(points.shape[:2], jnp.float32)
    centre = (size - 1.0) / 2.0
    offset = (points - centre) / size
    r2 = jnp.sum(offset * offset, axis=-1, keepdims=True)
    # Written as a displacement, so that k = 0 gives the points back exactly.
    return points + offset * size * (k * r2 + k * r2 * r2)


def elastic_displacement(
    key: PRNGKeyArray, height: int, width: int, *, alpha: float, sigma: float
) -> Float[Array, "H W 2"]:
    """A smooth random displacement: uniform noise in (-1, 1), Gaussian-blurred, times ``alpha``.

    Source: Simard et al. 2003, section 2. ``alpha`` and ``sigma`` are in pixels; the root mean
    square of the displacement is about 0.16 * alpha / sigma pixels along each axis.
    """
    noise = jax.random.uniform(key, (height, width, 2), minval=-1.0, maxval=1.0)
    # The blur is separable, and as two small matrix products it is fast on every device.
    return alpha * jnp.einsum(
        "yi,xj,ijd->yxd",
        jnp.asarray(_blur_matrix(height, sigma)),
        jnp.asarray(_blur_matrix(width, sigma)),
        noise,
        precision=jax.lax.Precision.HIGHEST,
    )


def _blur_matrix(size: int, sigma: float) -> np.ndarray:
    """Rows of a Gaussian blur along one axis, each summing to 1 (so also at the border)."""
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    rows = np.exp(-0.5 * (distance / sigma) ** 2)
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


def random_affine_points(
    key: PRNGKeyArray,
    points: Float[Array, "H W 2"],
    *,
    degrees: float,
    translate: float,
    scale: tuple[float, float],
    shear: float,
    p: float = 1.0,
) -> Float[Array, "H W 2"]:
    """`affine_points` with, in a share ``p`` of the draws, uniform random parameters.

    Args:
        degrees: rotation in ±degrees.
        translate: shift in ±translate of the frame's height and width.
        scale: (low, high), above 0.
        shear: in ±shear degrees.
    """
    low, high = scale
    if not 0 < low <= high:
        raise UserError(f"affine scale: expected 0 < low <= high, found {scale}; (1, 1) is off")
    height, width = points.shape[:2]
    on, unit = _draw(key, 4, p)
    factor = jax.random.uniform(jax.random.fold_in(key, 2), (), minval=low, maxval=high)
    return affine_points(
        points,
        angle=unit[0] * math.radians(degrees),
        translate=(unit[1] * translate * height, unit[2] * translate * width),
        scale=jnp.where(on, factor, jnp.ones_like(factor)),
        shear=unit[3] * math.radians(shear),
    )


def random_optical_points(
    key: PRNGKeyArray, points: Float[Array, "H W 2"], *, limit: float, p: float = 1.0
) -> Float[Array, "H W 2"]:
    """`optical_points` with ``k`` uniform in ±limit in a share ``p`` of the draws."""
    _, unit = _draw(key, 1, p)
    return optical_points(points, unit[0] * limit)


def random_elastic_points(
    key: PRNGKeyArray,
    points: Float[Array, "H W 2"],
    *,
    alpha: float,
    sigma: float,
    p: float = 1.0,
) -> Float[Array, "H W 2"]:
    """``points`` plus an `elastic_displacement` in a share ``p`` of the draws.

    The displacement belongs to pixels, so this is the first map applied to `pixel_points`
    (the last one the picture goes through).
    """
    if not sigma > 0:
        raise UserError(f"elastic sigma: expected pixels above 0, found {sigma}; p=0 turns it off")
    height, width = points.shape[:2]
    on = jax.random.bernoulli(jax.random.fold_in(key, 0), p)
    moved = elastic_displacement(
        jax.random.fold_in(key, 1), height, width, alpha=alpha, sigma=sigma
    )
    return points + jnp.where(on, moved, jnp.zeros_like(moved))


def _draw(key: PRNGKeyArray, n: int, p: float) -> tuple[Array, Array]:
    """(applied or not, n numbers uniform in (-1, 1) that are all 0 when not applied)."""
    on = jax.random.bernoulli(jax.random.fold_in(key, 0), p)
    unit = jax.random.uniform(jax.random.fold_in(key, 1), (n,), minval=-1.0, maxval=1.0)
    return on, jnp.where(on, unit, jnp.zeros_like(unit))


def sample(
    video: Float[Array, "T H W C"], points: Float[Array, "h w 2"], *, border: str = "reflect"
) -> Float[Array, "T h w C"]:
    """Every frame of a clip read at ``points`` by bilinear interpolation.

    Args:
        video: float; the result has its dtype and, being a weighted mean, stays in its range.
        points: (y, x) in pixels, finite, may lie outside of the frame.
        border: what lies outside: "reflect" (mirrored about the edge pixel's centre), "edge"
            (the edge pixel repeated) or "zero" (black).

    Raises:
        UserError: another ``border``.
    """
    if border not in BORDERS:
        raise UserError(f"border: expected one of {', '.join(BORDERS)}; found {border!r}")
    frames, height, width, channels = video.shape
    y, x = points[..., 0].reshape(-1), points[..., 1].reshape(-1)
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    y0, y1, fy = _neighbours(y, height, border)
    x0, x1, fx = _neighbours(x, width, border)
    # One row per pixel holding all frames and channels: a corner is then one gather of long
    # rows, twice as fast on a CPU as gathering pixel by pixel in each frame.
    rows = video.transpose(1, 2, 0, 3).reshape(height * width, frames * channels)
    out = jnp.zeros((y.size, frames * channels), video.dtype)
    for corner_y, weight_y in ((y0, 1.0 - fy), (y1, fy)):
        for corner_x, weight_x in ((x0, 1.0 - fx), (x1, fx)):
            weight = weight_y * weight_x
            if border == "zero":
                weight = jnp.where(inside, weight, jnp.zeros_like(weight))
            pixels = jnp.take(rows, corner_y * width + corner_x, axis=0, mode="clip")
            out = out + weight[:, None].astype(video.dtype) * pixels
    return out.reshape(*points.shape[:2], frames, channels).transpose(2, 0, 1, 3)


def _neighbours(at: Array, size: int, border: str) -> tuple[Array, Array, Array]:
    """The two pixels around each coordinate, int32, and the share of the second, float32."""
    last = size - 1
    if border == "reflect":
        period = max(2 * last, 1)
        at = last - jnp.abs(jnp.mod(at, period) - last)
    at = jnp.clip(at, 0.0, float(last))
    first = jnp.floor(at)
    index = first.astype(jnp.int32)
    return index, jnp.minimum(index + 1, last), at - first
