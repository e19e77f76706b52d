"""LIFT-Net on ARID: teacher R(2+1)D-34 on gamma-corrected clips, then the two-stream student.

    python -m darkjax.data.convert --dataset=folder --raw=ARID --out=records/arid --short_side=256
    python -m darkjax.weights.convert --arch=vit_b16 --checkpoint=ViT-B_16.npz --out=weights/vit_b16
    python -m darkjax.weights.convert --arch=r2plus1d34 \
        --checkpoint=r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth --out=weights/r2plus1d34
    python -m darkjax.main --config=configs/lift_arid.py:pretrained --config.data.dir=records/arid

Paper: top-1 95.21 % on ARID v1.0 (N = 8; Table II), batch 32, 30 frames of 224x224, AdamW 1e-4,
cosine, two RTX A6000, from published weights (IG-65M, ImageNet-21k). It freezes four of the five
ViT blocks, so without `pretrained` there is nothing to freeze and the run says so before it
trains; `unfrozen` trains everything from nothing, and no such number is to be expected.

Arguments after a colon, joined by commas, in any order; of each line one:
  demo, arid6                tiny networks without published weights, minutes on 2 CPU cores: on
                             rendered dark clips (README), or on real ones (the 150 clips of a
                             course subset; with data.num_classes=0 any records), a fold left out
  small, medium, large       N = 4, 6, 8 (Table VI, "Changing hyper-parameter N")
  r3d                        R3D-34 instead of R(2+1)D-34 (Table VI)
  no_kd                      the student alone, no teacher (Table VI)
  freeze_all, unfrozen       ViT blocks all frozen, all trained (Table VI)
  pretrained                 start from weights/vit_b16 and weights/r2plus1d34 (r3d: weights/r3d34)
  flow                       optical flow as luminous input (not available yet)
"""

from __future__ import annotations

import ml_collections

from configs import common

# In the order in which they apply: the networks before the sizes that they are given.
WORDS = {
    "3-D network": ("r3d",),
    "data": ("demo", "arid6"),
    "N": ("small", "medium", "large"),
    "distillation": ("no_kd",),
    "ViT's freezing": ("freeze_all", "unfrozen"),
    "luminous input": ("flow",),
    "weights": ("pretrained",),
}
TINY_FROZEN = "the ViT of {0} begins from nothing, frozen it stays so: leave out {0} or freeze_all"
TINY_WEIGHTS = (
    "the networks of {0} are smaller than the published ones: leave out {0} or pretrained"
)
REFUSED = (
    (("flow",), "it needs optical-flow records, which this version cannot make: leave it out"),
    *(((word, "freeze_all"), TINY_FROZEN.format(word)) for word in ("demo", "arid6")),
    *(((word, "pretrained"), TINY_WEIGHTS.format(word)) for word in ("demo", "arid6")),
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


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS, REFUSED)
    c = common.base()
    c.stages = ("teacher", "student")
    c.teacher, c.student = teacher(), student()
    c.data.num_classes = 11
    network(c, "resnet3d" if "r3d" in words else "r2plus1d")
    for word in words:
        if word in REPEATS:
            c.student.model.repeats = REPEATS[word]
        elif word in FREEZE:
            c.student.pvit_freeze = FREEZE[word]
        elif word != "r3d":
            {"demo": demo, "arid6": arid6, "no_kd": no_kd, "pretrained": pretrained}[word](c)
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


def demo(c: ml_collections.ConfigDict) -> None:
    """Rendered dark clips of six actions."""
    tiny(c)
    c.data.synthetic = common.demo_clips()
    c.data.frames, c.data.stride, c.data.size = 8, 3, (56, 56)
    c.data.crop = "random"
    c.data.views_crops = 3
    for s, epochs in ((c.teacher, 30), (c.student, 6)):
        s.epochs, s.batch_size, s.eval_every, s.save_every = epochs, 24, 8, 120
        s.optim.warmup_steps = 100 if s is c.teacher else 20
    c.teacher.augment.jitter.p = 0.5


def arid6(c: ml_collections.ConfigDict) -> None:
    """150 real dark clips; `data.fold` 1 to 5 leaves that fold's sessions out."""
    tiny(c)
    c.data.split, c.data.eval_split, c.data.fold = "fold", "validate", 1
    c.data.frames, c.data.stride, c.data.size = 8, 4, (70, 70)
    c.data.scale = (0.6, 1.0)
    c.data.views_crops = 3
    for s, epochs in ((c.teacher, 30), (c.student, 15)):
        s.epochs, s.batch_size, s.eval_every = epochs, 16, 0
        s.optim.warmup_steps = 20
