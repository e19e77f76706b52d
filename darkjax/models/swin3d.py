"""Video Swin Transformer [Liu et al. 2022, arXiv 2106.13230].

Attention inside windows of 8x7x7 tokens, moved by half a window in every second block. With 11
classes Swin-T has 27,858,929 parameters; with 400 classes T has 28,158,070, S 49,816,678 and B
88,048,984.

Windows as the originals have them, in the code of `WindowAttention`:
- an axis no longer than its window gets a window of its own length and no shift;
- maps are padded with zeros up to whole windows after the first norm, and the padding is attended
  to: its keys are the key's bias;
- in shifted windows, tokens that are no neighbours get -100 on their logits, not minus infinity;
- tokens n and m of a window smaller than the full one take the bias of tokens n and m of the
  *full* window (the corner `[:N, :N]` of its index). Where height or width shrinks these are other
  offsets than the true ones, but the published networks were run so; both originals agree on it.

Deviations: `drop_path` is 0 unless set; the release trains with 0.1 (T), 0.2 (S) or 0.3 (B), rising
linearly over the blocks, and with `dropout` 0.5 before the classifier.
"""

from __future__ import annotations

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers

LN_EPS = 1e-5
HEAD_DIM = 32
MASKED = -100.0
VARIANTS = {"t": (96, (2, 2, 6, 2)), "s": (96, (2, 2, 18, 2)), "b": (128, (2, 2, 18, 2))}
Size = tuple[int, ...]  # three: time, height, width


def fitted(size: Size, window: Size, shift: Size) -> tuple[Size, Size]:
    """The window and the shift on a map of that size: an axis it covers is one window, unmoved."""
    covers = [n <= w for n, w in zip(size, window, strict=True)]
    window = tuple(n if c else w for n, w, c in zip(size, window, covers, strict=True))
    return window, tuple(0 if c else s for s, c in zip(shift, covers, strict=True))


def bias_index(window: Size) -> np.ndarray:
    """Rows of the bias table: `[N, N]`, one row for each offset between two tokens of a window."""
    position = np.indices(window).reshape(3, -1)
    offset = position[:, :, None] - position[:, None, :]  # 3 N N, from 1 - w to w - 1
    spans = [2 * w - 1 for w in window]
    row = np.zeros(offset.shape[1:], np.int64)
    for d, w, span in zip(offset, window, spans, strict=True):
        row = row * span + d + w - 1
    return row


def shift_mask(size: Size, window: Size, shift: Size) -> np.ndarray:
    """`[windows, N, N]`: what is added to the logits of a map of that size, rolled by `-shift`.

    Rolling brings the start of an axis behind its end: the last window holds both, and tokens of
    one must not attend to the other.
    """
    region = np.zeros(size, np.int64)
    for axis, (n, w, s) in enumerate(zip(size, window, shift, strict=True)):
        at = np.arange(n)
        part = (at >= n - w).astype(np.int64) + (at >= n - s) if s else np.zeros(n, np.int64)
        region = region * 3 + part.reshape([-1 if a == axis else 1 for a in range(3)])
    parts = np.asarray(to_windows(region[None, ..., None], window))[..., 0]
    return np.where(parts[:, :, None] == parts[:, None, :], 0.0, MASKED).astype(np.float32)


def to_windows(x: Any, window: Size) -> Any:
    """`[B, T, H, W, E]` -> `[B * windows, N, E]`; the map is whole windows."""
    b, *size, width = x.shape
    t, h, w = window
    x = x.reshape(b, size[0] // t, t, size[1] // h, h, size[2] // w, w, width)
    return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, t * h * w, width)


def from_windows(x: Array, window: Size, size: Size) -> Array:
    """The inverse of `to_windows` for maps of that size."""
    t, h, w = window
    grid = [n // k for n, k in zip(size, window, strict=True)]
    x = x.reshape(-1, *grid, t, h, w, x.shape[-1])
    return x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, *size, x.shape[-1])


