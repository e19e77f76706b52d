"""An experiment from data to report: prepare, the stages in order, evaluation, the last table."""

from __future__ import annotations

import contextlib
import functools
import logging as std_logging
import os
import pathlib
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging

from darkjax import (
    checkpoint,
    checkpoint_steps,
    identity,
    judge,
    lock,
    preflight,
    program,
    provenance,
    sharding,
    spec,
    starts,
    train,
    version,
)
from darkjax import config as configs
from darkjax.compilation import use_compilation_cache
from darkjax.data import sources, split
from darkjax.data.records import Records
from darkjax.errors import Stopped, UserError, storage
from darkjax.eval import collect
from darkjax.files import write_json
from darkjax.weights import card, preprocess


def join(address: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Become one process of several, before anything else touches a device.

    Without arguments JAX finds them out (TPU pods, Slurm, GKE).
    """
    if address is None:
        jax.distributed.initialize()
    else:  # everything is given: do not go and ask a cluster that may not be there
        jax.distributed.initialize(address, count, index, cluster_detection_method="deactivate")


def run(
    config: Any,
    workdir: str,
    mode: str = "all",
    command: str = "",
    *,
    extend: bool = False,
    eval_name: str = "",
) -> dict[str, Any]:
    """Run `config` in `workdir`; what is finished there is not done again.

    Args:
      config: from a file of `configs/`.
      workdir: its folder: `STAGE/` for each stage, `report.html`.
      mode: "all", "train", "evaluate" or "report".
      command: what the report says was typed.
      extend: a stage that was trained for fewer epochs or steps goes on from its last checkpoint.
      eval_name: with mode "evaluate", the name of other records that the run is judged on: results
        go to `STAGE/eval-NAME/` and everything else is left alone.

    Returns:
      The results of the last stage (`classify.results`), empty with mode "train".

    Raises:
      UserError: whatever the user can put right.
      Stopped: a signal ended the training early, after a checkpoint.
    """
    if "://" in str(workdir):
        raise UserError(
            f"workdir={workdir!r}: expected a folder on a mounted file system; mount the bucket "
            "(gcsfuse, Filestore) and give its path"
        )
    if mode not in program.MODES:
        raise UserError(f"mode={mode!r}: expected one of {', '.join(program.MODES)}")
    if eval_name and (mode != "evaluate" or not re.fullmatch(r"[\w.-]+", eval_name)):
        raise UserError(
            f"eval_name={eval_name!r}, mode={mode!r}: expected a name of letters, digits, '.', '_' "
            "and '-', and --mode=evaluate"
        )
    use_compilation_cache()
    try:
        with _alone(workdir):
            config = preprocess.settle(configs.resolve(config), workdir)
            return _run(config, workdir, mode, command, extend, eval_name)
    except Exception as e:
        if isinstance(e, UserError | Stopped) or storage(e) is None:
            raise
        raise UserError(
            f"writing in {workdir} failed: {storage(e)}; every whole checkpoint is kept: make room "
            "and give the same command again"
        ) from e


def _run(
    config: Any, workdir: str, mode: str, command: str, extend: bool, eval_name: str
) -> dict[str, Any]:
    start = time.monotonic()
    draw_sources(config, workdir)
    opened = open_stages(config, workdir)
    for name, records in opened.items():
        if not eval_name:
            configs.check_classes(config, name, len(records.classes), str(records.directory))
    mesh = sharding.make_mesh(config.mesh)
    preflight.check(config, opened, mesh, workdir, mode)
    chief = jax.process_index() == 0
    say = print if chief else lambda *_: None
    say(
        f"darkjax {version.__version__}, jax {jax.__version__}, {len(jax.devices())} x "
        f"{jax.devices()[0].device_kind}, mesh {dict(mesh.shape)}, {config.dtype}"
    )
    for line in dict.fromkeys(_told(config, name, own) for name, own in opened.items()):
        say(line)
    shared = {} if eval_name else dict.fromkeys(_shared(config, n, r) for n, r in opened.items())
    for line in filter(None, shared):
        say(line)
    if mode in ("all", "train"):
        starts.check(config, workdir, {n: spec.of(config, n, r) for n, r in opened.items()})
    found: dict[str, Any] = {}
    for number, name in enumerate(config.stages, start=1):
        records, data = opened[name], configs.data_of(config, name)
        say(f"stage {number} of {len(config.stages)}: {name}")
        folder = os.path.join(workdir, name)
        origins = _origins(config, name, workdir)
        now = identity.of(config, name, sources.digest(records, data), origins)
        if mode in ("all", "train") and not finished(name, folder, now, extend):
            # Written when nothing is refused any more, so that a refusal leaves all as it was.
            begun = functools.partial(provenance.write, config, workdir, opened, mode, command)
            outcome = _train(config, name, workdir, records, mesh, origins, extend, begun)
            if outcome.signal is not None and not outcome.finished:
                raise Stopped(f"stopped at step {outcome.saved_at} of {name}", outcome.signal)
            if chief:
                done = {"step": outcome.saved_at, "identity": now}
                write_json(pathlib.Path(folder, "done.json"), done)
        elif mode in ("all", "train"):
            say(f"{name} was finished earlier in {folder}")
        if mode == "train":
            continue
        if mode == "report":
            found = judge.kept(config, name, workdir, records)
        if mode != "report" or (name == config.stages[-1] and not found):
            found = judge.evaluate(config, name, workdir, records, mesh, eval_name)
    if mode != "train" and chief:
        if not eval_name:
            path = collect.write(config, workdir, opened[config.stages[-1]], found, command)
            print(f"report: {path}")
        say(table(found, time.monotonic() - start))
    return found


@contextlib.contextmanager
def _alone(workdir: str) -> Iterator[None]:
    """The workdir locked by process 0; when it cannot be had, every process hears of it."""
    if jax.process_count() == 1:
        with lock.held(workdir):
            yield
        return
    from jax.experimental import multihost_utils

    with contextlib.ExitStack() as stack:
        error = None
        if jax.process_index() == 0:
            try:
                stack.enter_context(lock.held(workdir))
            except UserError as e:
                error = e
        if multihost_utils.broadcast_one_to_all(np.asarray(error is not None)):
            raise error or UserError(f"{workdir}: process 0 could not have it, see its output")
        yield


def quiet() -> None:
    """Errors only from the libraries below: orbax tells of every file it writes.

    Of a full disk it tells with a traceback for each array; `run` says it in one line.
    """
    logging.set_verbosity(logging.ERROR)
    for logger in (logging.get_absl_logger(), std_logging.getLogger("asyncio")):
        logger.addFilter(lambda record: not (record.exc_info and storage(record.exc_info[1])))
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        # What is left of a write when another has failed: its callback finds nobody.
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def open_stages(config: Any, workdir: str) -> dict[str, Records]:
    """The dataset of every stage; one that several share is opened once."""
    found: dict[str, Records] = {}
    opened: dict[str, Records] = {}
    for name in config.stages:
        data = configs.data_of(config, name)
        drawn = f"records-{name}" if "synthetic" in config[name].get("data", {}) else "records"
        key = data.dir or drawn
        if key not in opened:
            opened[key] = open_records(data, os.path.join(workdir, drawn))
        found[name] = opened[key]
    return found


def open_records(data: Any, drawn_in: str) -> Records:
    """The dataset of a data section; a rendered one is drawn first when it is not there.

    Args:
      data: the section.
      drawn_in: the folder of rendered clips where `data.dir` names none.
    """
    folder = data.dir
    if data.synthetic is not None:
        folder = folder or drawn_in
        _draw(data.synthetic.to_dict(), folder, bool(data.dir), "data.synthetic")
    if not folder:
        raise UserError(
            "data.dir is empty: convert a dataset (python -m darkjax.data.convert --help) and give "
            "--config.data.dir=FOLDER, or try the rendered one, --config=configs/lift_arid.py:demo"
        )
    return Records(folder, read=data.read, check_crc=data.check_crc)


def _render(options: dict[str, Any], folder: str) -> None:
    """Draw the clips of a data section's `synthetic`; with `flow`, beside it, add their flow."""
    from darkjax.data import convert
    from darkjax.data.catalog import get_dataset

    flow = options.pop("flow", None)
    colours = folder if flow is None else f"{folder}-colours"
    workers = min(os.cpu_count() or 1, 8)
    convert.convert(get_dataset("synthetic", **options), colours, workers=workers)
    if flow is not None:
        from darkjax.data import flow as flows

        with Records(colours) as records:
            flows.add(records, folder, flows.Recipe(**flow))


def draw_sources(config: Any, workdir: str) -> None:
    """Draw the rendered clips of `data.source_synthetic` of every stage that has them, where they
    are not there; the config's `source_dir` becomes their folder, in the workdir unless it is set.
    """
    for name in config.stages:
        data, own = configs.data_of(config, name), config[name].get("data", {})
        if data.source_synthetic is None:
            continue
        alone = "source_synthetic" in own or "source_dir" in own
        drawn = f"records-{name}-source" if alone else "records-source"
        folder = data.source_dir or os.path.join(workdir, drawn)
        options = data.source_synthetic.to_dict()
        _draw(options, folder, bool(data.source_dir), "data.source_synthetic")
        with config.unlocked():
            (own if alone else config.data).source_dir = folder


def _draw(options: dict[str, Any], folder: str, given: bool, field: str) -> None:
    """Render a dataset into a folder. One that is there is only compared with the options, and that
    not where the folder was `given` by the user."""
    drawn = os.path.exists(os.path.join(folder, "card.json"))
    if jax.process_index() == 0 and not (drawn and given):
        if not drawn:
            print(f"rendering clips into {folder}")
        try:
            _render(options, folder)
        except UserError as e:
            hint = f" ({field}: delete {folder}, or another --workdir)" if drawn else ""
            raise UserError(f"{e}{hint}") from e
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("records")


def _told(config: Any, name: str, records: Records) -> str:
    """One line about a stage's data."""
    data = configs.data_of(config, name)
    parts = sources.of(records, data, config[name].batch_size)
    _, held, split_name = split.rows(records, data)
    trained = " and ".join(
        f"{len(part.rows)} clips{'' if part.labels.max() >= 0 else ' without labels'}"
        + (f" of {part.records.directory}" if len(parts) > 1 else "")
        for part in parts
    )
    return f"data: {records.directory}, {trained} to train on, {len(held)} of {split_name}"


def _shared(config: Any, name: str, records: Records) -> str:
    """One line where the authors' own split has groups on both sides; said, and not mended."""
    data = configs.data_of(config, name)
    train, held, split_name = split.rows(records, data)
    shared, groups = split.shared_groups(records, train, held)
    if not shared or data.split != "official":
        return ""
    return (
        f"{split_name}: {shared} of {groups} groups are on both sides of this official split; "
        "data.split=fold keeps every group on one"
    )


def finished(name: str, folder: str, now: identity.Flat, extend: bool = False) -> bool:
    """Whether this stage, with this identity, was trained to its end in `folder`."""
    path = pathlib.Path(folder, "done.json")
    if not path.exists():
        return False
    done = configs.read_json(path)
    changed = identity.changes(identity.of_done(done), now)
    if not changed:
        # Damaged since, or set aside: the loop goes on from the one before, to the same weights.
        last = checkpoint_steps.look(pathlib.Path(folder, "checkpoints", str(done.get("step", 0))))
        return "step" not in done or last.state != checkpoint_steps.DAMAGED
    length = identity.only_length(changed, name)
    if extend and length:
        return False  # the loop says whether it is longer, and what that means
    hint = "add --extend to train on from there, " if length else ""
    raise UserError(
        f"{folder} was trained with other settings: {identity.told(changed)}: {hint}give another "
        "--workdir, or delete that folder to train it again"
    )


def _folder_of(config: Any, source: str, workdir: str) -> str:
    """Where a source of `init_from` is: an earlier stage of this run, or a path."""
    return os.path.join(workdir, source) if source in config.stages else source


def _origins(config: Any, name: str, workdir: str) -> dict[str, str | None]:
    """A mark of what each source of a stage's `init_from` gives."""
    sources = sorted({rule[0] for rule in config[name].init_from})
    return {s: identity.origin(_folder_of(config, s, workdir)) for s in sources}


def _train(
    config: Any,
    name: str,
    workdir: str,
    records: Records,
    mesh: Any,
    origins: dict[str, str | None],
    extend: bool,
    begun: Callable[[], None],
) -> train.Outcome:
    """Run the loop for one stage, evaluating as it goes."""

    def given() -> dict[str, dict[str, Any]]:
        folders = {source: _folder_of(config, source, workdir) for source in origins}
        return {s: source_variables(folder, records.classes) for s, folder in folders.items()}

    return train.run(
        config,
        name,
        records,
        workdir=os.path.join(workdir, name),
        mesh=mesh,
        evaluate=judge.Judge.of(config, name, records, mesh).score,
        given=given,
        origins=origins,
        extend=extend,
        begun=begun if jax.process_index() == 0 else None,
    )


def source_variables(folder: str, classes: tuple[str, ...] | None = None) -> dict[str, Any]:
    """What `init_from` takes from a folder: a run's stage, its checkpoints, or published weights
    that `darkjax.weights.convert` wrote (rules for those: `darkjax.weights.load`).

    `classes` of the new training: a run that was trained on others is said to be.
    """
    if card.is_weights(folder):
        from darkjax.weights import load

        weights = load.load(folder)
        if jax.process_index() == 0:
            print(f"{folder}: {weights.arch}, trained on {weights.preprocess}")
        return weights.variables
    inner = os.path.join(folder, "checkpoints")
    inner = inner if os.path.isdir(inner) else folder
    theirs = checkpoint.read_meta(inner).get("classes")
    if classes and theirs and tuple(theirs) != classes and jax.process_index() == 0:
        print(
            f"{folder} was trained on other classes ({', '.join(theirs)}): its last layer, if a "
            "rule of init_from takes it, has learnt those; (?!head/) leaves it out"
        )
    return checkpoint.load_variables(inner)


def table(found: dict[str, Any], seconds: float) -> str:
    """The last table: one row a number."""
    numbers = found["numbers"]
    rows = [(k, f"{v:.4f}") for k, v in numbers.items() if k != "n"]
    rows += [
        (f"{k}, {name}", f"{other[k]:.4f}")
        for name, other in found.get("others", {}).items()
        for k in ("top-1", "mean-class")
    ]
    rows += [
        (f"top-1, {r['name']} third", f"{r['accuracy']:.4f}") for r in found.get("brightness", ())
    ]
    rows += [("clips", f"{numbers['n']:.0f}")] if "n" in numbers else []
    rows += [("checkpoint", found.get("checkpoint", ""))]
    rows += [("wall time", f"{seconds:.0f} s"), ("peak memory", f"{peak_gib():.2f} GiB")]
    left, right = (max(len(r[i]) for r in rows) for i in (0, 1))
    rule = f"+{'-' * (left + 2)}+{'-' * (right + 2)}+"
    body = [f"| {a:<{left}} | {b:>{right}} |" for a, b in rows]
    return "\n".join([found["name"], rule, *body, rule])


def peak_gib() -> float:
    """The largest resident memory of this process so far, in GiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**30 if sys.platform == "darwin" else 2**20)
