"""Two augmented views of a clip agree: contrast against a momentum teacher, without labels.

Wants `data.train_views` 2. The teacher is a collection of its own: it has no gradient, the loop
carries it, and every checkpoint holds it [He et al. 2020, arXiv:1911.05722, Eq. 1 and 2].
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from darkjax import models
from darkjax.errors import UserError
from darkjax.methods import base


@dataclasses.dataclass(frozen=True, eq=False)
class TwoViews(base.Method):
    """Fields used: momentum, temperature."""

    net: nn.Module
    judge: ClassVar[str] = "codes"

    def embed(self, params, video):
        codes, _ = self.net.apply({"params": params}, base.to_float(video), train=False)
        return codes / jnp.maximum(jnp.linalg.norm(codes, axis=-1, keepdims=True), 1e-6)

    def init(self, rng, batch):
        params = self.net.init(rng, base.to_float(batch["video"]), train=False)["params"]
        return {"params": params, "teacher": jax.tree.map(jnp.copy, params)}

    def loss(self, variables, batch, rng, progress):
        del rng, progress
        clips = len(batch["video"]) // self.spec.views
        asked, given = batch["video"][:clips], batch["video"][clips : 2 * clips]
        keys = self.embed(variables["teacher"], given)
        similar = self.embed(variables["params"], asked) @ keys.T / self.config.temperature
        value = -jnp.mean(jnp.diag(jax.nn.log_softmax(similar)))
        m = self.config.momentum
        mix = lambda t, s: m * t + (1 - m) * s  # noqa: E731
        teacher = jax.tree.map(mix, variables["teacher"], variables["params"])
        return value, base.Aux({"contrast": value}, {"teacher": teacher})

    def predict(self, variables, batch):
        return self.embed(variables["params"], batch["video"]), {}


def make(config, spec):
    if spec.views < 2:
        raise UserError(f"data.train_views={spec.views}: this method compares 2 views of a clip")
    return TwoViews(config, spec, models.build(config.model, None))
