"""Vision Transformer [Dosovitskiy et al. 2021, arXiv 2010.11929], whole or its first blocks.

ViT-B/16 is `depth=12`, 85,807,115 parameters with 11 classes; LIFT-Net's partial ViT is
`depth=5, final_norm=False`. LayerNorm eps is 1e-6. Of the two ImageNet-21k releases one has
query/key/value biases, the other has none (`qkv_bias`); PyTorch's GELU is exact (`gelu="erf"`), the
JAX release's is the tanh approximation. The first JAX release has a hidden tanh layer before its
21,843 classes (`representation=768`).

Deviations: the paper is about images. A video's frames go through on their own, and the
class tokens and the logits are averaged over them.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers

LN_EPS = 1e-6


def layer_norm(x: Float[Array, "*B E"], name: str, dtype: Any) -> Float[Array, "*B E"]:
    """LayerNorm in float32, the result in `dtype`; to be called where submodules are made."""
    return nn.LayerNorm(LN_EPS, name=name)(x.astype(jnp.float32)).astype(dtype)


class Block(nn.Module):
    """Pre-norm encoder block: `x + MSA(LN x)`, then `x + MLP(LN x)` (Eq. 2-3)."""

    heads: int
    mlp_ratio: float
    qkv_bias: bool
    gelu: str
    dtype: Any

    @nn.compact
    def __call__(self, x: layers.Tokens) -> layers.Attended:
        y = layer_norm(x, "norm1", self.dtype)
        attention = layers.Attention(
            self.heads, qkv_bias=self.qkv_bias, dtype=self.dtype, name="attention"
        )
        y, weights = attention(y, y)
        x = x + y
        y = layer_norm(x, "norm2", self.dtype)
        mlp = layers.Mlp(int(x.shape[-1] * self.mlp_ratio), self.gelu, self.dtype, name="mlp")
        return x + mlp(y), weights


class ViT(nn.Module):
    """A ViT on images `[B, H, W, C]` or frames `[B, T, H, W, C]`; H, W are multiples of `patch`.

    `out`: `embedded`, `block{i}`, `block{i}/attention` (`[B, heads, 1+P, 1+P]`), `tokens` (class
    token first), all with a leading axis of `B * T` for videos; `pre_logits` (the class token,
    or what `representation` makes of it; the mean over a video's frames). With
    `num_classes=None` the first result is `pre_logits`.
    """

    num_classes: int | None
    depth: int = 12
    width: int = 768
    heads: int = 12
    mlp_ratio: float = 4.0
    patch: int = 16
    qkv_bias: bool = True
    gelu: str = "erf"
    final_norm: bool = True
    representation: int | None = None  # width of a tanh layer before the head
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "B *T H W C"], *, train: bool) -> layers.Answer:
        del train  # the same in training and evaluation
        out: dict[str, Array] = {}
        p, lead = self.patch, image.shape[:-3]
        image = image.reshape(-1, *image.shape[-3:])
        if image.shape[1] % p or image.shape[2] % p:
            raise UserError(
                f"frames of {image.shape[1]}x{image.shape[2]} are not whole patches of {p}: "
                "choose data.size as multiples of it"
            )
        embed = nn.Conv(self.width, (p, p), (p, p), "VALID", dtype=self.dtype, name="embedding")
        x = embed(image.astype(self.dtype))
        x = x.reshape(x.shape[0], -1, self.width)  # B P E, row-major
        cls = self.param("cls", nn.initializers.zeros, (1, 1, self.width), jnp.float32)
        cls = jnp.broadcast_to(cls.astype(self.dtype), (x.shape[0], 1, self.width))
        x = jnp.concatenate([cls, x], axis=1)
        init = nn.initializers.normal(0.02)
        position = self.param("position", init, (1, *x.shape[1:]), jnp.float32)
        x = out["embedded"] = x + position.astype(self.dtype)
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.depth):
            x, weights = block(
                self.heads, self.mlp_ratio, self.qkv_bias, self.gelu, self.dtype, name=f"block{i}"
            )(x)
            out[f"block{i}"], out[f"block{i}/attention"] = x, weights
        if self.final_norm:
            x = layer_norm(x, "norm", self.dtype)
        out["tokens"] = x
        x = x[:, 0].astype(jnp.float32)
        if self.representation is not None:
            x = jnp.tanh(nn.Dense(self.representation, name="representation")(x))
        # The head is linear: the mean over frames may come before it.
        x = out["pre_logits"] = x.reshape(lead[0], -1, x.shape[-1]).mean(1)
        if self.num_classes is None:
            return x, out
        return nn.Dense(self.num_classes, name="head")(x), out
