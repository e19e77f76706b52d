"""Architectures small enough to convert in a test, and state dicts under their original names."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np
import pytest
import torch_files
from published import LEAVES, renamed, rules

from darkjax import models
from darkjax.optim import flatten
from darkjax.weights import convert, zoo
from darkjax.weights.arch import ACTIVITYNET, Arch, Preprocess, classes_of
from darkjax.weights.families import resnet3d, resnet_frames

INPUT = (4, 16, 16)
REAL = zoo.get


def _arch(model: dict[str, Any], names: Any, **fields: Any) -> Arch:
    return Arch(
        paper="A test",
        model=model,
        names=names,
        infer=classes_of("new_fc.weight", "fc.weight"),
        preprocess=Preprocess(**ACTIVITYNET, size=16, frames=4),
        input=INPUT,
        licence="none",
        **fields,
    )


TINY = {
    "tiny": _arch(
        {"name": "resnet3d", "variant": "10", "width": 4}, resnet3d.NAMES, files=("tiny.pth",)
    ),
    "tiny2d": _arch(
        {"name": "resnet_frames", "variant": "14", "width": 4, "temporal": "none"},
        resnet_frames.NAMES,
    ),
    # the interlacing's parameters are as long as the clip
    "tiny_tin": _arch(
        {"name": "resnet_frames", "variant": "14", "width": 16, "temporal": "interlace"}
        | {"shift_div": 4},
        resnet_frames.NAMES,
    ),
}


def get(name: str) -> Arch:
    """In place of `zoo.get`."""
    return TINY[name] if name in TINY else REAL(name)


# our path -> the original's name, for both families
ORIGINAL = rules(
    r"""
    stem_bn/(.*)                                bn1.\1
    stem/(.*)                                   conv1.\1
    stage(\d)_(\d+)/shortcut_bn/(.*)            layer\1.\2.downsample.1.\3
    stage(\d)_(\d+)/shortcut/(.*)               layer\1.\2.downsample.0.\3
    stage(\d)_(\d+)/interlace/offset_conv/(.*)  layer\1.\2.conv1.net1.biasnet.net.conv.\3
    stage(\d)_(\d+)/interlace/offset_fc1/(.*)   layer\1.\2.conv1.net1.biasnet.net.fc.\3
    stage(\d)_(\d+)/interlace/offset_fc2/(.*)   layer\1.\2.conv1.net1.biasnet.net.lastlayer.\3
    stage(\d)_(\d+)/interlace/weight_conv/(.*)  layer\1.\2.conv1.net1.weightnet.net.lastlayer.\3
    stage(\d)_(\d+)/(\w+)/(.*)                  layer\1.\2.\3.\4
    head/(.*)                                   fc.\1
    """
)


def state_dict(
    name: str = "tiny", classes: int = 5, clip: tuple = INPUT, channels: int = 3, flat: bool = False
) -> dict[str, np.ndarray]:
    """Random weights under the original's names and layout; `flat` as of a 2-D network."""
    model = models.build(TINY[name].model, classes)
    video = jax.ShapeDtypeStruct((1, *clip, channels), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), video)
    rng = np.random.default_rng(0)
    found = {}
    for kind in ("params", "batch_stats"):
        for path, leaf in flatten(shapes[kind]).items():
            value = rng.uniform(0.5, 1.5, leaf.shape) if leaf.ndim < 2 else None
            if value is None:
                value = rng.standard_normal(leaf.shape) / np.prod(leaf.shape[:-1]) ** 0.5
                value = np.moveaxis(value, (-1, -2), (0, 1))
                if flat and value.ndim == 5:
                    value = value[:, :, 0]
            key = renamed(path, ORIGINAL)
            module, _, leaf_name = key.rpartition(".")
            found[f"{module}.{LEAVES.get(leaf_name, leaf_name)}"] = value.astype(np.float32)
            if leaf_name == "var":
                found[f"{module}.num_batches_tracked"] = np.asarray(3, np.int64)
    return found


def published(folder: pathlib.Path, name: str) -> pathlib.Path:
    """`folder` with `weights/NAME` in it: the tiny network's file, converted."""
    torch_files.save(folder / "tiny.pth", state_dict("tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "get", get)
        convert.convert("tiny", folder / "tiny.pth", folder / "weights" / name, say=lambda _: None)
    return folder
