"""2-D ResNets on every frame: TSN, TSM, TIN.

`temporal="none"` is TSN [Wang et al. 2016, arXiv 1608.00859]: frames meet only in the average of
their logits. `"shift"` is TSM [Lin et al. 2019, arXiv 1811.08383]: before the first convolution
of every residual branch an eighth of the channels comes from the next frame and an eighth from
the previous one; no parameters. `"interlace"` is TIN [Shao et al. 2020, arXiv 2001.06499]: there a
quarter of the channels moves by learnt offsets, in four groups, with learnt weights per frame.

ResNet-50 with 11 classes: TSN and TSM 23,530,571 parameters; TIN at 8 frames 24,358,640 with 400
classes. TIN's offset network is as wide as the clip is long: its weights serve one T only.

Deviations: TIN's paper puts the offset into a bounded range without giving it; the released
code's 4 (sigmoid - 1/2) is taken, and its weights 2 sigmoid. Partial batch norm (statistics
frozen but the first) was off in the published Kinetics runs and is not offered.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.backbone import Backbone, places
from darkjax.ops import shift

STAGE_SIZES = {
    "14": (1, 1, 1, 1),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
}
EXPANSION = 4
TEMPORAL = ("none", "shift", "interlace")


class Interlace(nn.Module):
    """TIN's module: the first `C // div` channels move by learnt offsets.

    Two offsets in (-2, 2) frames and their negatives move four groups; two weights in (0, 2)
    for every frame scale groups 1 and 3, 2 and 4. Both are read from the channels' mean over space.
    At the start the offsets are half a frame. Float32, whatever the network's dtype.
    """

    div: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        b, frames, *_, channels = x.shape
        fold = channels // self.div
        if fold < 4 or fold % 4:
            raise UserError(
                f"the model's shift_div={self.div} leaves {fold} of {channels} channels to move in "
                "4 groups: choose another shift_div or width"
            )
        moving, still = x[..., :fold], x[..., fold:]
        pooled = moving.astype(jnp.float32).mean((2, 3))  # B T fold
        y = _conv1d(1, "offset_conv")(pooled)[..., 0]  # B T
        y = nn.relu(nn.Dense(frames, name="offset_fc1")(y))
        half = nn.initializers.constant(0.5108)  # 4 (sigmoid - 1/2) = 1/2
        y = nn.Dense(2, bias_init=half, name="offset_fc2")(y)
        offset = 4 * (nn.sigmoid(y) - 0.5)  # B 2
        weight = 2 * nn.sigmoid(_conv1d(2, "weight_conv")(pooled))  # B T 2
        moving = shift.interlace(moving, jnp.concatenate([offset, -offset], axis=-1))
        weight = jnp.repeat(jnp.tile(weight, (1, 1, 2)), fold // 4, axis=-1)  # B T fold
        moving = moving * weight.reshape(b, frames, 1, 1, fold).astype(x.dtype)
        return jnp.concatenate([moving, still], axis=-1)


def _conv1d(features: int, name: str) -> nn.Module:
    return nn.Conv(features, (3,), padding=((1, 1),), name=name)


class Block(nn.Module):
    """A bottleneck (1x1, 3x3, 1x1) whose residual branch may look at other frames."""

    planes: int
    stride: int
    temporal: str
    shift_div: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T h w O"]:
        width, s = self.planes * EXPANSION, self.stride
        y = x
        if self.temporal == "shift":
            y = shift.temporal_shift(x, self.shift_div)
        elif self.temporal == "interlace":
            y = Interlace(self.shift_div, name="interlace")(x)
        plan = [(self.planes, 1, 1), (self.planes, 3, s), (width, 1, 1)]
        for i, (features, k, stride) in enumerate(plan, start=1):
            conv = layers.Conv3D(
                features, (1, k, k), (1, stride, stride), dtype=self.dtype, name=f"conv{i}"
            )
            y = self.norm(name=f"bn{i}")(conv(y), train=train)
            y = nn.relu(y) if i < len(plan) else y
        if s != 1 or x.shape[-1] != width:
            x = layers.Conv3D(width, (1, 1, 1), (1, s, s), dtype=self.dtype, name="shortcut")(x)
            x = self.norm(name="shortcut_bn")(x, train=train)
        return nn.relu(x + y)


class ResNetFrames(Backbone):
    """A bottleneck ResNet per frame; `variant` is the depth, "14" (tiny) to "152".

    `temporal`: "none", "shift" or "interlace"; `shift_div`: 8 for TSM, 4 for TIN. From ResNet-101
    on TSM shifts in every second block only, as its release does. `dropout` acts on each
    frame's features before the classifier, where an rng "dropout" is given.

    `out`: `stem`, `stage{1-4}/{i}`, `features` (the last map), `frame_features` (`[B, T, E]`, the
    classifier's inputs), `frame_logits` (`[B, T, K]`), `pre_logits` (`[B, E]`, the mean of
    `frame_features`). The logits are the mean of the frames' logits.
    With `num_classes=None` the first result is `pre_logits`.
    """

    variant: str = "50"
    width: int = 64
    temporal: str = "none"
    shift_div: int = 8
    dropout: float = 0.5

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        sizes = layers.chosen("variant", self.variant, STAGE_SIZES)
        layers.chosen("temporal", self.temporal, dict.fromkeys(TEMPORAL))

        norm = self.norm()
        out = {}
        x = video.astype(self.dtype)
        x = layers.Conv3D(self.width, (1, 7, 7), (1, 2, 2), dtype=self.dtype, name="stem")(x)
        x = nn.relu(norm(name="stem_bn")(x, train=train))
        x = out["stem"] = layers.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        block = self.repeated(Block)
        every = 2 if self.temporal == "shift" and sizes[2] >= 23 else 1
        for stage, i, stride in places(sizes):
            planes, name = self.width * 2 ** (stage - 1), f"stage{stage}_{i}"
            temporal = "none" if i % every else self.temporal
            x = block(planes, stride, temporal, self.shift_div, norm, self.dtype, name=name)(
                x, train
            )
            out[f"stage{stage}/{i}"] = x
        out["features"] = x
        frames = out["frame_features"] = x.astype(jnp.float32).mean((2, 3))  # B T E
        x = out["pre_logits"] = frames.mean(1)
        if self.num_classes is None:
            return x, out
        frames = self.dropped(frames, self.dropout, train)
        init = nn.initializers.normal(0.001)
        logits = nn.Dense(self.num_classes, kernel_init=init, name="head")(frames)
        out["frame_logits"] = logits
        return logits.mean(1), out
