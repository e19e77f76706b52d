"""Judging embeddings: what their nearest neighbours and a linear layer make of them.

k nearest neighbours by cosine, each voting with exp(similarity / 0.07) [Wu et al. 2018,
arXiv:1805.01978, Section 3.4]; a linear probe is multinomial logistic regression on standardised
embeddings. Both learn from the training split, one view of each clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from darkjax import sharding
from darkjax.eval import classify
from darkjax.methods import Method

TEMPERATURE = 0.07
K, DECAY, STEPS = 5, 1e-3, 100


def make_embed(method: Method, mesh: jax.sharding.Mesh) -> classify.Step:
    """What gives the mean embedding of each clip `[M, E]`, in the place of probabilities."""

    def embed(variables: Any, batch: Any) -> dict[str, jax.Array]:
        return {"embedding": method.predict(variables, batch)[0].astype(jnp.float32)}

    return classify.Step(
        jax.jit(embed, out_shardings=sharding.replicated(mesh)), lambda _, means: means
    )


def knn(
    codes: np.ndarray, labels: np.ndarray, queries: np.ndarray, num_classes: int, k: int = K
) -> np.ndarray:
    """Shares of the votes of the `k` nearest of `codes`, float64 `[M, num_classes]`.

    Args:
      codes: `[N, E]` of the training clips.
      labels: int `[N]`, theirs.
      queries: `[M, E]`.
      num_classes: K.
      k: neighbours that vote; all where there are fewer.
    """
    near = _unit(queries) @ _unit(codes).T
    first = np.argsort(-near, axis=1, kind="stable")[:, :k]
    # Relative to the nearest, so that nothing overflows; shares are the same.
    best = np.take_along_axis(near, first, 1)
    votes = np.exp((best - best[:, :1]) / TEMPERATURE)
    shares = np.zeros((len(queries), num_classes))
    np.add.at(shares, (np.arange(len(queries))[:, None], labels[first]), votes)
    return shares / shares.sum(1, keepdims=True)


def probe(
    codes: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    num_classes: int,
    decay: float = DECAY,
) -> np.ndarray:
    """Class probabilities of a linear layer trained on `codes`, `[M, num_classes]`.

    Args:
      codes, labels, queries, num_classes: as in `knn`.
      decay: weight of half the sum of the weights' squares beside the mean cross entropy.
    """
    mean, std = codes.mean(0), codes.std(0) + 1e-6
    x = jnp.asarray((codes - mean) / std, jnp.float32)
    target = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)

    def loss(w: Any) -> jax.Array:
        logits = x @ w["kernel"] + w["bias"]
        entropy = optax.softmax_cross_entropy(logits, target).mean()
        return entropy + 0.5 * decay * jnp.square(w["kernel"]).sum()

    start = {
        "kernel": jnp.zeros((x.shape[1], num_classes), jnp.float32),
        "bias": jnp.zeros((num_classes,), jnp.float32),
    }
    w = minimised(loss, start)
    logits = ((queries - mean) / std) @ np.asarray(w["kernel"]) + np.asarray(w["bias"])
    logits -= logits.max(1, keepdims=True)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def minimised(loss: Callable[[Any], jax.Array], start: Any) -> Any:
    """Where L-BFGS is after `STEPS` steps from `start`."""
    tx = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        w, state = carry
        value, grad = value_and_grad(w, state=state)
        updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
        return (optax.apply_updates(w, updates), state), None

    with jax.numpy_dtype_promotion("standard"):  # optax mixes counts with floats
        run = jax.jit(lambda w: jax.lax.scan(step, (w, tx.init(w)), length=STEPS)[0][0])
        return jax.device_get(run(start))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
