"""What is known of one architecture: its model, its names, what its weights expect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from darkjax.weights.names import NameMap, StateDict


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """What a model's published weights were trained on.

    A frame in [0, 1] times `scale` (1 or 255), in `order` "RGB" or "BGR", minus `mean`, divided
    by `std`, per channel in that order. `size` is the square crop, `short_side` what the frame
    is resized to before it (0: not resized), `frames` and `stride` the clip.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1.0
    order: str = "RGB"
    size: int = 112
    short_side: int = 128
    frames: int = 16
    stride: int = 1


@dataclasses.dataclass(frozen=True)
class Arch:
    """One row of the zoo.

    `model` is a config of `darkjax.models.build` (`name` and fields); `infer` reads fields
    (`num_classes`, segment or frame counts) from a state dict whose prefixes are stripped;
    `input` is `(T, H, W)` of one clip; `files` are the published names it accepts; `releases` are
    (expression, preprocessing) of files whose name says that they expect another; `views` is
    the number of clips the model takes (2: dark and gamma-corrected); `resize` is given (path,
    array, `(T, H, W)`, model's fields) where another frame size than the file's was asked for.
    """

    paper: str
    model: Mapping[str, Any]
    names: NameMap
    infer: Callable[[StateDict], dict[str, Any]]
    preprocess: Preprocess
    input: tuple[int, int, int]
    files: tuple[str, ...] = ()
    releases: tuple[tuple[str, Preprocess], ...] = ()
    licence: str = "see the publisher"
    views: int = 1
    resize: Callable[[str, Any, tuple[int, int, int], Mapping[str, Any]], Any] | None = None


def classes_of(*keys: str) -> Callable[[StateDict], dict[str, Any]]:
    """An `infer` for a plain classifier: the rows of the first of `keys` that is there.

    Without any of them the file holds a backbone alone: `num_classes` None.
    """

    def infer(state: StateDict) -> dict[str, Any]:
        rows = [state[key].shape[0] for key in keys if key in state]
        return {"num_classes": int(rows[0]) if rows else None}

    return infer


IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# torchvision's Kinetics-400 and IG-65M weights
KINETICS: dict[str, Any] = {
    "mean": (0.43216, 0.394666, 0.37645),
    "std": (0.22803, 0.22145, 0.216989),
}
# 3D-ResNets-PyTorch (2018) and what descends from it: 0-255, no division
ACTIVITYNET: dict[str, Any] = {
    "mean": (114.7748, 107.7354, 99.4750),
    "std": (1.0, 1.0, 1.0),
    "scale": 255.0,
}
# 3D-ResNets-PyTorch of 2020 (files NAME_K_200ep.pth and the like): 0-1, divided
KINETICS_2020: dict[str, Any] = {
    "mean": (0.4345, 0.4051, 0.3775),
    "std": (0.2768, 0.2713, 0.2737),
}
HALF: dict[str, Any] = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}
