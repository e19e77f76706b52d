"""Losses that compare examples with one another. B examples, V views of each, D components.

The comparison is with the whole batch: under `jit` that is the global one, whatever the devices
and processes its rows lie on, so every other example of the step is a negative.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Shaped

from darkjax.errors import UserError
from darkjax.losses.common import expect

UNLABELLED = -1
NOT_COMPARED = -1e30  # finite: an example that is compared with none has a slope of 0, not NaN


def supcon(
    features: Float[Array, "B V D"],
    labels: Int[Array, "B"],
    temperature: float | Float[Array, ""],
    *,
    mask: Shaped[Array, "B"] | None = None,
    base_temperature: float | None = None,
) -> Float32[Array, "B"]:
    """Supervised contrast: views of one class are drawn together, all others pushed away.

    With z the features on the unit sphere, i an anchor (a view of an example), A(i) all views but
    itself and P(i) those of A(i) with its label, the mean over an example's anchors of

        - 1 / |P(i)|  sum_{p in P(i)}  log  exp(z_i z_p / t) / sum_{a in A(i)} exp(z_i z_a / t)

    Args:
      features: of any length (they are normalised here), any float dtype.
      labels: classes; of an example whose label is negative only its own other views are positives,
        and all others its negatives: leave it out by `mask` where that is not meant.
      temperature: t > 0; it may be traced and learnt.
      mask: 1 = takes part, 0 = is no anchor, positive or negative (padding).
      base_temperature: t0 of the factor t / t0 of the authors' code, whose t0 is 0.07; None is
        the paper's equation, without a factor.

    Returns:
      float32, >= 0. 0 for an example that takes no part or has no positive (one view, alone in its
      class), which the authors' code counts in its mean too. The loss of their code is
      `masked_mean(supcon(...), mask)`.

    References:
      Khosla et al. 2020, arXiv:2004.11362, Eq. 2.
    """
    b, v, _ = features.shape
    expect("supcon", "labels", labels.shape, (b,))
    seen = jnp.ones((b,), bool) if mask is None else mask != 0
    expect("supcon", "mask", seen.shape, (b,))
    # Zeros where nobody looks: NaN * 0 in the slope would be NaN.
    features = jnp.where(seen[:, None, None], features.astype(jnp.float32), 0.0)
    features = on_sphere(features)
    # B V B V, without a reshape that would move rows between devices
    near = jnp.einsum(
        "ivd,jwd->ivjw", features, features, precision=jax.lax.Precision.HIGHEST
    ) / jnp.asarray(temperature, jnp.float32)

    mine = jnp.eye(b, dtype=bool)  # B B
    itself = mine[:, None, :, None] & jnp.eye(v, dtype=bool)[None, :, None, :]
    both = seen[:, None] & seen[None, :]
    alike = mine | ((labels[:, None] == labels[None, :]) & (labels >= 0)[:, None])
    compared = both[:, None, :, None] & ~itself
    positive = (compared & alike[:, None, :, None]).astype(jnp.float32)

    log_share = jax.nn.log_softmax(jnp.where(compared, near, NOT_COMPARED), axis=(2, 3))
    count = jnp.maximum(positive.sum((2, 3)), 1.0)
    value = -(positive * log_share).sum((2, 3)) / count  # B V
    if base_temperature is not None:
        value = value * jnp.asarray(temperature, jnp.float32) / base_temperature
    return value.mean(1)


def nt_xent(
    features: Float[Array, "B V D"],
    temperature: float | Float[Array, ""],
    *,
    mask: Shaped[Array, "B"] | None = None,
) -> Float32[Array, "B"]:
    """Contrast without labels: an example's own other views against those of all other examples.

    `supcon` where no example has a label. With more than two views the mean over the positives.

    Args:
      features: `[B, V, D]`, V at least 2; they are normalised here.
      temperature, mask: as those of `supcon`.

    Raises:
      UserError: one view alone, which nothing is like.

    References:
      Chen et al. 2020 (SimCLR), arXiv:2002.05709, Eq. 1.
    """
    if features.shape[1] < 2:
        raise UserError(
            f"nt_xent: expected at least 2 views of each example, found {features.shape[1]}: "
            "set data.train_views"
        )
    nobody = jnp.full(features.shape[:1], UNLABELLED, jnp.int32)
    return supcon(features, nobody, temperature, mask=mask)


def on_sphere(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Vectors of length 1; 0 stays 0, and its slope is finite."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))


def by_clip(rows: Float[Array, "N D"], views: int) -> Float[Array, "B V D"]:
    """The views of each clip beside one another: a batch is V blocks of B clips."""
    blocks = rows.reshape(views, -1, rows.shape[-1])
    return jnp.moveaxis(blocks, 0, 1)
