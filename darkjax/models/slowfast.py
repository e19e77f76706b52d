"""SlowFast networks [Feichtenhofer et al. 2019, arXiv 1812.03982], the graph of PySlowFast.

Two 3-D ResNets on one clip: the slow pathway sees one frame in `alpha`, the fast one every frame
with `1 / beta_inv` of the channels. After the stem and stages 1-3 a time-strided convolution of
the fast map (`fusion_kernel` x 1 x 1, stride `alpha`) is appended to the slow channels. Temporal
kernels: slow 1, 1, 1, 3, 3 (stem, stages 1-4), fast 5, 3, 3, 3, 3. Strides sit in the 1x3x3.

Names are `T x tau` of the slow pathway. R50 4x16: 32 frames, alpha 8, fusion kernel 5, 34,480,216
parameters with 400 classes, 33,583,571 with 11. R50 8x8: 32 frames, alpha 4, fusion kernel 7,
34,566,488 with 400, 33,669,843 with 11.

Deviations: the original's fixed-size average pooling is a global one here, equal at its native
size; its evaluation mode averages softmax probabilities over larger maps, ours returns logits.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.backbone import Backbone

STAGE_SIZES = {"10": (1, 1, 1, 1), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}
# How many blocks of a stage have a temporal kernel, at most: the 101 keeps the 50's number.
TEMPORAL_BLOCKS = (3, 4, 6, 3)
# Temporal kernels of the stem and of the stages
STEM_TIME = {"slow": 1, "fast": 5}
STAGE_TIME = {"slow": (1, 1, 3, 3), "fast": (3, 3, 3, 3)}
PREFIX = {"slow": "", "fast": "fast/"}  # of the names of intermediates
EXPANSION = 4


def slow_frames(frames: int, alpha: int) -> list[int]:
    """Which frames the slow pathway sees: `linspace(0, T - 1, T / alpha)` without fractions.

    Not every alpha-th frame: the last one is among them. In float32 and from both ends, as
    PyTorch computes it: other roundings give another frame at some lengths (160 frames, alpha 4).
    """
    n = frames // alpha
    if n == 1:
        return [0]
    last = np.float32(frames - 1)
    step = last / np.float32(n - 1)
    i = np.arange(n, dtype=np.float32)
    at = np.where(i < n // 2, step * i, last - step * (np.float32(n - 1) - i))
    return [int(v) for v in at]


class Bottleneck(nn.Module):
    """kx1x1, 1x3x3 with the stride, 1x1x1, and a shortcut."""

    planes: int
    time: int  # temporal kernel
    stride: int  # over height and width
    norm: Any
    last_norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T h w O"]:
        conv = functools.partial(layers.Conv3D, dtype=self.dtype)
        width, strides = self.planes * EXPANSION, (1, self.stride, self.stride)
        y = conv(self.planes, (self.time, 1, 1), name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y, train=train))
        y = conv(self.planes, (1, 3, 3), strides, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y, train=train))
        y = conv(width, (1, 1, 1), name="conv3")(y)
        y = self.last_norm(name="bn3")(y, train=train)
        if self.stride != 1 or x.shape[-1] != width:
            x = conv(width, (1, 1, 1), strides, name="shortcut")(x)
            x = self.norm(name="shortcut_bn")(x, train=train)
        return nn.relu(x + y)


class SlowFast(Backbone):
    """SlowFast; `variant` is the depth, "50", "101" or "10" (tiny). The video is the fast clip.

    Its frames must be a multiple of `alpha`. `frames`, if given, is the only length it takes.
    `zero_init`: every block starts as its shortcut (batch norm scales of `bn3` are 0).

    `out`: the slow pathway's `stem` (after pooling), `stage{1-4}/{i}`, `features` (the last map);
    the fast one's under `fast/`; `fuse{1-4}` (slow and lateral channels); `pre_logits` (`[B, E]`,
    both pathways' means, slow first). With `num_classes=None` the first result is `pre_logits`.
    """

    variant: str = "50"
    width: int = 64
    alpha: int = 8
    beta_inv: int = 8
    fusion_kernel: int = 5
    fusion_ratio: int = 2  # lateral channels for each fast channel
    frames: int | None = None
    zero_init: bool = True
    dropout: float = 0.5

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        length = video.shape[1]
        if length % self.alpha or length != (self.frames or length):
            wanted = self.frames or f"a multiple of alpha={self.alpha}"
            raise UserError(
                f"SlowFast's clips must have {wanted} frames, found {length}: set data.frames"
            )
        sizes = layers.chosen("variant", self.variant, STAGE_SIZES)
        dtype, norm = self.dtype, self.norm()
        init = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        last_norm = functools.partial(norm, scale_init=init)
        block = self.repeated(Bottleneck)
        out: dict[str, Array] = {}

        def stem(x: Array, path: str, width: int, time: int) -> Array:
            conv = layers.Conv3D(width, (time, 7, 7), (1, 2, 2), dtype=dtype, name=f"{path}_stem")
            x = nn.relu(norm(name=f"{path}_stem_bn")(conv(x), train=train))
            return layers.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))

        def fuse(slow: Array, fast: Array, i: int) -> Array:
            lateral = layers.Conv3D(
                fast.shape[-1] * self.fusion_ratio,
                (self.fusion_kernel, 1, 1),
                (self.alpha, 1, 1),
                dtype=dtype,
                name=f"fuse{i}",
            )(fast)
            lateral = nn.relu(norm(name=f"fuse{i}_bn")(lateral, train=train))
            return jnp.concatenate([slow, lateral], axis=-1)

        video = video.astype(dtype)
        slow = video[:, np.array(slow_frames(length, self.alpha))]
        widths = {"slow": self.width, "fast": self.width // self.beta_inv}
        maps = {
            "slow": stem(slow, "slow", widths["slow"], STEM_TIME["slow"]),
            "fast": stem(video, "fast", widths["fast"], STEM_TIME["fast"]),
        }
        out["stem"], out["fast/stem"] = maps["slow"], maps["fast"]
        for s, blocks in enumerate(sizes):
            maps["slow"] = out[f"fuse{s + 1}"] = fuse(maps["slow"], maps["fast"], s + 1)
            for path, width in widths.items():
                for i in range(blocks):
                    time = STAGE_TIME[path][s] if i < TEMPORAL_BLOCKS[s] else 1
                    stride = 2 if s and i == 0 else 1
                    name = f"{path}_stage{s + 1}_{i}"
                    unit = block(width * 2**s, time, stride, norm, last_norm, dtype, name=name)
                    maps[path] = unit(maps[path], train)
                    out[PREFIX[path] + f"stage{s + 1}/{i}"] = maps[path]
        out["features"], out["fast/features"] = maps["slow"], maps["fast"]
        means = [x.astype(jnp.float32).mean((1, 2, 3)) for x in maps.values()]
        x = out["pre_logits"] = jnp.concatenate(means, axis=-1)
        if self.num_classes is None:
            return x, out
        x = self.dropped(x, self.dropout, train)
        init = nn.initializers.normal(0.01)  # PySlowFast's FC_INIT_STD
        return nn.Dense(self.num_classes, kernel_init=init, name="head")(x), out
