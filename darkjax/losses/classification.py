"""Losses of classifiers. K classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int

from darkjax.errors import UserError
from darkjax.losses.common import expect


def cross_entropy(logits: Float[Array, "*B K"], labels: Int[Array, "*B"]) -> Float32[Array, "*B"]:
    """Softmax cross entropy with integer labels.

    `-log softmax(logits)[label]`; with a one-hot y this is LIFT-Net's teacher loss,
    `-sum_i y_i log(T_i)`, and the first term of its student loss.

    Args:
      logits: scores before the softmax, any float dtype.
      labels: class indices in [0, K). One beyond K gives NaN, not a neighbour's loss.

    Returns:
      float32, nats, >= 0.

    References:
      Susladkar et al., LIFT-Net, section IV, Eq. 5 (and Eq. 6, first term).
    """
    expect("cross_entropy", "labels", labels.shape, logits.shape[:-1])
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    picked = jnp.take_along_axis(log_p, labels[..., None], axis=-1, mode="fill")  # [*B, 1]
    return -picked[..., 0]


def soft_cross_entropy(
    logits: Float[Array, "*B K"], targets: Float[Array, "*B K"]
) -> Float32[Array, "*B"]:
    """Softmax cross entropy with a distribution for a label (cutmix, label smoothing).

    `-sum_k targets_k log softmax(logits)_k`, where a target of 0 contributes exactly 0,
    also when its logit is -inf.

    Args:
      logits: scores before the softmax, any float dtype.
      targets: non-negative, summing to 1 over the last axis (not checked: traced values).

    Returns:
      float32, nats, >= 0.

    References:
      Szegedy et al., Rethinking the Inception Architecture, 2016, section 7.
    """
    expect("soft_cross_entropy", "targets", targets.shape, logits.shape)
    targets = targets.astype(jnp.float32)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    # 0 * -inf is NaN, in the value and in the gradient, so the product is never formed there.
    log_p = jnp.where(targets > 0, log_p, 0.0)
    return -jnp.sum(targets * log_p, axis=-1)


def binary_cross_entropy(
    logits: Float[Array, "*B"], targets: Float[Array, "*B"]
) -> Float32[Array, "*B"]:
    """Sigmoid cross entropy: `-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x))`.

    Args:
      logits: one score for "yes" per example, any float dtype.
      targets: how much it is a yes, in [0, 1] (not checked: traced values).

    Returns:
      float32, nats, >= 0; finite for any finite logit.

    References:
      3D-DiNet, section II, the "binomial cross-entropy loss" of its domain classifier.
    """
    expect("binary_cross_entropy", "targets", targets.shape, logits.shape)
    logits, targets = logits.astype(jnp.float32), targets.astype(jnp.float32)
    # log(1 + e^x) - t x, of whose two halves none overflows.
    return targets * jax.nn.softplus(-logits) + (1 - targets) * jax.nn.softplus(logits)


def smooth_labels(labels: Int[Array, "*B"], K: int, eps: float) -> Float32[Array, "*B K"]:
    """Integer labels as distributions: `(1 - eps) * one_hot + eps / K`.

    Args:
      labels: class indices in [0, K).
      K: number of classes.
      eps: share of the mass spread evenly over all K classes, in [0, 1); 0 is one-hot.

    Raises:
      UserError: eps outside [0, 1).

    References:
      Szegedy et al., Rethinking the Inception Architecture, 2016, section 7.
    """
    if not 0 <= eps < 1:
        raise UserError(f"label smoothing: expected 0 <= eps < 1, found {eps}; 0.1 is usual")
    return (1 - eps) * jax.nn.one_hot(labels, K, dtype=jnp.float32) + eps / K