class WindowAttention(nn.Module):
    """Multi-head attention inside (shifted) windows with a relative position bias (Section 3.2).

    Parameters: `query`, `key`, `value`, `out`, and `bias_table`
    `[(2 wt - 1) (2 wh - 1) (2 ww - 1), heads]`.
    """

    heads: int
    window: Size
    shift: Size
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W E"]) -> Float[Array, "B T H W E"]:
        full, (_, *size, width) = self.window, x.shape
        window, shift = fitted(tuple(size), full, self.shift)
        padded = tuple(-(-n // w) * w for n, w in zip(size, window, strict=True))
        pads = [(0, 0), *((0, p - n) for n, p in zip(size, padded, strict=True)), (0, 0)]
        x = jnp.pad(x, pads)
        if any(shift):
            x = jnp.roll(x, [-s for s in shift], (1, 2, 3))
        x = to_windows(x, window)

        def heads(name: str) -> Array:
            y = layers.dense(width, self.dtype, name)(x)
            return y.reshape(*x.shape[:2], self.heads, width // self.heads)

        q, k, v = heads("query"), heads("key"), heads("value")
        q = q * (width // self.heads) ** -0.5
        logits = jnp.einsum("bqhd,bnhd->bhqn", q, k, preferred_element_type=jnp.float32)
        index = bias_index(full)
        table = self.param(
            "bias_table", layers.trunc_normal, (index.max() + 1, self.heads), jnp.float32
        )
        n = x.shape[1]
        logits = logits + table[index[:n, :n]].transpose(2, 0, 1)
        if any(shift):
            mask = shift_mask(padded, window, shift)  # windows N N
            logits = logits.reshape(-1, mask.shape[0], *logits.shape[1:]) + mask[:, None]
            logits = logits.reshape(-1, self.heads, n, n)
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        y = jnp.einsum("bhqn,bnhd->bqhd", weights, v).reshape(x.shape)
        y = from_windows(layers.dense(width, self.dtype, "out")(y), window, padded)
        if any(shift):
            y = jnp.roll(y, shift, (1, 2, 3))
        return y[:, : size[0], : size[1], : size[2]]


class Block(nn.Module):
    """`x + WindowAttention(LN x)`, then `x + MLP(LN x)`; `drop_path` drops a branch of a clip."""

    heads: int
    window: Size
    shift: Size
    drop_path: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W E"], train: bool) -> Float[Array, "B T H W E"]:
        drop = layers.DropPath(self.drop_path)
        attention = WindowAttention(
            self.heads, self.window, self.shift, self.dtype, name="attention"
        )
        x = x + drop(attention(layers.layer_norm(x, "norm1", LN_EPS)), train)
        mlp = layers.Mlp(4 * x.shape[-1], dtype=self.dtype, name="mlp")
        return x + drop(mlp(layers.layer_norm(x, "norm2", LN_EPS)), train)


class Merging(nn.Module):
    """Four neighbours in height and width become one token of twice the width (Section 3.1)."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W E"]) -> Float[Array, "B T h w 2*E"]:
        height, breadth, width = x.shape[2:]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, height % 2), (0, breadth % 2), (0, 0)))
        # Order of the originals: down the rows first.
        x = jnp.concatenate(
            [x[:, :, i::2, j::2] for j, i in itertools.product((0, 1), (0, 1))], axis=-1
        )
        x = layers.layer_norm(x, "norm", LN_EPS)
        return layers.dense(2 * width, self.dtype, "reduction", use_bias=False)(x)


class Swin3D(nn.Module):
    """Video Swin; `variant` is "t", "s", "b", or `(width, blocks of each stage)`.

    Any T, H and W: clips are padded with zeros up to whole patches. Heads are `head_dim` wide in
    every stage. `dropout` (before the classifier) and `drop_path` need an rng "dropout" and do
    nothing without it.

    `out`: `stem`, `stage{1-4}/{i}`, `features` (the last map, normalised), `pre_logits`
    (`[B, E]`, its mean). With `num_classes=None` the first result is `pre_logits`.
    """

    num_classes: int | None
    variant: str | tuple[int, tuple[int, ...]] = "t"
    window: Size = (8, 7, 7)
    patch: Size = (2, 4, 4)
    head_dim: int = HEAD_DIM
    dropout: float = 0.0
    drop_path: float = 0.0  # of the last block; the first has 0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        variant = self.variant
        if isinstance(variant, str):
            variant = layers.chosen("variant", variant, VARIANTS)
        width, sizes = variant
        if width % self.head_dim:
            raise UserError(
                f"the model's head_dim={self.head_dim} does not divide its width of {width}: "
                "choose a divisor of it"
            )
        window, (pt, ph, pw), dtype = tuple(self.window), self.patch, self.dtype
        patch = (pt, ph, pw)
        out = {}
        lacking = [(0, -n % p) for n, p in zip(video.shape[1:4], patch, strict=True)]
        x = jnp.pad(video.astype(dtype), [(0, 0), *lacking, (0, 0)])
        x = layers.Conv3D(
            width, patch, patch, use_bias=True, padding=((0, 0),) * 3, dtype=dtype, name="stem"
        )(x)
        x = out["stem"] = layers.layer_norm(x, "stem_norm", LN_EPS)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        rates = iter(np.linspace(0.0, self.drop_path, sum(sizes)))
        for stage, blocks in enumerate(sizes, start=1):
            if stage > 1:
                x = Merging(dtype, name=f"merge{stage}")(x)
            for i in range(blocks):
                shift = tuple(w // 2 if i % 2 else 0 for w in window)
                heads, name = x.shape[-1] // self.head_dim, f"stage{stage}_{i}"
                x = block(heads, window, shift, float(next(rates)), dtype, name=name)(x, train)
                out[f"stage{stage}/{i}"] = x
        x = out["features"] = layers.layer_norm(x, "norm", LN_EPS)
        x = out["pre_logits"] = x.astype(jnp.float32).mean((1, 2, 3))
        if self.num_classes is None:
            return x, out
        active = train and self.has_rng("dropout")
        x = nn.Dropout(self.dropout, deterministic=not active)(x)
        return nn.Dense(self.num_classes, kernel_init=layers.trunc_normal, name="head")(x), out
