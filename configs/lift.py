"""LIFT-Net on any records: what `lift_arid.py`, `lift_hmdb51.py` and others share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ml_collections

from configs import common
from darkjax.data.rendering.dataset import ACTIONS

Data = Mapping[str, Callable[[ml_collections.ConfigDict], None]]
TINY_FROZEN = "the ViT of {0} begins from nothing, frozen it stays so: leave out {0} or freeze_all"
TINY_WEIGHTS = (
    "the networks of {0} are smaller than the published ones: leave out {0} or pretrained"
)
REPEATS = {"small": 4, "medium": 6, "large": 8}
FREEZE = {"freeze_all": "all_frozen", "unfrozen": "all_free"}
# Of each 3-D network: the folder of its published weights, and widths for two CPU cores.
PUBLISHED = {"r2plus1d": "weights/r2plus1d34", "resnet3d": "weights/r3d34"}
TINY = {
    "r2plus1d": {"variant": "10", "width": 16, "stem_mid": 12, "stem_kernel": 5}
    | {"first_stride": 2, "bn_momentum": 0.1},
    "resnet3d": {"variant": "10", "width": 16},
}
# The student starts its 3-D network from the teacher's, and keeps the whole teacher beside it.
FROM_TEACHER = (
    ("teacher", r"(?!head/)(.*)", r"student/luminous/\1"),
    ("teacher", r"(.*)", r"teacher/\1"),
)
VIT = ("weights/vit_b16", r"(cls|position|embedding/.*|block\d+/.*)", r"student/pvit/vit/\1")


def words(data: Data, *, flow: bool = True) -> dict[str, tuple[str, ...]]:
    """What is chosen -> its words, in the order in which they apply: the networks before the sizes
    that they are given. `flow` says whether there is that word."""
    return {
        "3-D network": ("r3d",),
        "data": tuple(data),
        "N": ("small", "medium", "large"),
        "distillation": ("no_kd",),
        "ViT's freezing": ("freeze_all", "unfrozen"),
        **({"luminous input": ("flow",)} if flow else {}),
        "weights": ("pretrained",),
    }


def config(
    arg: str, data: Data, *, classes: int, luminous: str = "gamma"
) -> ml_collections.ConfigDict:
    """The experiment, by the words after the colon.

    Args:
      arg: the words.
      data: those of the tiny networks: word -> what sets the clips (and calls `tiny`).
      classes: of the records.
      luminous: what the luminous pathway sees: "gamma", which the word `flow` changes, or "flow"
        of clips that need not be brightened.
    """
    refused = tuple(
        ((word, other), why.format(word))
        for other, why in (("freeze_all", TINY_FROZEN), ("pretrained", TINY_WEIGHTS))
        for word in data
    )
    chosen = common.words(arg, words(data, flow=luminous != "flow"), refused)
    c = common.base()
    c.stages = ("teacher", "student")
    c.teacher, c.student = teacher(), student()
    c.data.num_classes = classes
    network(c, "resnet3d" if "r3d" in chosen else "r2plus1d")
    if luminous == "flow":
        flow(c, enhance="")
    for word in chosen:
        if word in REPEATS:
            c.student.model.repeats = REPEATS[word]
        elif word in FREEZE:
            c.student.pvit_freeze = FREEZE[word]
        elif word != "r3d":
            {**data, "no_kd": no_kd, "flow": flow, "pretrained": pretrained}[word](c)
    drawn_flow(c)
    c.lock()
    return c


def teacher() -> ml_collections.ConfigDict:
    """R(2+1)D-34 on gamma-corrected clips (Section IV, Eq. 5)."""
    s = common.stage("supervised", epochs=50, batch_size=32, lr=1e-4)
    s.model = ml_collections.ConfigDict({"name": "r2plus1d", "variant": "34"})
    common.luminous(s, "gamma")
    s.mean, s.std = common.KINETICS_MEAN, common.KINETICS_STD
    s.augment = augment()
    return s


def student() -> ml_collections.ConfigDict:
    """LIFT-Net with distillation (Section IV, Eq. 6)."""
    s = common.stage("lift", epochs=50, batch_size=32, lr=1e-4)
    m = s.model = ml_collections.ConfigDict()
    m.name = "lift_net"
    m.repeats = 8
    m.width, m.heads, m.mlp_ratio, m.foe_ratio = 768, 8, 4.0, 1.0
    m.fusion_scale = "heads"
    m.share_repeats = False
    m.tokens = (4, 7, 7)
    m.head_width = 512
    m.luminous_net = "r2plus1d"
    m.luminous = ml_collections.ConfigDict({"variant": "34"})
    m.pvit = ml_collections.ConfigDict(
        {"depth": 5, "width": 768, "heads": 12, "patch": 16, "qkv_bias": True, "gelu": "erf"}
    )
    m.remat = False
    s.pvit_freeze = "first_free"
    common.luminous(s, "gamma")
    s.luminous_frozen = False
    s.mean, s.std = (0.5,) * 3, (0.5,) * 3
    s.luminous_mean, s.luminous_std = common.KINETICS_MEAN, common.KINETICS_STD
    s.distill = ml_collections.ConfigDict({"weight": 1.0, "on": "pre_logits"})
    s.init_from, s.published = FROM_TEACHER, (VIT,)
    s.augment = augment()
    return s


def augment() -> ml_collections.ConfigDict:
    """The paper's augmentations (Section V-B); their strengths are ours."""
    return common.augment(
        flip=0.5,
        jitter=0.5,
        affine=0.5,
        optical=0.5,
        elastic=0.25,
        rain=0.1,
        frame_shuffle=0.1,
        cutmix=0.5,
    )


