"""C3D [Tran et al. 2015, arXiv 1412.0767]: eight 3x3x3 convolutions and two wide layers.

Two graphs. `variant="plain"` is the paper's, as DavideA/c3d-pytorch and jfzhang95 ported it:
no batch norm, the first pooling leaves time alone, the last covers 2 frames; 79,991,015
parameters with 487 classes. `variant="bn"` is okankop/Efficient-3DCNNs': batch norm after
every convolution, the first pooling covers 2 frames with stride 1 (16 frames become 15), the last
a single one; 78,046,347 parameters with 11 classes at 16x112x112.

The first wide layer sees every cell of the last map, in the order channel, time, height, width:
its size follows the clip's, so weights serve one clip size only.

Deviations: the original returns probabilities (DavideA) or logits (the others); here logits.
A pooling window longer than what is left of time is cut to it, where the originals fail: clips
shorter than 16 frames work. The last map is padded by one cell in height and width, which the
published weights need (4x4 cells); the paper does not mention it.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.backbone import Backbone

# Convolutions between poolings, and their widths as multiples of the first.
GROUPS = (("conv1",), ("conv2",), ("conv3a", "conv3b"), ("conv4a", "conv4b"), ("conv5a", "conv5b"))
WIDTHS = (1, 2, 4, 8, 8)
# Window and stride over time of the five poolings; both are 2 over height and width.
POOLS = {
    "plain": ((1, 1), (2, 2), (2, 2), (2, 2), (2, 2)),
    "bn": ((2, 1), (2, 2), (2, 2), (2, 2), (1, 2)),
}


class Unit(nn.Module):
    """A 3x3x3 convolution with bias, batch norm if given, ReLU."""

    features: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T H W O"]:
        x = layers.Conv3D(self.features, (3, 3, 3), use_bias=True, dtype=self.dtype, name="conv")(x)
        if self.norm is not None:
            x = self.norm(name="bn")(x, train=train)
        return nn.relu(x)


class C3D(Backbone):
    """C3D; `variant` is "plain" or "bn" (see the module).

    `width` is the number of channels of the first convolution, `hidden` that of fc6 and fc7.
    `dropout` acts after both where an rng "dropout" is given.

    `out`: `stem` (conv1, pooled), `stage1/0` (conv2), `stage2/0` to `stage4/1` (conv3a to conv5b),
    `features` (the last map, pooled), `fc6` (`[B, E]`), `pre_logits` (`[B, E]`, fc7); all after
    ReLU. With `num_classes=None` the first result is `pre_logits`.
    """

    variant: str = "plain"
    width: int = 64
    hidden: int = 4096
    dropout: float = 0.5

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        pools = layers.chosen("variant", self.variant, POOLS)

        norm = self.norm() if self.variant == "bn" else None
        out: dict[str, Array] = {}
        x = video.astype(self.dtype)
        unit = self.repeated(Unit)
        for stage, (names, wide) in enumerate(zip(GROUPS, WIDTHS, strict=True)):
            for i, name in enumerate(names):
                x = unit(self.width * wide, norm, self.dtype, name=name)(x, train)
                if stage:
                    out[f"stage{stage}/{i}"] = x
            window, stride = pools[stage]
            pad = 1 if stage == len(GROUPS) - 1 else 0
            x = layers.max_pool3d(x, (min(window, x.shape[1]), 2, 2), (stride, 2, 2), (0, pad, pad))
            if not stage:
                out["stem"] = x
        out["features"] = x
        x = jnp.transpose(x, (0, 4, 1, 2, 3)).reshape(x.shape[0], -1)  # B C*T*H*W
        for name in ("fc6", "fc7"):
            x = nn.Dense(self.hidden, dtype=self.dtype, name=name)(x)
            y = nn.relu(x)
            x = self.dropped(y, self.dropout, train)
            out[name if name == "fc6" else "pre_logits"] = y.astype(jnp.float32)
        if self.num_classes is None:
            return out["pre_logits"], out
        return nn.Dense(self.num_classes, name="head")(x.astype(jnp.float32)), out
