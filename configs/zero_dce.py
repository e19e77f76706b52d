"""An enhancer alone, without labels: Zero-DCE, DTCM's light net or SCI.

    python -m darkjax.data.convert --dataset=images --raw=PICTURES --out=records/pictures \
        --short_side=256
    python -m darkjax.main --config=configs/zero_dce.py --config.data.dir=records/pictures

Zero-DCE was trained on 2,422 pictures of SICE (512x512, of several exposures) with Adam 1e-4 and
batch 8 [Guo et al. 2020, Section 4]; its code: 200 epochs, weight decay 1e-4, gradients clipped to
0.1. A fifth of the pictures is held out and judged (brightness, inconsistency, `before_after.png`).

Arguments after a colon, joined by commas, in any order; of each line one:
  video, demo   clips of 8 frames of any records, judged on the official test split; rendered dark
                clips, some minutes on 2 CPU cores
  light, sci    DTCM's light net with DTCM's losses, the first of its two stages (Table VI); SCI
                with its own loss
  code          the losses as Zero-DCE's code has them; the default is the paper's
"""

from __future__ import annotations

import ml_collections

from configs import common

# In the order in which they apply.
WORDS = {"data": ("video", "demo"), "enhancer": ("light", "sci"), "form of the losses": ("code",)}
REFUSED = ((("sci", "code"), "SCI's loss has one form: leave out sci or code"),)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS, REFUSED)
    c = common.base()
    c.stages = ("enhancer",)
    c.enhancer = enhancer()
    c.data.split = "fold"
    c.data.frames, c.data.size, c.data.scale = 1, (256, 256), (0.5, 1.0)
    for word in words:
        if word == "code":
            c.enhancer.loss_form = "code"
        else:
            {"video": video, "demo": demo, "light": light, "sci": sci}[word](c)
    c.lock()
    return c


def enhancer() -> ml_collections.ConfigDict:
    """Zero-DCE with its own losses."""
    s = common.stage("enhancer", epochs=200, batch_size=8, lr=1e-4)
    s.enhancer = ml_collections.ConfigDict({"name": "zero_dce", "iterations": 8})
    s.objective = "zero_dce"
    s.loss_form = "paper"
    s.w_stc, s.w_col, s.w_tv, s.exposure = 4.0, 0.5, 20.0, 0.6  # of objective "dtcm"
    s.optim.weight_decay, s.optim.clip = 1e-4, 0.1
    s.optim.schedule = "constant"
    s.keep_best, s.eval_every = "", 10
    s.augment = common.light_augment()
    return s


def video(c: ml_collections.ConfigDict) -> None:
    """Clips instead of pictures."""
    c.data.split = "official"
    c.data.frames, c.data.size, c.data.crop = 8, (112, 112), "random"
    c.enhancer.epochs = 10


def demo(c: ml_collections.ConfigDict) -> None:
    """The rendered dark clips of the other demos."""
    video(c)
    c.data.num_classes = 6
    c.data.synthetic = common.demo_clips()
    c.data.frames, c.data.stride, c.data.size = 2, 3, (56, 56)
    s = c.enhancer
    s.optim.lr, s.batch_size, s.epochs, s.eval_every = 1e-3, 16, 8, 0


def light(c: ml_collections.ConfigDict) -> None:
    """DTCM Eq. 4 and 5 on clips whose frames share curves."""
    c.enhancer.enhancer = ml_collections.ConfigDict(
        {"name": "zero_dce_light", "k": 4 if c.data.frames > 1 else 1, "iterations": 8}
    )
    c.enhancer.objective = "dtcm"


def sci(c: ml_collections.ConfigDict) -> None:
    """SCI's three stages and their loss."""
    c.enhancer.enhancer = ml_collections.ConfigDict({"name": "sci", "stages": 3})
    c.enhancer.objective = "sci"
    if not c.data.synthetic:  # train.py of the release
        c.enhancer.optim.lr = c.enhancer.optim.weight_decay = 3e-4
        c.enhancer.batch_size = 1
    c.enhancer.optim.clip = 5.0
