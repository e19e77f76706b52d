"""Resolving, checking and reading configs. What experiments set is in `configs/`."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
from typing import Any

import ml_collections

from darkjax.errors import UserError


def load(path: str) -> ml_collections.ConfigDict:
    """The config of `path[:argument]`, for notebooks and tests: `load("configs/a.py:demo")`."""
    file, _, argument = str(path).partition(":")
    add_root(file)
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
    if spec is None or spec.loader is None or not pathlib.Path(file).is_file():
        raise UserError(f"expected a config file such as configs/lift_arid.py; found {file!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(argument)


def add_root(file: str) -> None:
    """Let a config import `configs.common` from wherever the program is started."""
    root = str(pathlib.Path(file).resolve().parents[1])
    if root not in sys.path:
        sys.path.append(root)


def read_json(path: str | pathlib.Path) -> Any:
    """A JSON file of a run, such as `results.json`."""
    return json.loads(pathlib.Path(path).read_text())


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy with every stage complete: compute dtype chosen, checked for sense.

    Raises:
      UserError: an unknown dtype, a stage that has no section, or numbers out of range.
    """
    import jax

    config = config.copy_and_resolve_references()
    if config.dtype == "auto":
        config.dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if config.dtype not in ("float32", "bfloat16"):
        raise UserError(f"dtype={config.dtype!r} is not 'auto', 'float32' or 'bfloat16'")
    if not config.stages:
        raise UserError("stages is empty: name at least one stage")
    for name in config.stages:
        if name not in config:
            known = [k for k, v in config.items() if hasattr(v, "method")]
            raise UserError(f"stage {name!r} has no section in the config: it has {known}")
        stage = config[name]
        with stage.unlocked():
            stage.dtype = config.dtype
            stage.bn_group = config.bn_group
        for field in ("epochs", "batch_size", "accumulate"):
            if stage[field] < 1:
                raise UserError(f"{name}.{field}={stage[field]}: expected at least 1")
        if stage.batch_size % stage.accumulate:
            raise UserError(
                f"{name}.accumulate={stage.accumulate} does not divide "
                f"{name}.batch_size={stage.batch_size}"
            )
    return config


def check_classes(config: Any, found: int, where: str) -> None:
    """Compare the config's class count with a dataset's card."""
    expected = config.data.num_classes
    if expected and expected != found:
        raise UserError(
            f"data.num_classes={expected}, but the card of {where} has {found} classes: set "
            f"data.num_classes={found} (or 0 to take the card's), or point data.dir elsewhere"
        )
