"""What several streams say together: means of their scores, or a small network on their codes.

The schemes of Jiang et al. 2017 (arXiv:1705.06709), Section 3.2.3, on any streams:
- late fusion 1: `weighted_mean` of the softmax's probabilities, flow 2 : infrared 1;
- late fusion 2: the same of the probabilities of k nearest neighbours of the codes;
- single-layer and two-layer fusion: `Net` on the codes beside one another, without `filters` and
  with them.

Deviations: how the networks are trained is not said; here by L-BFGS on all training clips at once,
with a decay of the weights. Before that each stream's codes lose their mean and are divided by one
number, so that every stream counts alike whatever the scale of its codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from darkjax.errors import UserError
from darkjax.eval import codes as judged
from darkjax.models.code_layers import CodeLayers

FILTERS = 50


def weighted_mean(scores: Sequence[np.ndarray], weights: Sequence[float] = ()) -> np.ndarray:
    """`sum_i w_i p_i / sum_i w_i`, float64 [M, K].

    Args:
      scores: probabilities of each stream, [M, K], of the same clips.
      weights: one of each stream, 0 or more and not all 0; () is as much of each.

    Raises:
      UserError: another number of weights, or none above 0.
    """
    weights = weights or [1.0] * len(scores)
    if len(weights) != len(scores):
        raise UserError(f"expected {len(scores)} weights, one a stream; found {len(weights)}")
    if not (np.isfinite(weights).all() and min(weights) >= 0 < max(weights)):
        raise UserError(f"expected weights of 0 or more, one above 0; found {_listed(weights)}")
    total = sum(w * np.asarray(s, np.float64) for w, s in zip(weights, scores, strict=True))
    return np.asarray(total) / sum(weights)


@dataclasses.dataclass(frozen=True)
class Net:
    """How a fusion network is made and trained.

    Attributes:
      filters: of its 1 x 1 convolution; 0 is the softmax layer alone.
      activation: after that convolution; see `CodeLayers`.
      decay: weight of half the sum of the kernels' squares beside the mean cross entropy.
      seed: of the first weights.
    """

    filters: int = 0
    activation: str = "relu"
    decay: float = 1e-3
    seed: int = 0

    def trained(self, codes: Sequence[np.ndarray], labels: np.ndarray, num_classes: int) -> Trained:
        """The network that `codes` [N, E_i] of the training clips and their `labels` [N] give."""
        scales = [_scale(np.asarray(x, np.float64)) for x in codes]
        x = _beside(codes, scales)
        layers = CodeLayers(num_classes, self.filters, self.activation)
        start = layers.init(jax.random.key(self.seed), x[:1])
        loss = self.loss(layers, x, jnp.asarray(labels))
        return Trained(layers, judged.minimised(loss, start), tuple(scales))

    def loss(self, layers: CodeLayers, x: jax.Array, labels: jax.Array) -> Any:
        """What is lowered, as a function of the network's variables."""

        def value(variables: Any) -> jax.Array:
            entropy = optax.softmax_cross_entropy_with_integer_labels(
                layers.apply(variables, x), labels
            )
            kernels = [layer["kernel"] for layer in variables["params"].values()]
            return entropy.mean() + 0.5 * self.decay * sum(jnp.square(k).sum() for k in kernels)

        return value


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained fusion network; `scales` is (mean [E_i], deviation) of each stream's codes."""

    layers: CodeLayers
    variables: Any
    scales: tuple[tuple[np.ndarray, float], ...]

    def probabilities(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities [M, K] of clips with these `codes` [M, E_i]."""
        logits = jax.jit(self.layers.apply)(self.variables, _beside(codes, self.scales))
        return np.asarray(jax.nn.softmax(logits, axis=-1), np.float64)


def _scale(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean of codes [N, E], and the deviation of all their numbers from it."""
    mean = codes.mean(0)
    return mean, float(np.sqrt(np.square(codes - mean).mean())) + 1e-12


def _beside(codes: Sequence[np.ndarray], scales: Sequence[tuple[np.ndarray, float]]) -> jax.Array:
    """Codes of all streams in their scales, float32 [N, sum of E_i]."""
    parts = [(x - mean) / scale for x, (mean, scale) in zip(codes, scales, strict=True)]
    return jnp.asarray(np.concatenate(parts, 1), jnp.float32)


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{n:g}" for n in numbers)
