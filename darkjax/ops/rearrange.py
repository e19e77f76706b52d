"""Augmentations that move whole pixels, frames or boxes and change no value."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from darkjax import channels
from darkjax.errors import UserError
from darkjax.ops import flow_image


def flip(
    key: PRNGKeyArray, video: Float[Array, "T H W C"], *, p: float = 0.5
) -> Float[Array, "T H W C"]:
    """Mirror the clip left to right with probability ``p``; of one with flow, the flow too."""
    with_flow = video.shape[-1] == channels.WITH_FLOW
    mirrored = flow_image.mirrored(video) if with_flow else video[:, :, ::-1]
    return jnp.where(jax.random.bernoulli(key, p), mirrored, video)


def frame_shuffle(
    key: PRNGKeyArray, video: Float[Array, "T H W C"], *, p: float = 1.0, window: int = 0
) -> Float[Array, "T H W C"]:
    """Put the frames in a random order with probability ``p``.

    Args:
        video: a clip.
        window: 0 shuffles the whole clip; n shuffles each n consecutive frames among
            themselves (the last window may be shorter), which keeps the course of the action.
    """
    frames = video.shape[0]
    place = jnp.arange(frames, dtype=jnp.float32)
    block = jnp.floor(place / window) if window else jnp.zeros_like(place)
    noise = jax.random.uniform(jax.random.fold_in(key, 1), (frames,))
    on = jax.random.bernoulli(jax.random.fold_in(key, 0), p)
    order = jnp.argsort(jnp.where(on, block + noise, place), stable=True)
    return jnp.take(video, order, axis=0, mode="clip")


def cutmix(
    keys: Array,
    video: Float[Array, "B T H W C"],
    target: Float[Array, "B K"],
    *,
    alpha: float = 1.0,
    p: float = 1.0,
) -> tuple[Float[Array, "B T H W C"], Float[Array, "B K"]]:
    """Replace a box of each clip by the same box of the clip before it, and mix the targets.

    The box covers all frames. Its share of the area is drawn from 1 - Beta(alpha, alpha) and
    its centre uniformly; what falls outside of the frame is cut off, and the targets are
    mixed by the share that is left, counted in pixels. Batches are shuffled, so the clip
    before is a random partner; it costs a neighbour's transfer where a random permutation
    of a sharded batch would gather it on every device.

    Args:
        keys: one key per example, shape [B].
        video: a batch of clips.
        target: float32, one-hot or already soft.
        alpha: above 0; 1 draws all sizes alike (the paper's setting).
        p: the share of examples that get a box.

    Raises:
        UserError: ``alpha`` is not above 0.

    Source: CutMix, Yun et al. 2019, equation 1 and section 3.1; one box per example here.
    """
    boxes = jax.vmap(lambda key: _random_box(key, video.shape[2], video.shape[3], alpha, p))
    inside = boxes(keys)  # [B, H, W]
    share = jnp.mean(inside.astype(jnp.float32), axis=(1, 2))[:, None]
    share = share.astype(target.dtype)

    # Frame by frame, in place. Written as one expression, XLA on a CPU fuses the transforms
    # before it into both readers of the video and the whole chain takes twice as long.
    def mix_frame(t: Array, mixed: Array) -> Array:
        frame = mixed[:, t]
        frame = jnp.where(inside[..., None], jnp.roll(frame, 1, axis=0), frame)
        return mixed.at[:, t].set(frame)

    mixed = jax.lax.fori_loop(0, video.shape[1], mix_frame, video)
    return mixed, (1.0 - share) * target + share * jnp.roll(target, 1, axis=0)


def _random_box(
    key: PRNGKeyArray, height: int, width: int, alpha: float, p: float
) -> Bool[Array, "H W"]:
    """True inside of a random box, False everywhere in a share 1 - p of the draws."""
    draws = jax.random.uniform(key, (4,))
    kept = jnp.interp(draws[0], *_beta_quantiles(alpha))
    side = jnp.sqrt(1.0 - kept)
    on = draws[3] < p

    def within(size: int, centre: Array) -> Array:
        low = jnp.round(centre * size - side * size / 2.0)
        high = jnp.round(centre * size + side * size / 2.0)
        at = jnp.arange(size, dtype=jnp.float32)
        return (at >= low) & (at < high)

    return on & within(height, draws[1])[:, None] & within(width, draws[2])[None, :]


def _beta_quantiles(alpha: float) -> tuple[Array, Array]:
    """Table (cumulative probability, value) of Beta(alpha, alpha), made when tracing.

    ``jax.random.beta`` draws by rejection in a while loop, whose condition makes the devices
    of a mesh wait for each other in every turn; a table needs no loop.
    """
    if not alpha > 0:
        raise UserError(f"cutmix alpha: expected a number above 0, found {alpha}; p=0 turns it off")
    cells = 1024
    edge = np.linspace(0.0, 1.0, cells + 1)
    middle = (edge[1:] + edge[:-1]) / 2

    # x(v) with logit x = logit v / a: with a = alpha < 1 the density over v stays bounded
    # where the density over x is infinite, at 0 and 1.
    a = min(alpha, 1.0)

    def value(v: np.ndarray) -> np.ndarray:
        return v ** (1 / a) / (v ** (1 / a) + (1 - v) ** (1 / a))

    x = value(middle)
    mass = (x * (1 - x)) ** alpha / (middle * (1 - middle))
    cumulative = np.concatenate([[0.0], np.cumsum(mass)])
    table = cumulative / cumulative[-1]
    return jnp.asarray(table, jnp.float32), jnp.asarray(value(edge), jnp.float32)
