"""An enhancer alone, without labels: Zero-DCE, DTCM's light net, SCI.

`objective`: "zero_dce" -> `enhance_losses.zero_dce` (Guo et al. 2020, Eq. 8); "dtcm" ->
`w_stc * spatio_temporal_consistency + dark_enhancement` (Tu et al. 2023, Eq. 4 and 5): the first
of DTCM's two stages (Table VI); "sci" -> `sci_losses.total` (Ma et al. 2022, Eq. 5).

`predict` gives enhanced clips instead of logits: the method does not classify.

Deviations (field -> our choice):
- Zero-DCE's paper and code differ in every term: `loss_form`, see `enhance_losses`;
- DTCM says neither how long nor on what its first stage is trained: `epochs`, the training clips;
- Zero-DCE and SCI were trained by Adam whose decay joins the gradient (L2): `optim.name` "adam" is
  that; the default "adamw" decays the weights themselves, by `optim.lr` times `optim.weight_decay`;
- Zero-DCE's code resizes whole pictures to 256x256; here windows of half to all of a picture's area
  and of other shapes are resized to that (`data.crop` "resized", `data.scale`; (1.0, 1.0) takes
  the largest ones) and mirrored half of the time (`augment.flip.p`);
- SCI's code trains 1000 epochs, here `epochs` 200; one picture at a time as there (`batch_size`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from darkjax import losses, models
from darkjax.errors import UserError
from darkjax.losses import enhancement as enhance_losses
from darkjax.losses import sci as sci_losses
from darkjax.methods import base

OBJECTIVES = ("zero_dce", "dtcm", "sci")


@dataclasses.dataclass(frozen=True, eq=False)
class Enhancer(base.Method):
    """Fields used: objective, loss_form, w_stc, w_col, w_tv, exposure, augment, freeze."""

    net: nn.Module
    judge: ClassVar[str] = "frames"

    def init(self, rng, batch):
        return dict(self.net.init(rng, base.colours(base.to_float(batch["video"])), train=False))

    def loss(self, variables, batch, rng, progress):
        del progress
        video, _ = base.augmented(self.config, batch, self.spec.num_classes, rng)
        video = base.colours(video)
        (enhanced, out), new = self.net.apply(variables, video, train=True, mutable=["batch_stats"])

        def mean(values):  # [B] or [B, T]
            return losses.masked_mean(values.reshape(len(video), -1).mean(1), batch["mask"])

        consistency = mean(enhance_losses.spatio_temporal_consistency(enhanced, video))
        metrics = {"inconsistency": consistency, "brightness": mean(enhanced.mean((2, 3, 4)))}
        value = mean(self.objective(enhanced, video, out))
        if self.config.objective == "dtcm":
            value = self.config.w_stc * consistency + value
        return value, base.Aux(metrics, dict(new))

    def objective(self, enhanced: Array, video: Array, out: dict[str, Array]) -> Array:
        """The loss of each clip `[B]` or frame `[B, T]`; of DTCM's, all but the consistency."""
        config = self.config
        if config.objective == "dtcm":
            return darkness(config, enhanced, out["curves"])
        if config.objective == "zero_dce":
            # Frames that share curves, k of them, share their smoothness.
            shared = jnp.repeat(out["curves"], self.net.k, axis=1)[:, : video.shape[1]]
            return enhance_losses.zero_dce(enhanced, video, shared, form=config.loss_form)
        stages = sum(name.endswith("/input") for name in out)
        pairs = [(out[f"stage{i}/input"], out[f"stage{i}/illumination"]) for i in range(stages)]
        return sci_losses.total(pairs)

    def predict(self, variables, batch):
        return self.net.apply(variables, base.colours(base.to_float(batch["video"])), train=False)


def darkness(config: Any, enhanced: Array, curves: Array) -> Array:
    """DTCM's Eq. 5 of each clip `[B]`, with the weights of a stage's section."""
    return enhance_losses.dark_enhancement(
        enhanced,
        curves,
        colour_weight=config.w_col,
        smooth_weight=config.w_tv,
        level=config.exposure,
        form=config.loss_form,
    )


def make(config: Any, spec: base.Spec) -> Enhancer:
    """Also reads `enhancer`, `dtype`, `bn_group`."""
    if config.objective not in OBJECTIVES:
        raise UserError(f"objective={config.objective!r} is not one of {', '.join(OBJECTIVES)}")
    if (config.objective == "sci") != (config.enhancer.name == "sci"):
        raise UserError(
            f"objective={config.objective!r} does not fit enhancer.name={config.enhancer.name!r}: "
            "SCI has its own loss, curves the others"
        )
    net = models.build(
        config.enhancer,
        None,
        section="enhancer",
        dtype=jnp.dtype(config.dtype),
        bn_group=config.bn_group,
    )
    return Enhancer(config, spec, net)
