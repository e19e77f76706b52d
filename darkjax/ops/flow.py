"""Optical flow of clips, on the device: Brox et al. (`brox`) and TV-L1 (`tvl1`).

    flow(video)                          # Brox with OpenCV's parameters, float32 [T-1, H, W, 2]
    flow(video, "tvl1", enhance="gic")   # of the brightened clip
    flow(video, TVL1(warps=2), at_once=64)

Dark clips: the infrared paper (Jiang et al. 2017) takes the flow of the frames as they are, which
is the default. `enhance` is better in the dark: the flow of the brightened clip (docs/flow.md has
the errors of both).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from darkjax.errors import UserError
from darkjax.ops import enhance as enhancing
from darkjax.ops.brox import Brox
from darkjax.ops.colour import luma_weights
from darkjax.ops.tvl1 import TVL1

METHODS: dict[str, Any] = {"brox": Brox, "tvl1": TVL1}


def flow(
    video: Shaped[Array | np.ndarray, "*B T H W C"],
    method: str | Brox | TVL1 = "brox",
    *,
    enhance: str | None = None,
    at_once: int | None = None,
) -> Float[Array, "*B T-1 H W 2"]:
    """Optical flow from each frame to the next: pixels, x then y, float32.

    `flow[t, y, x]` is where the point seen at (x, y) in frame t is in frame t + 1, minus (x, y).
    It is one program for each shape and may be part of another (`jax.jit`, `jax.vmap`).

    Args:
        video: one clip or a batch of them, uint8 or float in [0, 1]; channels are one (grey,
            infrared), three (RGB, weighed as luma) or others (their mean).
        method: a name of `METHODS`, or one of those classes with other parameters.
        enhance: a method of `darkjax.ops.enhance` that brightens the frames before; None is none.
        at_once: how many pairs of frames are worked on together. None is one after the other on a
            CPU, whose cache then holds all that a pair needs, and all of them elsewhere.

    Raises:
        UserError: an unknown method, a single frame, another dtype or number of axes.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise UserError(f"flow: expected a method of {', '.join(METHODS)}; found {method!r}")
        method = METHODS[method]()
    if video.ndim < 4 or video.shape[-4] < 2:
        raise UserError(
            f"flow: expected frames [T, H, W, C] with T of at least 2, found shape {video.shape}"
        )
    if at_once is None:
        at_once = 1 if jax.default_backend() == "cpu" else video.size
    return _flow(video, method, enhance, at_once)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _flow(video: Array, method: Any, enhance: str | None, at_once: int) -> Array:
    frames = grey(video, enhance)
    *batch, length, height, width = frames.shape
    size = height, width
    pairs = frames[..., :-1, :, :].reshape(-1, *size), frames[..., 1:, :, :].reshape(-1, *size)

    def pair(both: tuple[Array, Array]) -> Array:
        return method.pair(*both)

    if at_once >= pairs[0].shape[0]:
        found = jax.vmap(pair)(pairs)
    else:
        found = jax.lax.map(pair, pairs, batch_size=at_once if at_once > 1 else None)
    return found.reshape(*batch, length - 1, *size, 2)


def grey(
    video: Shaped[Array | np.ndarray, "*B H W C"], enhance: str | None = None
) -> Float[Array, "*B H W"]:
    """Frames as flow takes them: one channel, float32 in [0, 1], brightened by `enhance`.

    Raises:
        UserError: frames that are neither uint8 nor float, or no such method.
    """
    if video.dtype == jnp.uint8:
        frames = jnp.asarray(video).astype(jnp.float32) / 255.0
    elif jnp.issubdtype(video.dtype, jnp.floating):
        frames = jnp.asarray(video).astype(jnp.float32)
    else:
        raise UserError(
            f"flow: expected frames as uint8 or as float in [0, 1], found {video.dtype}: scale "
            "others to [0, 1] first"
        )
    if enhance is not None:
        frames = enhancing.enhance(frames, enhance)
    # Not a matrix product, whose factors some devices round.
    return jnp.sum(frames * luma_weights(frames.shape[-1]), axis=-1)
