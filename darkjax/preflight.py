"""What can be known of a run before its first step: from the config, the data and the devices."""

from __future__ import annotations

import contextlib
import difflib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax import methods, optim, sharding
from darkjax.data import split
from darkjax.data.records import Records
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError
from darkjax.eval import classify

LOOP = (  # a stage's fields that neither its model nor its loss reads
    "epochs", "steps", "optim", "ema", "freeze", "init_from", "published", "allow_random_frozen",
    "keep_best", "eval_every", "save_every",
)  # fmt: skip
# What `keep_best` cannot be: it keeps the highest value, and lower is better (or it is a count).
FALLING = ("nll", "n", "inconsistency", "brightness before")


def check(
    config: Any, records: Records, mesh: jax.sharding.Mesh, workdir: str, mode: str = "all"
) -> None:
    """Refuse a run that would fail later, or do something else than it says.

    Args:
      config: resolved (`config.resolve`).
      records: the dataset.
      mesh: of the devices.
      workdir: the run's folder. Stages that were finished there are not trained again, and only
        their evaluation is checked.
      mode: of the run; "evaluate" and "report" train nothing.

    Raises:
      UserError: a split that is not there, batches that the clips or the devices do not fit, a
        metric that there is not, a model that cannot be built.
    """
    data, classes = config.data, len(records.classes)
    rows, held, _ = split.rows(records, data)
    views = ViewConfig.of(data)
    for part in (rows, held):
        views.check(records, part)
        found = int(records.meta["channels"][part[0]])
        if found != data.channels:
            raise UserError(
                f"data.channels={data.channels}, but the clips of {records.directory} have "
                f"{found}: set data.channels={found}"
            )
    _spread(mesh, config.eval_batch_size, "eval_batch_size")
    if mode not in ("all", "train"):
        return
    for name in config.stages:
        stage = config[name]
        if pathlib.Path(workdir, name, "done.json").exists():
            continue
        _spread(mesh, stage.batch_size, f"{name}.batch_size")
        _spread(mesh, stage.batch_size // stage.accumulate, f"{name}.batch_size / accumulate")
        if stage.batch_size > len(rows):
            raise UserError(
                f"{name}.batch_size={stage.batch_size} is more than the {len(rows)} clips of "
                f"{records.directory} to train on: choose at most {len(rows)}"
            )
        best(config, name, classes)
        build(config, name, classes)


def _spread(mesh: jax.sharding.Mesh, batch: int, field: str) -> None:
    """A batch goes evenly over devices, and so over processes."""
    sharding.check_batch(mesh, batch, field)
    if batch % jax.process_count():
        raise UserError(f"{field}={batch} is not a multiple of the {jax.process_count()} processes")


def build(config: Any, name: str, classes: int) -> None:
    """Trace a stage's initialisation and loss with the shapes of its batches; nothing is computed.

    Raises:
      UserError: values of the model's section, or of others with it, that do not go together; a
        `freeze` that fits no parameter, or leaves none.
    """
    stage, data = config[name], config.data
    shape = (stage.batch_size // stage.accumulate, data.frames, *data.size, data.channels)
    what = {k: v for k, v in stage.to_dict().items() if k not in LOOP}
    key = (json.dumps(what, sort_keys=True, default=repr), shape, classes)
    if key not in _BUILT:  # a resumed run, another seed: seconds each time
        with naming(name, stage):
            _BUILT[key] = _traced(methods.make(stage, classes), shape)
    paths = _BUILT[key]
    for pattern in stage.freeze:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise UserError(
                f"{name}.freeze: {pattern!r} fits no parameter; they read like {paths[0]!r}"
            )
    if all(any(re.fullmatch(pattern, path) for pattern in stage.freeze) for path in paths):
        raise UserError(f"{name}.freeze={tuple(stage.freeze)} leaves nothing to train")


_BUILT: dict[tuple[str, tuple[int, ...], int], list[str]] = {}


def _traced(method: methods.Method, shape: tuple[int, ...]) -> list[str]:
    """Paths of the parameters of a method whose initialisation and loss could be traced."""
    batch = {
        "video": jax.ShapeDtypeStruct(shape, np.uint8),
        "label": jax.ShapeDtypeStruct(shape[:1], np.int32),
        "mask": jax.ShapeDtypeStruct(shape[:1], np.float32),
    }
    one = {k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in batch.items()}
    rng = jax.eval_shape(lambda: jax.random.key(0))
    variables = {"batch_stats": {}} | jax.eval_shape(method.init, rng, one)
    jax.eval_shape(method.loss, variables, batch, rng, jax.ShapeDtypeStruct((), jnp.float32))
    return list(optim.flatten(variables["params"]))


@contextlib.contextmanager
def naming(name: str, stage: Any) -> Iterator[None]:
    """Whatever building a stage's model raises as a `UserError` that names its section."""
    try:
        yield
    except UserError as e:
        raise UserError(f"{name}: {e}") from e
    except Exception as e:  # a layer says what it does not like in its own way
        sections = [f"{name}.{part}" for part in ("model", "enhancer") if part in stage]
        text = " ".join(str(e).split())
        raise UserError(
            f"{' or '.join(sections) or name} cannot be built with these values: "
            f"{text[:300] or type(e).__name__}: look at them, at data.frames and at data.size"
        ) from e


def best(config: Any, name: str, classes: int) -> None:
    """Compare a stage's `keep_best` with the numbers that its evaluation gives.

    Raises:
      UserError: no such number, or one of which lower is better.
    """
    wanted = config[name].keep_best
    if not wanted:
        return
    known = numbers(methods.make(config[name], classes).classifies, classes)
    rising = [number for number in known if number not in FALLING]
    if wanted in rising:
        return
    near = difflib.get_close_matches(wanted, rising, 1, 0.5)
    why = "the highest is kept, and that is not its best" if wanted in known else "there is none"
    raise UserError(
        f"{name}.keep_best={wanted!r}: {why}: expected "
        + (f"{near[0]!r}" if near and wanted not in known else " or ".join(map(repr, rising)))
        + ", or '' for the last checkpoint"
    )


def numbers(classifies: bool, classes: int) -> tuple[str, ...]:
    """The names that an evaluation gives its numbers."""
    if not classifies:
        return ("brightness before", "brightness after", "inconsistency", "n")
    even = np.full((1, classes), 1 / classes)
    return tuple(classify.summarise(classify.Predictions(np.zeros(1, int), np.zeros(1, int), even)))
