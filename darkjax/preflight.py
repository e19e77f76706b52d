"""What can be known of a run before its first step: from the config, the data and the devices."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax import config as configs
from darkjax import judge, loggers, methods, optim, sharding
from darkjax import spec as specs
from darkjax.data import sources, split
from darkjax.data.records import Records
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError
from darkjax.nearest import alike

LOOP = (  # a stage's fields that neither its model nor its loss reads
    "epochs", "steps", "optim", "ema", "freeze", "init_from", "published", "allow_random_frozen",
    "data", "keep_best", "eval_every", "save_every",
)  # fmt: skip


def check(
    config: Any,
    records: Mapping[str, Records],
    mesh: jax.sharding.Mesh,
    workdir: str,
    mode: str = "all",
) -> None:
    """Refuse a run that would fail later, or do something else than it says.

    Args:
      config: resolved (`config.resolve`).
      records: of every stage.
      mesh: of the devices.
      workdir: the run's folder. Stages that were finished there are not trained again, and only
        their evaluation is checked.
      mode: of the run; "evaluate" and "report" train nothing.

    Raises:
      UserError: a package of `log_to` or a split that is not there, batches that the clips or
        the devices do not fit, a metric that there is not, a model that cannot be built.
    """
    if mode in ("all", "train"):
        loggers.check(config.log_to)
    _spread(mesh, config.eval_batch_size, "eval_batch_size")
    for name in config.stages:
        own, data = records[name], configs.data_of(config, name)
        _, held, _ = split.rows(own, data)
        _clips(own, held, data)
        if mode not in ("all", "train") or pathlib.Path(workdir, name, "done.json").exists():
            continue
        _batches(config, name, own, data, mesh)
        spec = specs.of(config, name, own)
        best(config, name, spec)
        build(config, name, spec)


def _clips(records: Records, rows: np.ndarray, data: Any) -> None:
    """Whether these clips are what the config says of them."""
    ViewConfig.of(data).check(records, rows)
    found = int(records.meta["channels"][rows[0]])
    if found != data.channels:
        flow = ", or add flow by python -m darkjax.data.flow" * (data.channels == 6)
        raise UserError(
            f"data.channels={data.channels}, but the clips of {records.directory} have "
            f"{found}: set data.channels={found}{flow}"
        )


def _batches(config: Any, name: str, records: Records, data: Any, mesh: jax.sharding.Mesh) -> None:
    """Whether a stage's clips fill its batches, and those the devices."""
    stage = config[name]
    _spread(mesh, stage.batch_size, f"{name}.batch_size")
    _spread(mesh, stage.batch_size // stage.accumulate, f"{name}.batch_size / accumulate")
    parts = sources.of(records, data, stage.batch_size)
    for part in parts:
        _clips(part.records, part.rows, data)
        if part.clips % stage.accumulate:
            raise UserError(
                f"{name}.accumulate={stage.accumulate} does not divide the {part.clips} clips of "
                f"{part.records.directory} in a batch: every part of a batch has its share of them"
            )
    first = parts[0]
    if first.clips > len(first.rows):
        what = f"{name}.batch_size={stage.batch_size}"
        if first.clips != stage.batch_size:
            what = f"the {first.clips} clips of {what} that are its own"
        raise UserError(
            f"{what} is more than the {len(first.rows)} clips of {first.records.directory} to "
            f"train on: choose at most {len(first.rows) * stage.batch_size // first.clips}"
        )
    cutmix = stage.get("augment", {}).get("cutmix", {}).get("p", 0)
    if cutmix and any((part.labels < 0).any() for part in parts):
        raise UserError(
            f"{name}.augment.cutmix.p={cutmix}: cutmix mixes the labels of a batch, and some of "
            "data.sources have none: set it to 0"
        )


def _spread(mesh: jax.sharding.Mesh, batch: int, field: str) -> None:
    """A batch goes evenly over devices, and so over processes."""
    sharding.check_batch(mesh, batch, field)
    if batch % jax.process_count():
        raise UserError(f"{field}={batch} is not a multiple of the {jax.process_count()} processes")


def build(config: Any, name: str, spec: methods.Spec) -> None:
    """Trace a stage's initialisation and loss with the shapes of its batches; nothing is computed.

    Raises:
      UserError: values of the model's section, or of others with it, that do not go together; a
        `freeze` that fits no parameter, or leaves none.
    """
    stage = config[name]
    examples = stage.batch_size // stage.accumulate
    what = {k: v for k, v in stage.to_dict().items() if k not in LOOP}
    key = json.dumps([what, repr(spec), examples], sort_keys=True, default=repr)
    if key not in _BUILT:  # a resumed run, another seed: seconds each time
        with naming(name, stage):
            _BUILT[key] = _traced(methods.make(stage, spec), examples)
    paths = _BUILT[key]
    for pattern in stage.freeze:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise UserError(
                f"{name}.freeze: {pattern!r} fits no parameter; they read like {paths[0]!r}"
            )
    if all(any(re.fullmatch(pattern, path) for pattern in stage.freeze) for path in paths):
        raise UserError(f"{name}.freeze={tuple(stage.freeze)} leaves nothing to train")


_BUILT: dict[str, list[str]] = {}


def _traced(method: methods.Method, examples: int) -> list[str]:
    """Paths of the parameters of a method whose initialisation and loss could be traced."""
    rng = jax.eval_shape(lambda: jax.random.key(0))
    progress = jax.ShapeDtypeStruct((), jnp.float32)
    variables = jax.eval_shape(method.init, rng, method.spec.like(1))
    jax.eval_shape(method.loss, variables, method.spec.like(examples), rng, progress)
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
        text = " ".join((f"{type(e).__name__}: {e}" if isinstance(e, KeyError) else str(e)).split())
        raise UserError(
            f"{' or '.join(sections) or name} cannot be built with these values: "
            f"{text[:300] or type(e).__name__}: look at them, at data.frames and at data.size"
        ) from e


def best(config: Any, name: str, spec: methods.Spec) -> None:
    """Compare a stage's `keep_best` with the numbers that its evaluation gives.

    Raises:
      UserError: no such number, or one of which lower is better.
    """
    wanted = config[name].keep_best
    if not wanted:
        return
    rising, others = judge.numbers(methods.make(config[name], spec).judge, spec.num_classes)
    if wanted in rising:
        return
    near = alike(wanted, rising, 1, 0.5) if wanted not in others else []
    why = "the highest is kept, and that is not its best" if wanted in others else "there is none"
    expected = " or ".join(repr(number) for number in near or rising)
    raise UserError(
        f"{name}.keep_best={wanted!r}: {why}: expected "
        + (f"{expected}, or '' for the last checkpoint" if expected else "'', nothing is judged")
    )
