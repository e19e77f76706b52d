"""LIFT-Net's student stage [Susladkar et al., "LIFT-Net", Section IV, Figure 4].

Eq. 5 (cross entropy) -> `losses.soft_cross_entropy`; Eq. 6 (cross entropy + sum |h1 - h2|)
-> `losses.l1_distillation`. The teacher stage is `supervised` on gamma-corrected clips; its
weights start the student's 3-D network and give h1.

Deviations (the paper is silent or contradicts itself; field -> our choice):
- widths, heads, MLP ratio of critic and LIFT: `model.width` 768, `model.heads` 8, `mlp_ratio` 4;
- where the critic's GELU sits ("MLP, GeLU, LN"): inside the MLP, between its two layers;
- token grid after the adaptive pooling: `model.tokens` (4, 7, 7);
- how an MLP acts on the complex spectrum of Eq. 3: a real MLP on [Re, Im] (`FourierEnhancement`),
  `model.foe_ratio` 1; the real part is kept after Eq. 4;
- Eq. 1 divides by the square root of the number of heads; `model.fusion_scale` ("heads" as
  printed, "head_dim" as in Vaswani et al.);
- shared or separate weights over the N repetitions: `model.share_repeats` False; repetition n + 1
  takes the FoE output as its main stream and the critic output as its luminous stream;
- tokens to one vector before the head: their mean;
- "MLP" where nothing more is said is one linear layer: after the PViT (III-C), and the two of the
  head around its GELU and batch norm; the pooled 3-D features reach the critic's width through
  one more (`luminous_tokens`), which the paper does not mention;
- the patch embedding, positions and class token of a "first block free" PViT: frozen with the
  other blocks (`pvit_freeze`: "first_free", "all_frozen", "all_free"). What is frozen must come
  from weights (`init_from`), or the run stops (`allow_random_frozen`);
- h1, h2 of Eq. 6: the paper applies the softmax to them directly, which reads as the logits, and
  calls them "hidden representations" and "feature map", which does not. `distill.on` "pre_logits"
  (ours: the vectors into the last layer; needs `model.head_width` equal to the teacher's width)
  or "logits"; `distill.weight` 1 (none is printed), the sum is over components, the mean over the
  batch;
- "shares its weight with the teacher": copied at the start, then trained; with
  `luminous_frozen` the student's 3-D network stays the teacher's for good and is computed once;
- clips: 30 frames of 224x224 are the paper's, how they are cut out is not said: random resized
  crops of 70 to 100 % of the window (`data.crop`, `data.scale`), consecutive frames
  (`data.stride` 1), judged on one centre crop of the middle (`data.views_*`);
- which optical flow, where that is the luminous input: Brox et al. (`flow_method`), of dark clips
  after gamma correction (`flow_enhance`), clipped at `flow_bound` 15 pixels, as the three channels
  of `ops.flow_image`;
- gamma: `gamma` 1.8; strengths of the augmentations: `augment`;
- epochs: 50 for each stage (`epochs`); AdamW's weight decay 0.01 and betas, no warm-up, the cosine
  to 0: `optim`; the checkpoint that is judged: the best on the judged split (`keep_best`);
- batch norm over the whole batch of 32, the paper's two GPUs had 16 each (`bn_group`);
- which ImageNet-21k ViT: Google's, with biases and inputs in [-1, 1] (`mean`, `std` 0.5,
  `model.pvit`), though the paper cites MIIL's (no biases, inputs in [0, 1]); which IG-65M file:
  any fits; R3D of Table VI starts from Kinetics (`published`).

The words `demo` and `arid6` change more, so that two CPU cores learn something without published
weights: small widths, N = 2, short clips of small frames; `distill.weight` 0.01; the 3-D network
frozen once the teacher has it (`luminous_frozen`) and every PViT block free; no colour jitter (but
for the demo's teacher), optical or elastic distortion, rain, frame shuffle or cutmix; gamma 2.5,
each clip normalised by itself, label smoothing 0.1, rate 3e-3 with a warm-up, weight decay 0.05,
other epochs and batches; the last checkpoint is judged, on three crops.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from darkjax import losses, models
from darkjax.errors import UserError
from darkjax.methods import base

# Fields that begin with the key are those of the weights of the value (`weights.preprocess`).
SEES = {"": "student/pvit/", "luminous_": "student/luminous/"}
PVIT_FREEZE = {
    "first_free": (r"student/pvit/vit/(?!block0/).*",),
    "all_frozen": (r"student/pvit/vit/.*",),
    "all_free": (),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Lift(base.Method):
    """Fields used: distill, luminous_*, gamma, mean, std, pvit_freeze, augment, label_smoothing.

    `teacher` is None without distillation.
    """

    student: nn.Module
    teacher: nn.Module | None

    @property
    def frozen(self):
        net = (r"student/luminous/.*",) if self.config.luminous_frozen else ()
        return (*self.config.freeze, *PVIT_FREEZE[self.config.pvit_freeze], r"teacher/.*", *net)

    def views(self, video: Array) -> tuple[Array, Array]:
        """Clips in [0, 1] as what each pathway expects."""
        config = self.config
        main = base.normalise(base.colours(video), config.mean, config.std)
        bright = base.luminous_view(config, video)
        return main, base.normalise(bright, config.luminous_mean, config.luminous_std)

    def init(self, rng, batch):
        main, bright = self.views(base.to_float(batch["video"]))
        s = self.student.init(rng, main, bright, train=False)
        variables = {key: {"student": value} for key, value in s.items()}
        if self.teacher is not None:
            t = self.teacher.init(jax.random.fold_in(rng, 1), bright, train=False)
            if self.config.luminous_frozen:
                # The student's 3-D network is the teacher's: only its head is apart.
                variables["params"]["teacher"] = {"head": t["params"]["head"]}
            else:
                for key, value in t.items():
                    variables[key]["teacher"] = value
        return variables

    def teacher_hidden(self, variables: base.Variables, bright: Array, out: Any) -> Array:
        """h1 of Eq. 6, `[B, E]` or `[B, K]`."""
        if self.config.luminous_frozen:
            hidden = out["luminous/pre_logits"]
            head = variables["params"]["teacher"]["head"]
            logits = hidden @ head["kernel"] + head["bias"]
        else:
            assert self.teacher is not None  # only asked where there is one
            logits, t_out = self.teacher.apply(_part(variables, "teacher"), bright, train=False)
            hidden = t_out["pre_logits"]
        return logits if self.config.distill.on == "logits" else hidden

    def loss(self, variables, batch, rng, progress):
        del progress
        config = self.config
        video, target = base.augmented(config, batch, self.spec.num_classes, rng)
        main, bright = self.views(video)
        (logits, out), new = self.student.apply(
            _part(variables, "student"),
            main,
            bright,
            train=True,
            luminous_train=not config.luminous_frozen,
            mutable=["batch_stats"],
        )
        known = base.labelled(batch)
        ce = losses.masked_mean(losses.soft_cross_entropy(logits, target), known)
        right = losses.masked_mean(base.accuracy(logits, batch["label"]), known)
        metrics = {"ce": ce, "accuracy": right}
        value = ce
        if self.teacher is not None:
            h1 = self.teacher_hidden(variables, bright, out)
            h2 = logits if config.distill.on == "logits" else out["pre_logits"]
            if h1.shape != h2.shape:
                raise UserError(
                    f"distillation compares {h1.shape[-1]} teacher with {h2.shape[-1]} student "
                    f"numbers: set model.head_width={h1.shape[-1]} or distill.on='logits'"
                )
            metrics["distill"] = losses.masked_mean(losses.l1_distillation(h2, h1), batch["mask"])
            value = ce + config.distill.weight * metrics["distill"]
        stats = {**variables["batch_stats"], "student": new["batch_stats"]}
        return value, base.Aux(metrics, {"batch_stats": stats})

    def predict(self, variables, batch):
        main, bright = self.views(base.to_float(batch["video"]))
        return self.student.apply(_part(variables, "student"), main, bright, train=False)

    def look(self, batch, out):
        video = base.luminous_view(self.config, base.to_float(batch["video"]))
        patch = self.config.model.pvit.get("patch", 16)
        _, frames, height, width, _ = batch["video"].shape
        return base.Look(video, attention(out, frames, (height // patch, width // patch)))


def make(config: Any, spec: base.Spec) -> Lift:
    """Also reads `model`, `freeze`, `dtype`, `bn_group`."""
    if config.pvit_freeze not in PVIT_FREEZE:
        raise UserError(
            f"pvit_freeze={config.pvit_freeze!r} is not one of {', '.join(PVIT_FREEZE)}"
        )
    if config.distill.on not in ("pre_logits", "logits"):
        raise UserError(f"distill.on={config.distill.on!r} is not 'pre_logits' or 'logits'")
    options = {"dtype": jnp.dtype(config.dtype), "bn_group": config.bn_group}
    student = models.build(config.model, spec.num_classes, **options)
    net = config.model.luminous_net
    _, fields = models.resolve(net, config.model.luminous, "model.luminous", "model.luminous_net")
    distils = config.distill.weight > 0
    section = {"name": net, **fields}
    teacher = models.build(section, spec.num_classes, **options) if distils else None
    return Lift(config, spec, student, teacher)


def attention(out: dict[str, jax.Array], frames: int, grid: tuple[int, int]) -> jax.Array:
    """Where the main stream looked, in space and time, `[B, T, *grid]` scaled to [0, 1] per clip.

    In space: the last PViT block's attention of the class token to the patches of each frame. In
    time: how much the first fusion module's queries attend to that frame. Means over heads.
    """
    last = max((k for k in out if re.fullmatch(r"pvit/block\d+/attention", k)), key=_number)
    patches = out[last].mean(1)[:, 0, 1:]  # B*T heads 1+P 1+P -> B*T P
    space = patches.reshape(-1, frames, *grid)
    time = out["fusion0/attention"].mean((1, 2))  # B heads S T -> B T
    seen = space * time[:, :, None, None]
    low, high = (f(seen, axis=(1, 2, 3), keepdims=True) for f in (jnp.min, jnp.max))
    return (seen - low) / jnp.maximum(high - low, 1e-12)


def _number(name: str) -> int:
    return int(name.removeprefix("pvit/block").split("/")[0])


def _part(variables: base.Variables, name: str) -> base.Variables:
    """The variables of one of the two networks."""
    return {key: value[name] for key, value in variables.items() if name in value}
