"""Between a network and a contrast of its features: two layers that are thrown away afterwards.

As in SimCLR [Chen et al. 2020, arXiv:2002.05709, Section 2] without its batch norm, which the code
of SupCon [Khosla et al. 2020] has not either: linear, ReLU, linear. What is kept and judged are the
features before it.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Projection(nn.Module):
    """`[*B, E]` to `[*B, width]` by way of `hidden`, float32; not yet of length 1."""

    hidden: int = 512
    width: int = 128

    @nn.compact
    def __call__(self, features: Float[Array, "*B E"]) -> Float[Array, "*B D"]:
        x = nn.relu(nn.Dense(self.hidden, name="fc1")(features.astype(jnp.float32)))
        return nn.Dense(self.width, name="fc2")(x)
