"""Two datasets, labels for one: features that do not tell them apart, by gradient reversal.

Wants two `data.sources`. lambda grows with the share of training done, as
2 / (1 + exp(-10 p)) - 1 [Ganin and Lempitsky 2015, arXiv:1409.7495, Section 4.1].
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from darkjax import losses, models
from darkjax.methods import base


@jax.custom_vjp
def reverse(x, strength):
    return x


reverse.defvjp(lambda x, s: (x, s), lambda s, g: (-s * g, jnp.zeros_like(s)))


@dataclasses.dataclass(frozen=True, eq=False)
class TwoSources(base.Method):
    """Fields used: strength, the factor of lambda, and those of the augmentations."""

    net: nn.Module
    judge_of_source: nn.Module

    def init(self, rng, batch):
        video = base.to_float(batch["video"])
        params = self.net.init(rng, video, train=False)["params"]
        features = self.net.apply({"params": params}, video, train=False)[1]["pre_logits"]
        source = self.judge_of_source.init(jax.random.fold_in(rng, 1), features)["params"]
        return {"params": {"net": params, "source": source}}

    def loss(self, variables, batch, rng, progress):
        params = variables["params"]
        video, target = base.augmented(self.config, batch, self.spec.num_classes, rng)
        logits, out = self.net.apply({"params": params["net"]}, video, train=True)
        ce = losses.masked_mean(losses.soft_cross_entropy(logits, target), base.labelled(batch))
        strength = self.config.strength * (2 / (1 + jnp.exp(-10 * progress)) - 1)
        reversed_ = reverse(out["pre_logits"], strength)
        guess = self.judge_of_source.apply({"params": params["source"]}, reversed_)
        which = jax.nn.one_hot(batch["domain"], len(self.spec.domains), dtype=jnp.float32)
        domain = losses.masked_mean(losses.soft_cross_entropy(guess, which), batch["mask"])
        return ce + domain, base.Aux({"ce": ce, "domain": domain, "lambda": strength})

    def predict(self, variables, batch):
        params = {"params": variables["params"]["net"]}
        return self.net.apply(params, base.to_float(batch["video"]), train=False)


def make(config, spec):
    net = models.build(config.model, spec.num_classes)
    return TwoSources(config, spec, net, nn.Dense(len(spec.domains)))
