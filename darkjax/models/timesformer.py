"""TimeSformer with divided attention [Bertasius et al. 2021, arXiv 2102.05095, Section 3].

A ViT-B/16 on the patches of all frames. Each block has attention over time (of each patch to the
same place in other frames), then over space (in each frame, with the class token), then an MLP.
With 400 classes 121,566,352 parameters at 8 frames, 121,633,936 at 96.

Deviations: the paper does not say how the class token, one for the clip, takes part in the
attention of every frame; as in the release each frame sees a copy and the updates are averaged. A
clip or frame of another size than the embeddings' takes the nearest of them, as the release does.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.vit import layer_norm


class Block(nn.Module):
    """Attention over time, attention over space, MLP ("divided space-time")."""

    heads: int
    mlp_ratio: float
    drop_path: float
    first: bool
    dtype: Any

    @nn.compact
    def __call__(
        self, cls: Float[Array, "B 1 E"], x: Float[Array, "B T P E"], train: bool
    ) -> tuple[Float[Array, "B 1 E"], Float[Array, "B T P E"], dict[str, Array]]:
        b, t, p, e = x.shape
        drop = layers.DropPath(self.drop_path)

        def attend(y: Array, name: str) -> tuple[Array, Array]:
            return layers.Attention(self.heads, dtype=self.dtype, name=name)(y, y)

        y = x.swapaxes(1, 2).reshape(b * p, t, e)
        y, over_time = attend(layer_norm(y, "temporal_norm", self.dtype), "temporal_attention")
        y = drop(y, train).reshape(b, p, t, e).swapaxes(1, 2)
        # Zero at the start but in the first block: an ImageNet ViT nearly keeps its outputs.
        init = nn.initializers.truncated_normal(0.02) if self.first else nn.initializers.zeros
        x = x + nn.Dense(e, kernel_init=init, dtype=self.dtype, name="temporal_out")(y)

        y = jnp.concatenate([jnp.broadcast_to(cls[:, None], (b, t, 1, e)), x], axis=2)
        y, over_space = attend(
            layer_norm(y.reshape(b * t, 1 + p, e), "norm1", self.dtype), "attention"
        )
        y = drop(y, train).reshape(b, t, 1 + p, e)
        cls, x = cls + y[:, :, 0].mean(1, keepdims=True), x + y[:, :, 1:]

        y = jnp.concatenate([cls, x.reshape(b, t * p, e)], axis=1)
        mlp = layers.Mlp(int(e * self.mlp_ratio), dtype=self.dtype, name="mlp")
        y = y + drop(mlp(layer_norm(y, "norm2", self.dtype)), train)
        maps = {"temporal_attention": over_time, "attention": over_space}
        return y[:, :1], y[:, 1:].reshape(x.shape), maps


class TimeSformer(nn.Module):
    """TimeSformer; H and W must be multiples of `patch`.

    `frames` and `grid` (patches along height and width) are what the embeddings were made for;
    None: what the video has. `drop_path` is the rate of the last block, growing from zero.

    `out`: `embedded` (`[B, T, P, E]`), `block{i}` (`[B, 1 + T P, E]`, class token first, frame by
    frame), `block{i}/temporal_attention` (`[B P, heads, T, T]`), `block{i}/attention`
    (`[B T, heads, 1+P, 1+P]`), `tokens` (after the last norm), `pre_logits` (the class token).
    With `num_classes=None` the first result is `pre_logits`.
    """

    num_classes: int | None
    depth: int = 12
    width: int = 768
    heads: int = 12
    mlp_ratio: float = 4.0
    patch: int = 16
    frames: int | None = None
    grid: tuple[int, int] | None = None
    drop_path: float = 0.1
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        out: dict[str, Array] = {}
        b, t, height, width, _ = video.shape
        p, e = self.patch, self.width
        if height % p or width % p:
            raise UserError(
                f"frames of {height}x{width} are not whole patches of {p}: "
                "choose data.size as multiples of it"
            )
        embed = nn.Conv(e, (p, p), (p, p), "VALID", dtype=self.dtype, name="embedding")
        x = embed(video.reshape(b * t, *video.shape[2:]).astype(self.dtype))
        here = x.shape[1:3]
        x = x.reshape(b, t, -1, e)  # B T P E, patches row-major
        grid, frames = self.grid or here, self.frames or t
        init = nn.initializers.truncated_normal(0.02)
        cls = self.param("cls", init, (1, 1, e), jnp.float32)
        position = self.param("position", init, (1, 1 + grid[0] * grid[1], e), jnp.float32)
        time = self.param("time", nn.initializers.zeros, (1, frames, e), jnp.float32)
        cls = (cls + position[:, :1]).astype(self.dtype)
        places = position[0, 1:].reshape(*grid, e)
        places = places[_nearest(grid[0], here[0])][:, _nearest(grid[1], here[1])].reshape(-1, e)
        time = time[0, _nearest(frames, t)]
        x = x + places.astype(self.dtype)  # B T P E + P E
        x = out["embedded"] = x + time[:, None].astype(self.dtype)
        cls = jnp.broadcast_to(cls, (b, 1, e))
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        for i in range(self.depth):
            rate = self.drop_path * i / max(self.depth - 1, 1)
            cls, x, maps = block(
                self.heads, self.mlp_ratio, rate, i == 0, self.dtype, name=f"block{i}"
            )(cls, x, train)
            # The next block is given what `out` names: a copy beside it would have no slope.
            y = out[f"block{i}"] = jnp.concatenate([cls, x.reshape(b, -1, e)], axis=1)
            cls, x = y[:, :1], y[:, 1:].reshape(x.shape)
            out |= {f"block{i}/{name}": value for name, value in maps.items()}
        x = out["tokens"] = layer_norm(out[f"block{self.depth - 1}"], "norm", self.dtype)
        x = out["pre_logits"] = x[:, 0].astype(jnp.float32)
        if self.num_classes is None:
            return x, out
        init = nn.initializers.truncated_normal(0.02)
        return nn.Dense(self.num_classes, kernel_init=init, name="head")(x), out


def _nearest(known: int, wanted: int) -> Array:
    """Of `known` places the one that each of `wanted` takes: `floor(i known / wanted)`."""
    return jnp.arange(wanted) * known // wanted
