"""An experiment from data to report: prepare, the stages in order, evaluation, the last table."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import sys
import time
from typing import Any

import jax
from absl import logging

from darkjax import checkpoint, sharding, train, version
from darkjax import config as configs
from darkjax.data import images, split
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import classify, collect, enhance
from darkjax.weights import card


def join(address: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Become one process of several, before anything else touches a device.

    Without arguments JAX finds them out (TPU pods, Slurm, GKE).
    """
    if address is None:
        jax.distributed.initialize()
    else:  # everything is given: do not go and ask a cluster that may not be there
        jax.distributed.initialize(address, count, index, cluster_detection_method="deactivate")


def run(config: Any, workdir: str, mode: str = "all", command: str = "") -> dict[str, Any]:
    """Run `config` in `workdir`; what is finished there is not done again.

    Args:
      config: from a file of `configs/`.
      workdir: its folder: `STAGE/` for each stage, `config.json`, `report.html`.
      mode: "all", "train", "evaluate" or "report".
      command: what the report says was typed.

    Returns:
      The results of the last stage (`classify.results`), empty when training was stopped early.

    Raises:
      UserError: whatever the user can put right.
    """
    start = time.monotonic()
    if "://" in str(workdir):
        raise UserError(
            f"workdir={workdir!r}: expected a folder on a mounted file system; mount the bucket "
            "(gcsfuse, Filestore) and give its path"
        )
    use_compilation_cache()
    config = configs.resolve(config)
    records = open_records(config, workdir)
    configs.check_classes(config, len(records.classes), str(records.directory))
    mesh = sharding.make_mesh(config.mesh)
    chief = jax.process_index() == 0
    say = print if chief else lambda *_: None
    rows = split.rows(records, config.data)
    say(
        f"darkjax {version.__version__}, jax {jax.__version__}, {len(jax.devices())} x "
        f"{jax.devices()[0].device_kind}, mesh {dict(mesh.shape)}, {config.dtype}"
    )
    say(f"data: {records.directory}, {len(rows[0])} clips to train on, {len(rows[1])} of {rows[2]}")
    found: dict[str, Any] = {}
    for number, name in enumerate(config.stages, start=1):
        say(f"stage {number} of {len(config.stages)}: {name}")
        folder = os.path.join(workdir, name)
        if mode in ("all", "train") and not finished(config, name, folder):
            outcome = _train(config, name, workdir, records, mesh)
            if not outcome.finished:
                return {}
            if chief:
                _write_json(folder, "done.json", _identity(config, name))
        elif mode in ("all", "train"):
            say(f"{name} was finished earlier in {folder}")
        if mode == "train":
            continue
        if mode == "report" and os.path.exists(os.path.join(folder, "results.json")):
            found = configs.read_json(os.path.join(folder, "results.json"))
        elif mode != "report" or name == config.stages[-1]:
            found = evaluate(config, name, workdir, records, mesh)
    if mode != "train" and chief:
        path = collect.write(config, workdir, records, rows[1], found, command)
        print(f"report: {path}")
        say(table(found, time.monotonic() - start))
    return found


def quiet() -> None:
    """Errors only from the libraries below: orbax tells of every file it writes."""
    logging.set_verbosity(logging.ERROR)


def use_compilation_cache() -> None:
    """Keep compiled programs between runs, where the user has not said otherwise."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
        jax.config.update("jax_compilation_cache_dir", os.path.join(folder, "darkjax", "jax"))


def open_records(config: Any, workdir: str) -> Records:
    """The dataset of `config.data`; a rendered one is drawn first when it is not there."""
    folder = config.data.dir
    if config.data.synthetic is not None:
        folder = folder or os.path.join(workdir, "records")
        if jax.process_index() == 0 and not os.path.exists(os.path.join(folder, "card.json")):
            from darkjax.data import convert
            from darkjax.data.catalog import get_dataset

            options = config.data.synthetic.to_dict()
            print(f"rendering clips into {folder}")
            workers = min(os.cpu_count() or 1, 8)
            convert.convert(get_dataset("synthetic", **options), folder, workers=workers)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("records")
    if not folder:
        raise UserError(
            "data.dir is empty: convert a dataset (python -m darkjax.data.convert --help) and give "
            "--config.data.dir=FOLDER, or try the rendered one, --config=configs/lift_arid.py:demo"
        )
    return Records(folder, read=config.data.read, check_crc=config.data.check_crc)


def finished(config: Any, name: str, folder: str) -> bool:
    """Whether this stage, with this config, was trained to its end in `folder`."""
    path = pathlib.Path(folder, "done.json")
    if not path.exists():
        return False
    before, now = configs.read_json(path), _identity(config, name)
    if before != now:
        changed = sorted(k for k in now if before.get(k) != now[k])
        raise UserError(
            f"{folder} was trained with other settings ({', '.join(changed)}): give another "
            "--workdir, or delete that folder to train it again"
        )
    return True


def _identity(config: Any, name: str) -> dict[str, Any]:
    """The settings that a stage's weights depend on, flat, as JSON."""
    stage, data = config[name].to_dict(), config.data.to_dict()
    for field in (
        "dir",
        "read",
        "check_crc",
        "num_threads",
        "workers",
        "views_clips",
        "views_crops",
    ):
        data.pop(field)
    flat: dict[str, Any] = {"seed": config.seed}
    for part, values in ((name, stage), ("data", data)):
        flat |= {f"{part}.{k}": v for k, v in values.items()}
    return json.loads(json.dumps(flat))


