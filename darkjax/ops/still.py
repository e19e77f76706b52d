"""A still frame of another clip over every frame of a clip: against learning what stands still."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax import channels


def mix_still(
    keys: Array, video: Float[Array, "B T H W C"], *, limit: float = 0.5, p: float = 1.0
) -> Float[Array, "B T H W C"]:
    """Mix one frame of another clip into every frame of each clip; the label stays.

    What is added does not move, and says nothing of the action: motion alone tells it. The other
    clip stands half a batch before: batches are shuffled, so it is a random one, and never another
    view of the same clip, which stands beside it. Of clips with flow the colours are mixed.

    Args:
        keys: one key per example, shape [B].
        video: float32 in [0, 1].
        limit: the added frame's largest share; each is drawn evenly from 0 to it.
        p: the share of examples that are mixed.

    Source: StillMix, Li et al. 2023 (arXiv 2211.12883), and BE, Wang et al. 2021 (arXiv
    2009.05769). StillMix takes the frames that a 2-D network is surest of, and BE a frame of the
    same clip; ours are any frame of the batch.
    """
    count, frames = video.shape[:2]

    def draw(key: Array) -> tuple[Array, Array]:
        on, amount, frame = (jax.random.fold_in(key, n) for n in range(3))
        share = jnp.where(jax.random.bernoulli(on, p), limit * jax.random.uniform(amount), 0.0)
        return share.astype(video.dtype), jax.random.randint(frame, (), 0, frames)

    share, at = jax.vmap(draw)(keys)
    colours = video[..., : channels.COLOURS]
    still = jax.vmap(lambda clip, t: clip[t])(colours, at)  # [B, H, W, c]
    still = jnp.roll(still, max(count // 2, 1), axis=0)[:, None]
    share = share.reshape(count, 1, 1, 1, 1)
    mixed = colours + share * (still - colours)
    return jnp.concatenate([mixed, video[..., channels.COLOURS :]], -1)
