"""The runs of a sweep: grid points, repeated over seeds, folds and official splits.

A cell is one run: a config's file and fields as they are written on a command line. Its name, which
is its folder's, says what makes it different from the others and nothing of where it stands among
them: a larger grid finds the runs of a smaller one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from darkjax import config as configs
from darkjax.errors import UserError

Fields = tuple[tuple[str, str], ...]
LONGEST = 150  # characters of a folder's name; file systems take 255 bytes
REPEATED = {"seeds": "seed", "folds": "data.fold", "splits": "data.protocol"}


class Cell(NamedTuple):
    """One run.

    Attributes:
      config: `FILE:words`.
      base: fields that all runs have, and their texts.
      point: those of its row.
      repetition: those of its repetition: seed, fold, official split.
    """

    config: str
    base: Fields
    point: Fields
    repetition: Fields

    @property
    def row(self) -> Fields:
        """What tells its row from the others."""
        return (("config", short(self.config)), *self.point)

    @property
    def name(self) -> str:
        """Of its folder."""
        parts = [short(self.config), *(f"{k}={v}" for k, v in self.point + self.repetition)]
        text = ",".join(parts)
        plain = re.sub(r"[^\w.=,+-]+", "_", text)
        if plain == text and len(text) <= LONGEST:
            return text
        return f"{plain[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def load(self) -> ml_collections.ConfigDict:
        """Its config."""
        return configs.load(self.config, self.base + self.point + self.repetition)


def short(config: str) -> str:
    """`configs/lift_arid.py:demo,light` -> `lift_arid-demo,light`."""
    file, _, words = config.partition(":")
    return "-".join(filter(None, (pathlib.PurePath(file).stem, words)))


def cells(
    config: Sequence[str],
    fields: Sequence[tuple[str, str]] = (),
    grid: Sequence[str] = (),
    repeated: Mapping[str, Sequence[str]] | None = None,
) -> list[Cell]:
    """Every run, row by row, the repetitions of a row beside one another.

    Args:
      config: one or more `FILE:words`; each has rows of its own.
      fields: set in all runs.
      grid: `FIELD=VALUE,VALUE`: a row for every combination.
      repeated: by "seeds", "folds", "splits": their values.

    Raises:
      UserError: a config, field or value that there is not, or one given twice.
    """
    repeated = {REPEATED[k]: v for k, v in (repeated or {}).items() if v}
    found = []
    for file in config:
        axes = [axis(text, configs.load(file, fields)) for text in grid]
        _once([field for field, _ in (*fields, *axes)] + list(repeated), "field")
        for point in itertools.product(*([(f, v) for v in values] for f, values in axes)):
            for again in itertools.product(*([(f, v) for v in vs] for f, vs in repeated.items())):
                found.append(checked(Cell(file, tuple(fields), point, again)))
    _once([cell.name for cell in found], "run")
    return found


def checked(cell: Cell) -> Cell:
    """The cell with every value as its config reads it: 1e-3 and 0.001 are one.

    Raises:
      UserError: a field or value that there is not, or a repetition that changes nothing.
    """
    config = cell.load()
    for flag, field in REPEATED.items():
        kind = config.data.split
        if field in dict(cell.repetition) and flag != "seeds" and kind != _KIND[flag]:
            raise UserError(
                f"--{flag}: data.split is {kind!r} in {cell.config}, and {field} changes nothing "
                f"there: add --config.data.split={_KIND[flag]}, or leave --{flag} out"
            )
    parts = [cell.point, cell.repetition]
    read = [tuple((f, _read(config, f, text)) for f, text in part) for part in parts]
    return cell._replace(point=read[0], repetition=read[1])


_KIND = {"folds": "fold", "splits": "official"}


def axis(text: str, config: Any) -> tuple[str, list[str]]:
    """(field, values) of `FIELD=VALUE,VALUE`; a tuple is written in brackets.

    A field that begins with none of the config's sections is one of its only stage.
    """
    field, equals, values = text.partition("=")
    if not equals or not field or not values:
        raise UserError(f"--grid {text}: expected FIELD=VALUE,VALUE, as teacher.optim.lr=1e-3,3e-3")
    return whole(field, config), listed(values)


def whole(field: str, config: Any) -> str:
    """A field's path, that of the only stage where it begins with no section of the config."""
    if field.partition(".")[0] in config:
        return field
    if len(config.stages) != 1:
        stages = " or ".join(f"{name}.{field}" for name in config.stages)
        raise UserError(f"{field}: the config has no such section; of its stages: {stages}?")
    return f"{config.stages[0]}.{field}"


def listed(text: str) -> list[str]:
    """Values between commas that stand in no brackets."""
    found, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    values = [value.strip() for value in found]
    if depth or not all(values):
        raise UserError(f"{text!r}: expected values joined by commas, tuples in brackets")
    return values


def records(config: Any, workdir: str | os.PathLike[str]) -> Fields:
    """Fields that have the runs share the clips they would each render: `data.dir` and the like."""
    sections = {"data": config.data}
    sections |= {f"{n}.data": config[n].data for n in config.stages if "data" in config[n]}
    found = []
    for path, section in sections.items():
        for what, where in (("synthetic", "dir"), ("source_synthetic", "source_dir")):
            drawn = section.get(what)
            if drawn is None or section.get(where) or (path != "data" and config.data[where]):
                continue
            text = json.dumps(drawn.to_dict(), sort_keys=True, default=str)
            mark = hashlib.sha256(text.encode()).hexdigest()[:12]
            found.append((f"{path}.{where}", os.path.join(os.fspath(workdir), "records", mark)))
    return tuple(found)


def _read(config: Any, field: str, text: str) -> str:
    """A field's value as text that is read back as it is; of a whole section what was given."""
    value = config
    for part in field.split("."):
        value = value[part]
    if isinstance(value, ml_collections.ConfigDict):
        return text
    return value if isinstance(value, str) else repr(value)


def _once(names: Sequence[str], what: str) -> None:
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise UserError(f"expected every {what} once; {twice} is given twice")
