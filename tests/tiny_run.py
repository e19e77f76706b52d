"""A whole experiment, small enough for a test: rendered clips and tiny networks."""

from __future__ import annotations

import pathlib
from typing import Any

from darkjax import config as configs
from darkjax import experiment

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLASSES = ("Jump", "Sit", "Turn")


def config(folder: pathlib.Path) -> Any:
    """The demo of LIFT-Net with fewer, smaller clips; records are kept in `folder`."""
    c = configs.load(f"{ROOT}/configs/lift_arid.py:demo")
    with c.unlocked():
        c.data.synthetic = {
            "classes": CLASSES,
            "clips_per_class": {"train": 11, "test": 3},
            "groups": {"train": 3, "test": 1},
            "frames": 12,
            "height": 36,
            "width": 40,
            "seed": 0,
        }
    c.data.dir = str(folder)
    c.data.num_classes = len(CLASSES)
    c.data.frames, c.data.size, c.data.views_crops = 4, (32, 32), 1
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    net = {"variant": (1, 1), "width": 4, "stem_mid": 4, "stem_kernel": 3}
    with c.unlocked():
        c.teacher.model = {"name": "r2plus1d", **net}
        c.student.model.luminous = net
    for stage in (c.teacher, c.student):  # compiling is most of a test's time
        stage.augment.jitter.p = stage.augment.affine.p = 0.0
    c.student.model.width, c.student.model.repeats = 16, 1
    c.student.model.heads, c.student.model.head_width = 2, 8
    c.student.model.pvit = {"depth": 2, "width": 8, "heads": 1, "patch": 16}
    c.student.model.tokens = (1, 2, 2)
    for stage in (c.teacher, c.student):
        stage.batch_size, stage.steps, stage.optim.warmup_steps = 16, 4, 1
        stage.optim.lr = 1e-2
        stage.eval_every = 0
    return c


def records(c: Any) -> Any:
    """The records of the config, rendered when they are not there yet."""
    return experiment.open_records(c, c.data.dir)
