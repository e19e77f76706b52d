"""Moving channels along time: TSM's shift by one frame, TIN's learnt shift by a fraction."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError


def temporal_shift(x: Float[Array, "B T *S C"], div: int = 8) -> Float[Array, "B T *S C"]:
    """Move two folds of `C // div` channels by one frame [Lin et al. 2019, arXiv 1811.08383].

    The first fold takes each frame's values from the next frame, the second from the frame
    before; zeros come in at the ends, the other channels stay.

    Args:
      x: features, time second, channels last.
      div: a fold is `C // div` channels.

    Returns:
      The shifted features, same shape and dtype.
    """
    if x.ndim < 3 or div < 2:
        raise UserError(f"temporal_shift wants [B, T, ..., C] and div >= 2: {x.shape}, {div}")
    fold = x.shape[-1] // div
    here = x[..., : 2 * fold]
    edge = jnp.zeros_like(here[:, :1])
    later = jnp.concatenate([here[:, 1:], edge], axis=1)[..., :fold]
    earlier = jnp.concatenate([edge, here[:, :-1]], axis=1)[..., fold:]
    return jnp.concatenate([later, earlier, x[..., 2 * fold :]], axis=-1)


def interlace(x: Float[Array, "B T *S C"], offset: Float[Array, "B G"]) -> Float[Array, "B T *S C"]:
    """Move G equal groups of channels by learnt offsets [Shao et al. 2020, arXiv 2001.06499].

    `y[t + o] = x[t]` for each group's offset `o` in frames, blended linearly between the two
    nearest frames, zeros outside the clip: with `f = floor(o)` the frame `t + f` gets the share
    `1 - (o - f)` of `x[t]` and the frame `t + f + 1` the rest.

    Args:
      x: features, time second, channels last; G divides C.
      offset: frames to move by, positive is later, for each clip and group.

    Returns:
      The moved features, same shape and dtype.
    """
    groups, frames, channels = offset.shape[-1], x.shape[1], x.shape[-1]
    if channels % groups:
        raise UserError(f"{groups} groups do not divide {channels} channels")
    offset = offset.astype(jnp.float32)[..., None, None]  # B G 1 1
    whole = jnp.floor(offset)
    part = offset - whole
    move = jnp.arange(frames)[:, None] - jnp.arange(frames)[None, :]  # to, from
    move = move.astype(jnp.float32)
    zero = jnp.float32(0)
    mix = jnp.where(move == whole, 1 - part, zero) + jnp.where(move == whole + 1, part, zero)
    grouped = x.reshape(x.shape[0], frames, -1, groups, channels // groups)  # B T S G c
    y = jnp.einsum("bgut,btsgc->busgc", mix.astype(x.dtype), grouped)
    return y.reshape(x.shape)
