"""`--config.FIELD=VALUE`: fields of a config, as they are written on a command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from typing import Any

import ml_collections

from darkjax.errors import UserError


def split(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """(the other arguments, overrides) of a command line.

    An override is `--config.FIELD=VALUE` or `--config.FIELD VALUE`; for a switch also
    `--config.FIELD` and `--noconfig.FIELD`.
    """
    others: list[str] = []
    overrides: list[tuple[str, str]] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        found = re.match(r"--?(no)?config\.([^=]*)(=(.*))?$", word, re.DOTALL)
        if not found:
            others.append(word)
        elif found[3] is not None:
            overrides.append((found[2], found[4]))
        elif found[1]:
            overrides.append((found[2], "False"))
        elif words and not words[0].startswith("--"):
            overrides.append((found[2], words.pop(0)))
        else:
            overrides.append((found[2], "True"))
    return others, overrides


def apply_all(config: ml_collections.ConfigDict, fields: Iterable[tuple[str, str]]) -> None:
    """Set some fields; sections come before what is in them, in whatever order they were given."""
    for field, text in sorted(fields, key=lambda pair: pair[0].count(".")):
        apply(config, field, text)


def apply(config: ml_collections.ConfigDict, field: str, text: str) -> None:
    """Set a field, such as `student.optim.lr`, to the value that `text` writes.

    `text` is read as what the field may be (`ranges`): a number, True, None, a tuple (`1,2` or
    `(1, 2)`), else as it stands. A model's section takes a name, which begins the section anew
    so that nothing that stood in it contradicts the name; its other fields may be set whether the
    config sets them or not.

    Raises:
      UserError: no such field, with the nearest; a path through a value; a value it may not have.
    """
    from darkjax import ranges  # and with it jax: `--help` does not wait for that

    field = "".join(c if c.isprintable() else "?" for c in field)  # errors are one line
    section, name = _section(config, field), field.rpartition(".")[2]
    inside = [f for f in ranges.walk(config) if f.path.startswith(f"{field}.")]
    whole = name in section and isinstance(section[name], ml_collections.ConfigDict)
    model = any(f.model for f in inside)
    if name not in section and "." not in field:
        raise UserError(f"--config.{field}: {ranges.unknown(config, field)}")
    present, before = name in section, section.get(name)
    wrong = None
    with section.unlocked(), section.ignore_type():
        for value in _readings(before, text, model):
            section[name] = value
            below = (f for f in ranges.walk(config) if f"{f.path}.".startswith(f"{field}."))
            wrong = next((f for f in below if f.check is None or not f.check.holds(f.value)), None)
            if wrong is None:
                return
        if present:
            section[name] = before
        else:
            del section[name]
    if whole and not model:
        some = inside[0].path if inside else field
        raise UserError(f"--config.{field} is a section: set its fields, such as --config.{some}=…")
    if wrong is None or wrong.check is None:
        known = wrong.known if wrong is not None else ()
        raise UserError(f"--config.{field}: {ranges.unknown(config, field, known)}")
    raise UserError(f"--config.{field}={ranges.shown(text)[1:-1]}: expected {wrong.check.text}")


def _section(config: Any, field: str) -> Any:
    """The section that a field stands in."""
    from darkjax import ranges

    section, parts = config, field.split(".")
    for i, part in enumerate(parts[:-1], start=1):
        path = ".".join(parts[:i])
        if part not in section:
            raise UserError(f"--config.{field}: {ranges.unknown(config, path, whole=field)}")
        section = section[part]
        if section is None:
            raise UserError(
                f"--config.{field}: {path} is None here and has no fields: start from a config "
                "that sets it, such as configs/lift_arid.py:demo"
            )
        if not isinstance(section, ml_collections.ConfigDict):
            raise UserError(
                f"--config.{field}: {path} is one value ({ranges.shown(section)}), not a section: "
                f"set it whole, --config.{path}=VALUE"
            )
    return section


def _readings(before: Any, text: str, model: bool) -> list[Any]:
    """What a text may mean where such a value stands, the likeliest first."""
    switches = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        literal = _tuples(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        literal = text
    if isinstance(before, ml_collections.ConfigDict):
        named: list[Any] = [ml_collections.ConfigDict({"name": text})] if model else []
        if model and isinstance(literal, dict):
            return [ml_collections.ConfigDict(literal)]
        return [literal, *named] if literal is None else named
    if isinstance(before, bool):
        return [switches.get(text.lower(), literal)]
    if isinstance(before, float) and type(literal) is int:
        return [float(literal)]
    if isinstance(before, str):
        return [text, literal]
    if isinstance(before, tuple):
        listed = tuple(text.split(",")) if re.fullmatch(r"[\w./-]+(,[\w./-]+)*", text) else (text,)
        return [literal, *([] if literal is text else [(literal,)]), listed, text]
    return [literal, switches.get(text.lower(), text), text]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
