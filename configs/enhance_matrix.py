"""Does enhancing help recognition? The table of `darkjax.tools.enhance_matrix`.

Rendered dark clips of six actions and a small classifier, so that two CPU cores make the table in
an hour: raw clips, 7 rows of enhanced ones and one of joint training (DTCM), each with the same
classifier, epochs, batch and learning rate; the joint one's enhancer is first trained alone. Every
clip is standardised by its own mean and deviation before the classifier, whatever enhanced it: what
is compared is not brightness alone.

Arguments after a colon, joined by commas:
  quick     a tenth of the steps, to see that everything runs
"""

from __future__ import annotations

import ml_collections

from configs import common, dtcm_arid, zero_dce

WORDS = {"length": ("quick",)}
ROWS = ("raw", "gic", "he", "msr", "lime", "bimef", "zero_dce", "sci", "joint")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS)
    c = dtcm_arid.get_config("demo")
    c.unlock()
    c.joint = c.dtcm
    del c.dtcm
    c.joint.epochs, c.joint.save_every = 20, 0
    c.classifier = classifier(c.joint)
    c.enhancers = ml_collections.ConfigDict({"joint": c.enhancer})
    del c.enhancer
    for name, arg in (("zero_dce", "demo"), ("sci", "demo,sci")):
        c.enhancers[name] = zero_dce.get_config(arg).enhancer
    c.rows, c.seeds = ROWS, 2
    c.data.views_crops = 1
    c.stages = ("classifier",)
    if "quick" in words:
        for s in (c.joint, c.classifier, *c.enhancers.values()):
            s.epochs = 2
        c.seeds = 1
    c.lock()
    return c


def classifier(joint: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The classifier of the joint training, alone."""
    s = common.stage("supervised", epochs=joint.epochs, batch_size=joint.batch_size, lr=1e-3)
    common.luminous(s, "dark", gamma=1.0)
    for field in ("model", "mean", "std", "augment", "optim", "label_smoothing", "keep_best"):
        s[field] = joint[field]
    s.eval_every = 0
    return s
