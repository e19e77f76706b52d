"""DTCM: enhancer and classifier trained as one [Tu et al. 2023, "Dark Temporal Consistency Model"].

Eq. 1-2 -> `enhance_losses.spatial_consistency`; Eq. 3 -> `temporal_consistency`; Eq. 4, their sum
-> `spatio_temporal_consistency`; Eq. 5 -> `dark_enhancement`; Eq. 6 ->
`losses.soft_cross_entropy`; Eq. 7 -> the value of `loss`; Eq. 8-11 (curves of the middle frame
shared by k frames) -> field `k` of the enhancer, `ops.curves`.

The three trainings of Table VI: `objective="total"` (Eq. 7), `objective="recognition"` (Eq. 6
alone), and two stages: `enhancer_frozen=True` with `objective="recognition"` and an enhancer from
`init_from`.

Deviations (the paper is silent; field -> our choice):
- normalisation between enhancer and classifier: `mean`, `std`, in [0, 1]; "weights" is what the
  classifier's weights expect (`darkjax.weights.preprocess`), without weights each enhanced clip's
  own mean and deviation;
- how the enhancer starts: as initialised, unless `init_from` gives its weights (the demo and the
  real clips, whose classifier begins from nothing, first train it alone for a few epochs);
- batch norm in the light network, its ReLUs: `darkjax.models.dce`;
- the frozen enhancer uses its running statistics;
- cutmix would join two clips under one set of curves: it is applied before the enhancer, as every
  augmentation, and is off by default;
- the schedule behind the "initial learning rate": `optim.schedule` "cosine", to 0 without warm-up;
  AdamW's decay: `optim.weight_decay` 0.01, on every parameter; no clipping (`optim.clip` 0);
- clips are mirrored half of the time: `augment.flip.p` 0.5 (the paper names the random crop alone);
- distance between the 64 frames: `data.stride` 1; frames of ARID are not stretched to 320x240:
  `--short_side=240` of the conversion keeps their shape;
- which epoch is judged: the one with the best top-1 of the split that is judged (`keep_best`; ""
  takes the last, as the small experiments do).

`configs/dtcm_arid.py:demo` and `:arid6` change more, for a small classifier that begins from
nothing: `alpha` 1, `label_smoothing` 0.1, `optim.weight_decay` 0.05, `optim.clip` 5, a tenth of the
rate for the enhancer (`optim.lr_scale`), `augment.affine`, and the enhancer alone first.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from darkjax import losses, models
from darkjax.errors import UserError
from darkjax.losses import enhancement as enhance_losses
from darkjax.methods import base
from darkjax.methods.enhancer import darkness

OBJECTIVES = ("total", "recognition")
SEES = {"": "classifier/"}  # `mean` and `std` are those of the classifier's weights


@dataclasses.dataclass(frozen=True, eq=False)
class DTCM(base.Method):
    """Fields used: enhancer_frozen, objective, alpha, w_stc, w_col, w_tv, exposure, loss_form,
    mean, std, augment, label_smoothing, freeze."""

    enhancer: nn.Module
    classifier: nn.Module

    @property
    def learns(self) -> bool:
        """Whether the enhancer is trained."""
        return not self.config.enhancer_frozen

    @property
    def frozen(self):
        return (*self.config.freeze, *(() if self.learns else (r"enhancer/.*",)))

    def init(self, rng, batch):
        video = base.colours(base.to_float(batch["video"]))
        e = self.enhancer.init(rng, video, train=False)
        view = base.normalise(video, self.config.mean, self.config.std)
        c = self.classifier.init(jax.random.fold_in(rng, 1), view, train=False)
        return {
            kind: {"enhancer": e.get(kind, {}), "classifier": c.get(kind, {})}
            for kind in ("params", "batch_stats")
        }

    def forward(self, variables: base.Variables, video: Array, train: bool, **rngs: Any) -> Any:
        """(logits, classifier's out, enhanced, enhancer's out, new statistics)."""
        kwargs: dict[str, Any] = {"mutable": ["batch_stats"]}
        (enhanced, seen), new_e = self.enhancer.apply(
            _part(variables, "enhancer"), video, train=train and self.learns, **kwargs
        )
        view = base.normalise(enhanced, self.config.mean, self.config.std)
        (logits, out), new_c = self.classifier.apply(
            _part(variables, "classifier"), view, train=train, **kwargs, **rngs
        )
        stats = {
            "enhancer": new_e.get("batch_stats", {}),
            "classifier": new_c.get("batch_stats", {}),
        }
        return logits, out, enhanced, seen, stats

    def loss(self, variables, batch, rng, progress):
        del progress
        config = self.config
        video, target = base.augmented(config, batch, self.spec.num_classes, rng)
        video = base.colours(video)
        rngs = {"dropout": base.dropout_key(rng)}
        logits, _, enhanced, seen, stats = self.forward(variables, video, True, rngs=rngs)

        def mean(values):
            return losses.masked_mean(values, batch["mask"])

        known = base.labelled(batch)
        ce = losses.masked_mean(losses.soft_cross_entropy(logits, target), known)
        right = losses.masked_mean(base.accuracy(logits, batch["label"]), known)
        metrics = {"ce": ce, "accuracy": right}
        value = ce
        if self.learns:
            consistency = mean(enhance_losses.spatio_temporal_consistency(enhanced, video))
            dark = mean(darkness(config, enhanced, seen["curves"]))
            metrics |= {"inconsistency": consistency, "dark": dark}
            if config.objective == "total":
                value = ce + config.alpha * (config.w_stc * consistency + dark)
        return value, base.Aux(metrics, {"batch_stats": stats})

    def predict(self, variables, batch):
        video = base.colours(base.to_float(batch["video"]))
        logits, out, enhanced, seen, _ = self.forward(variables, video, False)
        return logits, {**out, "enhanced": enhanced, "curves": seen["curves"]}

    def look(self, batch, out):
        return base.Look(out["enhanced"])


def make(config: Any, spec: base.Spec) -> DTCM:
    """Also reads `model`, `enhancer`, `dtype`, `bn_group`."""
    if config.objective not in OBJECTIVES:
        raise UserError(f"objective={config.objective!r} is not one of {', '.join(OBJECTIVES)}")
    options = {"dtype": jnp.dtype(config.dtype), "bn_group": config.bn_group}
    enhancer = models.build(config.enhancer, None, section="enhancer", **options)
    classifier = models.build(config.model, spec.num_classes, **options)
    return DTCM(config, spec, enhancer, classifier)


def _part(variables: base.Variables, name: str) -> base.Variables:
    """The variables of one of the two networks."""
    return {kind: value[name] for kind, value in variables.items()}
