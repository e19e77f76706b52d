"""Plain supervised training: one model, one view of the clip, cross entropy.

LIFT-Net's teacher is this with `luminous_input="gamma"`: R(2+1)D on gamma-corrected clips, Eq. 5
-> `losses.soft_cross_entropy` (soft because cutmix mixes the targets).

Deviations: none of its own; strengths of the augmentations are fields of `augment`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from darkjax import losses, models
from darkjax.methods import base

SEES = {"": ""}  # `mean` and `std` are those of the weights that the stage starts from


def make(config: Any, num_classes: int) -> base.Method:
    """Fields used: model, luminous_input, gamma, mean, std, augment, label_smoothing, freeze."""
    model = models.build(
        config.model, num_classes, dtype=jnp.dtype(config.dtype), bn_group=config.bn_group
    )

    def view(video):  # float in [0, 1] -> what the model expects
        return base.normalise(base.luminous_view(config, video), config.mean, config.std)

    def init(rng, batch):
        return dict(model.init(rng, view(base.to_float(batch["video"])), train=False))

    def loss(variables, batch, rng, progress):
        del progress
        video, target = base.augmented(config, batch, num_classes, rng)
        (logits, _), new = model.apply(
            variables,
            view(video),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": base.dropout_key(rng)},
        )
        value = losses.masked_mean(losses.soft_cross_entropy(logits, target), batch["mask"])
        right = losses.masked_mean(base.accuracy(logits, batch["label"]), batch["mask"])
        return value, base.Aux({"ce": value, "accuracy": right}, new.get("batch_stats", {}))

    def predict(variables, batch):
        return model.apply(variables, view(base.to_float(batch["video"])), train=False)

    return base.Method(init, loss, predict, frozen=tuple(config.freeze))
