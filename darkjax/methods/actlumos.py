"""ActLumos: a teacher that sees a dark clip enhanced as well, a student that sees it dark [Dass et
al. 2025, arXiv 2502.03724 version 2, "Seeing in the Dark: A Teacher-Student Framework for Dark
Video Action Recognition via Knowledge Distillation and Contrastive Learning"].

Of the paper its abstract and the figures of its released page are known, no equation and no
hyper-parameter. Teacher: the dark clip and a Retinex-enhanced one go through one R(2+1)D-34
(`models.views_bert`); supervised contrast of the features of both -> `losses.supcon`; dynamic
feature fusion -> `models.stream_fusion`; BERT over time, classifier; L_CE + lambda_sup L_SupCon ->
the value of `loss` with `supcon.weight`. Student, after `methods.contrastive` on clips without
labels: the same without fusion on the dark clip alone; L_CE + lambda_kd L_KD ->
`distill.weight` and `losses.knowledge_distillation`. Both are this one method: a stage has a
teacher where `distill.weight` is not 0 and a contrast where `supcon.weight` is not. MD-BERT
(version 1 of the paper) is a teacher of three views without contrast, `md_bert` of
`configs/actlumos_arid.py`.

Deviations (the paper's text is not to be had; every value here is our choice; field -> value):
- which Retinex: multi-scale retinex of each frame (`views`, "msr"); any of `ops.enhance`;
- lambda_sup: `supcon.weight` 0.5; its temperature: `supcon.temperature` 0.1;
- what is contrasted: the mean of each view's last map, before fusion, through a projection of two
  layers (`supcon.projection` (512, 128)), between all views of the batch;
- lambda_kd: `distill.weight` 1; temperature: `distill.temperature` 4, the loss times its square;
  on logits (so the figure); clips without a label follow the teacher too;
- the teacher sees the student's clip after its augmentation, and is evaluated, not trained;
- fusion: kernels and reduction in `models.stream_fusion`; BERT and its dropout: DarkLight's
  (`model.dropout` 0.8, `model.mask_prob` 1);
- what self-supervision trains: the student's whole network but its classifier, so BERT too;
- contrast without labels: `methods.contrastive`;
- frames, their size and number, crops, optimiser, rates, epochs, batches: DarkLight's clips (64
  frames of 112x112), AdamW 1e-4, cosine, 50 epochs of batches of 32 (`data`, `optim`, `epochs`);
- normalisation: each view as the weights expect (`mean`, `std`; the teacher's `teacher_mean`,
  `teacher_std`);
- one gamma, 2.5, for a view "gamma" of student and teacher: `gamma` (MD-BERT's figure);
- cutmix would give a clip two classes: refused beside the contrast.

`configs/actlumos_arid.py:demo` and `:arid6` change more, for small networks that begin from
nothing: widths, clips, rates, epochs, label smoothing 0.1, the last checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array

from darkjax import losses
from darkjax.errors import UserError
from darkjax.methods import base, darklight
from darkjax.models.projection import Projection
from darkjax.models.views_bert import VIEWS

# `mean` and `std` are those of the shared network's weights, `teacher_mean` of the teacher's.
SEES = {"": "backbone/", "teacher_": "teacher/"}
BESIDE = ("projection", "teacher")  # subtrees beside the network's own


@dataclasses.dataclass(frozen=True, eq=False)
class ActLumos(darklight.DarkLight):
    """Fields used: supcon, distill, and those of `DarkLight`.

    The network's own params stand at the top, as those of `DarkLight`; beside them `projection`
    and the frozen `teacher`, each where there is one.
    """

    projection: Projection | None
    teacher: darklight.DarkLight | None

    @property
    def frozen(self):
        return (*super().frozen, *((r"teacher/.*",) if self.teacher is not None else ()))

    def init(self, rng, batch):
        video = base.to_float(batch["video"])
        variables = dict(self.model.init(rng, *self.views(video), train=False))
        if self.projection is not None:
            _, out = self.model.apply(variables, *self.views(video), train=False)
            head = self.projection.init(jax.random.fold_in(rng, 1), self.contrasted(out))
            variables["params"] = {**variables["params"], "projection": head["params"]}
        if self.teacher is not None:
            for kind, value in self.teacher.init(jax.random.fold_in(rng, 2), batch).items():
                variables[kind] = {**variables.get(kind, {}), "teacher": value}
        return variables

    def contrasted(self, out: Mapping[str, Array]) -> Array:
        """What the network saw of each view, `[B, V, E]`, before anything is fused."""
        names = [f"{view}/pre_logits" for view in VIEWS[len(self.config.views)]]
        missing = [name for name in names if name not in out]
        if missing:
            raise UserError(
                f"supcon.weight={self.config.supcon.weight}: the contrast needs {missing[0]!r}, "
                f"and model {self.config.model.name!r} gives none: take views_bert, or a weight "
                "of 0"
            )
        return jnp.stack([out[name] for name in names], axis=1)

    def loss(self, variables, batch, rng, progress):
        del progress
        config = self.config
        video, target = base.augmented(config, batch, self.spec.num_classes, rng)
        value, metrics, new, logits, out = self.answered(_own(variables), batch, video, target, rng)
        if self.projection is not None:
            head = {"params": variables["params"]["projection"]}
            features = self.projection.apply(head, self.contrasted(out))  # B V D
            known = base.labelled(batch)
            apart = losses.supcon(features, batch["label"], config.supcon.temperature, mask=known)
            metrics["supcon"] = losses.masked_mean(apart, known)
            value = value + config.supcon.weight * metrics["supcon"]
        if self.teacher is not None:
            told, _ = self.teacher.model.apply(
                _of_teacher(variables), *self.teacher.views(video), train=False
            )
            far = losses.knowledge_distillation(logits, told, config.distill.temperature)
            metrics["distill"] = losses.masked_mean(far, batch["mask"])
            value = value + config.distill.weight * metrics["distill"]
        stats = {**variables.get("batch_stats", {}), **new.get("batch_stats", {})}
        return value, base.Aux(metrics, {"batch_stats": stats} if stats else {})

    def predict(self, variables, batch):
        return super().predict(_own(variables), batch)


def make(config: Any, spec: base.Spec) -> ActLumos:
    """Also reads `model`, `dtype`, `bn_group`; of a student `teacher` (a model's section) and
    `teacher_views`, `teacher_mean`, `teacher_std`, which are as the teacher's stage has them."""
    cutmix = config.augment.get("cutmix", {}).get("p", 0)
    if config.supcon.weight and cutmix:
        raise UserError(
            f"augment.cutmix.p={cutmix}: a clip mixed from two has no class to be contrasted by: "
            "set it to 0, or supcon.weight"
        )
    net = darklight.make(config, spec)
    projection = Projection(*config.supcon.projection) if config.supcon.weight else None
    teacher = None
    if config.distill.weight:
        if "teacher" not in config:
            raise UserError(
                f"distill.weight={config.distill.weight}: the stage has no section `teacher` that "
                "says whom to follow: take the config's student, or a weight of 0"
            )
        section = {"model": config.teacher, "gamma": config.gamma}
        section |= {k: config[f"teacher_{k}"] for k in ("views", "mean", "std")}
        section |= {k: config[k] for k in ("dtype", "bn_group")}
        teacher = darklight.make(ml_collections.ConfigDict(section), spec)
    return ActLumos(config, spec, net.model, projection, teacher)


def _own(variables: base.Variables) -> base.Variables:
    """The variables of the network itself."""
    return {
        kind: {name: part for name, part in value.items() if name not in BESIDE}
        for kind, value in variables.items()
    }


def _of_teacher(variables: base.Variables) -> base.Variables:
    return {kind: value["teacher"] for kind, value in variables.items() if "teacher" in value}
