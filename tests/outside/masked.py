"""Pre-training without labels: what is hidden of a clip is drawn from the rest of it.

A share of the cells of a frame's grid is hidden, the same cells in all frames of a clip, and the
loss is the squared error on them alone [Tong et al. 2022, arXiv:2203.12602, Section 3].
"""

import dataclasses
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from darkjax import losses, models
from darkjax.methods import base


@dataclasses.dataclass(frozen=True, eq=False)
class Masked(base.Method):
    """Fields used: hidden, the share of cells; cells of 8 x 8 pixels."""

    net: nn.Module
    decoder: nn.Module
    judge: ClassVar[str] = "none"

    def init(self, rng, batch):
        video = base.to_float(batch["video"])
        params = self.net.init(rng, video, train=False)["params"]
        features, _ = self.net.apply({"params": params}, video, train=False)
        decoder = self.decoder.init(jax.random.fold_in(rng, 1), features)["params"]
        return {"params": {"net": params, "decoder": decoder}}

    def hide(self, video, rng):
        cells = (len(video), 1, video.shape[2] // 8, video.shape[3] // 8, 1)
        cells = jax.random.uniform(rng, cells) < self.config.hidden
        return cells.repeat(8, 2).repeat(8, 3).astype(jnp.float32)

    def draw(self, params, video):
        features = self.net.apply({"params": params["net"]}, video, train=False)[0]
        flat = self.decoder.apply({"params": params["decoder"]}, features)
        return nn.sigmoid(flat).reshape(video.shape)

    def loss(self, variables, batch, rng, progress):
        del progress
        video = base.to_float(batch["video"])
        hidden = self.hide(video, rng)
        wrong = hidden * jnp.square(self.draw(variables["params"], video * (1 - hidden)) - video)
        value = losses.masked_mean(wrong.mean((1, 2, 3, 4)), batch["mask"])
        return value, base.Aux({"drawn": value})

    def predict(self, variables, batch):
        return self.draw(variables["params"], base.to_float(batch["video"])), {}


def make(config, spec):
    pixels = math.prod(spec.batch["video"].shape[1:])
    return Masked(config, spec, models.build(config.model, None), nn.Dense(pixels))
