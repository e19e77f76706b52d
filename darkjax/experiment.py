"""An experiment from data to report: prepare, the stages in order, evaluation, the last table."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from darkjax import (
    checkpoint,
    checkpoint_steps,
    identity,
    judge,
    preflight,
    process,
    program,
    provenance,
    run_data,
    sharding,
    spec,
    starts,
    train,
    version,
)
from darkjax import config as configs
from darkjax.compilation import use_compilation_cache
from darkjax.data import sources
from darkjax.errors import Stopped, UserError, storage
from darkjax.eval import collect
from darkjax.files import write_json
from darkjax.weights import card, preprocess


def run(
    config: Any,
    workdir: str,
    mode: str = "all",
    command: str = "",
    *,
    extend: bool = False,
    eval_name: str = "",
    brightness: float = 1.0,
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
      brightness: with `eval_name`, what the levels of its clips are multiplied by (`judge.dimmed`).

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
        with process.alone(workdir):
            config = preprocess.settle(configs.resolve(config), workdir)
            return _run(config, workdir, mode, command, extend, eval_name, brightness)
    except Exception as e:
        if isinstance(e, UserError | Stopped) or storage(e) is None:
            raise
        raise UserError(
            f"writing in {workdir} failed: {storage(e)}; every whole checkpoint is kept: make room "
            "and give the same command again"
        ) from e


def _run(
    config: Any,
    workdir: str,
    mode: str,
    command: str,
    extend: bool,
    eval_name: str,
    brightness: float,
) -> dict[str, Any]:
    start = time.monotonic()
    run_data.draw_sources(config, workdir)
    opened = run_data.open_stages(config, workdir)
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
    for line in dict.fromkeys(run_data.told(config, name, own) for name, own in opened.items()):
        say(line)
    shared = (
        {} if eval_name else dict.fromkeys(run_data.shared(config, n, r) for n, r in opened.items())
    )
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
        scored: Sequence[judge.Scored] = ()
        if mode in ("all", "train") and not finished(name, folder, now, extend):
            # Written when nothing is refused any more, so that a refusal leaves all as it was.
            begun = functools.partial(provenance.write, config, workdir, opened, mode, command)
            judging = judge.Judge.of(config, name, records, mesh)
            outcome = _train(config, name, workdir, judging, origins, extend, begun)
            if outcome.judged_at == outcome.saved_at and not config[name].keep_best:
                scored = judging.last
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
            found = judge.evaluate(
                config, name, workdir, records, mesh, eval_name, brightness, scored
            )
    if mode != "train":
        if not eval_name:  # the others wait: whoever has ended cannot be told of an error
            last = opened[config.stages[-1]]
            (path,) = process.by_first(
                lambda: [str(collect.write(config, workdir, last, found, command))]
            )
            say(f"report: {path}")
        say(table(found, time.monotonic() - start))
    return found


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


def complete(config: Any, workdir: str) -> dict[str, Any]:
    """The last stage's results, where every stage was trained and judged with these settings and
    this data; {} where something of it is missing. Nothing is trained or judged, no device is used.

    `dtype="auto"` is what the run took, on whatever device it was.

    Raises:
      UserError: a stage was trained with other settings; what differs.
    """
    done = {name: pathlib.Path(workdir, name, "done.json") for name in config.stages}
    if not all(path.is_file() for path in done.values()):
        return {}
    if config.dtype == "auto":
        config = config.copy_and_resolve_references()
        last = identity.of_done(configs.read_json(done[config.stages[-1]]))
        config.dtype = last.get(f"{config.stages[-1]}.dtype", config.dtype)
    config = preprocess.settle(configs.resolve(config), workdir)
    run_data.draw_sources(config, workdir)
    found: dict[str, Any] = {}
    for name, records in run_data.open_stages(config, workdir).items():
        digest = sources.digest(records, configs.data_of(config, name))
        now = identity.of(config, name, digest, _origins(config, name, workdir))
        if not finished(name, os.path.join(workdir, name), now):
            return {}
        found = judge.kept(config, name, workdir, records)
        if not found:
            return {}
    return found


def once(config: Any, workdir: str, train: bool = True) -> dict[str, Any]:
    """The results that are kept (`complete`), else those of `run`; {} where `train` is False."""
    return complete(config, workdir) or (run(config, workdir) if train else {})


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
    judging: judge.Judge,
    origins: dict[str, str | None],
    extend: bool,
    begun: Callable[[], None],
) -> train.Outcome:
    """Run the loop for one stage, evaluating as it goes."""

    def given() -> dict[str, dict[str, Any]]:
        folders = {source: _folder_of(config, source, workdir) for source in origins}
        classes = judging.records.classes
        return {s: source_variables(folder, classes) for s, folder in folders.items()}

    return train.run(
        config,
        name,
        judging.records,
        workdir=os.path.join(workdir, name),
        mesh=judging.mesh,
        evaluate=judging.score,
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
        (f"top-1, {r['name']} third", f"{r['accuracy']:.4f}")
        for r in found.get("brightness", ())
        if r["accuracy"] is not None  # fewer than three clips
    ]
    rows += [("clips", f"{numbers['n']:.0f}")] if "n" in numbers else []
    rows += [("checkpoint", found.get("checkpoint", ""))]
    rows += [("wall time", f"{seconds:.0f} s"), ("peak memory", f"{process.peak_gib():.2f} GiB")]
    left, right = (max(len(r[i]) for r in rows) for i in (0, 1))
    rule = f"+{'-' * (left + 2)}+{'-' * (right + 2)}+"
    body = [f"| {a:<{left}} | {b:>{right}} |" for a, b in rows]
    return "\n".join([found["name"], rule, *body, rule])
