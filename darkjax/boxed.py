"""A small trained network in three files: what `darkjax.load("box")` opens.

`weights.npz` (arrays by their paths, read without executing anything), `config.json` (the run's
config, classes and how videos are read) and `README.md`, the card. `python -m darkjax.tools.box`
writes them.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zipfile
from typing import Any

import ml_collections
import numpy as np

from darkjax import config as configs
from darkjax import files, intake, methods, optim, spec, starts
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError

NAME = "box"
WEIGHTS, CONFIG, CARD = "weights.npz", "config.json", "README.md"
SHIPPED = pathlib.Path(__file__).with_name(NAME)
MOST = 8 * 2**20  # bytes


def is_box(folder: pathlib.Path) -> bool:
    """Whether the folder holds one."""
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()


def write(model: Any, folder: pathlib.Path, card: str) -> int:
    """Write a `loaded.Model` into a folder; returns the bytes of its weights.

    Raises:
      UserError: they are more than `MOST`; nothing is written then.
    """
    arrays = {
        f"{kind}/{path}": np.asarray(value)
        for kind, tree in model.variables.items()
        for path, value in optim.flatten(tree).items()
    }
    size = sum(value.nbytes for value in arrays.values())
    if size > MOST:
        raise UserError(
            f"{model.where}: its weights are {size / 2**20:.1f} MiB, a box holds at most "
            f"{MOST / 2**20:.0f}: train a smaller network"
        )
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.config.to_json())
    for section in (config, *(config[name] for name in config["stages"])):
        for field in ("dir", "source_dir"):
            if field in section.get("data", {}):
                section["data"][field] = ""  # of another machine
    kept = {
        "stage": pathlib.Path(model.where).name,
        "classes": list(model.classes),
        "intake": model.intake.as_json(),
        "config": config,
    }
    files.write_json(folder / CONFIG, kept)
    files.write_npz(folder / WEIGHTS, arrays)
    (folder / CARD).write_text(card)
    return size


def open_box(folder: pathlib.Path) -> tuple[Any, ...]:
    """What a `loaded.Model` is made of, from a box.

    Raises:
      UserError: no box there, or one that is damaged or does not fit its own config.
    """
    if not is_box(folder):
        raise UserError(
            f"no box in {folder} (expected {WEIGHTS} and {CONFIG}): make one by "
            "python -m darkjax.tools.box RUN"
        )
    try:
        kept = json.loads((folder / CONFIG).read_text())
        with (
            open(folder / WEIGHTS, "rb") as raw,
            np.load(raw, allow_pickle=False) as file,
        ):
            arrays = {path: file[path] for path in file.files}
        config, stage = ml_collections.ConfigDict(_tuples(kept["config"])), kept["stage"]
        classes, own = tuple(kept["classes"]), intake.of_json(kept["intake"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as e:
        raise UserError(f"the box {folder} is damaged ({e}): make it or install it anew") from e
    made = spec.bare(config, stage, classes, own.domains)
    made = dataclasses.replace(made, spread=own.spread, sources=own.sources)
    method = methods.make(config[stage], made)
    wanted = {
        f"{kind}/{path}": tuple(value.shape)
        for kind, tree in starts.abstract(method).items()
        for path, value in optim.flatten(tree).items()
    }
    wrong = sorted(
        path
        for path in wanted.keys() | arrays.keys()
        if path not in arrays or wanted.get(path) != arrays[path].shape
    )
    if wrong:
        raise UserError(
            f"the box {folder} does not fit its config: {len(wrong)} arrays differ, "
            f"first {wrong[0]}: make it or install it anew"
        )
    views = ViewConfig.of(configs.data_of(config, stage))
    where = str(folder / stage)
    return where, classes, config, method, optim.unflatten(arrays), own, views


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples that they were in a config."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
