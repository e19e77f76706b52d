"""Resolving, checking and reading configs. What experiments set is in `configs/`."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import ml_collections

from darkjax import overrides as command_line
from darkjax.errors import UserError


def load(path: str, overrides: Sequence[tuple[str, str]] = ()) -> ml_collections.ConfigDict:
    """The config of `path[:words]`, for programs, notebooks and tests: `load("configs/a.py:demo")`.

    Args:
      path: a Python file with `get_config`, and the words it is given. `a` and `configs/a.py` are
        also found among those that come with darkjax, wherever the program is started.
      overrides: fields and their values as text (`darkjax.overrides`).

    Raises:
      UserError: no such file, an error inside it (with its line), an unknown word, field or value.
    """
    file, _, words = str(path).partition(":")
    file = str(found(file))
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
    if spec is None or spec.loader is None or not pathlib.Path(file).is_file():
        known = sorted(p.stem for p in _own().glob("*.py") if p.stem != "common")
        raise UserError(
            f"expected a config file such as configs/lift_arid.py, or one of {', '.join(known)}; "
            f"found {file!r}"
        )
    add_root(file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*([words] if words else []))
    except UserError:
        raise
    except Exception as e:  # whatever a user's own file does
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == file]
        line = e.lineno if isinstance(e, SyntaxError) else lines[-1] if lines else None
        where = f"{file}, line {line}" if line else file
        raise UserError(f"{where}: {_one_line(e)}") from e
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"{file}: get_config gave a {type(config).__name__}, expected a ConfigDict")
    command_line.apply_all(config, overrides)
    return config


def found(file: str) -> pathlib.Path:
    """The file that is meant: this one, or of that name among darkjax's own."""
    path = pathlib.Path(file)
    if not path.suffix and path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    own = _own() / path.with_suffix(".py").name
    if path.is_file() or str(path.parent) not in (".", "configs") or not own.is_file():
        return path
    return own


def _own() -> pathlib.Path:
    """The configs that come with darkjax: of a checkout beside the package, of a wheel in it."""
    package = pathlib.Path(__file__).resolve().parent
    shipped = package / "shipped" / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


def _one_line(error: Exception) -> str:
    """An exception's name and message; of a locked config's alone the nearest name."""
    text = " ".join(str(error).split())
    nearest = re.search(r'Did you mean "[^"]*" instead of "[^"]*"\?', text)
    return f"{type(error).__name__}: {nearest[0] if nearest else text[:300]}"


def add_root(file: str) -> None:
    """Let a config import `configs.common` from wherever the program is started."""
    root = str(pathlib.Path(file).resolve().parent.parent)
    if root not in sys.path:
        sys.path.append(root)


def read_json(path: str | pathlib.Path) -> Any:
    """A JSON file of a run, such as `results.json`."""
    return json.loads(pathlib.Path(path).read_text())


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy with every stage complete: compute dtype chosen, checked for sense.

    Raises:
      UserError: an unknown field, a value out of its range, a stage that has no section, or
        numbers that do not fit together.
    """
    import jax

    from darkjax import ranges

    ranges.check(config)
    config = config.copy_and_resolve_references()
    if config.dtype == "auto":
        config.dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    for name in config.stages:
        if name not in config:
            known = [k for k, v in config.items() if hasattr(v, "method")]
            raise UserError(f"stage {name!r} has no section in the config: it has {known}")
        stage = config[name]
        with stage.unlocked():
            stage.dtype = config.dtype
            stage.bn_group = config.bn_group
        if stage.batch_size % stage.accumulate:
            raise UserError(
                f"{name}.accumulate={stage.accumulate} does not divide "
                f"{name}.batch_size={stage.batch_size}"
            )
    return config


def data_of(config: Any, name: str) -> ml_collections.ConfigDict:
    """The data section of a stage: `config.data`, with what the stage's own `data` sets instead."""
    data = config.data.copy_and_resolve_references()
    own = config[name].get("data", {})
    with data.unlocked():
        for field, value in own.items():
            data[field] = value
    return data


def check_classes(config: Any, name: str, found: int, where: str) -> None:
    """Compare the class count that a stage expects with a dataset's card."""
    expected = data_of(config, name).num_classes
    if expected and expected != found:
        raise UserError(
            f"data.num_classes={expected}, but the card of {where} has {found} classes: set "
            f"data.num_classes={found} (or 0 to take the card's), or point data.dir elsewhere"
        )
