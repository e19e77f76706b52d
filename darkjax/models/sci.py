"""SCI, self-calibrated illumination [Ma et al. 2022, arXiv 2204.10137].

Retinex: a frame is illumination times reflectance. A net of 258 parameters estimates the
illumination, the frame divided by it is the enhanced frame. Training unrolls the same net in
stages with a calibration net (5,619 parameters) between them (Section 3.1, 3.2), so that one pass
is enough afterwards.

Deviations from the paper, as the released code has them: stages divide the original frame, not
their own input; the illumination is clipped to [1e-4, 1], the reflectance to [0, 1].
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.models import layers
from darkjax.models.framewise import Conv2D, as_clips, like

SMALL = nn.initializers.normal(0.02)


def _near_one(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """N(1, 0.02), the code's first scale of batch norm."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


class SCI(nn.Module):
    """SCI: frames `[*B, H, W, 3]` in [0, 1] -> (enhanced, `out`), float32.

    `out`: `illumination`, `reflectance` (the enhanced frames); where the stages are run
    (`cascade`, by default while training) also `stage{i}/input`, `stage{i}/illumination`,
    `stage{i}/reflectance` from 0, which the loss compares. `stages=1` is the net of the test
    alone, without the calibration's parameters. `enhance_repeats` and `calibrate_repeats` are how
    often the residual block of each net is applied.
    """

    stages: int = 3
    enhance_repeats: int = 1
    calibrate_repeats: int = 3
    width: int = 16  # of the calibration net
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    bn_group: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, frames: Float[Array, "*B H W C"], *, train: bool, cascade: bool | None = None
    ) -> tuple[Float[Array, "*B H W C"], dict[str, Array]]:
        norm = functools.partial(
            layers.BatchNorm,
            self.bn_momentum,
            self.bn_eps,
            self.bn_group,
            scale_init=_near_one,
            dtype=self.dtype,
        )
        enhance = Enhance(self.enhance_repeats, norm, self.dtype, name="enhance")
        if cascade is None:
            cascade = train
        stages = self.stages if cascade or self.is_initializing() else 1
        calibrate = None
        if stages > 1:
            calibrate = Calibrate(
                self.calibrate_repeats, self.width, norm, self.dtype, name="calibrate"
            )
        clips = as_clips(frames, jnp.float32)
        x, out = clips, {}
        for i in range(stages):
            light = enhance(x, train)
            reflectance = jnp.clip(clips / light, 0.0, 1.0)
            if i == 0:
                out["illumination"] = like(light, frames)
                out["reflectance"] = like(reflectance, frames)
            if cascade:
                out[f"stage{i}/input"] = like(x, frames)
                out[f"stage{i}/illumination"] = like(light, frames)
                out[f"stage{i}/reflectance"] = like(reflectance, frames)
            if calibrate is not None and i + 1 < stages:
                x = clips + calibrate(reflectance, train)
        return out["reflectance"], out


class Enhance(nn.Module):
    """The illumination of a frame: the frame itself plus what the net adds, in [1e-4, 1]."""

    repeats: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T H W C"]:
        conv = functools.partial(Conv2D, init=SMALL, dtype=self.dtype)
        c = x.shape[-1]
        block, norm = conv(c, name="conv"), self.norm(name="bn")
        y = nn.relu(conv(c, name="first")(x))
        for _ in range(self.repeats):  # the same block each time
            y = y + nn.relu(norm(block(y), train=train))
        y = nn.sigmoid(conv(c, name="last")(y).astype(jnp.float32))
        return jnp.clip(y + x, 1e-4, 1.0)


class Calibrate(nn.Module):
    """What is added to the frame before the next stage: the reflectance less what it settles to."""

    repeats: int
    width: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T H W C"]:
        conv = functools.partial(Conv2D, init=SMALL, dtype=self.dtype)
        convs = [conv(self.width, name=f"conv{i}") for i in (1, 2)]
        norms = [self.norm(name=f"bn{i}") for i in (1, 2)]
        y = conv(self.width, name="first")(x)
        y = nn.relu(self.norm(name="first_bn")(y, train=train))
        for _ in range(self.repeats):  # the same block each time
            z = y
            for block, norm in zip(convs, norms, strict=True):
                z = nn.relu(norm(block(z), train=train))
            y = y + z
        return x - nn.sigmoid(conv(x.shape[-1], name="last")(y).astype(jnp.float32))
