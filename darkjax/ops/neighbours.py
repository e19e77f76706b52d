"""Nearest neighbours, class by class, exactly and on the device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

AT_ONCE = 8  # queries: their differences to all codes need not be in memory if they are fused
Queries = Float[Array | np.ndarray, "M N"]
Codes = Float[Array | np.ndarray, "L N"]
Labels = Int[Array | np.ndarray, "L"]  # of the codes


def knn_probabilities(
    queries: Queries,
    codes: Codes,
    labels: Labels,
    num_classes: int,
    k: int = 5,
    gamma: float = 0.05,
) -> Float32[Array, "M K"]:
    """How alike each query is to each class: `exp(-gamma d^2)`, divided by its sum over classes.

    `d` is the mean Euclidean distance to the `k` nearest codes of the class, to all of them where
    it has fewer; a class without codes has probability 0. In log space, so that codes which are far
    from everything still have probabilities that add up to 1.

    Args:
      queries: codes of the clips that are asked for.
      codes: of the training clips.
      labels: theirs, 0 to K - 1.
      num_classes: K.
      k: neighbours of each class.
      gamma: above 0.

    References:
      Jiang et al. 2017 (arXiv 1705.06709), section 3.2.3, "Late fusion 2": k 5, gamma 0.05.
    """
    distances = class_distances(queries, codes, labels, num_classes, k)
    return jax.nn.softmax(-jnp.float32(gamma) * jnp.square(distances), axis=-1)


@functools.partial(jax.jit, static_argnames=("num_classes", "k"))
def class_distances(
    queries: Queries, codes: Codes, labels: Labels, num_classes: int, k: int = 5
) -> Float32[Array, "M K"]:
    """Mean Euclidean distance to the `k` nearest codes of each class; see `knn_probabilities`.

    Infinite for a class without codes. Differences are taken before they are squared: a product
    of matrices would lose the small distances, those that matter.
    """
    codes = jnp.asarray(codes).astype(jnp.float32)
    labels = jnp.asarray(labels).astype(jnp.int32)
    counts = jnp.bincount(labels, length=num_classes)
    places = jnp.cumsum(counts)[:, None] - counts[:, None] + jnp.arange(k)  # K k
    there = jnp.arange(k) < counts[:, None]

    def one(query: Float[Array, "N"]) -> Float[Array, "K"]:
        far = jnp.sqrt(jnp.sum(jnp.square(codes - query), axis=-1))
        # By class, and within each from the nearest on.
        _, far = jax.lax.sort((labels, far), num_keys=2)
        nearest = jnp.where(there, jnp.take(far, places, mode="clip"), 0.0)
        mean = nearest.sum(1) / jnp.maximum(there.sum(1), 1).astype(jnp.float32)
        return jnp.where(counts > 0, mean, jnp.inf)

    asked = jnp.asarray(queries).astype(jnp.float32)
    return jax.lax.map(one, asked, batch_size=AT_ONCE)
