"""Dynamic feature fusion: how much of each stream a network takes, at each place of its last map.

ActLumos and MD-BERT [Dass et al. 2025, arXiv 2502.03724], the figures of their released pages:

    F = sum of the streams
    global   mean over T, H, W ── conv, BN, ReLU, conv, BN ──┐
    local    F ── conv, BN, ReLU, conv, BN ──────────────────┴ sum ── conv, BN, ReLU, conv ── logits
    out = sum over s of W_s F_s,  W = the softmax of the S logits at each place (ActLumos), or their
          sigmoids divided by the sum of them (MD-BERT)

Deviations: the figures give neither the kernels nor the width inside the branches: `kernel` 1 and
a quarter of the channels (`reduction` 4), as in attentional feature fusion, from which the module
comes; the global mean is over the whole map; the last convolution is 1x1x1 and begins near zero,
so that the fusion begins as the mean of the streams. Only F is looked at, as in the figures: a
stream that is exchanged with another takes its weight along only as far as F tells them apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers

# Logits to weights, over the last axis.
WEIGHTINGS: dict[str, Callable[[Array], Array]] = {
    "softmax": jax.nn.softmax,
    "sigmoid": lambda logits: jax.nn.softmax(jax.nn.log_sigmoid(logits)),  # s_i / sum of s
}


class StreamFusion(nn.Module):
    """S maps of one shape become one, with a weight for each stream at each place.

    Args of `__call__`: `streams` `[B, S, T, H, W, C]`. Returns the fused map `[B, T, H, W, C]` in
    `dtype`, and `out` with `weights` `[B, S, T, H, W]`, float32, whose sum over the streams is 1.
    `UserError` for another weighting, or a kernel that would change the map's size.
    """

    weighting: str = "softmax"
    reduction: int = 4
    kernel: int = 1
    bn_group: int = 0
    bn_eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, streams: Float[Array, "B S T H W C"], *, train: bool
    ) -> tuple[Float[Array, "B T H W C"], dict[str, Array]]:
        weigh = layers.chosen("fusion", self.weighting, WEIGHTINGS)
        if self.kernel % 2 == 0:
            raise UserError(f"the fusion's kernel={self.kernel}: expected an odd number")
        count, channels = streams.shape[1], streams.shape[-1]
        norm = functools.partial(
            layers.BatchNorm, eps=self.bn_eps, group=self.bn_group, dtype=self.dtype
        )

        def conv(x: Array, features: int, name: str, relu: bool = True) -> Array:
            act = nn.relu if relu else None
            layer = layers.ConvNorm(features, self.kernel, norm, self.dtype, act=act, name=name)
            return layer(x, train)

        def branch(x: Array, name: str) -> Array:
            x = conv(x, channels // self.reduction, f"{name}1")
            return conv(x, channels, f"{name}2", relu=False)

        streams = streams.astype(self.dtype)
        total = streams.sum(1)  # B T H W C
        mean = total.astype(jnp.float32).mean((1, 2, 3), keepdims=True).astype(self.dtype)
        x = branch(mean, "global") + branch(total, "local")
        x = conv(x, channels // self.reduction, "weighting").astype(jnp.float32)
        logits = nn.Dense(count, kernel_init=layers.trunc_normal, name="score")(x)  # B T H W S
        weights = jnp.moveaxis(weigh(logits), -1, 1)  # B S T H W
        fused = (weights[..., None].astype(self.dtype) * streams).sum(1)
        return fused, {"weights": weights}
