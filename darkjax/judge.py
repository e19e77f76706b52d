"""Judging a stage: while it trains, when it is done, and on records it never saw.

A method says by `judge` what its evaluation is; `NUMBERS` names what each gives.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax import channels, identity, sharding, trained
from darkjax import config as configs
from darkjax.data import images, sources, split
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import classify, codes, enhance
from darkjax.files import write_json, write_npz

# Of each kind of evaluation: the numbers that are better high, and the others.
NUMBERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "classes": (("top-1", "top-5", "mean-class"), ("nll", "n")),
    "frames": (("brightness after",), ("brightness before", "inconsistency", "n")),
    "codes": (("knn top-1", "probe top-1"), ("n",)),
    "none": ((), ()),
}


JUDGES_BY = ("knn_k", "knn_gamma", "answer", "probe_decay")  # fields of a stage


def numbers(judge: str, classes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that an evaluation gives its numbers: those that are better high, the others."""
    rising, others = NUMBERS[judge]
    return tuple(f"top-{min(5, classes)}" if n == "top-5" else n for n in rising), others


Scored = tuple[classify.Predictions, dict[str, float]]


@jax.jit
def dimmed(video: jax.Array | np.ndarray, factor: float | jax.Array) -> jax.Array:
    """Clips uint8 `[..., C]`, every level times `factor`, rounded and cut at 255. Flow that is
    among the channels of records stays."""
    colours = video[..., : channels.COLOURS].astype(jnp.float32) * factor
    colours = jnp.clip(jnp.rint(colours), 0, 255).astype(video.dtype)
    return jnp.concatenate([colours, video[..., channels.COLOURS :]], -1)


@dataclasses.dataclass(frozen=True)
class Judge:
    """How the clips of one stage are judged.

    Attributes:
      stage: its section.
      records: the dataset.
      rows: of the training split.
      held: which are judged.
      data: how clips are seen.
      batch_size: views at a time.
      mesh: the devices.
      brightness: what levels of clips are multiplied by first (`dimmed`).
      last: the predictions and numbers of the last `score`, where it had any.
    """

    stage: Any
    records: Records
    rows: np.ndarray
    held: np.ndarray
    data: Any
    batch_size: int
    mesh: jax.sharding.Mesh
    brightness: float = 1.0
    last: list[Scored] = dataclasses.field(default_factory=list)
    _steps: dict[Any, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, config: Any, name: str, records: Records, mesh: jax.sharding.Mesh) -> Judge:
        """Of stage `name` of a resolved config."""
        data = configs.data_of(config, name)
        rows, held, _ = split.rows(records, data)
        return cls(config[name], records, rows, held, data, config.eval_batch_size, mesh)

    def score(self, method: Any, variables: Any) -> dict[str, float]:
        """The numbers of the evaluation split, for the loop."""
        if method.judge == "none":
            return {}
        if method.judge == "frames":
            args = (variables, self.records, self.held, self.data)
            return enhance.evaluate(method, *args)[0]
        self.last[:] = [self.classified(method, variables)]
        return self.last[0][1]

    def classified(self, method: Any, variables: Any) -> Scored:
        """Predictions and numbers, of logits or by the neighbours of embeddings."""
        if method.judge == "classes":
            found = self._seen(classify.make_predict, method, variables, self.held, self.data)
            return found, classify.summarise(found)
        one = self.data.copy_and_resolve_references()
        one.views_clips = one.views_crops = 1
        known = self._seen(codes.make_embed, method, variables, self.rows, one)
        asked = self._seen(codes.make_embed, method, variables, self.held, self.data)
        learnt = (known.probabilities, known.label, asked.probabilities, len(self.records.classes))
        votes = codes.knn(*learnt, k=self.stage.get("knn_k", codes.K))
        probed = codes.probe(*learnt, decay=self.stage.get("probe_decay", codes.DECAY))
        found = asked._replace(probabilities=votes)
        return found, {
            "knn top-1": float((votes.argmax(1) == asked.label).mean()),
            "probe top-1": float((probed.argmax(1) == asked.label).mean()),
            "n": float(len(asked.label)),
        }

    def trained_on(self, method: Any, variables: Any) -> classify.Predictions:
        """The same of the training clips, seen as those that are judged."""
        return self._seen(classify.make_predict, method, variables, self.rows, self.data)

    def _seen(
        self, make: Any, method: Any, variables: Any, rows: np.ndarray, data: Any
    ) -> classify.Predictions:
        """What a step gives for every clip, from the means over its views."""
        if (make, method) not in self._steps:  # compiled once per stage
            self._steps[make, method] = make(method, self.mesh)
        step = self._steps[make, method]
        if self.brightness != 1.0:
            step = step._replace(seen=functools.partial(_seen_dimmed, step.seen, self.brightness))
        return classify.predict(
            step, variables, self.records, rows, data, batch_size=self.batch_size, mesh=self.mesh
        )


