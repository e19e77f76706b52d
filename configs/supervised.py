"""Any network of the zoo as a classifier, on any records; 3-D ResNet-18 where none is named.

    python -m darkjax.main --config=configs/supervised.py:r3d18,demo
    python -m darkjax.data.convert --dataset=folder --raw=VIDEOS --out=records/mine --short_side=128
    python -m darkjax.main --config=configs/supervised.py:r3d50 --config.data.dir=records/mine \
        --config.data.split=fold
    python -m darkjax.weights.convert --arch=r3d50 --checkpoint=resnet-50-kinetics.pth \
        --out=weights/r3d50
    python -m darkjax.main --config=configs/supervised.py:r3d50,pretrained \
        --config.data.dir=records/mine --config.data.split=fold

The classes are those of the records. Without `data.split=fold` the run is judged on the records'
split `test`, with it on a fifth of the groups, held out (docs/data.md). The size of the frames,
their number, their distance and their normalisation are those of the network's published weights
(`darkjax/weights`); convert the videos a little larger than that (`--short_side=128` for 112x112,
256 for 224x224). The rest is our choice: AdamW 5e-4 (`pretrained`: 1e-4), batch 32, cosine,
mirrored clips, windows of 70 to 100 % of the frame. A network that does not fit into memory needs a
smaller `classifier.batch_size`, or `classifier.accumulate`; one that was published in several
widths takes `classifier.model.width`.

The first command printed `top-1 0.9083` (`top-1@1x3 synthetic-test`, 240 clips, chance 0.167), a
wall time of 601 s and 1.22 GiB, on 2 cores of an Intel Xeon at 2.5 GHz that other jobs used too,
2026-11-22, jax 0.10.2.

Arguments after a colon, joined by commas, in any order; of each line one:
  r3d18, tsm_resnet50, …   the network: a name of docs/zoo.md
  demo, arid6              a small network of the same kind without published weights, for two CPU
                           cores: on rendered dark clips, or on the 150 real clips of a course
                           subset (with data.num_classes=0 any records), one fold's sessions left
                           out
  own, own=FOLDER          your own records (records/mine, or FOLDER): how they are divided, frames,
                           their distance, size and batch fit what the card says, the network this
                           machine (a small one without an accelerator), and a line says what was
                           chosen; with pretrained frames and size stay the network's
  pretrained               start from weights/NETWORK (docs/weights.md), all but its classifier, and
                           normalise as those weights expect
"""

from __future__ import annotations

import os

import ml_collections

from configs import common
from darkjax.errors import UserError
from darkjax.weights import zoo
from darkjax.weights.arch import Preprocess

