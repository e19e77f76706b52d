"""Every architecture by the name that tools and configs use."""

from __future__ import annotations

import functools
import importlib
import os
import pathlib

from darkjax import architectures
from darkjax.errors import UserError
from darkjax.nearest import alike
from darkjax.weights.arch import Arch

# name -> the file of its family, imported when asked for
NAMES = {name: file for name, (file, _, _) in architectures.CLASSIFIERS.items()}
ENHANCERS = tuple(architectures.ENHANCERS)  # of `families.enhancers`


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
