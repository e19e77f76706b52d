"""Enhancers: Zero-DCE, SCI, KinD (TensorFlow names and layout), StableLLVE.

The light Zero-DCE of DTCM was not published: its names here are Zero-DCE's `e_conv1` ...
`e_conv7` with torchvision's ShuffleNetV2 units (`e_conv2.branch2.0.weight`) in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from darkjax.weights.arch import Arch, Preprocess
from darkjax.weights.names import NameMap, StateDict

IMAGE: dict[str, Any] = {"size": 256, "short_side": 0, "frames": 1}
PLAIN = Preprocess(mean=(0.0,) * 3, std=(1.0,) * 3, **IMAGE)
SIZE = (1, 256, 256)

ZERO_DCE = NameMap(((r"e_conv(\d)", r"conv\1"),))

ZERO_DCE_LIGHT = NameMap(
    (
        (r"e_conv([17])", r"conv\1"),
        (r"e_conv(\d)\.branch1\.0", r"unit\1/shortcut_conv1"),
        (r"e_conv(\d)\.branch1\.1", r"unit\1/shortcut_bn1"),
        (r"e_conv(\d)\.branch1\.2", r"unit\1/shortcut_conv2"),
        (r"e_conv(\d)\.branch1\.3", r"unit\1/shortcut_bn2"),
        (r"e_conv(\d)\.branch2\.0", r"unit\1/conv1"),
        (r"e_conv(\d)\.branch2\.1", r"unit\1/bn1"),
        (r"e_conv(\d)\.branch2\.3", r"unit\1/conv2"),
        (r"e_conv(\d)\.branch2\.4", r"unit\1/bn2"),
        (r"e_conv(\d)\.branch2\.5", r"unit\1/conv3"),
        (r"e_conv(\d)\.branch2\.6", r"unit\1/bn3"),
    )
)


def _curves(state: StateDict) -> dict[str, Any]:
    """Iterations: as many as the last layer has curves for the first one's channels."""
    channels = state["e_conv1.weight"].shape[1]
    return {
        "num_classes": None,
        "iterations": state["e_conv7.weight"].shape[0] // channels,
        "width": state["e_conv1.weight"].shape[0],
    }


def _light(state: StateDict) -> dict[str, Any]:
    return _curves(state) | {"bn": "e_conv2.branch2.1.weight" in state}


def _needs(key: str) -> Callable[[StateDict], dict[str, Any]]:
    """An `infer` that knows its own files by one name or the beginning of names."""

    def infer(state: StateDict) -> dict[str, Any]:
        if not any(name.startswith(key) for name in state):
            raise KeyError(key)
        return {"num_classes": None}

    return infer


def _last_alias(state: StateDict) -> StateDict:
    """SCI's blocks are one block under several names; torch loads them in order, the last wins."""
    found = dict(state)
    for net, block in (("enhance", "conv"), ("calibrate", "convs")):
        aliases = [key for key in state if re.match(rf"{net}\.blocks\.\d+\.", key)]
        for key in sorted(aliases, key=lambda key: int(key.split(".")[2])):
            _, _, _, leaf = key.split(".", 3)
            found[f"{net}.{block}.{leaf}"] = found.pop(key)
    return found


SCI = NameMap(
    (
        (r"enhance\.in_conv\.0", "enhance/first"),
        (r"enhance\.conv\.0", "enhance/conv"),
        (r"enhance\.conv\.1", "enhance/bn"),
        (r"enhance\.out_conv\.0", "enhance/last"),
        (r"calibrate\.in_conv\.0", "calibrate/first"),
        (r"calibrate\.in_conv\.1", "calibrate/first_bn"),
        (r"calibrate\.convs\.0", "calibrate/conv1"),
        (r"calibrate\.convs\.1", "calibrate/bn1"),
        (r"calibrate\.convs\.3", "calibrate/conv2"),
        (r"calibrate\.convs\.4", "calibrate/bn2"),
        (r"calibrate\.out_conv\.0", "calibrate/last"),
    ),
    prepare=_last_alias,
)


def _stages(state: StateDict) -> dict[str, Any]:
    """How often the blocks repeat; a file of the test net alone has no calibration."""

    def repeats(net: str, default: int) -> int:
        found = {key.split(".")[2] for key in state if key.startswith(f"{net}.blocks.")}
        return len(found) or default

    _needs("enhance.in_conv.0.weight")(state)
    config = {"num_classes": None, "enhance_repeats": repeats("enhance", 1)}
    if "calibrate.in_conv.0.weight" not in state:
        return config | {"stages": 1}
    width = state["calibrate.in_conv.0.weight"].shape[0]
    return config | {"calibrate_repeats": repeats("calibrate", 3), "width": width}


def _transposed(leaves: StateDict) -> StateDict:
    """TensorFlow's transposed convolutions are `[2, 2, O, I]`, ours `[2, 2, I, O]`."""
    return {"": np.swapaxes(leaves[""], -1, -2)}


