"""Random rain: bright streaks that fall through a clip."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def rain(
    key: PRNGKeyArray,
    video: Float[Array, "T H W C"],
    *,
    density: float = 0.1,
    length: float = 12.0,
    brightness: float = 0.4,
    slant: float = 0.2,
    p: float = 1.0,
) -> Float[Array, "T H W C"]:
    """Streaks of rain that move down from frame to frame, in a share ``p`` of the draws.

    A drop has a bright head and a tail that fades over ``length`` pixels. It falls along its
    own slanted line by about its length in each frame and comes back at the top some time
    after it has left at the bottom. Each pixel moves towards white by at most ``brightness``
    of what is left, so the video only becomes brighter and stays in [0, 1].

    Args:
        video: float32 in [0, 1].
        density: share of the frame's columns that carry a drop, in [0, 1].
        length: pixels, above 0.
        brightness: in [0, 1]; 0 is off.
        slant: the direction of a clip's rain is uniform in ±slant pixels sideways per pixel down.
    """
    frames, height, width, _ = video.shape
    keys = [jax.random.fold_in(key, i) for i in range(5)]
    on = jax.random.bernoulli(keys[0], p)
    lean = jax.random.uniform(keys[1], (), minval=-slant, maxval=slant)
    period = height + 2.0 * length
    start = jax.random.uniform(keys[2], (width,), maxval=period)
    speed = jax.random.uniform(keys[3], (width,), minval=0.75 * length, maxval=1.25 * length)
    wet = jax.random.uniform(keys[4], (width,)) < density

    # The line of a pixel is the column it would have come from at the top of the frame, so
    # what is random belongs to lines and a frame needs no more than arithmetic.
    y = jnp.arange(height, dtype=jnp.float32)[:, None]
    x = jnp.arange(width, dtype=jnp.float32)[None, :]
    line = jnp.mod(jnp.round(x - lean * y).astype(jnp.int32), width)  # [H, W]
    time = jnp.arange(frames, dtype=jnp.float32)[:, None, None]
    behind_head = jnp.mod(start[line] + speed[line] * time - y, period)  # [T, H, W]
    streak = jnp.maximum(1.0 - behind_head / length, 0.0)
    amount = jnp.where(on & wet[line], streak * brightness, jnp.zeros_like(streak))
    return video + amount[..., None] * (1.0 - video)
