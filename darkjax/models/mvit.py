"""Multiscale Vision Transformer, first version [Fan et al. 2021, arXiv 2104.11227]: MViT-B.

Queries, keys and values are pooled by strided convolutions on their map, so the map shrinks and
the width grows from stage to stage. MViT-B has 36,311,531 parameters with 11 classes and 16 frames;
with 400 classes 36,610,672 (16 frames), 36,611,440 (32) and 36,612,976 (64): positions are learned.

Deviations:
- the norms after pooling have eps 1e-6 as in torchvision and today's PySlowFast; its first release
  had 1e-5 there, a difference of about 1e-5 of the result;
- `drop_path` and `dropout` are 0 unless set; the release trains with 0.2, rising linearly over the
  blocks, and 0.5;
- PySlowFast's head answers with probabilities in evaluation, ours always with logits.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.ops import conv

LN_EPS = 1e-6
STEM_STRIDE = (2, 4, 4)
Size = tuple[int, ...]  # three: time, height, width


def pooled(size: Size, stride: int) -> Size:
    """The map after padded pooling; time is never strided."""
    return size[0], -(-size[1] // stride), -(-size[2] // stride)


class Pool(nn.Module):
    """A depthwise convolution over the map, the same for every head, then a norm per head.

    The class token is not convolved, but normalised. Parameters: `kernel [*k, 1, E / heads]` and
    `norm`.
    """

    heads: int
    kernel: Size
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B N E"], size: Size) -> Float[Array, "B M heads D"]:
        batch, _, width = x.shape
        head = width // self.heads
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (*self.kernel, 1, head), jnp.float32)
        y = conv.conv3d(
            x[:, 1:].reshape(batch, *size, width),
            jnp.tile(kernel.astype(self.dtype), self.heads),
            strides=(1, self.stride, self.stride),
            padding=tuple((k // 2, k // 2) for k in self.kernel),
            groups=width,
        )
        x = jnp.concatenate([x[:, :1], y.reshape(batch, -1, width)], axis=1)
        return layers.layer_norm(x.reshape(batch, -1, self.heads, head), "norm", LN_EPS)


class PoolingAttention(nn.Module):
    """Multi-head attention whose queries (if `q_stride` > 1), keys and values are pooled.

    Section 3.1, the projections before the pooling as in every published network. Parameters:
    `query`, `key`, `value`, `out` and, where that is pooled, `pool_q`, `pool_k`, `pool_v`.
    """

    heads: int
    kernel: Size | None
    q_stride: int
    kv_stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B N E"], size: Size) -> Float[Array, "B M E"]:
        batch, _, width = x.shape

        def head_split(name: str, stride: int, kernel: Size | None) -> Array:
            y = layers.dense(width, self.dtype, name)(x)
            if stride == 1 and kernel is None:
                return y.reshape(batch, -1, self.heads, width // self.heads)
            kernel = kernel or (1, stride + 1, stride + 1)
            pool = Pool(self.heads, kernel, stride, self.dtype, name=f"pool_{name[0]}")
            return pool(y, size)

        # Queries that keep their map are not even convolved with stride 1.
        q = head_split("query", self.q_stride, self.kernel if self.q_stride > 1 else None)
        k = head_split("key", self.kv_stride, self.kernel)
        v = head_split("value", self.kv_stride, self.kernel)
        q = q * (width // self.heads) ** -0.5
        logits = jnp.einsum("bqhd,bnhd->bhqn", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        y = jnp.einsum("bhqn,bnhd->bqhd", weights, v)
        return layers.dense(width, self.dtype, "out")(y.reshape(batch, -1, width))


class Block(nn.Module):
    """Pooling attention and an MLP, the last of a stage with wider output (Section 3.2).

    The shortcut around the attention is max-pooled where the queries are; the one around the MLP
    is `shortcut`, a projection of the *normalised* tokens, where the width changes.
    """

    heads: int
    features: int
    kernel: Size | None
    q_stride: int
    kv_stride: int
    drop_path: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B N E"], size: Size, train: bool) -> Float[Array, "B M F"]:
        drop = layers.DropPath(self.drop_path)
        batch, _, width = x.shape
        attention = PoolingAttention(
            self.heads, self.kernel, self.q_stride, self.kv_stride, self.dtype, name="attention"
        )
        y = attention(layers.layer_norm(x, "norm1", LN_EPS), size)
        if self.q_stride > 1:
            s = self.q_stride
            z = x[:, 1:].reshape(batch, *size, width)
            z = layers.max_pool3d(z, (1, s + 1, s + 1), (1, s, s), (0, (s + 1) // 2, (s + 1) // 2))
            x = jnp.concatenate([x[:, :1], z.reshape(batch, -1, width)], axis=1)
        x = x + drop(y, train)
        y = layers.layer_norm(x, "norm2", LN_EPS)
        if self.features != width:
            x = layers.dense(self.features, self.dtype, "shortcut")(y)
        y = jax.nn.gelu(layers.dense(4 * width, self.dtype, "fc1")(y), approximate=False)
        return x + drop(layers.dense(self.features, self.dtype, "fc2")(y), train)


class MViT(nn.Module):
    """MViT; `splits` are the blocks that begin a stage: they pool the queries and double the heads.

    `kv_stride` is the first stage's pooling of keys and values in height and width; it halves from
    stage to stage. `pool_kernel` is that of all poolings, None one of `(1, stride + 1, stride + 1)`
    and no pooling where the stride is 1. The paper's MViT-B is the default (16x4 and 32x3 differ
    in their positions only); PySlowFast's 32x3 configuration is `depth=24, splits=(2, 5, 21),
    pool_kernel=None` instead (53,115,280 parameters with 400 classes).

    Positions are learned for one number of frames and one frame size, those of the first clip the
    model sees; `frames` says the number beforehand. `dropout` (before the classifier) and
    `drop_path` need an rng "dropout" and do nothing without it.

    `out`: `stem` (the map), `embedded` (`[B, 1 + t h w, E]`, class token first),
    `stage{1-4}/{i}` (tokens), `features` (the last map, normalised), `pre_logits` (the class
    token). With `num_classes=None` the first result is `pre_logits`.
    """

    num_classes: int | None
    depth: int = 16
    splits: tuple[int, ...] = (1, 3, 14)
    width: int = 96
    heads: int = 1
    kv_stride: int = 8
    pool_kernel: Size | None = (3, 3, 3)
    frames: int | None = None
    dropout: float = 0.0
    drop_path: float = 0.0  # of the last block; the first has 0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        dtype, found = self.dtype, video.shape[1]
        if self.frames is not None and found != self.frames:
            raise UserError(
                f"this MViT has positions for {self.frames} frames, found clips of {found}: "
                f"give clips of {self.frames} frames, or weights made for {found}"
            )
        layers.check_heads(self.heads, self.width)
        out = {}
        stem = layers.Conv3D(
            self.width, (3, 7, 7), STEM_STRIDE, use_bias=True, dtype=dtype, name="stem"
        )
        x = out["stem"] = stem(video.astype(dtype))
        x = out["embedded"] = self._embed(x)
        _, t, h, w, _ = out["stem"].shape
        size: Size = (t, h, w)
        kernel = None if self.pool_kernel is None else tuple(self.pool_kernel)
        block = nn.remat(Block, static_argnums=(2, 3)) if self.remat else Block
        rates = np.linspace(0.0, self.drop_path, self.depth)
        stage, first = 1, 0
        for i in range(self.depth):
            if i in self.splits:
                stage, first = stage + 1, i
            width, q_stride = x.shape[-1], 2 if i in self.splits else 1
            x = block(
                self.heads * width // self.width,
                2 * width if i + 1 in self.splits else width,
                kernel,
                q_stride,
                max(self.kv_stride // 2 ** (stage - 1), 1),
                float(rates[i]),
                dtype,
                name=f"block{i}",
            )(x, size, train)
            size = pooled(size, q_stride)
            out[f"stage{stage}/{i - first}"] = x
        x = layers.layer_norm(x, "norm", LN_EPS)
        out["features"] = x[:, 1:].reshape(x.shape[0], *size, x.shape[-1])
        x = out["pre_logits"] = x[:, 0].astype(jnp.float32)
        if self.num_classes is None:
            return x, out
        active = train and self.has_rng("dropout")
        x = nn.Dropout(self.dropout, deterministic=not active)(x)
        return nn.Dense(self.num_classes, kernel_init=layers.trunc_normal, name="head")(x), out

    def _embed(self, x: Float[Array, "B t h w E"]) -> Float[Array, "B N E"]:
        """Class token, then the map's tokens, each with its place in time plus that in space."""
        batch, t, h, w, width = x.shape

        def learned(name: str, *shape: int) -> Array:
            value = self.param(name, layers.trunc_normal, (*shape, width), jnp.float32)
            return value.astype(self.dtype)

        cls = learned("cls") + learned("position_cls")
        x = x.reshape(batch, t, h * w, width)
        x = x + learned("position_time", t, 1) + learned("position_space", h * w)
        cls = jnp.broadcast_to(cls, (batch, 1, width))
        return jnp.concatenate([cls, x.reshape(batch, -1, width)], axis=1)
