"""Image pyramids for optical flow: sizes, resizing, derivatives, and reading at moved points.

All of it is for grey pictures, float32, channels (if any) in front: [*B, H, W].
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SMALLEST = 16  # no level of a pyramid is lower or narrower, as in OpenCV


def sizes(size: tuple[int, ...], scale: float, most: int) -> list[tuple[int, int]]:
    """(height, width) of the levels, coarsest first; the last one is the picture's own.

    Args:
        size: height and width of the picture.
        scale: of one level to the next finer, in (0, 1).
        most: how many levels at most; below `SMALLEST` pixels there are none but the picture.
    """
    height, width = size
    found = [(height, width)]
    while len(found) < most:
        factor = scale ** len(found)
        smaller = round(height * factor), round(width * factor)
        if min(smaller) < SMALLEST:
            break
        found.append(smaller)
    return found[::-1]


def descended(
    both: Float[Array, "2 H W"],
    levels: Sequence[tuple[int, int]],
    better: Callable[[Array, Array], Array],
    *,
    margin: int,
    sigma: float,
) -> Float[Array, "H W 2"]:
    """The flow of two pictures from the coarsest of `levels` (of `sizes`) to the finest.

    `better(both, flow)` is given the two pictures of a level, with `margin` more pixels on each
    side, and the flow [2, h, w] of the level before; `sigma` as in `resized`.
    """
    flow = jnp.zeros((2, *levels[0]), jnp.float32)
    for height, width in levels:
        small = resized(both, height, width, margin=margin, sigma=sigma)
        flow = better(small, flow_resized(flow, height, width))
    return flow.transpose(1, 2, 0)


def resized(
    x: Float[Array, "*B H W"], height: int, width: int, *, margin: int = 0, sigma: float = 0.0
) -> Float[Array, "*B h w"]:
    """Pictures in another size, with `margin` pixels around them that repeat the edge.

    Bilinear; where it shrinks, the triangle is as wide as an output pixel, so nothing aliases.

    Args:
        sigma: of a Gaussian blur before, in pixels of the input; 0 is none.
    """
    rows, columns = x.shape[-2:]
    down = jnp.asarray(_matrix(rows, height, margin, sigma))
    along = jnp.asarray(_matrix(columns, width, margin, sigma))
    # Two matrix products: on every device faster than gathers, and quick to compile.
    half = jnp.einsum("...yx,wx->...yw", x, along, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("...yw,hy->...hw", half, down, precision=jax.lax.Precision.HIGHEST)


@functools.lru_cache(maxsize=256)
def _matrix(size: int, to: int, margin: int, sigma: float) -> np.ndarray:
    """float32 [to + 2 margin, size]: rows of weights that sum to 1."""
    step = size / to
    centre = (np.arange(to) + 0.5) * step - 0.5
    pixel = np.arange(size)
    distance = np.abs(pixel - np.clip(centre, 0, size - 1)[:, None])
    weights = _normal(np.maximum(0.0, 1.0 - distance / max(step, 1.0)))
    if sigma > 0:
        weights = weights @ _normal(np.exp(-0.5 * ((pixel - pixel[:, None]) / sigma) ** 2))
    return np.pad(weights, ((margin, margin), (0, 0)), "edge").astype(np.float32)


def _normal(rows: np.ndarray) -> np.ndarray:
    return rows / rows.sum(axis=1, keepdims=True)


def flow_resized(flow: Float[Array, "2 H W"], height: int, width: int) -> Float[Array, "2 h w"]:
    """A flow (x, y) for pictures of another size: its vectors grow as the picture does."""
    ratio = jnp.asarray([width / flow.shape[2], height / flow.shape[1]], jnp.float32)
    return resized(flow, height, width) * ratio[:, None, None]


def along_x(x: Float[Array, "*B H W4"]) -> Float[Array, "*B H W"]:
    """The derivative along rows, exact to order four; two columns less at each side."""
    return (8.0 * (x[..., 3:-1] - x[..., 1:-3]) - (x[..., 4:] - x[..., :-4])) / 12.0


def along_y(x: Float[Array, "*B H4 W"]) -> Float[Array, "*B H W"]:
    """The same along columns; two rows less at the top and at the bottom."""
    return (8.0 * (x[..., 3:-1, :] - x[..., 1:-3, :]) - (x[..., 4:, :] - x[..., :-4, :])) / 12.0


def moved(
    channels: Float[Array, "C H W"], flow: Float[Array, "2 H W"]
) -> tuple[Float[Array, "C H W"], Float[Array, "H W"]]:
    """Channels read where the flow points to, and 1 where that is inside of the picture, else 0.

    Cubic convolution [Keys 1981]; outside, the edge is repeated.
    """
    count, height, width = channels.shape
    x = jnp.arange(width, dtype=jnp.float32) + flow[0]
    y = jnp.arange(height, dtype=jnp.float32)[:, None] + flow[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    left, top = jnp.floor(x), jnp.floor(y)
    weights_x, weights_y = _keys(x - left), _keys(y - top)
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    rows = channels.reshape(count, -1).T  # one row for a pixel: a tap is one gather of rows

    def line(k: Array | int, sums: Array) -> Array:
        # A loop, because XLA would put all sixteen gathers into each use of the result.
        row = jnp.clip(top + k - 1, 0, height - 1) * width
        for j in range(4):
            at = row + jnp.clip(left + (j - 1), 0, width - 1)
            weight = weights_y[k] * weights_x[j]
            sums = sums + weight[..., None] * jnp.take(rows, at, axis=0, mode="clip")
        return sums

    sums = jax.lax.fori_loop(0, 4, line, jnp.zeros((height, width, count), jnp.float32))
    return sums.transpose(2, 0, 1), inside.astype(jnp.float32)


def _keys(f: Float[Array, "H W"]) -> Float[Array, "4 H W"]:
    """Weights of the pixels at -1, 0, 1 and 2 for a point between 0 and 1."""
    g = 1.0 - f
    return jnp.stack(
        [
            -0.5 * f * g * g,
            1.0 + f * f * (1.5 * f - 2.5),
            1.0 + g * g * (1.5 * g - 2.5),
            -0.5 * g * f * f,
        ]
    )


def framed(x: Float[Array, "*B H W"]) -> Float[Array, "*B h w"]:
    """With one pixel of zeros around: a stencil's loop then only slices, and writes in place."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)])


def inner(x: Float[Array, "*B h w"]) -> Float[Array, "*B H W"]:
    """What is inside of that frame."""
    return x[..., 1:-1, 1:-1]


def put(x: Float[Array, "*B h w"], new: Float[Array, "*B H W"]) -> Float[Array, "*B h w"]:
    """`x` with other values inside of its frame."""
    return jax.lax.dynamic_update_slice(x, new, (0,) * (x.ndim - 2) + (1, 1))
