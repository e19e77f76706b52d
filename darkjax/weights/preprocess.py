"""`mean="weights"`: a stage normalises its clips as the weights that it starts from expect it.

Which weights: those that a rule of the stage's `init_from` puts into the network that sees the
field, as the method says in `SEES` (of DTCM `mean` and `std` are the classifier's, of LIFT-Net the
ViT's, and `luminous_mean` and `luminous_std` the 3-D network's). Their source is a folder of
converted weights, whose card says it, an earlier stage, or a stage of another run, which have it in
their config. Without such weights each clip is taken by its own mean and deviation, which suits any
network.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from darkjax.errors import UserError
from darkjax.weights import card as cards
from darkjax.weights.arch import Preprocess

WORD = "weights"
Levels = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation, RGB, of video in [0, 1]


def settle(
    config: Any, workdir: str = "", *, needed: bool = True, say: Callable[[str], None] | None = None
) -> Any:
    """A copy of a resolved config with numbers in the place of "weights".

    A stage that was trained in `workdir` has them in its checkpoint too: its weights' folder may be
    gone. Numbers that are typed stay; where they contradict the weights, one line says so.

    Args:
      config: resolved.
      workdir: of the run, or empty.
      needed: whether weights that are not there are an error; else their place is taken by each
        clip's own mean and deviation, as for a description of costs.
      say: prints a line; by default process 0 does.

    Raises:
      UserError: the weights are not there, or expect what a stage cannot give (BGR).
    """
    config = config.copy_and_resolve_references()
    say = say or _print
    for name in config.stages:
        for prefix, part in _sees(config[name].method).items():
            if f"{prefix}mean" in config[name]:
                _settle(config, name, prefix, part, workdir, needed, say)
    return config


def of_card(source: str) -> Levels:
    """Mean and deviation that converted weights expect, of RGB video in [0, 1].

    Raises:
      UserError: no such folder, or the weights are for BGR frames.
    """
    p = cards.read(source).preprocess
    if p.order != "RGB":
        raise UserError(
            f"{source} expects {p.order} frames and a stage gives RGB: type mean and std (three "
            "numbers of RGB in [0, 1]) and let training adapt the first layer, or take others"
        )
    return _unit(p.mean, p), _unit(p.std, p)


def _settle(
    config: Any,
    name: str,
    prefix: str,
    part: str,
    workdir: str,
    needed: bool,
    say: Callable[[str], None],
) -> None:
    """The two fields of one stage and one network."""
    stage = config[name]
    fields = [f"{prefix}mean", f"{prefix}std"]
    given = [stage[field] for field in fields]
    source = _source(stage, part)
    wanted = [value == WORD for value in given]
    found: Levels | None = None
    if source is not None:
        try:
            found = _levels(config, source)
        except UserError as error:
            if any(wanted):
                found = _kept(workdir, name, fields)
                if found is None and needed:
                    raise UserError(f"{name}.{fields[0]}={WORD!r}: {error}") from error
            if found is None and (any(wanted) or os.path.exists(source)):
                say(f"{name}.{fields[0]}: {error}")
    if any(wanted) and found is None:
        if not all(wanted):
            raise UserError(
                f"{name}.{fields[wanted.index(True)]}={WORD!r}, but no rule of {name}.init_from "
                f"gives weights for it: type the number, or give both fields as {WORD!r}"
            )
        say(f"{name}.{fields[0]}, {fields[1]}: no weights, each clip by its own mean and deviation")
        found = (), ()
    for field, value, is_wanted, theirs in zip(fields, given, wanted, found or given, strict=True):
        if not is_wanted and not _equal(value, theirs):
            say(
                f"{name}.{field}={_short(value)}, but {source} was trained with {_short(theirs)}: "
                f"{field}={WORD!r} takes that"
            )
        with stage.ignore_type():
            stage[field] = theirs if is_wanted else value


def _sees(method: str) -> dict[str, str]:
    """Of a method: prefix of the fields -> path of the network that they are for."""
    from darkjax import methods

    if method not in methods.METHODS:
        return {}
    return getattr(importlib.import_module(f"darkjax.methods.{method}"), "SEES", {})


def _source(stage: Any, part: str) -> str | None:
    """The first source of `init_from` that puts something at or below the path `part`."""
    for source, _, replacement in stage.init_from:
        target = re.split(r"\\", replacement)[0]
        if target.startswith(part) or part.startswith(target):
            return source
    return None


def _levels(config: Any, source: str) -> Levels | None:
    """What a source expects; None where it does not say it."""
    if source in config.stages:
        return _of_stage(config[source])
    if not cards.is_weights(source) and os.path.isdir(source):
        return _of_run(pathlib.Path(source))
    return of_card(source)


def _of_stage(stage: Any) -> Levels | None:
    if "mean" not in stage or WORD in (stage["mean"], stage["std"]):
        return None
    return tuple(stage["mean"]), tuple(stage["std"])


def _of_run(folder: pathlib.Path) -> Levels | None:
    """Of a stage's folder of another run: `RUN/STAGE`, or the `checkpoints` in it."""
    from darkjax import checkpoint

    inner = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    kept = json.loads(checkpoint.read_meta(inner)["config"])
    return _of_stage(kept.get(inner.absolute().parent.name, {}))


def _kept(workdir: str, name: str, fields: list[str]) -> Levels | None:
    """What this run's own checkpoint says of its fields."""
    from darkjax import checkpoint

    folder = os.path.join(workdir, name, "checkpoints")
    if not (workdir and os.path.isdir(folder)):
        return None
    try:
        stage = json.loads(checkpoint.read_meta(folder)["config"])[name]
    except UserError:
        return None
    mean, std = (tuple(stage[field]) for field in fields)
    return None if WORD in (stage[fields[0]], stage[fields[1]]) else (mean, std)


def _unit(levels: tuple[float, ...], p: Preprocess) -> tuple[float, ...]:
    return tuple(level / p.scale for level in levels)


def _equal(a: Any, b: Any) -> bool:
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=1e-3, atol=1e-4))


def _short(levels: Any) -> str:
    """Numbers for a line; () is each clip's own."""
    if not len(levels):
        return "() (each clip's own)"
    return f"({', '.join(f'{v:.4g}' for v in levels)})"


def _print(line: str) -> None:
    import jax

    if jax.process_index() == 0:
        print(line)
