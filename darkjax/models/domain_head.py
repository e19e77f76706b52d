"""What guesses a clip's domain from its features [3D-DiNet, Section II; DANN's Office networks]."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class DomainHead(nn.Module):
    """Fully connected layers with ReLU, `hidden` wide, and a last one: a logit for each clip.

    "Three fully connected layers": two hidden ones and the last. In float32.
    """

    hidden: tuple[int, ...] = (1024, 1024)

    @nn.compact
    def __call__(self, features: Float[Array, "B E"]) -> Float[Array, "B"]:
        x = features.astype(jnp.float32)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(width, name=f"fc{i}")(x))
        return nn.Dense(1, name=f"fc{len(self.hidden) + 1}")(x)[:, 0]
