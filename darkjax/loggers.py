"""Where a run's numbers go besides `metrics.jsonl`: TensorBoard, Weights & Biases, MLflow.

`log_to` in the config names them. Each is a package of its own, imported when it is named. Where
the last two keep what they are given is theirs to say: WANDB_MODE, WANDB_PROJECT,
MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME. A run that goes on goes on in theirs: what they call
it is kept in `STAGE/loggers.json`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from darkjax import files
from darkjax.errors import UserError

IDS = "loggers.json"
PROJECT = "darkjax"
PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


class About(NamedTuple):
    """What a dashboard says of a stage: its run's name, its own, and the config, flat."""

    run: str = ""
    stage: str = ""
    config: Mapping[str, Any] = {}


@runtime_checkable
class Logger(Protocol):
    """One of them."""

    def log(self, step: int, numbers: Mapping[str, float], now: float) -> None:
        """Scalars as of a step, at `now` (seconds since 1970)."""

    def close(self, failed: bool) -> None:
        """No more will come."""


def check(names: Sequence[str]) -> None:
    """Whether these can be had; TensorBoard, which is the default, may be missing.

    Raises:
      UserError: a package that is not installed.
    """
    for name in names:
        package = PACKAGES[name]
        if name != "tensorboard" and importlib.util.find_spec(package) is None:
            raise UserError(
                f"log_to names {name!r}, but {package} is not installed: pip install "
                f"'darkjax[{name}]', or leave it out of log_to"
            )


def opened(
    names: Sequence[str],
    folder: pathlib.Path,
    about: About,
    resume_step: int | None,
    say: Callable[[str], None],
) -> list[Logger]:
    """Those of `names`, for a stage's folder; what it was called there before is gone on with.

    Raises:
      UserError: one that is not installed, or does not begin.
    """
    check(names)
    found: list[Logger] = []
    for name in dict.fromkeys(names):
        if name == "tensorboard":
            try:
                found.append(TensorBoard(folder, resume_step))
            except ImportError:
                say("no TensorBoard files: pip install 'darkjax[tensorboard]' to have them")
            continue
        path = folder / IDS
        ids = json.loads(path.read_text()) if path.exists() else {}
        kind = Wandb if name == "wandb" else MLflow
        try:
            logger = kind(folder, about, ids.get(name))
        except Exception as e:
            before = f" to go on with {ids[name]}, which {path} says" if name in ids else ""
            why = " ".join(str(e).split())[:200] or type(e).__name__
            for other in found:
                other.close(True)
            raise UserError(
                f"{name} does not begin{before}: {why}: put that right, or leave it out of log_to"
            ) from e
        files.write_json(path, ids | {name: logger.id})
        found.append(_Forgiving(name, logger, say))
    return found


class TensorBoard:
    """Files in `STAGE/tensorboard`."""

    def __init__(self, folder: pathlib.Path, resume_step: int | None):
        import tensorboardX

        # purge_step tells TensorBoard to hide the dropped steps of the earlier files.
        self._board = tensorboardX.SummaryWriter(
            str(folder / "tensorboard"), purge_step=resume_step, flush_secs=10
        )

    def log(self, step: int, numbers: Mapping[str, float], now: float) -> None:
        """See `Logger`."""
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step, walltime=now)

    def close(self, failed: bool) -> None:
        """See `Logger`."""
        self._board.close()


class Wandb:
    """A run of Weights & Biases, `group` the run and a run each stage.

    The step is a number among the others: theirs must not fall, and that of a run that goes on
    from its last checkpoint does.
    """

    def __init__(self, folder: pathlib.Path, about: About, before: str | None):
        import wandb

        self.id = before or uuid.uuid4().hex[:8]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=about.run,
            name=f"{about.run}-{about.stage}",
            id=self.id,
            resume="allow",
            dir=str(folder),
            config=dict(about.config),
            allow_val_change=before is not None,
            settings=wandb.Settings(console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, numbers: Mapping[str, float], now: float) -> None:
        """See `Logger`."""
        self._run.log({"step": step, **numbers})

    def close(self, failed: bool) -> None:
        """See `Logger`."""
        self._run.finish(exit_code=int(failed))


class MLflow:
    """A run of MLflow, by its client: what else the program does with MLflow is left alone."""

    def __init__(self, folder: pathlib.Path, about: About, before: str | None):
        # Their seven tries take four minutes, in which the training would stand still.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        if before is not None:
            self.id = before
            self._client.update_run(before, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        place = known.experiment_id if known else self._client.create_experiment(name)
        run = self._client.create_run(place, run_name=f"{about.run}-{about.stage}")
        self.id = run.info.run_id
        params = [Param(_named(k), str(v)[:6000]) for k, v in about.config.items()]
        for start in range(0, len(params), 100):  # their limits, as the 6000
            self._client.log_batch(self.id, params=params[start : start + 100])

    def log(self, step: int, numbers: Mapping[str, float], now: float) -> None:
        """See `Logger`."""
        from mlflow.entities import Metric

        rows = [Metric(_named(k), v, int(1000 * now), step) for k, v in numbers.items()]
        for start in range(0, len(rows), 1000):
            self._client.log_batch(self.id, metrics=rows[start : start + 1000])

    def close(self, failed: bool) -> None:
        """See `Logger`."""
        self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


class _Forgiving:
    """A logger whose server may go away: the training goes on, and one line says what is lost."""

    def __init__(self, name: str, logger: Logger, say: Callable[[str], None]):
        self._name, self._logger, self._say, self._lost = name, logger, say, False

    def log(self, step: int, numbers: Mapping[str, float], now: float) -> None:
        self._try(lambda: self._logger.log(step, numbers, now))

    def close(self, failed: bool) -> None:
        self._try(lambda: self._logger.close(failed))

    def _try(self, act: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            act()
        except Exception as e:
            self._lost = True
            why = " ".join(str(e).split())[:200] or type(e).__name__
            self._say(f"{self._name} takes no more ({why}): metrics.jsonl has every number")


def _named(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w./ :-]", "_", name)