def _train(config: Any, name: str, workdir: str, records: Records, mesh: Any) -> train.Outcome:
    """Run the loop for one stage, evaluating as it goes."""
    stage = config[name]
    _, held, _ = split.rows(records, config.data)
    steps: dict[int, Any] = {}

    def score(method: Any, variables: Any) -> dict[str, float]:
        if not method.classifies:
            return enhance.evaluate(method, variables, records, held, config.data)[0]
        if id(method) not in steps:  # compiled once per stage
            steps[id(method)] = classify.make_predict(method, mesh)
        found = classify.predict(
            steps[id(method)],
            variables,
            records,
            held,
            config.data,
            batch_size=config.eval_batch_size,
            mesh=mesh,
        )
        return classify.summarise(found)

    sources = {}
    for source in {rule[0] for rule in stage.init_from}:
        folder = os.path.join(workdir, source) if source in config.stages else source
        sources[source] = source_variables(folder)
    return train.run(
        config,
        stage,
        records,
        workdir=os.path.join(workdir, name),
        mesh=mesh,
        evaluate=score,
        sources=sources,
    )


def source_variables(folder: str) -> dict[str, Any]:
    """What `init_from` takes from a folder: a run's stage, its checkpoints, or published weights
    that `darkjax.weights.convert` wrote (rules for those: `darkjax.weights.load`).
    """
    if card.is_weights(folder):
        from darkjax.weights import load

        weights = load.load(folder)
        if jax.process_index() == 0:
            print(f"{folder}: {weights.arch}, trained on {weights.preprocess}")
        return weights.variables
    inner = os.path.join(folder, "checkpoints")
    return checkpoint.load_variables(inner if os.path.isdir(inner) else folder)


def restored(config: Any, name: str, workdir: str, records: Records) -> tuple[Any, Any]:
    """(method, variables) of a stage's best checkpoint."""
    from darkjax import methods

    method = methods.make(config[name], len(records.classes))
    folder = os.path.join(workdir, name, "checkpoints")
    return method, checkpoint.load_variables(folder)


def evaluate(config: Any, name: str, workdir: str, records: Records, mesh: Any) -> dict[str, Any]:
    """Judge a stage's best checkpoint; writes its `results.json` and `predictions.npz`."""
    _, held, split_name = split.rows(records, config.data)
    method, variables = restored(config, name, workdir, records)
    best = config[name].keep_best
    judged = {"checkpoint": f"best {best} of this split" if best else "last"}
    if not method.classifies:
        numbers, cells = enhance.evaluate(
            method, variables, records, held, config.data, pictures=config.report_clips
        )
        result = {"name": f"enhancement of {split_name}", "numbers": numbers, **judged}
        if jax.process_index() == 0:
            _write_json(os.path.join(workdir, name), "results.json", result)
            images.write_image(pathlib.Path(workdir, "before_after.png"), enhance.sheet(cells))
        return result
    found = classify.predict(
        classify.make_predict(method, mesh),
        jax.device_put(variables, sharding.replicated(mesh)),
        records,
        held,
        config.data,
        batch_size=config.eval_batch_size,
        mesh=mesh,
    )
    result = classify.results(found, records, split_name, config.data) | judged
    if jax.process_index() == 0:
        classify.save(os.path.join(workdir, name), found, result)
    return result


def table(found: dict[str, Any], seconds: float) -> str:
    """The last table: one row a number."""
    numbers = found["numbers"]
    rows = [(k, f"{v:.4f}") for k, v in numbers.items() if k != "n"]
    rows += [
        (f"top-1, {r['name']} third", f"{r['accuracy']:.4f}") for r in found.get("brightness", ())
    ]
    rows += [("clips", f"{numbers['n']:.0f}"), ("checkpoint", found.get("checkpoint", ""))]
    rows += [("wall time", f"{seconds:.0f} s"), ("peak memory", f"{peak_gib():.2f} GiB")]
    left, right = (max(len(r[i]) for r in rows) for i in (0, 1))
    rule = f"+{'-' * (left + 2)}+{'-' * (right + 2)}+"
    body = [f"| {a:<{left}} | {b:>{right}} |" for a, b in rows]
    return "\n".join([found["name"], rule, *body, rule])


def peak_gib() -> float:
    """The largest resident memory of this process so far, in GiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**30 if sys.platform == "darwin" else 2**20)


def _write_json(folder: str, name: str, content: Any) -> None:
    path = pathlib.Path(folder, name)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)
