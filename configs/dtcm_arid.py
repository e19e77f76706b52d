"""DTCM on ARID: the light Zero-DCE and 3D-ResNeXt-101, trained as one.

    python -m darkjax.data.convert --dataset=folder --raw=ARID --out=records/arid --short_side=240
    python -m darkjax.weights.convert --arch=resnext101 --checkpoint=resnext-101-kinetics.pth \
        --skip="head/.*" --out=weights/resnext101
    python -m darkjax.main --config=configs/dtcm_arid.py:pretrained --config.data.dir=records/arid

Paper: top-1 96.36 % on ARID (Table III), Kinetics-400 weights, AdamW 1e-5, batch 4, 50 epochs,
64 frames of 112x112 (random crop of 320x240, centre crop to test), alpha 0.1, W_STC 4 (Tables VII,
VIII). Without those weights no such number is to be expected.

Arguments after a colon, joined by commas, in any order; of each line one:
  demo, arid6, uav           rendered dark clips, about 7 minutes on 2 CPU cores; the 150 real clips
                             of a course subset, one fold's sessions left out (both with a small
                             classifier); UAVHuman-Fisheye: 155 classes, the middle 128x128
  frames16                   16 frames instead of 64
  recognition, two_stage     one stage with the recognition loss only; the enhancer alone first,
                             without labels, then the classifier behind it (Table VI)
  k1, k2, k4, k8, k16        frames that share curves (Table IX)
  pretrained                 the classifier starts from weights/resnext101
"""

from __future__ import annotations

import ml_collections

from configs import common, zero_dce

SHARED = {f"k{k}": k for k in (1, 2, 4, 8, 16)}
# In the order in which they apply.
WORDS = {
    "data": ("demo", "arid6", "uav"),
    "number of frames": ("frames16",),
    "training": ("recognition", "two_stage"),
    "number of frames that share curves": tuple(SHARED),
    "weights": ("pretrained",),
}
SMALL = {
    "frames16": "{0} looks at 8 frames",
    "k16": "{0} looks at 8 frames, k8 is all of them",
    "pretrained": "the classifier of {0} is smaller than the published one",
}
REFUSED = tuple(
    ((data, word), f"{why.format(data)}: leave out {data} or {word}")
    for data in ("demo", "arid6")
    for word, why in SMALL.items()
)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS, REFUSED)
    c = common.base()
    c.stages = ("dtcm",)
    c.dtcm = dtcm()
    c.data.num_classes = 11
    c.data.frames, c.data.size, c.data.crop = 64, (112, 112), "random"
    for word in words:
        if word in SHARED:
            c.dtcm.enhancer.k = SHARED[word]
        elif word == "recognition":
            c.dtcm.objective = "recognition"
        elif word == "frames16":
            c.data.frames = 16
        elif word == "pretrained":
            common.pretrained(c.dtcm)
        else:
            {"demo": demo, "arid6": arid6, "uav": uav, "two_stage": two_stage}[word](c)
    c.lock()
    return c


def dtcm() -> ml_collections.ConfigDict:
    """One-stage joint training (Section III-C, Eq. 7)."""
    s = common.stage("dtcm", epochs=50, batch_size=4, lr=1e-5)
    s.model = ml_collections.ConfigDict({"name": "resnext101"})
    s.enhancer = ml_collections.ConfigDict({"name": "zero_dce_light", "k": 4, "iterations": 8})
    s.enhancer_frozen = False
    s.objective = "total"
    s.alpha, s.w_stc, s.w_col, s.w_tv, s.exposure = 0.1, 4.0, 0.5, 20.0, 0.6
    s.loss_form = "paper"  # "code": as Zero-DCE was released
    s.mean, s.std = common.from_weights(), common.from_weights()  # the classifier's
    s.augment = common.light_augment()
    s.published = (("weights/resnext101", r"(?!head/)(.*)", r"classifier/\1"),)
    return s


def warm(c: ml_collections.ConfigDict, epochs: int) -> None:
    """A stage before: the enhancer alone, without labels (Eq. 4 and 5), on the training clips."""
    s = c.enhancer = zero_dce.enhancer()
    s.objective = "dtcm"
    for field in ("enhancer", "augment", "batch_size"):
        s[field] = c.dtcm[field]
    for field in ("w_stc", "w_col", "w_tv", "exposure", "loss_form"):  # set once for both
        s[field] = c.dtcm.get_ref(field)
    s.epochs, s.eval_every, s.optim.lr = epochs, 0, 1e-3
    c.stages = ("enhancer", "dtcm")
    c.dtcm.init_from = (*c.dtcm.init_from, ("enhancer", r"(.*)", r"enhancer/\1"))


def two_stage(c: ml_collections.ConfigDict) -> None:
    """Enhance first, then train on what comes out."""
    if "enhancer" not in c.stages:  # the small ones begin with it anyway
        warm(c, c.dtcm.epochs // 4)
    c.dtcm.enhancer_frozen, c.dtcm.objective = True, "recognition"


def small(c: ml_collections.ConfigDict) -> None:
    """A classifier that two CPU cores can train; no pretrained weights."""
    c.data.num_classes = 6
    s = c.dtcm
    net = {"name": "r2plus1d", "variant": "10", "width": 16, "stem_mid": 12, "stem_kernel": 5}
    s.model = ml_collections.ConfigDict({**net, "first_stride": 2, "bn_momentum": 0.1})
    s.published = ()
    s.mean = s.std = ()  # each enhanced clip by its own mean and deviation
    s.optim.lr, s.optim.weight_decay, s.label_smoothing = 3e-3, 0.05, 0.1
    # A classifier that begins from nothing pushes the curves about (gradients of 30 to 80 where it
    # alone has 7): a gentle rate for them, ten times the paper's alpha, and curves that are warm.
    s.optim.clip, s.optim.lr_scale = 5.0, ((r"enhancer/.*", 0.1),)
    s.alpha = 1.0
    s.keep_best = ""  # nothing is chosen by looking at the clips it is judged on


def demo(c: ml_collections.ConfigDict) -> None:
    """Rendered dark clips of six actions."""
    small(c)
    c.data.synthetic = common.demo_clips()
    c.data.frames, c.data.stride, c.data.size = 8, 3, (56, 56)
    c.data.views_crops = 3
    s = c.dtcm
    s.enhancer.k = 8  # one set of curves a clip
    s.epochs, s.batch_size, s.eval_every, s.save_every = 20, 24, 0, 120
    s.optim.warmup_steps = 100
    s.augment.affine.p = 0.5
    warm(c, 3)


def arid6(c: ml_collections.ConfigDict) -> None:
    """150 real dark clips; `data.fold` 1 to 5 leaves that fold's sessions out."""
    small(c)
    c.data.split, c.data.eval_split, c.data.fold = "fold", "validate", 1
    c.data.frames, c.data.stride, c.data.size = 8, 4, (72, 72)
    c.data.views_crops = 3
    s = c.dtcm
    s.epochs, s.batch_size, s.eval_every = 30, 16, 0
    s.optim.warmup_steps = 20
    s.augment.affine.p = 0.5
    warm(c, 8)


def uav(c: ml_collections.ConfigDict) -> None:
    """UAVHuman-Fisheye."""
    c.data.centre, c.data.num_classes = (128, 128), 155
