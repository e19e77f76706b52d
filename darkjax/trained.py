"""A trained stage read back from its run, once it is known to be what the config says."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, NamedTuple

from darkjax import checkpoint, identity, methods, optim, spec, starts
from darkjax import config as configs
from darkjax.data import sources
from darkjax.data.records import Records
from darkjax.errors import UserError


class Trained(NamedTuple):
    """`variables` as numpy arrays; `classes` in the order of the scores."""

    method: methods.Method
    variables: dict[str, Any]
    classes: tuple[str, ...]


def load(
    config: Any, name: str, workdir: str, records: Records, *, elsewhere: bool = False
) -> Trained:
    """The best checkpoint of stage `name` in `workdir`.

    Args:
      config: resolved.
      name: of the stage.
      workdir: of the run.
      records: what the stage was trained on; with `elsewhere`, any other.
      elsewhere: the data may be other than that of the training.

    Raises:
      UserError: no whole checkpoint, or one of other data, classes or settings.
    """
    folder = os.path.join(workdir, name, "checkpoints")
    meta = checkpoint.read_meta(folder)
    classes = tuple(meta.get("classes", records.classes))
    if not elsewhere and classes != records.classes:
        raise UserError(
            f"{folder} was trained on the classes {_list(classes)}; {records.directory} has "
            f"{_list(records.classes)}: to judge it on other records give --eval_name=NAME"
        )
    # Sources are not compared: what they gave is in the checkpoint.
    data = configs.data_of(config, name)
    now = identity.of(
        config, name, records.digest if elsewhere else sources.digest(records, data), {}
    )
    changed = {
        path: what
        for path, what in identity.changes(identity.of_meta(meta, name), now).items()
        if not (elsewhere and path.startswith("data.")) and "init_from[" not in path
    }
    if changed:
        advice = "give the settings it was trained with"
        if all(path.startswith("data.") for path in changed):
            advice += ", or judge it on other records with --eval_name=NAME"
        raise UserError(f"{folder} is of other settings: {identity.told(changed)}: {advice}")
    made_for = dataclasses.replace(spec.of(config, name, records), classes=classes)
    method = methods.make(config[name], made_for)
    check_shapes(method, folder)
    return Trained(method, checkpoint.load_variables(folder), classes)


def check_shapes(method: methods.Method, folder: str) -> None:
    """Compare what the method has with what is stored, before anything is read."""
    wanted = starts.abstract(method)
    stored = checkpoint.shapes(folder)
    for part in {**wanted, **stored}:
        here = {k: v.shape for k, v in optim.flatten(wanted.get(part, {})).items()}
        there = {k: v.shape for k, v in optim.flatten(stored.get(part, {})).items()}
        wrong = sorted(k for k in here.keys() | there.keys() if here.get(k) != there.get(k))
        if wrong:
            raise UserError(
                f"{folder} does not fit this config's model: {len(wrong)} arrays differ, first "
                f"{wrong[0]} (stored {there.get(wrong[0], 'absent')}, expected "
                f"{here.get(wrong[0], 'absent')}): take the config it was trained with"
            )


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)})"
