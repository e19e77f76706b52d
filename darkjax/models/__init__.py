"""Flax modules, one family a file; `build` makes one from a config."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from darkjax.errors import UserError

# name -> (module, class); imported when asked for.
ARCHITECTURES = {
    "r2plus1d": ("r2plus1d", "R2Plus1D"),
    "resnet3d": ("resnet3d", "ResNet3D"),
    "lift_net": ("lift_net", "LiftNet"),
    "vit": ("vit", "ViT"),
}


def build(config: Mapping[str, Any], num_classes: int | None, **defaults: Any) -> nn.Module:
    """A model from `config`: its `name` and the fields of its class.

    Args:
      config: `name` is one of `ARCHITECTURES`, the rest are the module's own fields.
      num_classes: K, or None for the backbone alone.
      **defaults: fields such as `dtype` or `bn_group`, used where `config` does not set them.

    Raises:
      UserError: an unknown name or field, with the nearest known one.
    """
    fields = {**defaults, **{k: _plain(v) for k, v in dict(config).items()}}
    name = fields.pop("name")
    if name not in ARCHITECTURES:
        raise UserError(f"model.name={name!r} is not a model{_nearest(name, ARCHITECTURES)}")
    module, cls = ARCHITECTURES[name]
    cls = getattr(importlib.import_module(f"darkjax.models.{module}"), cls)
    known = {f for f in cls.__dataclass_fields__ if f not in ("parent", "name", "num_classes")}
    for field in fields:
        if field not in known:
            raise UserError(f"model {name!r} has no field {field!r}{_nearest(field, known)}")
    return cls(num_classes, **fields)


def _plain(value: Any) -> Any:
    """A ConfigDict as a dict: flax freezes dicts, not ConfigDicts."""
    return value.to_dict() if hasattr(value, "to_dict") else value


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else f": known are {', '.join(sorted(known))}"
