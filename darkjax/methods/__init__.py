"""How each paper trains a model: init, loss, predict. `make` looks a method up by name."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from darkjax.errors import UserError
from darkjax.methods.base import Aux, Method

METHODS = ("supervised", "lift", "dtcm", "enhancer")

__all__ = ["METHODS", "Aux", "Method", "make"]


def make(config: Any, num_classes: int) -> Method:
    """The method a stage's config names (`config.method`), for K classes."""
    name = config.method
    if name not in METHODS:
        close = difflib.get_close_matches(str(name), METHODS, n=1)
        hint = f": did you mean {close[0]!r}?" if close else f": known are {', '.join(METHODS)}"
        raise UserError(f"method={name!r} is not a method{hint}")
    return importlib.import_module(f"darkjax.methods.{name}").make(config, num_classes)
