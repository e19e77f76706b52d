"""Judging a stage: while it trains, when it is done, and on records it never saw."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from darkjax import config as configs
from darkjax import identity, sharding, trained
from darkjax.data import images, split
from darkjax.data.records import Records
from darkjax.eval import classify, enhance
from darkjax.files import write_json


def scorer(config: Any, records: Records, mesh: Any) -> Callable[[Any, Any], dict[str, float]]:
    """`score(method, variables)`: the numbers of the evaluation split, for the loop."""
    _, held, _ = split.rows(records, config.data)
    steps: dict[int, Any] = {}

    def score(method: Any, variables: Any) -> dict[str, float]:
        if not method.classifies:
            return enhance.evaluate(method, variables, records, held, config.data)[0]
        if id(method) not in steps:  # compiled once per stage
            steps[id(method)] = classify.make_predict(method, mesh)
        step = steps[id(method)]
        return classify.summarise(_predicted(step, variables, records, held, config, mesh))

    return score


def _predicted(
    step: Any, variables: Any, records: Records, rows: Any, config: Any, mesh: Any
) -> classify.Predictions:
    batch_size = config.eval_batch_size
    return classify.predict(
        step, variables, records, rows, config.data, batch_size=batch_size, mesh=mesh
    )


def evaluate(
    config: Any, name: str, workdir: str, records: Records, mesh: Any, eval_name: str = ""
) -> dict[str, Any]:
    """Judge a stage's best checkpoint; writes its `results.json` and `predictions.npz`.

    With `eval_name`, on records it was not trained on, into a folder of its own: classes are
    matched by name, and what does not match is left out and listed.
    """
    _, held, split_name = split.rows(records, config.data)
    method, variables, classes = trained.load(
        config, name, workdir, records, elsewhere=bool(eval_name)
    )
    folder = os.path.join(workdir, name, *([f"eval-{eval_name}"] if eval_name else []))
    best = config[name].keep_best
    judged: dict[str, Any] = {
        "checkpoint": f"best {best} of the split it was trained with" if best else "last",
        "weights": identity.origin(os.path.join(workdir, name)),
        "judged_on": _judged_on(config, records),
    }
    if not method.classifies:
        numbers, cells = enhance.evaluate(
            method, variables, records, held, config.data, pictures=config.report_clips
        )
        result = {"name": f"enhancement of {split_name}", "numbers": numbers, **judged}
        if jax.process_index() == 0:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            write_json(pathlib.Path(folder, "results.json"), result)
            place = folder if eval_name else workdir
            images.write_image(pathlib.Path(place, "before_after.png"), enhance.sheet(cells))
        return result
    if eval_name:
        held, unmatched = classify.matched(records, held, classes)
        judged |= unmatched
        if jax.process_index() == 0:
            print(classify.told(unmatched, len(held)))
    placed = jax.device_put(variables, sharding.replicated(mesh))
    step = classify.make_predict(method, mesh)
    found = _predicted(step, placed, records, held, config, mesh)
    if eval_name:
        found = classify.relabelled(found, records.classes, classes)
    result = classify.results(found, records, split_name, config.data, classes) | judged
    if jax.process_index() == 0:
        classify.save(folder, found, result)
    return result


def _judged_on(config: Any, records: Records) -> dict[str, Any]:
    """What the numbers of an evaluation depend on beside the weights."""
    data = {
        k: v for k, v in config.data.to_dict().items() if f"data.{k}" not in identity.MAY_CHANGE
    }
    return json.loads(json.dumps({"digest": records.digest, **data}))


def kept(config: Any, name: str, workdir: str, records: Records) -> dict[str, Any]:
    """The results of an earlier evaluation, if they are of these weights and this data."""
    path = pathlib.Path(workdir, name, "results.json")
    if not path.exists():
        return {}
    found = configs.read_json(path)
    same = found.get("judged_on") == _judged_on(config, records)
    current = found.get("weights") == identity.origin(os.path.join(workdir, name))
    return found if same and current else {}
