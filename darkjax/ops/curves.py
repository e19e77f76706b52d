"""Light-enhancement curves: a quadratic for each pixel and channel, applied again and again.

Zero-DCE [Guo et al. 2020, arXiv 2001.06826, Eq. 3] prints `LE_n = LE_{n-1} + A_n LE_{n-1}
(1 - LE_{n-1})`. The released code and its weights have the opposite sign, and so has everything
here: curves are `r = -A`, `x + r (x^2 - x)`; a negative `r` brightens, 0 changes nothing. Values
in [0, 1] stay there for `r` in [-1, 1], so nothing is clipped.

DTCM [Tu et al. 2023] estimates curves from one frame of each group of k and shares them (Eq. 10).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError


def steps(
    frames: Float[Array, "*B H W C"], curves: Float[Array, "*A H W nC"]
) -> list[Float[Array, "*B H W C"]]:
    """The image after each of the n iterations; the last is the result.

    Args:
      frames: in [0, 1].
      curves: r_1 ... r_n one after the other, C channels each; leading axes of length one are
        shared by the frames along them.
    """
    n, rest = divmod(curves.shape[-1], frames.shape[-1])
    if rest or not n:
        raise ValueError(
            f"expected n x {frames.shape[-1]} channels of curves, found {curves.shape[-1]}"
        )
    found, x = [], frames
    for r in jnp.split(curves, n, axis=-1):
        x = x + r * (x * x - x)
        found.append(x)
    found[-1] = _fence(found[-1])
    return found


@jax.custom_vjp
def _fence(x: Array) -> Array:
    """`x`, whose gradient is made once.

    XLA's CPU compiler otherwise repeats whatever makes the gradient of the result (every loss)
    inside that of each of the n curves: 0.20 of the 0.69 s of a step of DTCM's demo. An
    optimisation barrier is gone before it fuses, a condition that only the data decide is not.
    """
    return x


def _fence_forward(x: Array) -> tuple[Array, None]:
    return x, None


def _fence_backward(_: None, grad: Array) -> tuple[Array]:
    if jax.default_backend() != "cpu" or not grad.size:
        return (grad,)
    one = grad[(0,) * grad.ndim]
    return (jax.lax.cond(one == one, lambda g: g, lambda g: g * jnp.nan, grad),)


_fence.defvjp(_fence_forward, _fence_backward)


def key_frames(frames: int, k: int) -> list[int]:
    """The frame of each group of `k` from which its curves are estimated (Eq. 11).

    Index `k // 2` of the group from 0. The last group is shorter where `k` does not divide
    `frames`, and has its own middle.
    """
    if k < 1:
        raise UserError(f"k must be 1 or more frames that share curves, found {k}")
    starts = range(0, frames, k)
    return [start + min(k, frames - start) // 2 for start in starts]


def shared_steps(
    clips: Float[Array, "*B T H W C"], curves: Float[Array, "*B G H W nC"], k: int
) -> list[Float[Array, "*B T H W C"]]:
    """`steps` of clips whose groups of `k` frames share curves, one set for each of `key_frames`.

    Every frame is iterated with its own pixels. The curves are never repeated in memory.
    """
    *lead, t, h, w, c = clips.shape
    groups = len(key_frames(t, k))
    if curves.shape[-4] != groups:
        raise ValueError(f"{t} frames by {k} need {groups} curves, found {curves.shape[-4]}")
    whole = t // k
    parts = []
    if whole:
        # The first frames of all groups, the second ones ...: the gradient of the curves is then
        # a sum of k arrays, four times faster on the CPU than a reduction over an axis of k.
        found = [
            steps(clips[..., j : whole * k : k, :, :, :], curves[..., :whole, :, :, :])
            for j in range(k)
        ]
        parts.append(
            [
                jnp.stack(frames, axis=-4).reshape(*lead, whole * k, h, w, c)
                for frames in zip(*found, strict=True)
            ]
        )
    if whole < groups:
        parts.append(steps(clips[..., whole * k :, :, :, :], curves[..., whole:, :, :, :]))
    return [jnp.concatenate(p, axis=-4) if len(p) > 1 else p[0] for p in zip(*parts, strict=True)]
