"""What the enhancers share: convolutions of single frames, whatever axes lie before them."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.ops import conv

Frames = Float[Array, "*B H W C"]  # what an enhancer takes, in [0, 1]
Enhanced = tuple[Frames, dict[str, Array]]  # the frames; every intermediate by its name


class Conv2D(nn.Module):
    """A convolution of every frame with bias, stride 1, zeros around: the size stays.

    Parameters: `kernel [1, k, k, C // groups, O]`, `bias [O]` when `use_bias`.
    """

    features: int
    size: int = 3
    groups: int = 1
    use_bias: bool = True
    init: Any = nn.initializers.kaiming_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W O"]:
        shape = (1, self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.init, shape, jnp.float32)
        pad = (self.size // 2,) * 2
        x = conv.conv3d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            padding=((0, 0), pad, pad),
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            x = x + bias.astype(self.dtype)
        return x


def as_clips(frames: Float[Array, "*B H W C"], dtype: Any) -> Float[Array, "N T H W C"]:
    """The five axes that layers take: clips stay clips, anything else becomes clips of one frame.

    (Clips stay whole because batch norm in groups counts clips.)
    """
    if frames.ndim != 5:
        frames = frames.reshape(-1, 1, *frames.shape[-3:])
    return frames.astype(dtype)


def like(x: Float[Array, "N T h w C"], frames: Float[Array, "*B H W _"]) -> Float[Array, "..."]:
    """`x` float32 with the leading axes of `frames` again."""
    return x.astype(jnp.float32).reshape(*frames.shape[:-3], *x.shape[-3:])
