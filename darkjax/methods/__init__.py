"""How each paper trains a model: init, loss, predict. `make` looks a method up by name."""

from __future__ import annotations

import importlib
from typing import Any

from darkjax import models
from darkjax.errors import UserError
from darkjax.methods.base import Aux, Look, Method, Part, Spec
from darkjax.nearest import did_you_mean

PARTS = (  # what the loop, the evaluation and the report ask of a method
    "init", "loss", "predict", "look", "judge", "frozen", "seen", "concluded",
    "fits", "fits_views", "keeps_training",
)  # fmt: skip
METHODS = (
    "supervised", "lift", "dtcm", "dinet", "enhancer", "ir_dcl", "fusion", "darklight",
    "contrastive", "actlumos",
)  # fmt: skip

__all__ = ["METHODS", "Aux", "Look", "Method", "Part", "Spec", "is_name", "make"]


def is_name(name: Any) -> bool:
    """Whether this may name a method: one of ours, or `package.module:function` of anyone's."""
    return isinstance(name, str) and (name in METHODS or models.is_outside(name))


def make(config: Any, spec: Spec) -> Method:
    """The method that a stage's config names (`config.method`).

    Args:
      config: the stage's section, resolved.
      spec: classes and batches; `Spec.numbered(K)` where nothing is known of the batches.

    Raises:
      UserError: no such method, or values of the section that do not fit it.
    """
    name = config.method
    if name in METHODS:
        return importlib.import_module(f"darkjax.methods.{name}").make(config, spec)
    if not is_name(name):
        known = f": known are {', '.join(METHODS)}"
        hint = did_you_mean(name, METHODS, lead=": ", otherwise=known)
        raise UserError(f"method={name!r} is not a method{hint}, or package.module:function")
    method = models.outside(name, "method")(config, spec)
    missing = [part for part in PARTS if not hasattr(method, part)]
    if missing:
        raise UserError(
            f"method={name!r} gave a {type(method).__name__} without {', '.join(missing)}: "
            "expected a darkjax.methods.Method (docs/extending.md)"
        )
    return method
