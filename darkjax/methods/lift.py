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

import re
from typing import Any

import jax
import jax.numpy as jnp

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


def make(config: Any, num_classes: int) -> base.Method:
    """Fields: model, teacher_model, distill, luminous_*, gamma, mean, std, pvit_freeze, augment."""
    if config.pvit_freeze not in PVIT_FREEZE:
        raise UserError(
            f"pvit_freeze={config.pvit_freeze!r} is not one of {', '.join(PVIT_FREEZE)}"
        )
    if config.distill.on not in ("pre_logits", "logits"):
        raise UserError(f"distill.on={config.distill.on!r} is not 'pre_logits' or 'logits'")
    options = {"dtype": jnp.dtype(config.dtype), "bn_group": config.bn_group}
    student = models.build(config.model, num_classes, **options)
    distil = config.distill.weight > 0
    frozen_net = config.luminous_frozen
    net = config.model.luminous_net
    _, fields = models.resolve(net, config.model.luminous, "model.luminous", "model.luminous_net")
    teacher = models.build({"name": net, **fields}, num_classes, **options)

    def views(video):  # float in [0, 1] -> what each pathway expects
        main = base.normalise(video, config.mean, config.std)
        bright = base.luminous_view(config, video)
        return main, base.normalise(bright, config.luminous_mean, config.luminous_std)

    def init(rng, batch):
        main, bright = views(base.to_float(batch["video"]))
        s = student.init(rng, main, bright, train=False)
        variables = {key: {"student": value} for key, value in s.items()}
        if distil:
            t = teacher.init(jax.random.fold_in(rng, 1), bright, train=False)
            if frozen_net:  # the student's 3-D network is the teacher's: only its head is apart
                variables["params"]["teacher"] = {"head": t["params"]["head"]}
            else:
                for key, value in t.items():
                    variables[key]["teacher"] = value
        return variables

    def teacher_hidden(variables, bright, out):
        """h1 of Eq. 6, `[B, E]` or `[B, K]`."""
        if frozen_net:
            hidden = out["luminous/pre_logits"]
            head = variables["params"]["teacher"]["head"]
            logits = hidden @ head["kernel"] + head["bias"]
        else:
            logits, t_out = teacher.apply(_part(variables, "teacher"), bright, train=False)
            hidden = t_out["pre_logits"]
        return logits if config.distill.on == "logits" else hidden

    def loss(variables, batch, rng, progress):
        del progress
        video, target = base.augmented(config, batch, num_classes, rng)
        main, bright = views(video)
        (logits, out), new = student.apply(
            _part(variables, "student"),
            main,
            bright,
            train=True,
            luminous_train=not frozen_net,
            mutable=["batch_stats"],
        )
        ce = losses.masked_mean(losses.soft_cross_entropy(logits, target), batch["mask"])
        right = losses.masked_mean(base.accuracy(logits, batch["label"]), batch["mask"])
        metrics = {"ce": ce, "accuracy": right}
        value = ce
        if distil:
            h1 = teacher_hidden(variables, bright, out)
            h2 = logits if config.distill.on == "logits" else out["pre_logits"]
            if h1.shape != h2.shape:
                raise UserError(
                    f"distillation compares {h1.shape[-1]} teacher with {h2.shape[-1]} student "
                    f"numbers: set model.head_width={h1.shape[-1]} or distill.on='logits'"
                )
            metrics["distill"] = losses.masked_mean(losses.l1_distillation(h2, h1), batch["mask"])
            value = ce + config.distill.weight * metrics["distill"]
        stats = {**variables["batch_stats"], "student": new["batch_stats"]}
        return value, base.Aux(metrics, stats)

    def predict(variables, batch):
        main, bright = views(base.to_float(batch["video"]))
        return student.apply(_part(variables, "student"), main, bright, train=False)

    frozen = (*config.freeze, *PVIT_FREEZE[config.pvit_freeze], r"teacher/.*")
    if frozen_net:
        frozen = (*frozen, r"student/luminous/.*")

    def seen(out, shape):
        patch = config.model.pvit.get("patch", 16)
        return attention(out, shape[1], (shape[2] // patch, shape[3] // patch))

    return base.Method(init, loss, predict, frozen, seen)


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
