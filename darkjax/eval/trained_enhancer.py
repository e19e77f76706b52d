"""The enhancer out of a run: what `configs/zero_dce.py` and `configs/dtcm_arid.py` train."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, NamedTuple

from darkjax.errors import UserError

WHERE = {"enhancer": "", "dtcm": "enhancer"}  # method -> where its variables have the enhancer


class TrainedEnhancer(NamedTuple):
    """An enhancer as a stage left it.

    Attributes:
      config: of `models.build`: name and fields.
      variables: params and batch_stats, numpy.
    """

    config: dict[str, Any]
    variables: dict[str, Any]


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a stage's folder, or a run's with stages in it."""
    return _is_stage(_without_checkpoints(path)) or bool(_stages(path))


def load(path: str | os.PathLike[str]) -> TrainedEnhancer:
    """The enhancer of the stage in `path`, by the settings that its best checkpoint holds.

    Args:
      path: RUN/STAGE; RUN, where one stage of it alone has an enhancer.

    Raises:
      UserError: no checkpoint, a stage that was not trained to its end, or one without an enhancer.
    """
    from darkjax import checkpoint

    stage = _stage(pathlib.Path(path))
    section = _section(stage)
    if section.get("method") not in WHERE:
        raise UserError(
            f"{stage} was trained by method {section.get('method')!r}, which has no enhancer: name "
            "a stage of configs/zero_dce.py or configs/dtcm_arid.py"
        )
    if not (stage / "done.json").exists():
        step = checkpoint.read_meta(stage / "checkpoints", "latest")["step"]
        raise UserError(
            f"{stage} was not trained to its end (its last checkpoint is of step {step}): the "
            "command that began it goes on from there"
        )
    variables = checkpoint.load_variables(stage / "checkpoints")
    part = WHERE[section["method"]]
    if part:
        variables = {kind: value.get(part, {}) for kind, value in variables.items()}
    return TrainedEnhancer(_tuples(section["enhancer"]), variables)


def _stage(path: pathlib.Path) -> pathlib.Path:
    """The folder of a stage: `path`, or the one stage of the run that has an enhancer."""
    path = _without_checkpoints(path)
    if _is_stage(path):
        return path
    stages = _stages(path)
    found = [stage for stage in stages if _section(stage).get("method") in WHERE]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{path} is a run: name one of its stages, {' or '.join(map(str, found))}")
    raise UserError(
        f"{path} is a run without an enhancer: its stages are {', '.join(s.name for s in stages)}"
    )


def _section(stage: pathlib.Path) -> dict[str, Any]:
    """The stage's part of the resolved config that is kept with its checkpoint."""
    from darkjax import checkpoint

    config = json.loads(checkpoint.read_meta(stage / "checkpoints")["config"])
    if stage.name not in config:
        raise UserError(
            f"{stage} holds a checkpoint of the stages {', '.join(config['stages'])}: a stage's "
            "folder keeps its name"
        )
    return config[stage.name]


def _stages(path: str | os.PathLike[str]) -> list[pathlib.Path]:
    path = pathlib.Path(path)
    if not path.is_dir():
        return []
    return [inner for inner in sorted(path.iterdir()) if _is_stage(inner)]


def _without_checkpoints(path: str | os.PathLike[str]) -> pathlib.Path:
    """RUN/STAGE of RUN/STAGE/checkpoints too."""
    path = pathlib.Path(path)
    return path.parent if path.name == "checkpoints" and path.is_dir() else path


def _is_stage(path: str | os.PathLike[str]) -> bool:
    return pathlib.Path(path, "checkpoints").is_dir()


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples: a module's fields must be hashable."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