DEFAULT = "r3d18"
OWN = "records/mine"
# In the order in which they apply.
WORDS = {"network": tuple(zoo.NAMES), "data": ("demo", "arid6"), "weights": ("pretrained",)}
TINY = "the network of {0} is smaller than the published one: leave out {0} or pretrained"
REFUSED = (
    (("demo", "pretrained"), TINY.format("demo")),
    (("arid6", "pretrained"), TINY.format("arid6")),
    (("c3d", "pretrained"), "its weights expect BGR: leave out pretrained, or take c3d_bn"),
)
# Where a network's published clip is none to train on: a ViT's is one picture, TSN looks at a frame
# of each part of the whole video.
CLIPS = {
    "vit_b16": {"frames": 8, "stride": 8},
    "vit_b16_miil": {"frames": 8, "stride": 8},
    "tsn_resnet50": {"sampling": "segments", "stride": 1},
}
# Of each network: one of the same kind that two CPU cores train in minutes.
R2PLUS1D = {"variant": "10", "width": 16, "stem_mid": 12, "stem_kernel": 5, "first_stride": 2}
FRAMES = {"name": "resnet_frames", "variant": "14", "width": 16}
SLOWFAST = {"name": "slowfast", "variant": "10", "width": 32}
BERT = {"name": "r2plus1d_bert", "backbone": {**R2PLUS1D, "bn_momentum": 0.1}, "dropout": 0.5}
TOKENS = {"depth": 3, "width": 48, "heads": 4, "patch": 14}
SWIN = {"name": "swin3d", "variant": (24, (1, 1, 2, 1)), "head_dim": 8}
SMALL = {
    "c3d": {"name": "c3d", "width": 8, "hidden": 128},
    "c3d_bn": {"name": "c3d_bn", "width": 8, "hidden": 128},
    "r3d18": {"name": "resnet3d", "variant": "10", "width": 16},
    "r3d34": {"name": "resnet3d", "variant": "18", "width": 16},
    "r3d50": {"name": "r3d50", "width": 8},
    "r3d101": {"name": "r3d101", "width": 8},
    "r3d18_a": {"name": "resnet3d", "variant": "10", "width": 16, "shortcut": "A"},
    "r3d34_a": {"name": "resnet3d", "variant": "18", "width": 16, "shortcut": "A"},
    "r3d18_tv": {"name": "resnet3d", "variant": "10", "width": 16, "stem": "tv"},
    "resnext101": {"name": "resnet3d", "variant": "resnext50", "width": 16},
    "r2plus1d18": {"name": "r2plus1d", **R2PLUS1D, "caffe2_mid": False, "bn_momentum": 0.1},
    "r2plus1d34": {"name": "r2plus1d", **R2PLUS1D, "bn_momentum": 0.1},
    "i3d": {"name": "i3d", "width": 0.25},
    "s3d": {"name": "s3d", "width": 0.25, "bn_momentum": 0.01},
    "p3d199": {"name": "p3d", "variant": "17", "width": 16},
    "mobilenet3d_v1": {"name": "mobilenet3d_v1", "width": 0.5},
    "mobilenet3d_v2": {"name": "mobilenet3d_v2", "width": 0.45},
    "shufflenet3d_v1": {"name": "shufflenet3d_v1", "width": 0.5},
    "shufflenet3d_v2": {"name": "shufflenet3d_v2", "width": 0.5},
    "squeezenet3d": {"name": "squeezenet3d"},
    "slowfast_r50_4x16": {**SLOWFAST, "alpha": 8, "fusion_kernel": 5},
    "slowfast_r50_8x8": {**SLOWFAST, "alpha": 4, "fusion_kernel": 7},
    "tsn_resnet50": {**FRAMES, "temporal": "none"},
    "tsm_resnet50": {**FRAMES, "temporal": "shift", "shift_div": 8},
    "tin_resnet50": {**FRAMES, "temporal": "interlace", "shift_div": 4},
    "vit_b16": {"name": "vit", **TOKENS},
    "vit_b16_miil": {"name": "vit", **TOKENS, "qkv_bias": False},
    "timesformer_b": {"name": "timesformer", **TOKENS},
    "swin3d_t": SWIN,
    "swin3d_s": SWIN,
    "swin3d_b": SWIN,
    "mvit_b_16x4": {"name": "mvit", "depth": 4, "splits": (1, 2, 3), "width": 24},
    "darklight_r2plus1d34": {**BERT, "views": 2, "mask_prob": 1.0},
    "r2plus1d34_bert": {**BERT, "views": 1, "mask_prob": 0.8},
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    given = arg.split(",")
    own = [word.strip() for word in given if word.strip().partition("=")[0] == "own"]
    words = common.words(",".join(w for w in given if w.strip() not in own), WORDS, REFUSED)
    if len(set(own)) > 1 or (own and {"demo", "arid6"} & set(words)):
        raise UserError(f"config arguments {arg!r}: own, demo and arid6 name the clips: give one")
    name = next((word for word in words if word in zoo.NAMES), DEFAULT)
    c = common.base()
    c.stages = ("classifier",)
    c.classifier = classifier(name)
    clip(c, name)
    if "pretrained" in words:
        pretrained(c, name)
    for word in words:
        if word in ("demo", "arid6"):
            small(c, name)
            {"demo": demo, "arid6": arid6}[word](c)
    if own:
        own_records(c, name, own[0].partition("=")[2] or OWN, "pretrained" in words)
    c.lock()
    return c


def classifier(name: str) -> ml_collections.ConfigDict:
    """The network as it was published, trained from nothing."""
    s = common.stage("supervised", epochs=50, batch_size=32, lr=5e-4)
    s.model = ml_collections.ConfigDict({"name": name})
    common.luminous(s, "dark")  # the clip as it is; "gamma" brightens it first
    s.mean, s.std = levels(zoo.get(name).preprocess)
    s.optim.warmup_steps, s.optim.clip = 100, 5.0
    s.augment = common.light_augment()
    s.published = ((f"weights/{name}", r"(?!head/)(.*)", r"\1"),)
    return s


def levels(p: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of RGB in [0, 1]; () is each clip's own, where the weights expect BGR."""
    if p.order != "RGB":  # C3D's, which has no batch norm to bring 0 to 255 down either
        return (), ()
    mean, std = (tuple(v / p.scale for v in values) for values in (p.mean, p.std))
    return mean, std


def clip(c: ml_collections.ConfigDict, name: str) -> None:
    """Frames, stride and size of the published weights."""
    row = zoo.get(name)
    c.data.frames, *size = row.input
    c.data.size, c.data.stride = tuple(size), row.preprocess.stride
    c.data.update(CLIPS.get(name, {}))


def pretrained(c: ml_collections.ConfigDict, name: str) -> None:
    """Fine-tuning: the published weights and their normalisation, a gentler rate."""
    s = c.classifier
    if name == "vit_b16":
        s.model.gelu = "tanh"  # as Google trained it
    s.optim.lr = 1e-4
    common.pretrained(s)


def small(c: ml_collections.ConfigDict, name: str) -> None:
    """A network that two CPU cores can train; no published weights."""
    c.data.num_classes = 6
    # Both pathways of SlowFast want some frames, the slow one takes every eighth.
    c.data.frames, c.data.sampling = 24 if name.startswith("slowfast") else 8, "dense"
    s = c.classifier
    s.model = ml_collections.ConfigDict(SMALL[name])
    s.published = ()
    s.mean = s.std = ()  # each clip by its own mean and deviation
    s.optim.lr, s.optim.weight_decay, s.label_smoothing = 3e-3, 0.05, 0.1
    s.keep_best = ""  # nothing is chosen by looking at the clips it is judged on
    s.augment.affine.p = 0.5


def demo(c: ml_collections.ConfigDict) -> None:
    """Rendered dark clips of six actions."""
    c.data.synthetic = common.demo_clips()
    c.data.size, c.data.crop, c.data.views_crops = (56, 56), "random", 3
    c.data.stride = 1 if c.data.frames > 8 else 3
    s = c.classifier
    s.epochs, s.batch_size, s.eval_every, s.save_every = 20, 24, 0, 120


def arid6(c: ml_collections.ConfigDict) -> None:
    """150 real dark clips; `data.fold` 1 to 5 leaves that fold's sessions out."""
    c.data.split, c.data.eval_split, c.data.fold = "fold", "validate", 1
    c.data.size, c.data.crop, c.data.views_crops = (70, 70), "random", 3
    c.data.stride = 1 if c.data.frames > 8 else 4
    s = c.classifier
    s.epochs, s.batch_size, s.eval_every, s.optim.warmup_steps = 30, 16, 0, 20


def own_records(c: ml_collections.ConfigDict, name: str, folder: str, pretrained: bool) -> None:
    """Sizes that fit a folder of records and this machine; of a folder without a card, the folder.

    Batch: a power of two that a training split holds twice. Frames cover what the middle clip is
    long, up to 2.5 s. Some 1,500 steps without an accelerator, else 10,000, 5 to 100 epochs.
    """
    import sys

    import jax
    import numpy as np

    from darkjax.data import split
    from darkjax.data.records import Records

    c.data.dir, s = folder, c.classifier
    slow = jax.default_backend() == "cpu"
    if slow and not pretrained:
        small(c, name)
    c.data.num_classes = 0
    if "://" not in folder and not os.path.exists(os.path.join(folder, "card.json")):
        print(
            f"{folder} has no card.json: nothing was chosen by it; records elsewhere are named in "
            "the word, configs/supervised.py:own=FOLDER",
            file=sys.stderr,
        )
        return  # refused by whoever opens it, unless --config.data.dir names another
    with Records(folder) as records:
        parts = [part for part in records.parts() if part != c.data.train_split]
        folds = sorted(set(records.meta["fold"].tolist()) - {-1})
        if parts:
            c.data.eval_split = "test" if "test" in parts else parts[0]
        elif len(folds) > 1:
            c.data.split, c.data.fold = "fold", folds[0]
        else:
            c.data.split = "random"
        rows = split.train_rows(records, c.data)
        frames = float(np.median(records.meta["frames"][rows]))
        side = int(np.minimum(records.meta["height"], records.meta["width"])[rows].min())
        rate = float(np.median([records.clips[k]["fps"] for k in records.meta["clip"][rows]])) or 25
        classes = len(records.classes)
    if slow and not pretrained:
        c.data.size = (max(28, min(70, side) // 14 * 14),) * 2  # whole patches of a small ViT
    if not pretrained:
        c.data.sampling = "dense"
        c.data.stride = int(np.clip(min(frames, 2.5 * rate) // c.data.frames, 1, 16))
    while s.batch_size > max(2, len(rows) // 2):
        s.batch_size //= 2
    steps = 1500 if slow else 10000
    s.epochs = int(np.clip(steps * s.batch_size // len(rows), 5, 100))
    s.optim.warmup_steps = min(100, s.epochs * (len(rows) // s.batch_size) // 10)
    net = f"{s.model.name} ({'small' if slow and not pretrained else 'as published'})"
    how = f"split {c.data.eval_split}" if parts else f"data.split={c.data.split}"
    print(
        f"{folder}: {len(rows)} clips of {classes} classes to train on, judged on {how}; chosen: "
        f"{net}, {c.data.frames} frames every {c.data.stride}, {'x'.join(map(str, c.data.size))} "
        f"pixels, batch {s.batch_size}, {s.epochs} epochs",
        file=sys.stderr,
    )
