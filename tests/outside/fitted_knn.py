"""A classifier that is fitted after training: the nearest of the training clips' codes vote."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from darkjax import losses, models
from darkjax.methods import base


@dataclasses.dataclass(frozen=True, eq=False)
class FittedKNN(base.Method):
    """Fields used: neighbours, and those of the augmentations."""

    net: nn.Module
    fits: ClassVar[bool] = True

    def init(self, rng, batch):
        return dict(self.net.init(rng, base.to_float(batch["video"]), train=False))

    def loss(self, variables, batch, rng, progress):
        del progress
        video, target = base.augmented(self.config, batch, self.spec.num_classes, rng)
        logits, _ = self.net.apply(variables, video, train=True)
        value = losses.masked_mean(losses.soft_cross_entropy(logits, target), batch["mask"])
        return value, base.Aux({"ce": value})

    def codes(self, variables, batch):
        params = {"params": variables["params"]}
        _, out = self.net.apply(params, base.to_float(batch["video"]), train=False)
        return out["pre_logits"]

    def fit(self, variables, batches):
        def step(variables, batch):
            return {"codes": self.codes(variables, batch), "label": batch["label"]}

        return base.collect(step, variables, batches)

    def predict(self, variables, batch):
        fitted = variables["fitted"]
        codes = self.codes(variables, batch)
        far = jnp.square(codes[:, None] - fitted["codes"][None]).sum(-1)
        _, nearest = jax.lax.top_k(-far, self.config.neighbours)
        one_hot = jax.nn.one_hot(fitted["label"][nearest], self.spec.num_classes, dtype=jnp.float32)
        return jnp.log(one_hot.mean(1) + 1e-6), {"codes": codes}


def make(config, spec):
    return FittedKNN(config, spec, models.build(config.model, spec.num_classes))
