"""What the convolutional networks share: fields, batch norm, recomputation, classifier."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.models import layers


class Backbone(nn.Module):
    """Fields of every network; its methods are for use inside a compact `__call__`."""

    num_classes: int | None
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    bn_group: int = 0
    remat: bool = False
    dtype: Any = jnp.float32

    def norm(self) -> Any:
        """Batch norm as the fields say, without a name."""
        return functools.partial(
            layers.BatchNorm, self.bn_momentum, self.bn_eps, self.bn_group, dtype=self.dtype
        )

    def repeated(self, block: type[nn.Module]) -> type[nn.Module]:
        """The block, recomputed in the backward pass where `remat` says so; `train` is static."""
        return nn.remat(block, static_argnums=(2,)) if self.remat else block

    def dropped(self, x: Float[Array, "*S"], rate: float, train: bool) -> Float[Array, "*S"]:
        """Dropout, where it trains and an rng "dropout" is given."""
        active = train and self.has_rng("dropout")
        return nn.Dropout(rate, deterministic=not active)(x)

    def classified(
        self,
        x: Float[Array, "B t h w C"],
        out: dict[str, Array],
        train: bool,
        *,
        dropout: float = 0.0,
        init: Any = nn.linear.default_kernel_init,
    ) -> layers.Answer:
        """`features`, `pre_logits` (their mean) and logits; without classes `pre_logits` alone."""
        out["features"] = x
        x = out["pre_logits"] = x.astype(jnp.float32).mean((1, 2, 3))
        if self.num_classes is None:
            return x, out
        x = self.dropped(x, dropout, train)
        return nn.Dense(self.num_classes, kernel_init=init, name="head")(x), out


def places(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(stage, from 1; number in it, from 0; stride) of every block: the first of a stage halves the
    map, but in the first stage."""
    for stage, blocks in enumerate(sizes, start=1):
        for i in range(blocks):
            yield stage, i, 2 if stage > 1 and i == 0 else 1


class Block(nn.Module):
    """Fields of a block of the small networks, and how it makes its convolutions."""

    features: int
    stride: int
    norm: Any
    dtype: Any

    def conv(self, features: int, kernel: int, **options: Any) -> layers.ConvNorm:
        """`layers.ConvNorm` with the block's norm and dtype."""
        return layers.ConvNorm(features, kernel, self.norm, self.dtype, **options)
