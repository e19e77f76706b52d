"""Flax modules, one family a file; `build` makes one from a config."""

from __future__ import annotations

import importlib
import re
from typing import Any

import flax.linen as nn

from darkjax.architectures import ARCHITECTURES
from darkjax.errors import UserError
from darkjax.nearest import did_you_mean

__all__ = ["ARCHITECTURES", "build", "default", "fields_of", "resolve"]

Fields = Any  # a dict or an ml_collections.ConfigDict, which is not a Mapping to Python


def is_outside(name: str) -> bool:
    """Whether a name is `package.module:attribute`: something outside this package."""
    return bool(re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name))


def outside(name: str, field: str) -> Any:
    """What `package.module:attribute` names; `field` of the config says so, for the error.

    Raises:
      UserError: it cannot be imported, or is not there.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as e:
        raise UserError(
            f"{field}={name!r}: {e}: expected package.module:name of something that Python can "
            "import from here (the current folder, the folder above the config's, or what is "
            "installed)"
        ) from e


def build(
    config: Fields, num_classes: int | None, *, section: str = "model", **defaults: Any
) -> nn.Module:
    """A model from `config`: its `name` and the fields of its class.

    Args:
      config: `name` is one of `ARCHITECTURES`, or `package.module:Class` of a flax module of one's
        own; the rest are the module's own fields.
      num_classes: K, or None for the backbone alone.
      section: what a stage calls `config`, for errors.
      **defaults: fields such as `dtype` or `bn_group`, used where `config` does not set them and
        the model has them.

    Raises:
      UserError: an unknown name or field, with the nearest known one; a field that contradicts
        what the name stands for.
    """
    fields = {k: _plain(v) for k, v in dict(config).items()}
    name = fields.pop("name", "")
    cls, fields = resolve(name, fields, section)
    fields = {**{k: v for k, v in defaults.items() if k in fields_of(name)}, **fields}
    if "num_classes" not in cls.__dataclass_fields__:
        if num_classes is not None:
            raise UserError(f"model {name!r} has no classes, found num_classes={num_classes}")
        return cls(**fields)
    return cls(num_classes, **fields)


def resolve(
    name: str, fields: Fields, section: str = "model", named: str = ""
) -> tuple[type[nn.Module], dict[str, Any]]:
    """The class of `name` and its fields: those given and those that the name stands for.

    `section` holds `fields` in a stage, `named` the name where that is not `section.name`; for the
    errors of `build`, both.
    """
    anew = f"{section}={name}" if not named else f'{section}="{{}}"'
    anew = f"; --config.STAGE.{anew} begins the section anew"
    named = named or f"{section}.name"
    if name not in ARCHITECTURES and not is_outside(name):
        raise UserError(f"{named}={name!r} is not a model{_nearest(name, ARCHITECTURES)}")
    cls, fixed = _class(name)
    known = fields_of(name)
    for field, value in fields.items():
        if field not in known:
            raise UserError(f"model {name!r} has no field {field!r}{_nearest(field, known)}{anew}")
        if field in fixed and value != fixed[field]:
            raise UserError(
                f"{named}={name!r} stands for {field}={fixed[field]!r}, found "
                f"{section}.{field}={value!r}: take one of them away{_family(name)}{anew}"
            )
    return cls, {**fixed, **fields}


def fields_of(name: str) -> set[str]:
    """The fields that a config of this model may set."""
    known = set(_class(name)[0].__dataclass_fields__)
    return known - {"parent", "name", "num_classes"}


def class_of(name: str) -> type[nn.Module]:
    """The flax module that a known name, or `package.module:Class`, stands for."""
    return _class(name)[0]


def default(name: str, field: str) -> Any:
    """What a field of this model is where nobody sets it; None for an unknown one."""
    cls, fixed = _class(name)
    return fixed.get(field, getattr(cls, field, None))


def _class(name: str) -> tuple[Any, dict[str, Any]]:
    """The module class of a known name, and the fields that the name stands for."""
    if is_outside(name):
        cls = outside(name, "model.name")
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise UserError(f"model.name={name!r}: expected a flax.linen.Module, found {cls!r}")
        return cls, {}
    module, cls, fixed = ARCHITECTURES[name]
    return getattr(importlib.import_module(f"darkjax.models.{module}"), cls), fixed


def _family(name: str) -> str:
    """A hint: the name of the same class that stands for no field."""
    free: tuple[str, str, dict[str, Any]] = (*ARCHITECTURES[name][:2], {})
    return next(
        (
            f", or write {n!r}, which stands for none"
            for n in ARCHITECTURES
            if ARCHITECTURES[n] == free
        ),
        "",
    )


def _plain(value: Any) -> Any:
    """A ConfigDict as a dict: flax freezes dicts, not ConfigDicts."""
    return value.to_dict() if hasattr(value, "to_dict") else value


def _nearest(name: str, known: Any) -> str:
    return ": " + did_you_mean(name, known, otherwise=f"known are {', '.join(sorted(known))}")
