"""What moves in a clip: the clip less its temporal median, and frame differences, about grey.

Both are cheap stand-ins for flow: what stands still (the place) is 0.5 everywhere, so a network
that sees them cannot learn it. Both are halved, so that no value leaves [0, 1] and none is cut off.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.ops import fourier

STILL = 0.5  # what does not move
# Of up to so many frames the median is found by exchanges, which are a hundred times faster than
# XLA's sort on a CPU (of 24 clips of 8 frames of 56 x 56: 2 against 190 ms); of more they take too
# long to compile.
FEW = 16


def less_median(video: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
    """0.5 + (clip - its median over time) / 2 of clips in [0, 1], in [0, 1].

    Raises:
      UserError: a single frame, whose median is itself.
    """
    _check(video, "motion")
    return STILL + 0.5 * (video - fourier.on_own_examples(median, video))


def difference(video: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
    """0.5 + (next frame - frame) / 2 of clips in [0, 1], in [0, 1]; the last of them twice.

    Raises:
      UserError: a single frame.
    """
    _check(video, "difference")
    change = STILL + 0.5 * (video[:, 1:] - video[:, :-1])
    return jnp.concatenate([change, change[:, -1:]], 1)


def median(video: Float[Array, "B T *S"]) -> Float[Array, "B 1 *S"]:
    """The median over T frames; of an even number, the mean of the two in the middle.

    On a CPU clip by clip, in a loop, whose result is computed once: XLA's CPU backend puts straight
    lines of exchanges into all that reads them, and computes the median again for each frame.
    """
    return jax.lax.platform_dependent(video, cpu=_clip_by_clip, default=_exchanged)


def _clip_by_clip(video: Array) -> Array:
    return jax.lax.map(lambda clip: _exchanged(clip[None])[0], video)


def _exchanged(video: Array) -> Array:
    count = video.shape[1]
    if count <= FEW:
        frames = [video[:, i] for i in range(count)]
        for start in range(count):  # odd-even exchanges: whole frames at a time
            for i in range(start % 2, count - 1, 2):
                a, b = frames[i], frames[i + 1]
                frames[i], frames[i + 1] = jnp.minimum(a, b), jnp.maximum(a, b)
    else:
        ordered = jnp.sort(video, axis=1)
        frames = [ordered[:, i] for i in range(count)]
    return 0.5 * (frames[(count - 1) // 2] + frames[count // 2])[:, None]


def _check(video: Array, name: str) -> None:
    if video.shape[1] < 2:
        raise UserError(
            f"luminous_input={name!r}: expected clips of at least 2 frames, found "
            f"{video.shape[1]}: set data.frames"
        )
