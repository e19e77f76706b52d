"""A whole experiment, small enough for a test: rendered clips and tiny networks."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import run_data

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLASSES = ("Jump", "Sit", "Turn")
# Of each 3-D network: the fields of a tiny one, and how wide its last vector is.
NETS: dict[str, tuple[dict[str, Any], int]] = {
    "r2plus1d": ({"variant": (1,), "width": 4, "stem_mid": 4, "stem_kernel": 3}, 4),
    "resnet3d": ({"variant": "10", "width": 4}, 32),
}
AUGMENTATIONS = ("jitter", "affine", "optical", "elastic", "rain", "frame_shuffle", "cutmix")


def config(folder: pathlib.Path) -> Any:
    """The demo of LIFT-Net with fewer, smaller clips; records are kept in `folder`."""
    c = configs.load(f"{ROOT}/configs/lift_arid.py:demo")
    shrink(c, folder)
    c.student.model.repeats = 1
    return c


def shrink(c: Any, folder: pathlib.Path) -> None:
    """Any variant of LIFT-Net's config with its clips and networks as small as they can be."""
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
    m = c.student.model
    net, m.head_width = NETS[m.luminous_net]
    with c.unlocked():
        m.luminous = net
        if "teacher" in c:
            c.teacher.model = {"name": m.luminous_net, **net}
    m.width, m.heads, m.tokens = 16, 2, (1, 2, 2)
    m.pvit = {"depth": 2, "width": 8, "heads": 1, "patch": 16}
    for name in c.stages:
        stage = c[name]
        for augmentation in AUGMENTATIONS:  # compiling is most of a test's time
            stage.augment[augmentation].p = 0.0
        stage.batch_size, stage.steps, stage.optim.warmup_steps = 16, 4, 1
        stage.optim.lr = 1e-2
        stage.eval_every = 0


def contrast(folder: pathlib.Path) -> Any:
    """The demo of learning without labels on the same clips, two views of each."""
    c, tiny = configs.load(f"{ROOT}/configs/pretrain_dark.py:demo"), config(folder)
    s, fields = c.pretrain, NETS["r2plus1d"][0]
    with c.unlocked():
        for field in ("dir", "synthetic", "num_classes", "frames", "size", "views_crops"):
            c.data[field] = tiny.data[field]
        s.model = {"name": "r2plus1d", **fields}
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    s.projection, s.batch_size, s.steps, s.eval_every = (8, 4), 16, 4, 0
    s.optim.lr, s.optim.warmup_steps = 1e-2, 1
    for augmentation in AUGMENTATIONS:
        s.augment[augmentation].p = 0.0
    return c


def records(c: Any) -> Any:
    """The records of the config, rendered when they are not there yet."""
    return run_data.open_records(c.data, "")


def predictions(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of FOLDER/predictions.npz."""
    return arrays(folder / "predictions.npz")


def arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, which is closed: one left to the garbage is a warning in some test."""
    with np.load(path) as file:
        return dict(file)
