"""What a method is: three pure functions over pytrees, and the parameters it leaves alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.ops import augment, enhance

Variables = dict[str, Any]
Batch = Mapping[str, Array]


class Aux(NamedTuple):
    """What a loss returns beside its value: scalars to log, and the new batch statistics."""

    metrics: dict[str, Array]
    batch_stats: Any


@dataclasses.dataclass(frozen=True)
class Method:
    """How a paper trains a model.

    `init(rng, batch) -> variables`; `loss(variables, batch, rng, progress) -> (scalar, Aux)`,
    `progress` in [0, 1] is the share of training done, traced; `predict(variables, batch) ->
    (logits [B, K], out)`. `frozen` are regular expressions of parameter paths (`a/b/kernel`)
    that get no gradient and no optimiser state. `attention(out, shape)` is a heat map
    `[B, T, h, w]` of where the model looked in clips of that shape, or None. A method that does
    not classify has clips `[B, T, H, W, C]` in [0, 1] in the place of logits: an enhancer.
    """

    init: Callable[[Array, Batch], Variables]
    loss: Callable[[Variables, Batch, Array, Array], tuple[Array, Aux]]
    predict: Callable[[Variables, Batch], tuple[Array, dict[str, Array]]]
    frozen: tuple[str, ...] = ()
    attention: Callable[[dict[str, Array], tuple[int, ...]], Array] | None = None
    classifies: bool = True


def to_float(video: Array) -> Float[Array, "B T H W C"]:
    """uint8 frames as float32 in [0, 1]."""
    return video.astype(jnp.float32) / 255.0


def normalise(video: Float[Array, "*B C"], mean: Any, std: Any) -> Float[Array, "*B C"]:
    """Subtract the mean, divide by the standard deviation, per channel, both in [0, 1].

    With `mean=()` each clip is standardised by its own mean and deviation over all its pixels:
    for models without published weights, where clips differ widely in brightness.
    """
    if isinstance(mean, str) or isinstance(std, str):
        raise UserError(
            f"mean={mean!r}, std={std!r}: these are settled from the weights' card before a method "
            "is made: darkjax.weights.preprocess.settle(config)"
        )
    if not len(mean):
        axes = tuple(range(video.ndim - 4, video.ndim))
        centred = video - video.mean(axes, keepdims=True)
        variance = jnp.square(centred).mean(axes, keepdims=True)
        # The floor is for black clips: the root's slope at 0 is infinite, infinite times 0 is NaN.
        return centred / (jnp.sqrt(jnp.maximum(variance, 1e-12)) + 1e-3)
    return (video - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def augmented(
    config: Any, batch: Batch, num_classes: int, rng: Array
) -> tuple[Float[Array, "B T H W C"], Float[Array, "B K"]]:
    """The clips as float in [0, 1] after `config.augment`, and their (soft) targets."""
    target = jax.nn.one_hot(batch["label"], num_classes, dtype=jnp.float32)
    if config.label_smoothing:
        eps = config.label_smoothing
        target = target * (1 - eps) + eps / num_classes
    return augment.augment(rng, to_float(batch["video"]), target, config.augment)


def dropout_key(rng: Array) -> Array:
    """The key of a step's dropout, apart from those of its augmentation.

    Below the step's key, 0 to B - 1 are the examples' (`augment.example_keys`): dropout takes the
    one number that is no example's. `jax.random.split` would not do: its keys are those of 0 and 1.
    """
    return jax.random.fold_in(rng, 2**32 - 1)


def luminous_view(config: Any, video: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
    """The clip a luminous pathway sees, by `config.luminous_input`, still in [0, 1].

    `"gamma"`: gamma intensity correction with `config.gamma`; `"dark"`: the clip itself; or a
    method of `ops.enhance.METHODS` with its defaults.
    """
    if config.luminous_input == "gamma":
        return enhance.gamma_correct(video, config.gamma)
    if config.luminous_input == "dark":
        return video
    if config.luminous_input in enhance.METHODS:
        return enhance.METHODS[config.luminous_input](video)
    if config.luminous_input == "flow":
        raise UserError(
            "luminous_input='flow' needs optical-flow records, which this version cannot make "
            "yet: choose luminous_input='gamma' (and set gamma) or 'dark'"
        )
    raise UserError(
        f"luminous_input={config.luminous_input!r} is not one of gamma, dark, flow, "
        f"{', '.join(enhance.METHODS)}"
    )


def accuracy(logits: Float[Array, "B K"], labels: Array) -> Float[Array, "B"]:
    """1 where the largest logit is the label's, else 0."""
    return (jnp.argmax(logits, -1) == labels).astype(jnp.float32)