def _tensorflow(scope: str, ours: str, rows: tuple[tuple[str, str], ...]) -> tuple[tuple, ...]:
    """Rules of one scope; convolutions are `[k, k, I, O]` there as here."""
    rules: list[tuple] = []
    for theirs, name in rows:
        change = (_transposed,) if re.match(r"(g_)?up_", theirs) else ()
        rules.append((rf"{scope}/{theirs}/weights", f"{ours}{name}/kernel", *change))
        rules.append((rf"{scope}/{theirs}/biases", f"{ours}{name}/bias"))
    return tuple(rules)


def _kind(prefixes: bool) -> dict[str, tuple[tuple, ...]]:
    """The rules of KinD's nets, below their names in the whole or on their own."""
    scopes = {
        "decomposition": (
            "DecomNet",
            (
                (r"g_conv([12389])_1", r"conv\1"),
                (r"g_up_(\d)", r"up\1"),
                ("g_conv10", "reflectance"),
                ("l_conv1_2", "light_conv"),
                ("l_conv1_4", "illumination"),
            ),
        ),
        "adjustment": ("Illumination_adjust_net", ((r"en_conv_(\d)", r"conv\1"),)),
        "restoration": (
            "Restoration_net",
            (
                (r"de_conv(\d)_(\d)", r"conv\1_\2"),
                (r"up_(\d)", r"up\1"),
                ("de_conv10", "last"),
            ),
        ),
    }
    return {
        net: _tensorflow(scope, f"{net}/" if prefixes else "", rows)
        for net, (scope, rows) in scopes.items()
    }


def _kind_parts(state: StateDict) -> dict[str, Any]:
    """The whole of KinD works without its restoration, which was not published."""
    return _needs("DecomNet/")(state) | {
        "restoration": any(key.startswith("Restoration_net/") for key in state)
    }


UNET = NameMap(
    (
        (r"inc\.double_conv\.0", "down0/conv1"),
        (r"inc\.double_conv\.2", "down0/conv2"),
        (r"down(\d)\.maxpool_conv\.1\.double_conv\.0", r"down\1/conv1"),
        (r"down(\d)\.maxpool_conv\.1\.double_conv\.2", r"down\1/conv2"),
        (r"up(\d)\.conv\.double_conv\.0", r"up\1/conv1"),
        (r"up(\d)\.conv\.double_conv\.2", r"up\1/conv2"),
        (r"outc\.conv", "last"),
    )
)

GUO = "Zero-DCE: Guo et al. 2020, arXiv 2001.06826"
ZHANG = "KinD: Zhang et al. 2019, arXiv 1905.04161"
ALONE, WHOLE = _kind(prefixes=False), _kind(prefixes=True)


def _arch(
    paper: str, name: str, names: NameMap, infer: Callable[[StateDict], dict[str, Any]], **more: Any
) -> Arch:
    return Arch(paper, {"name": name}, names, infer, **{"preprocess": PLAIN, "input": SIZE, **more})


def _part(net: str, scope: str, channels: int, *files: str) -> Arch:
    """One of KinD's nets on its own."""
    plain = Preprocess(mean=(0.0,) * channels, std=(1.0,) * channels, **IMAGE)
    names, infer = NameMap(ALONE[net]), _needs(scope)
    return _arch(ZHANG, f"kind_{net}", names, infer, preprocess=plain, files=files)


ARCHS = {
    "zero_dce": _arch(
        GUO,
        "zero_dce",
        ZERO_DCE,
        _curves,
        files=("Epoch99.pth",),
        licence="non-commercial research (Zero-DCE)",
    ),
    "zero_dce_light": _arch(
        "DTCM: Tu et al. 2023, the light Zero-DCE of Section III-D",
        "zero_dce_light",
        ZERO_DCE_LIGHT,
        _light,
    ),
    "sci": _arch(
        "SCI: Ma et al. 2022, arXiv 2204.10137",
        "sci",
        SCI,
        _stages,
        files=("easy.pt", "medium.pt", "difficult.pt"),
        licence="MIT (SCI)",
    ),
    "kind": _arch(
        f"{ZHANG}, its nets joined",
        "kind",
        NameMap(WHOLE["decomposition"] + WHOLE["adjustment"] + WHOLE["restoration"]),
        _kind_parts,
    ),
    "kind_decomposition": _part("decomposition", "DecomNet/", 3, "decom_net.npz"),
    "kind_adjustment": _part(
        "adjustment", "Illumination_adjust_net/", 2, "illumination_adjust_net.npz"
    ),
    "kind_restoration": _part("restoration", "Restoration_net/", 4),
    "stable_llve": _arch(
        "StableLLVE: Zhang et al. 2021, CVPR",
        "stable_llve",
        UNET,
        _needs("outc.conv.weight"),
        preprocess=Preprocess(mean=(0.0,) * 3, std=(1.0,) * 3, order="BGR", **IMAGE),
    ),
}
