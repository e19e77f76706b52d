"""BERT over tokens of a clip: the transformer of R(2+1)D-BERT and DarkLight (`views_bert`).

Deviations: the papers do not give its details. As in the released code its norm divides by the
unbiased standard deviation plus 1e-6, its GELU is the tanh one, and there is no norm after the
block.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from darkjax.models import layers

NORM_EPS = 1e-6
MASKED = -1e9


class LayerNorm(nn.Module):
    """`scale (x - mean) / (std + eps) + bias`, the standard deviation unbiased.

    Float32. flax's divides by `sqrt(var + eps)`, the variance biased.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*B E"]) -> Float[Array, "*B E"]:
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        x = x.astype(jnp.float32)
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).sum(-1, keepdims=True) / (width - 1)
        # The square root has no gradient at 0, where all entries of a token agree.
        std = jnp.sqrt(jnp.where(variance > 0, variance, jnp.float32(1)))
        std = jnp.where(variance > 0, std, jnp.float32(0))
        return (scale * centred / (std + NORM_EPS) + bias).astype(self.dtype)


class Block(nn.Module):
    """Pre-norm transformer block with dropout on weights, hidden units, branches and the sum."""

    heads: int
    mlp_ratio: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self, x: layers.Tokens, seen: Bool[Array, "B N"] | None, active: bool
    ) -> layers.Attended:
        width, dtype = x.shape[-1], self.dtype
        layers.check_heads(self.heads, width)

        def drop(y: Array) -> Array:
            return nn.Dropout(self.dropout, deterministic=not active)(y)

        def split(y: Array, name: str) -> Array:
            y = nn.Dense(width, dtype=dtype, name=name)(y)
            return y.reshape(*y.shape[:2], self.heads, width // self.heads)

        y = LayerNorm(dtype, name="norm1")(x)
        q, k, v = split(y, "query"), split(y, "key"), split(y, "value")
        logits = jnp.einsum("bqhd,bnhd->bhqn", q, k, preferred_element_type=jnp.float32)
        logits = logits / (width // self.heads) ** 0.5
        if seen is not None:
            logits = jnp.where(seen[:, None, None, :], logits, jnp.float32(MASKED))
        weights = jax.nn.softmax(logits, axis=-1)
        y = jnp.einsum("bhqn,bnhd->bqhd", drop(weights).astype(dtype), v)
        x = x + drop(nn.Dense(width, dtype=dtype, name="out")(y.reshape(x.shape)))

        y = LayerNorm(dtype, name="norm2")(x)
        y = nn.Dense(width * self.mlp_ratio, dtype=dtype, name="fc1")(y)
        y = drop(jax.nn.gelu(y, approximate=True))
        x = x + drop(nn.Dense(width, dtype=dtype, name="fc2")(y))
        return drop(x), weights


class Bert(nn.Module):
    """Transformer over a sequence of tokens, a class token in front.

    In training each token but the class token is hidden from all with probability
    `1 - mask_prob` (R(2+1)D-BERT .8, DarkLight 1); that and dropout act where an rng "dropout" is
    given. Returns the tokens `[B, 1 + L, E]`, class token first, and the attention of each block.
    """

    depth: int = 1
    heads: int = 8
    mlp_ratio: int = 4
    dropout: float = 0.1
    mask_prob: float = 0.8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "B L E"], *, train: bool
    ) -> tuple[Float[Array, "B N E"], list[Float[Array, "B heads N N"]]]:
        b, length, width = tokens.shape
        active = train and self.has_rng("dropout")
        init = nn.initializers.normal(0.02)
        cls = self.param("cls", init, (1, 1, width), jnp.float32)
        position = self.param("position", init, (1, 1 + length, width), jnp.float32)
        cls = jnp.broadcast_to(cls.astype(self.dtype), (b, 1, width))
        x = jnp.concatenate([cls, tokens.astype(self.dtype)], axis=1)
        x = x + position.astype(self.dtype)
        x = nn.Dropout(self.dropout, deterministic=not active)(x)
        seen = None
        if active and self.mask_prob < 1:
            drawn = jax.random.bernoulli(self.make_rng("dropout"), self.mask_prob, (b, length))
            seen = jnp.concatenate([jnp.ones((b, 1), bool), drawn], axis=1)
        weights = []
        for i in range(self.depth):
            block = Block(self.heads, self.mlp_ratio, self.dropout, self.dtype, name=f"block{i}")
            x, attention = block(x, seen, active)
            weights.append(attention)
        return x, weights
