"""Zero-DCE [Guo et al. 2020, arXiv 2001.06826] and the light one of DTCM [Tu et al. 2023, III-D].

Both look at a frame and give curves (`darkjax.ops.curves`) that brighten it. Zero-DCE is seven
3x3 convolutions with symmetric skips (paper Fig. 2, Section 3.2): 79,416 parameters. The light net
(DTCM Fig. 3) has ShuffleNetV2 units [Ma et al. 2018, arXiv 1807.11164, Fig. 3] between the first
and the last: 22,968 parameters, with batch norm 23,768.

DTCM shares curves between frames (Eq. 8-11): with `k` above 1 the input is clips, and the middle
frame of each group of k speaks for the group.

Deviations:
- Curves have the released code's sign, not the paper's: see `darkjax.ops.curves`.
- DTCM's text counts the light net without batch norm (22.97K), its Table IX with it (23.77K);
  `bn` chooses, the default is the table's. Which convolutions have a bias, and that Fig. 3's
  down-sampling units have stride 1, follows from the two counts.
- Where the light units have ReLU is not printed: as in ShuffleNetV2, after the pointwise ones.
- The light net's first weights are not printed: He's, and 0.0005 in the last layer, so that
  training begins near the identity. (With Zero-DCE's 0.02 behind He's features curves begin rough,
  and a large step saturates them: smooth, and of no use.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.framewise import Conv2D, Enhanced, Frames, as_clips, like
from darkjax.ops import curves as ops

SMALL = nn.initializers.normal(0.02)
NEAR_ZERO = nn.initializers.normal(0.0005)


class ZeroDCE(nn.Module):
    """Zero-DCE: frames `[*B, H, W, C]` in [0, 1] -> (enhanced, `out`), both float32.

    With `k` above 1 frames are clips `[*B, T, H, W, C]`. `out`: `curves` (`[*B, H, W, n C]`, with
    `k` above 1 `[*B, G, H, W, n C]` for G groups), `enhanced_1` ... `enhanced_n`.
    """

    iterations: int = 8
    width: int = 32
    k: int = 1
    remat: bool = False
    dtype: Any = jnp.float32
    last_init: Any = SMALL

    def __call__(self, frames: Frames, *, train: bool) -> Enhanced:
        def estimate(net: ZeroDCE, keys: Array) -> Array:
            return net.curves(keys, train=train)

        if self.remat:
            estimate = nn.remat(estimate)
        frames = frames.astype(jnp.float32)
        if self.k == 1:
            curves = estimate(self, frames)
            steps = ops.steps(frames, curves)
        else:
            if frames.ndim < 4:
                raise UserError(
                    f"k={self.k} needs clips [T, H, W, C], found {frames.shape}: give k=1"
                )
            keys = jnp.asarray(ops.key_frames(frames.shape[-4], self.k))
            curves = estimate(self, jnp.take(frames, keys, axis=-4))
            steps = ops.shared_steps(frames, curves, self.k)
        out = {"curves": curves}
        out |= {f"enhanced_{i}": x for i, x in enumerate(steps, start=1)}
        return steps[-1], out

    @nn.compact
    def curves(self, frames: Float[Array, "*B H W C"], *, train: bool) -> Float[Array, "*B H W nC"]:
        """r_1 ... r_n of every frame, in (-1, 1)."""
        del train
        conv = functools.partial(Conv2D, init=SMALL, dtype=self.dtype)

        def layer(i: int, x: Array) -> Array:
            return nn.relu(conv(self.width, name=f"conv{i}")(x))

        return self._skips(frames, conv, layer)

    def _skips(
        self, frames: Array, conv: Callable[..., nn.Module], layer: Callable[[int, Array], Array]
    ) -> Array:
        """First and last layer around layers 2 to 6, with skips from 3 to 5, 2 to 6 and 1 to 7.

        The earlier map comes first where two are joined.
        """
        x1 = nn.relu(conv(self.width, name="conv1")(as_clips(frames, self.dtype)))
        x2 = layer(2, x1)
        x3 = layer(3, x2)
        x4 = layer(4, x3)
        x5 = layer(5, jnp.concatenate([x3, x4], axis=-1))
        x6 = layer(6, jnp.concatenate([x2, x5], axis=-1))
        last = conv(self.iterations * frames.shape[-1], init=self.last_init, name="conv7")
        x7 = last(jnp.concatenate([x1, x6], axis=-1))
        return like(jnp.tanh(x7.astype(jnp.float32)), frames)


class ZeroDCELight(ZeroDCE):
    """DTCM's light net; `bn` puts batch norm after every convolution of the units."""

    bn: bool = True
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    bn_group: int = 0
    last_init: Any = NEAR_ZERO

    @nn.compact
    def curves(self, frames: Float[Array, "*B H W C"], *, train: bool) -> Float[Array, "*B H W nC"]:
        """r_1 ... r_n of every frame, in (-1, 1)."""
        norm: Any = None
        if self.bn:
            norm = functools.partial(
                layers.BatchNorm, self.bn_momentum, self.bn_eps, self.bn_group, dtype=self.dtype
            )

        def layer(i: int, x: Array) -> Array:
            return Unit(self.width, norm, self.dtype, name=f"unit{i}")(x, train)

        return self._skips(frames, functools.partial(Conv2D, dtype=self.dtype), layer)


class Unit(nn.Module):
    """ShuffleNetV2's unit: (c) of its Fig. 3 for as many inputs as features, else (d) at stride 1.

    Only the depthwise convolutions have a bias (it is in the printed counts, even before norm).
    """

    features: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T H W O"]:
        half = self.features // 2

        def pointwise(x: Array, name: str) -> Array:
            x = Conv2D(half, 1, use_bias=False, dtype=self.dtype, name=name)(x)
            return nn.relu(normed(x, name))

        def depthwise(x: Array, name: str) -> Array:
            c = x.shape[-1]
            return normed(Conv2D(c, 3, groups=c, dtype=self.dtype, name=name)(x), name)

        def normed(x: Array, name: str) -> Array:
            if self.norm is None:
                return x
            return self.norm(name=name.replace("conv", "bn"))(x, train=train)

        if x.shape[-1] == self.features:
            passed, y = jnp.split(x, 2, axis=-1)
        else:
            y = x
            passed = pointwise(depthwise(x, "shortcut_conv1"), "shortcut_conv2")
        y = pointwise(depthwise(pointwise(y, "conv1"), "conv2"), "conv3")
        # Channel shuffle of two groups: one from each half in turn.
        y = jnp.stack([passed, y], axis=-1)
        return y.reshape(*y.shape[:-2], self.features)
