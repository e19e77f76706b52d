"""Plain supervised training: one model, one view of the clip, cross entropy.

LIFT-Net's teacher is this with `luminous_input="gamma"`: R(2+1)D on gamma-corrected clips, Eq. 5
-> `losses.soft_cross_entropy` (soft because cutmix mixes the targets).

Deviations: none of its own; strengths of the augmentations are fields of `augment`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from darkjax import losses, models
from darkjax.methods import base

SEES = {"": ""}  # `mean` and `std` are those of the weights that the stage starts from


@dataclasses.dataclass(frozen=True, eq=False)
class Supervised(base.Method):
    """Fields used: luminous_input, gamma, mean, std, augment, label_smoothing, freeze."""

    model: nn.Module

    def view(self, video: Array) -> Array:
        """Clips in [0, 1] as what the model expects."""
        bright = base.luminous_view(self.config, video)
        return base.normalise(bright, self.config.mean, self.config.std)

    def views(self, video: Array) -> tuple[Array, ...]:
        """All that the model is given of clips in [0, 1]."""
        return (self.view(video),)

    def init(self, rng, batch):
        views = self.views(base.to_float(batch["video"]))
        return dict(self.model.init(rng, *views, train=False))

    def classified(self, variables: base.Variables, batch: base.Batch, rng: Array) -> Any:
        """(cross entropy, what is logged, changed collections, the model's out, targets)."""
        video, target = base.augmented(self.config, batch, self.spec.num_classes, rng)
        value, metrics, new, _, out = self.answered(variables, batch, video, target, rng)
        return value, metrics, new, out, target

    def answered(
        self, variables: base.Variables, batch: base.Batch, video: Array, target: Array, rng: Array
    ) -> Any:
        """(cross entropy, what is logged, changed collections, logits, the model's out) of clips
        that are augmented, in [0, 1]."""
        (logits, out), new = self.model.apply(
            variables,
            *self.views(video),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": base.dropout_key(rng)},
        )
        mask = base.labelled(batch)
        value = losses.masked_mean(losses.soft_cross_entropy(logits, target), mask)
        right = losses.masked_mean(base.accuracy(logits, batch["label"]), mask)
        return value, {"ce": value, "accuracy": right}, dict(new), logits, out

    def loss(self, variables, batch, rng, progress):
        del progress
        value, metrics, new, _, _ = self.classified(variables, batch, rng)
        return value, base.Aux(metrics, new)

    def predict(self, variables, batch):
        views = self.views(base.to_float(batch["video"]))
        return self.model.apply(variables, *views, train=False)

    def look(self, batch, out):
        return base.Look(base.luminous_view(self.config, base.to_float(batch["video"])))


def make(config: Any, spec: base.Spec) -> Supervised:
    """Also reads `model`, `dtype`, `bn_group`."""
    model = models.build(
        config.model, spec.num_classes, dtype=jnp.dtype(config.dtype), bn_group=config.bn_group
    )
    return Supervised(config, spec, model)
