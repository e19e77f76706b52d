"""Classification of a set of clips: views, top-k, per class, by brightness."""

from __future__ import annotations

import json
import os
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from darkjax import files, metrics, sharding
from darkjax.data import pipeline
from darkjax.data import views as data_views
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.methods import Method


class Predictions(NamedTuple):
    """One row for each clip, by rising clip number."""

    clip: np.ndarray  # int64 [M], row of the card
    label: np.ndarray  # int64 [M]
    probabilities: np.ndarray  # float64 [M, K], mean over the clip's views
    # [M, K] by name, where several are concluded; the first are `probabilities` too
    others: Mapping[str, np.ndarray] = types.MappingProxyType({})
    codes: np.ndarray | None = None  # float32 [M, N], mean over the clip's views

    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved: by the names of the fields, of the others `probabilities_NAME`."""
        found = {k: v for k, v in self._asdict().items() if k != "others" and v is not None}
        return found | {f"probabilities_{name}": v for name, v in self.others.items()}


class Step(NamedTuple):
    """How clips are judged: `seen(variables, batch) -> {name: [B, ...]}` of views, compiled and the
    same on every process, and `concluded(variables, means) -> {name: [M, K]}` of clips."""

    seen: Callable[[Any, Any], dict[str, jax.Array]]
    concluded: Callable[[Any, dict[str, np.ndarray]], dict[str, Any]]


def make_predict(method: Method, mesh: jax.sharding.Mesh) -> Step:
    """How a method judges clips; by default the mean of the class probabilities of their views."""

    def predict(variables: Any, batch: Any) -> dict[str, jax.Array]:
        return method.seen(*method.predict(variables, batch))

    return Step(jax.jit(predict, out_shardings=sharding.replicated(mesh)), method.concluded)


def predict(
    step: Step,
    variables: Mapping[str, Any],
    records: Records,
    rows: np.ndarray,
    data: Any,
    *,
    batch_size: int,
    mesh: jax.sharding.Mesh,
) -> Predictions:
    """Class probabilities of every clip, from the means over its views.

    Args:
      step: from `make_predict`.
      variables: of the method.
      records: the dataset.
      rows: which records.
      data: `config.data`; `views_clips` x `views_crops` views of each clip.
      batch_size: views at a time, over all devices; the last batch is padded and masked.
      mesh: see `sharding.make_mesh`.
    """
    sharding.check_batch(mesh, batch_size, "eval_batch_size")
    found: list[dict[str, np.ndarray]] = []
    batches = pipeline.eval_batches(
        records,
        rows,
        cfg=data,
        batch_size=batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    gather = jax.jit(lambda x: x, out_shardings=sharding.replicated(mesh))
    with batches, jax.set_mesh(mesh):
        for batch in batches:
            placed = sharding.to_global(mesh, batch)
            seen = step.seen(variables, placed)
            who = gather({k: placed[k] for k in ("clip", "label", "mask")})
            found.append(sharding.to_host({"seen": seen, **who}))
        whole = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
        views = {
            name: metrics.average_views(rows, whole["clip"], whole["mask"])
            for name, rows in whole["seen"].items()
        }
        means = {name: view.probabilities for name, view in views.items()}
        concluded = step.concluded(variables, means)
    every = {
        name: np.asarray(x.addressable_data(0) if isinstance(x, jax.Array) else x, np.float64)
        for name, x in concluded.items()
    }
    view = next(iter(views.values()))
    codes = means["codes"].astype(np.float32) if "codes" in means else None
    label = whole["label"][view.first].astype(np.int64)
    others = every if len(every) > 1 else {}
    return Predictions(view.clip, label, next(iter(every.values())), others, codes)


def summarise(found: Predictions) -> dict[str, float]:
    """`top-1`, `top-5` (or `top-K` when K < 5), `mean-class`, `n`, `nll`."""
    numbers = metrics.Classification.from_logits(found.probabilities, found.label).compute()
    right = found.probabilities[np.arange(len(found.label)), found.label]
    return {**numbers, "nll": float(-np.log(np.maximum(right, 1e-12)).mean())}


def matched(
    records: Records, rows: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """The rows whose class, by name, is one of `classes`, and the names on either side alone.

    Raises:
      UserError: none is.
    """
    known = np.array([name in classes for name in records.classes])
    kept = rows[known[records.meta["label"][rows]]]
    here, there = list(records.classes), list(classes)
    if not len(kept):
        raise UserError(
            f"no clip of {records.directory} has a class the model knows: it has "
            f"{', '.join(here)}; the model {', '.join(there)}: classes are matched by name"
        )
    return kept, {
        "classes_left_out": [name for name in here if name not in there],
        "classes_without_clips": [name for name in there if name not in here],
    }


def told(unmatched: Mapping[str, Sequence[str]], clips: int) -> str:
    """One line about the classes that do not match."""
    out, without = (", ".join(names) or "none" for names in unmatched.values())
    return f"{clips} clips; classes the model does not know: {out}; without clips here: {without}"


def relabelled(found: Predictions, names: Sequence[str], classes: Sequence[str]) -> Predictions:
    """Labels that number `names` as numbers of the same names in `classes`."""
    number = np.array([classes.index(n) if n in classes else -1 for n in names], np.int64)
    return found._replace(label=number[found.label])


def results(
    found: Predictions,
    numbers: Mapping[str, float],
    records: Records,
    name: str,
    data: Any,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Everything a report needs, as JSON: numbers, confusion, per class, by brightness, views.

    `numbers` begin with what the confusion counts; `classes` are the names in the order of the
    probabilities.
    """
    others = {k: summarise(found._replace(probabilities=v)) for k, v in found.others.items()}
    luma = np.array([records.clips[c]["mean_luma"] for c in found.clip])
    correct = found.probabilities.argmax(1) == found.label
    return {
        "name": f"{next(iter(numbers))}@{data_views.named(data)} {name}",
        "classes": list(classes),
        "numbers": dict(numbers),
        **({"others": others} if others else {}),
        **tables(found, classes),
        "brightness": [_plain(row._asdict()) for row in metrics.by_tercile(luma, correct)],
    }


def tables(found: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    """`confusion` (rows are the truth) and `per_class`, as JSON."""
    confusion = metrics.Confusion.from_logits(found.probabilities, found.label)
    return {
        "confusion": confusion.counts.tolist(),
        "per_class": [
            {"class": name, **_plain(row._asdict())}
            for name, row in zip(classes, confusion.per_class(), strict=True)
        ],
    }


def save(folder: str | os.PathLike[str], found: Predictions, result: Mapping[str, Any]) -> None:
    """Write `predictions.npz` and `results.json`, each under a temporary name first."""
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    files.write_npz(path / "predictions.npz", found.arrays())
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    files.write_text(path / "results.json", text)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as JSON has them: NaN (a class without clips) becomes null."""
    return {
        k: None if isinstance(v, float) and np.isnan(v) else (v.item() if hasattr(v, "item") else v)
        for k, v in row.items()
    }
