"""BERT over the time of R(2+1)D: R(2+1)D-BERT and DarkLight.

R(2+1)D-BERT [Kalfaoglu et al. 2020, arXiv 2008.01232]: the mean of the last map over space gives a
token per remaining frame (8 of 64); one transformer block over them and a class token, whose
output is classified. 66,655,122 parameters with 11 classes at 64 frames.

DarkLight [Chen et al. 2021, "DarkLight Networks for Action Recognition in the Dark"]: the dark
clip and its gamma-corrected version go through one R(2+1)D; 16 tokens, then the same.
66,659,218 parameters with 11 classes.

Deviations: the papers do not give the transformer's details. As in the released code its norm
divides by the unbiased standard deviation plus 1e-6, its GELU is the tanh one, and there is no norm
after the block. The release pools 7x7, the map of 112x112 frames; here any map is averaged
whole. The paper's R(2+1)D-BERT and the release return the L2-normalised tokens as well: divide
`out["tokens"]` and `out["attended"]` by their norms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.r2plus1d import R2Plus1D

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
        self, x: Float[Array, "B N E"], seen: Bool[Array, "B N"] | None, active: bool
    ) -> tuple[Float[Array, "B N E"], Float[Array, "B heads N N"]]:
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


class R2Plus1DBert(nn.Module):
    """R(2+1)D-34 and BERT on one view (`views=1`, R(2+1)D-BERT) or two (`views=2`, DarkLight).

    Args of `__call__`: `video` `[B, T, H, W, C]` float, normalised; with two views `bright` is
    the gamma-corrected clip of the same shape, None takes `video` for both. `backbone` holds
    fields of `R2Plus1D`. With one view DarkLight's single-view ablation is `bright` passed as
    `video`, and `mask_prob=1`.

    `out`: the backbone's under `backbone/...` (two views: `dark/...`, `bright/...`), `tokens`
    (`[B, L, E]`, the dark view's first), `attended` (`[B, L, E]`, after BERT),
    `bert{i}/attention` (`[B, heads, 1+L, 1+L]`), `pre_logits` (`[B, E]`, the class token's). With
    `num_classes=None` the first result is `pre_logits`.
    """

    num_classes: int | None
    views: int = 1
    backbone: Mapping[str, Any] | None = None
    depth: int = 1
    heads: int = 8
    bert_dropout: float = 0.1
    mask_prob: float = 0.8
    dropout: float = 0.8
    bn_group: int = 0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B T H W C"],
        bright: Float[Array, "B T H W C"] | None = None,
        *,
        train: bool,
    ) -> tuple[Float[Array, "B K"], dict[str, Array]]:
        if self.views not in (1, 2) or (bright is not None and self.views == 1):
            raise UserError(
                f"views={self.views} takes {self.views} clip(s); "
                "views=2 is DarkLight's dark and bright clip"
            )
        net = R2Plus1D(
            None,
            **dict(self.backbone or {}),
            bn_group=self.bn_group,
            remat=self.remat,
            dtype=self.dtype,
            name="backbone",
        )
        views = {"backbone": video}
        if self.views == 2:
            views = {"dark": video, "bright": video if bright is None else bright}
        out: dict[str, Array] = {}
        tokens = []
        # One after the other, as the original: each view has its own batch statistics.
        for name, clip in views.items():
            _, found = net(clip, train=train)
            out |= {f"{name}/{k}": v for k, v in found.items()}
            tokens.append(found["features"].astype(jnp.float32).mean((2, 3)))  # B t E
        x = out["tokens"] = jnp.concatenate(tokens, axis=1)
        bert = Bert(
            self.depth,
            self.heads,
            dropout=self.bert_dropout,
            mask_prob=self.mask_prob,
            dtype=self.dtype,
            name="bert",
        )
        x, attention = bert(x, train=train)
        out |= {f"bert{i}/attention": weights for i, weights in enumerate(attention)}
        out["attended"] = x[:, 1:]
        x = out["pre_logits"] = x[:, 0].astype(jnp.float32)
        if self.num_classes is None:
            return x, out
        active = train and self.has_rng("dropout")
        x = nn.Dropout(self.dropout, deterministic=not active)(x)
        init = nn.initializers.xavier_uniform()
        return nn.Dense(self.num_classes, kernel_init=init, name="head")(x), out
