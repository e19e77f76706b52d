"""DarkLight on ARID: dark and gamma-corrected clip, one R(2+1)D-34, self-attention over both.

    python -m darkjax.data.convert --dataset=folder --raw=ARID --out=records/arid --short_side=128
    python -m darkjax.weights.convert --arch=r2plus1d34 --skip="head/.*" --out=weights/r2plus1d34 \
        --checkpoint=r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth
    python -m darkjax.main --config=configs/darklight_arid.py:pretrained \
        --config.data.dir=records/arid

Papers, top-1 on ARID v1.0 and v1.5: DarkLight 94.04 and 84.13 %, MD-BERT 96.89 and 87.43 %, all
from IG-65M weights. AdamW 1e-5, weight decay 1e-3, 16 x 8 clips a step, 200 epochs, 64 frames of
112x112, ten windows to test. Without those weights no such number is to be expected.

Arguments after a colon, joined by commas, in any order; of each line one:
  demo, arid6              rendered dark clips; the 150 real clips of a course subset, one
                           fold's sessions left out (both with a small network)
  r2plus1d_bert, md_bert   R(2+1)D-BERT: one view, the dark clip; MD-BERT: three views (dark, gamma
                           2.5, histogram-equalised), their maps fused
  resnext                  3D-ResNeXt-101 instead of R(2+1)D-34
  dark_only, gamma_only    one of DarkLight's two views (of R(2+1)D-BERT: which it is)
  no_attention             the mean of the tokens is classified
  pretrained               start from weights/r2plus1d34 (resnext: weights/resnext101)

Every other pair of words does what both say; not to be had are, beside two words of a line:

| | with | because |
|---|---|---|
| `demo`, `arid6` | `pretrained`, `resnext` | their network is a small R(2+1)D |
| `r2plus1d_bert` | `resnext`, `no_attention` | it is R(2+1)D with attention |
| `md_bert` | `dark_only`, `gamma_only` | it has three views |
"""

from __future__ import annotations

import ml_collections

from configs import common, supervised
from darkjax.weights import zoo

# In the order in which they apply.
WORDS = {
    "network": ("r2plus1d_bert", "md_bert"),
    "backbone": ("resnext",),
    "view": ("dark_only", "gamma_only"),
    "attention": ("no_attention",),
    "data": ("demo", "arid6"),
    "weights": ("pretrained",),
}
SMALL = {
    "pretrained": "the network of {0} is smaller than the published one",
    "resnext": "the network of {0} is a small R(2+1)D",
}
REFUSED = (
    *(
        ((data, word), f"{why.format(data)}: leave out {data} or {word}")
        for data in ("demo", "arid6")
        for word, why in SMALL.items()
    ),
    (("r2plus1d_bert", "resnext"), "R(2+1)D-BERT is R(2+1)D: take dark_only and resnext"),
    (
        ("r2plus1d_bert", "no_attention"),
        "without it R(2+1)D-BERT has no BERT: take dark_only and no_attention",
    ),
    (("md_bert", "dark_only"), "MD-BERT has three views: leave out md_bert or dark_only"),
    (("md_bert", "gamma_only"), "MD-BERT has three views: leave out md_bert or gamma_only"),
)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS, REFUSED)
    c = common.base()
    c.stages = ("darklight",)
    s = c.darklight = darklight()
    c.data.num_classes = 11
    c.data.frames, c.data.size, c.data.crop = 64, (112, 112), "corners"
    c.data.views_crops = 10
    for word in words:
        if word in ("dark_only", "gamma_only"):
            s.views = (word.removesuffix("_only"),)
        elif word == "no_attention":
            s.model.attention = False
        elif word in ("demo", "arid6"):
            {"demo": demo, "arid6": arid6}[word](c)
        else:
            {"r2plus1d_bert": r2plus1d_bert, "md_bert": md_bert, "resnext": resnext}.get(
                word, common.pretrained
            )(s)
    c.lock()
    return c


def darklight() -> ml_collections.ConfigDict:
    """The released training command."""
    s = common.stage("darklight", epochs=200, batch_size=128, lr=1e-5)
    s.accumulate, s.optim.weight_decay = 16, 1e-3
    s.views, s.gamma = ("dark", "gamma"), 1.8
    m = s.model = ml_collections.ConfigDict({"name": "views_bert"})
    m.backbone_net = "r2plus1d"
    m.backbone = ml_collections.ConfigDict({"variant": "34"})
    m.fusion, m.attention = "tokens", True
    m.depth, m.heads, m.bert_dropout = 1, 8, 0.1
    m.mask_prob, m.dropout = 1.0, 0.8
    s.mean, s.std = common.KINETICS_MEAN, common.KINETICS_STD
    s.augment = common.light_augment()
    s.published = (("weights/r2plus1d34", r"(?!head/)(.*)", r"backbone/\1"),)
    return s


def r2plus1d_bert(s: ml_collections.ConfigDict) -> None:
    """R(2+1)D-BERT: a fifth of the tokens is hidden in training."""
    s.views, s.model.mask_prob = ("dark",), 0.8


def md_bert(s: ml_collections.ConfigDict) -> None:
    """MD-BERT: sigmoid weights that sum to one."""
    s.views, s.gamma = ("dark", "gamma", "he"), 2.5
    s.model.mask_prob, s.model.fusion = 0.8, "sigmoid"
    s.model.fusion_reduction, s.model.fusion_kernel = 4, 1


def resnext(s: ml_collections.ConfigDict) -> None:
    """DarkLight-ResNeXt-101."""
    s.model.backbone_net, s.model.backbone = "resnet3d", ml_collections.ConfigDict()
    s.model.backbone.variant = "resnext101"
    s.mean, s.std = supervised.levels(zoo.get("resnext101").preprocess)
    s.published = (("weights/resnext101", r"(?!head/)(.*)", r"backbone/\1"),)


def small(c: ml_collections.ConfigDict) -> None:
    """A network that two CPU cores can train: two tokens of each view, 64 wide."""
    c.data.num_classes = 6
    c.data.frames, c.data.crop, c.data.views_crops = 12, "random", 3
    s = c.darklight
    net = {"variant": (1, 1, 1), "width": 16, "stem_mid": 12, "stem_kernel": 5, "first_stride": 2}
    s.model.backbone = ml_collections.ConfigDict({**net, "bn_momentum": 0.1})
    s.model.dropout = 0.2
    s.published = ()
    s.gamma = 2.5
    s.mean = s.std = ()  # each view of each clip by its own mean and deviation
    s.accumulate = 1
    s.optim.lr, s.optim.weight_decay, s.optim.clip, s.label_smoothing = 3e-3, 0.05, 5.0, 0.1
    s.augment.affine.p = 0.5
    s.eval_every, s.keep_best = 0, ""  # nothing is chosen by looking at the clips it is judged on


def demo(c: ml_collections.ConfigDict) -> None:
    """Rendered dark clips of six actions."""
    small(c)
    c.data.synthetic = common.demo_clips()
    c.data.stride, c.data.size = 2, (56, 56)
    s = c.darklight
    s.epochs, s.batch_size, s.save_every, s.optim.warmup_steps = 40, 24, 120, 60


def arid6(c: ml_collections.ConfigDict) -> None:
    """150 real dark clips; `data.fold` 1 to 5 leaves that fold's sessions out."""
    small(c)
    c.data.split, c.data.eval_split, c.data.fold = "fold", "validate", 1
    c.data.stride, c.data.size = 3, (70, 70)
    s = c.darklight
    s.epochs, s.batch_size, s.optim.warmup_steps = 30, 16, 20