def network(c: ml_collections.ConfigDict, name: str) -> None:
    """The 3-D network of teacher and student, and where its published weights lie."""
    c.teacher.model.name = c.student.model.luminous_net = name
    c.teacher.published = ((PUBLISHED[name], r"(?!head/)(.*)", r"\1"),)


def no_kd(c: ml_collections.ConfigDict) -> None:
    """Table VI, "LIFT-Net without KD approach": no teacher at all.

    What the teacher's stage would have taught the 3-D network, the student learns by itself.
    """
    t, s = c.teacher, c.student
    s.luminous_frozen = False
    s.epochs, s.augment, s.optim.warmup_steps = t.epochs, t.augment, t.optim.warmup_steps
    s.published += tuple(
        (source, regex, r"student/luminous/\1") for source, regex, _ in t.published
    )
    s.distill.weight = 0.0
    s.init_from = ()
    c.stages = ("student",)
    del c.teacher


def flow(c: ml_collections.ConfigDict, enhance: str = "gic") -> None:
    """Optical flow for the luminous pathway (Section V-C 2, 3) and the teacher (Table VI).

    `enhance` brightens the clip that it is computed of.
    """
    for name in c.stages:
        common.luminous(c[name], "flow", gamma=c[name].gamma, enhance=enhance)


def drawn_flow(c: ml_collections.ConfigDict) -> None:
    """Rendered clips have their flow made once, where they are drawn, not in every step."""
    s = c.student
    if s.luminous_input == "flow" and c.data.synthetic is not None:
        c.data.channels = 6
        c.data.synthetic.flow = ml_collections.ConfigDict(
            {"method": s.flow_method, "bound": 6.0, "enhance": s.flow_enhance}
        )


def pretrained(c: ml_collections.ConfigDict) -> None:
    """IG-65M's R(2+1)D-34 (Kinetics' R3D-34), Google's ViT-B/16 of ImageNet-21k."""
    c.student.model.pvit.gelu = "tanh"  # as it was trained; PyTorch's copies have the exact one
    for stage in c.stages:
        common.pretrained(c[stage])


def tiny(c: ml_collections.ConfigDict) -> None:
    """Widths that two CPU cores can train; no pretrained weights, so everything is trained."""
    c.data.num_classes = 6
    m = c.student.model
    net = TINY[m.luminous_net]
    c.teacher.model = ml_collections.ConfigDict({"name": m.luminous_net, **net})
    m.luminous = ml_collections.ConfigDict(net)
    m.repeats, m.width, m.heads, m.mlp_ratio = 2, 64, 4, 2.0
    m.tokens, m.head_width = (1, 2, 2), 128
    m.pvit = ml_collections.ConfigDict({"depth": 5, "width": 48, "heads": 4, "patch": 14})
    c.student.pvit_freeze = "all_free"
    c.student.luminous_frozen = True
    c.student.distill.weight = 0.01
    c.student.luminous_mean = c.student.luminous_std = ()
    for s in (c.teacher, c.student):
        s.published = ()
        s.augment.jitter.p = 0.0
        s.gamma = 2.5
        s.keep_best = ""  # nothing is chosen by looking at the clips it is judged on
        s.mean = s.std = ()  # each clip by its own mean and deviation
        s.optim.lr = 3e-3
        s.label_smoothing = 0.1
        s.optim.weight_decay = 0.05
        s.augment.frame_shuffle.p = s.augment.rain.p = s.augment.elastic.p = 0.0
        s.augment.optical.p = s.augment.cutmix.p = 0.0


def demo(c: ml_collections.ConfigDict, **clips: object) -> None:
    """Rendered clips of six actions, dark where `clips` does not say otherwise."""
    tiny(c)
    c.data.synthetic = common.demo_clips(**clips)
    c.data.num_classes = len(c.data.synthetic.get("classes", ACTIONS))
    c.data.frames, c.data.stride, c.data.size = 8, 3, (56, 56)
    c.data.crop = "random"
    c.data.views_crops = 3
    for s, epochs in ((c.teacher, 30), (c.student, 6)):
        s.epochs, s.batch_size, s.eval_every, s.save_every = epochs, 24, 8, 120
        s.optim.warmup_steps = 100 if s is c.teacher else 20
    c.teacher.augment.jitter.p = 0.5
