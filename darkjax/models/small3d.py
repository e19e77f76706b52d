"""What the small 3-D networks (MobileNets, ShuffleNets) share: fields, norm, classifier."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.models import layers


class Small3D(nn.Module):
    """Fields of every small network; `width` multiplies the numbers of channels."""

    num_classes: int | None
    width: float = 1.0
    dropout: float = 0.2
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

    def classified(
        self, x: Float[Array, "B t h w C"], out: dict[str, Array], train: bool
    ) -> tuple[Float[Array, "B K"], dict[str, Array]]:
        """`features`, `pre_logits` (their mean) and logits; for use inside a compact `__call__`."""
        out["features"] = x
        x = out["pre_logits"] = x.astype(jnp.float32).mean((1, 2, 3))
        if self.num_classes is None:
            return x, out
        drop = train and self.has_rng("dropout")
        x = nn.Dropout(self.dropout, deterministic=not drop)(x)
        return nn.Dense(self.num_classes, name="head")(x), out