def _seen_dimmed(seen: Any, factor: float, variables: Any, batch: Any) -> Any:
    return seen(variables, {**batch, "video": dimmed(batch["video"], factor)})


def evaluate(
    config: Any,
    name: str,
    workdir: str,
    records: Records,
    mesh: Any,
    eval_name: str = "",
    brightness: float = 1.0,
    scored: Sequence[Scored] = (),
) -> dict[str, Any]:
    """Judge a stage's best checkpoint; writes its `results.json` and `predictions.npz`.

    With `eval_name`, on records it was not trained on, into a folder of its own: classes are
    matched by name, and what does not match is left out and listed. `scored`: what this same
    checkpoint was just found to give (`Judge.last`), which is not asked again.
    """
    data = configs.data_of(config, name)
    method, variables, classes = trained.load(
        config, name, workdir, records, elsewhere=bool(eval_name)
    )
    folder = os.path.join(workdir, name, *([f"eval-{eval_name}"] if eval_name else []))
    best = config[name].keep_best
    judged: dict[str, Any] = {
        "checkpoint": f"best {best} of the split it was trained with" if best else "last",
        "weights": identity.origin(os.path.join(workdir, name)),
        "judged_on": _judged_on(config, name, records),
        "records": records.digest,
    }
    if method.judge == "none":
        result = {"name": f"{name} is not judged", "numbers": {}, **judged}
        if jax.process_index() == 0:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            write_json(pathlib.Path(folder, "results.json"), result)
        return result
    judge = dataclasses.replace(Judge.of(config, name, records, mesh), brightness=brightness)
    judged |= {"brightness_times": brightness} if brightness != 1.0 else {}
    _, _, split_name = split.rows(records, data)
    if method.judge == "frames" and brightness != 1.0:
        raise UserError(
            f"brightness={brightness:g}: {name} is an enhancer and judged by brightness itself: "
            "give RUN/STAGE of a network that names classes"
        )
    if method.judge == "frames":
        numbers, cells = enhance.evaluate(
            method, variables, records, judge.held, data, pictures=config.report_clips
        )
        result = {"name": f"enhancement of {split_name}", "numbers": numbers, **judged}
        if jax.process_index() == 0:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            write_json(pathlib.Path(folder, "results.json"), result)
            if cells:
                place = folder if eval_name else workdir
                images.write_image(pathlib.Path(place, "before_after.png"), enhance.sheet(cells))
        return result
    if eval_name:
        held, unmatched = classify.matched(records, judge.held, classes)
        judge = dataclasses.replace(judge, held=held)
        judged |= unmatched
        if jax.process_index() == 0:
            print(classify.told(unmatched, len(held)))
    placed = jax.device_put(variables, sharding.replicated(mesh))
    found, numbers = scored[0] if scored else judge.classified(method, placed)
    if eval_name and method.judge == "classes":
        found = classify.relabelled(found, records.classes, classes)
        numbers = classify.summarise(found)
    elif eval_name:  # neighbours vote with the labels of the records they are asked on
        classes = records.classes
    result = classify.results(found, numbers, records, split_name, data, classes) | judged
    learnt = judge.trained_on(method, placed) if method.keeps_training and not eval_name else None
    if jax.process_index() == 0:
        classify.save(folder, found, result)
        if learnt is not None:
            write_npz(pathlib.Path(folder, "predictions-train.npz"), learnt.arrays())
    return result


def _judged_on(config: Any, name: str, records: Records) -> dict[str, Any]:
    """What the numbers of an evaluation depend on beside the weights."""
    data = configs.data_of(config, name)
    kept = {k: v for k, v in data.to_dict().items() if f"data.{k}" not in identity.MAY_CHANGE}
    stage = {k: config[name][k] for k in JUDGES_BY if k in config[name]}
    digest = sources.digest(records, data)
    return json.loads(json.dumps({"digest": digest, **kept, **stage}))


def kept(config: Any, name: str, workdir: str, records: Records) -> dict[str, Any]:
    """The results of an earlier evaluation, if they are of these weights and this data."""
    path = pathlib.Path(workdir, name, "results.json")
    if not path.exists():
        return {}
    found = configs.read_json(path)
    same = found.get("judged_on") == _judged_on(config, name, records)
    current = found.get("weights") == identity.origin(os.path.join(workdir, name))
    return found if same and current else {}
