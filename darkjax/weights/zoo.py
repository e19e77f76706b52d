"""Every architecture by the name that tools and configs use."""

from __future__ import annotations

import functools
import importlib
import os
import pathlib

from darkjax.errors import UserError
from darkjax.nearest import alike
from darkjax.weights.arch import Arch

# name -> the file of its family, imported when asked for
FAMILIES = {
    "c3d": ("c3d", "c3d_bn"),
    "resnet3d": (
        "r3d18",
        "r3d34",
        "r3d50",
        "r3d101",
        "r3d18_a",
        "r3d34_a",
        "r3d18_tv",
        "resnext101",
    ),
    "r2plus1d": ("r2plus1d18", "r2plus1d34"),
    "i3d": ("i3d",),
    "s3d": ("s3d",),
    "p3d": ("p3d199",),
    "mobilenet3d": ("mobilenet3d_v1", "mobilenet3d_v2"),
    "shufflenet3d": ("shufflenet3d_v1", "shufflenet3d_v2"),
    "squeezenet3d": ("squeezenet3d",),
    "slowfast": ("slowfast_r50_4x16", "slowfast_r50_8x8"),
    "resnet_frames": ("tsn_resnet50", "tsm_resnet50", "tin_resnet50"),
    "vit": ("vit_b16", "vit_b16_miil"),
    "timesformer": ("timesformer_b",),
    "swin3d": ("swin3d_t", "swin3d_s", "swin3d_b"),
    "mvit": ("mvit_b_16x4",),
    "bert": ("darklight_r2plus1d34", "r2plus1d34_bert"),
}
# Of `enhancers`: nets from frames to frames, without classes.
ENHANCERS = (
    "zero_dce",
    "zero_dce_light",
    "sci",
    "kind",
    "kind_decomposition",
    "kind_adjustment",
    "kind_restoration",
    "stable_llve",
)
NAMES = {arch: family for family, archs in FAMILIES.items() for arch in archs}


@functools.cache
def get(name: str) -> Arch:
    """The architecture of that name.

    Raises:
      UserError: no such name; the nearest ones are given.
    """
    known = NAMES | dict.fromkeys(ENHANCERS, "enhancers")
    if name not in known:
        near = alike(name, known, 3, 0.4)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
        raise UserError(f"{name!r} is not an architecture; {hint}")
    return importlib.import_module(f"darkjax.weights.families.{known[name]}").ARCHS[name]


def command(folder: str | os.PathLike[str]) -> str:
    """How a folder of converted weights is made; its name says of which architecture it is."""
    arch, file = pathlib.Path(folder).name, "FILE"
    if arch in (*NAMES, *ENHANCERS):
        file = (*get(arch).files, file)[0]
    else:
        arch = "NAME"
    return f"python -m darkjax.weights.convert --arch={arch} --checkpoint={file} --out={folder}"
