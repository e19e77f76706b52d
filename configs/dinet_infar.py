"""3D-DiNet: XD145's labelled daylight clips to InFAR's unlabelled thermal ones.

    python -m darkjax.data.convert --dataset=infar --raw=InFAR --out=records/infar --short_side=128
    python -m darkjax.data.convert --dataset=folder --raw=XD145 --out=records/xd145 --short_side=128
    python -m darkjax.weights.convert --arch=resnext101 --checkpoint=resnext-101-kinetics.pth \
        --skip="head/.*" --out=weights/resnext101
    python -m darkjax.main --config=configs/dinet_infar.py:pretrained \
        --config.data.dir=records/infar --config.data.source_dir=records/xd145

Paper: top-1 90.83 % on InFAR (Table I, ResNeXt-DA), from Kinetics weights; SGD with momentum 0.9
and an annealed rate, half of every batch source and half target. Length, batch, rate and how InFAR
is divided are not printed: ours are in `darkjax/methods/dinet.py`. Classes go by their names, so
the three orders that are in circulation do not matter; labels are those of `infar`, alphabetical.
As `--dataset=folder` all 600 clips of XD145 are trained on, as `xd145` those of one division.

Arguments after a colon, joined by commas, in any order; of each line one:
  c3d, r3d18, r3d34, r3d50, r3d101, resnext101
                             the backbone (C3D-DA, ResNet-DA, ResNeXt-DA); resnext101 if none is
                             named, in the three of the next line a small R(2+1)D
  demo, day_dark, real       small networks, minutes on 2 CPU cores (docs/dinet.md): rendered day to
                             rendered thermal clips, InFAR's 12 classes; rendered day to rendered
                             dark clips, 6 classes; rendered dark clips to real ones without labels,
                             `--config.data.dir=FOLDER` of converted clips of the same 6 classes,
                             all of which are adapted to and judged
  source_only, oracle        no adaptation, the floor; the target's own labels, the ceiling (with
                             `real` a fold's sessions are left out, and only those are judged)
  adabn                      each domain is normalised by its own statistics
  pretrained                 start from weights/BACKBONE, and normalise as those weights expect
"""

from __future__ import annotations

import ml_collections

from configs import common, supervised
from darkjax.data.class_names import INFAR12
from darkjax.weights import zoo

DEFAULT, SMALL = "resnext101", "r2plus1d18"
# In the order in which they apply.
WORDS = {
    "backbone": ("c3d", "r3d18", "r3d34", "r3d50", "r3d101", "resnext101"),
    "clips": ("demo", "day_dark", "real"),
    "training": ("source_only", "oracle"),
    "batch norm": ("adabn",),
    "weights": ("pretrained",),
}
TINY = "the backbone of {0} is smaller than the published one: leave out {0} or pretrained"
REFUSED = (
    *(((word, "pretrained"), TINY.format(word)) for word in WORDS["clips"]),
    (("c3d", "pretrained"), "its weights expect BGR: leave out pretrained, or take resnext101"),
    (
        ("oracle", "adabn"),
        "the oracle sees one domain, whose statistics are its own: leave out one",
    ),
)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS, REFUSED)
    small = any(word in words for word in WORDS["clips"])
    name = next((word for word in words if word in WORDS["backbone"]), SMALL if small else DEFAULT)
    c = common.base()
    c.stages = ("dinet",)
    c.dinet = dinet(name)
    c.data.num_classes = 12
    c.data.sources = (("source", 0.5, True), ("", 0.5, False))
    if not small:
        supervised.clip(c, name)
    for word in words:
        if word in WORDS["clips"]:
            tiny(c, name)
            {"demo": demo, "day_dark": day_dark, "real": real}[word](c)
        elif word == "source_only":
            c.dinet.adapt = "none"
        elif word == "oracle":
            oracle(c)
        elif word == "adabn":
            c.dinet.batch_norm = "domain"
        elif word == "pretrained":
            common.pretrained(c.dinet)
    c.lock()
    return c


def dinet(name: str) -> ml_collections.ConfigDict:
    """The method as published, what is not printed as DANN's."""
    s = common.stage("dinet", epochs=50, batch_size=32, lr=0.01)
    s.model = ml_collections.ConfigDict({"name": name})
    s.adapt = "dann"  # "none": the source alone; "target": the target's labels
    s.batch_norm = "shared"  # "domain": statistics of each; "frozen": those of the weights
    s.domain_head = (1024, 1024)  # widths of its hidden layers
    s.lambda_max = 1.0  # what lambda grows to
    s.lambda_gamma = 10.0  # how fast: Eq. 8
    s.lambda_start = 0.0  # share of the training before it begins
    s.mean, s.std = supervised.levels(zoo.get(name).preprocess)
    s.optim.name, s.optim.schedule, s.optim.weight_decay = "sgd", "dann", 5e-4
    s.augment = common.light_augment()
    s.published = ((f"weights/{name}", r"(?!head/)(.*)", r"features/\1"),)
    s.keep_best = ""  # nothing is chosen by the labels of the target
    return s


def oracle(c: ml_collections.ConfigDict) -> None:
    """What the target's own labels would give."""
    c.dinet.adapt = "target"
    c.data.sources = tuple((folder, share, True) for folder, share, _ in c.data.sources)
    if c.data.eval_split == c.data.train_split:  # its labels are learnt: judged on others
        c.data.split = "fold"


def tiny(c: ml_collections.ConfigDict, name: str) -> None:
    """A network that two CPU cores can train; no published weights."""
    s = c.dinet
    s.model = ml_collections.ConfigDict(supervised.SMALL[name])
    s.published = ()
    s.mean = s.std = ()  # each clip by its own mean and deviation
    s.domain_head = (64, 64)
    # At 1 the actions are learnt more slowly than so few steps allow (docs/dinet.md).
    s.lambda_max = 0.1
    # The paper's SGD hardly begins in so few steps: a recipe of its own.
    s.steps, s.batch_size, s.eval_every = 600, 32, 0
    s.optim.name, s.optim.schedule, s.optim.lr = "adamw", "cosine", 3e-3
    s.optim.warmup_steps, s.optim.weight_decay, s.optim.clip = 50, 0.05, 5.0
    s.augment.affine.p = 0.5
    c.data.frames, c.data.stride, c.data.size = 8, 3, (56, 56)
    c.data.crop = "random"


def rendered(domain: str, seed: int, **options: object) -> ml_collections.ConfigDict:
    """Rendered clips as another camera sees them; another seed is other performances."""
    clips = {"train": 50, "test": 20} if domain != "day" else {"train": 50}
    groups = {split: count // 2 for split, count in clips.items()}
    size = {"frames": 24, "height": 64, "width": 80, "fps": 12}
    return common.synthetic(
        clips_per_class=clips, groups=groups, domain=domain, seed=seed, **size, **options
    )


def demo(c: ml_collections.ConfigDict) -> None:
    """Day to thermal."""
    c.data.synthetic = rendered("thermal", 0, classes=INFAR12)
    c.data.source_synthetic = rendered("day", 1, classes=INFAR12)


def day_dark(c: ml_collections.ConfigDict) -> None:
    """Day to dark."""
    c.data.num_classes = 6
    c.data.synthetic, c.data.source_synthetic = rendered("dark", 0), rendered("day", 1)


def real(c: ml_collections.ConfigDict) -> None:
    """Rendered dark to real clips."""
    c.data.num_classes = 6
    c.data.source_synthetic = common.demo_clips()
    c.data.eval_split = "train"
    c.data.size, c.data.crop = (56, 56), "resized"
