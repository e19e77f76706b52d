"""Any network of the zoo learns from clips without labels, for other stages to begin from.

    python -m darkjax.main --config=configs/pretrain_dark.py:r3d18,demo --workdir=runs/pretrained
    python -m darkjax.main --config=configs/supervised.py:r3d18,demo \
        --config.classifier.init_from="(('runs/pretrained/pretrain', 'features/(.*)', r'\1'),)"
    python -m darkjax.main --config=configs/pretrain_dark.py:r2plus1d34 \
        --config.data.dir=records/arid --config.data.sources="(('', 0.5, False), \
        ('records/dark48', 0.5, False))"

Two augmented views of each clip are told from those of all other clips of the batch (SimCLR,
`darkjax/methods/contrastive.py`); labels are not read. `data.sources` pools several datasets. It is
judged on the split that is held out, by k nearest neighbours and a linear layer on the features:
that alone looks at labels, and records of one class need none. Clips, their size and normalisation
are the network's (`configs/supervised.py`); AdamW 1e-3, batch 64 (32 clips), 100 epochs, cosine,
are our choice. The larger the batch, the more clips there are to be told from.

Arguments after a colon, joined by commas, in any order; of each line one:
  r3d18, tsm_resnet50, …   the network: a name of docs/zoo.md
  demo, arid6              a small network of the same kind, for two CPU cores: on rendered dark
                           clips, or on the 150 real clips of a course subset (with
                           data.num_classes=0 any records), one fold's sessions left out
  pretrained               start from weights/NETWORK (docs/weights.md), all but its classifier, and
                           normalise as those weights expect
"""

from __future__ import annotations

import ml_collections

from configs import common, supervised

WORDS = supervised.WORDS
REFUSED = supervised.REFUSED


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    common.words(arg, WORDS, REFUSED)
    c = supervised.get_config(arg)
    with c.unlocked():
        s = c.pretrain = stage(c.classifier)
        del c.classifier
        c.stages = ("pretrain",)
        if not s.published:  # a small network
            s.batch_size, s.epochs, s.eval_every = 48, 20, 5
            s.optim.lr, s.optim.warmup_steps = 3e-3, 50
    c.lock()
    return c


def stage(like: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Contrast of two views, for a network and clips as `like`, a supervised stage, has them."""
    s = common.stage("contrastive", epochs=100, batch_size=64, lr=1e-3)
    contrast(s)
    common.luminous(s, "dark")
    s.model = like.model
    s.mean, s.std = like.get_ref("mean"), like.get_ref("std")
    for field in ("init_from", "published"):
        s[field] = tuple((source, regex, rf"features/{to}") for source, regex, to in like[field])
    s.optim.warmup_steps, s.optim.weight_decay, s.optim.clip = 500, 0.05, 5.0
    return s


def contrast(s: ml_collections.ConfigDict) -> None:
    """What a contrastive stage has beside its network, views and optimiser."""
    s.data.train_views = 2
    s.data.crop = "resized"
    s.data.scale = (0.4, 1.0)
    s.temperature = 0.1
    s.projection = (512, 128)  # widths of the two layers that are thrown away afterwards
    s.augment = common.augment(flip=0.5, jitter=0.8)
    s.augment.jitter.brightness = s.augment.jitter.contrast = 0.4
    s.keep_best = ""  # nothing is chosen by labels
