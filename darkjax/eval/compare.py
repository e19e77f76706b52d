"""What two or more judged stages have in common and what not: settings, answers, flipped clips."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from darkjax import identity, writers
from darkjax.errors import UserError
from darkjax.eval import charts, report, runs, statistics

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNSET = "–"


class Pair(NamedTuple):
    """Two stages on the clips they share: `counts` [first, second], 0 wrong and 1 right;
    `difference` of top-1, second less first, with its 95 % interval; `p` of McNemar's test."""

    first: int
    second: int
    counts: np.ndarray
    difference: float
    interval: tuple[float, float]
    p: float


class Comparison(NamedTuple):
    """Stages side by side; `clips` and what follows is None or empty where one classified nothing.

    Attributes:
      stages: two or more.
      settings: by part ("config", "data", "run"): fields whose values differ, and the values.
      classes: those that all stages know, in the order of the first.
      clips: what all of them judged.
      right: bool [G, N], whether a stage has a clip right.
      pairs: every two stages.
    """

    stages: list[runs.Judged]
    settings: dict[str, dict[str, list[str]]]
    classes: list[str]
    clips: runs.Common | None
    right: Bool[np.ndarray, "G N"] | None
    pairs: list[Pair]


def compare(given: Sequence[str]) -> Comparison:
    """Read and match runs: each a run's folder, RUN/STAGE or RUN/STAGE/eval-NAME.

    Raises:
      UserError: fewer than two, one that was not judged, or no clip in common.
    """
    if not 2 <= len(given) <= len(LETTERS):
        raise UserError(f"expected 2 to {len(LETTERS)} runs to compare; found {len(given)}")
    stages = [runs.read(run) for run in given]
    settings = differences(stages)
    classified = [stage.clips is not None for stage in stages]
    if not all(classified):
        if any(classified):
            pair = [stages[classified.index(kind)].name for kind in (True, False)]
            raise UserError(
                f"{pair[0]} classified clips and {pair[1]} did not: they have nothing in common"
            )
        return Comparison(_shorter(stages), settings, [], None, None, [])
    clips = runs.match(stages)
    right = np.stack([s.right()[rows] for s, rows in zip(stages, clips.rows, strict=True)])
    drawn = statistics.bootstrap(right[:, None].astype(float), np.ones((1, right.shape[1]), bool))
    pairs = []
    for i, j in itertools.combinations(range(len(stages)), 2):
        counts = statistics.flips(right[i], right[j])
        p = statistics.mcnemar(int(counts[1, 0]), int(counts[0, 1]))
        apart = float(right[j].mean() - right[i].mean())
        pairs.append(Pair(i, j, counts, apart, statistics.interval(drawn[:, j] - drawn[:, i]), p))
    others = [set(stage.classes) for stage in stages[1:]]
    classes = [name for name in stages[0].classes if all(name in names for names in others)]
    return Comparison(_shorter(stages), settings, classes, clips, right, pairs)


def _shorter(stages: Sequence[runs.Judged]) -> list[runs.Judged]:
    """Their names without the folder that all are in."""
    absolute = [os.path.abspath(stage.name) for stage in stages]
    above = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [
        stage._replace(name=os.path.relpath(path, above))
        for stage, path in zip(stages, absolute, strict=True)
    ]


def differences(stages: Sequence[runs.Judged]) -> dict[str, dict[str, list[str]]]:
    """Fields that are not the same in all stages, by part, with each stage's value as text.

    Where the stages' names differ, their sections are compared as `STAGE`.
    """
    alike = len({stage.stage for stage in stages}) == 1
    parts: dict[str, list[Mapping[str, Any]]] = {
        "config": [_config(stage, stage.stage if alike else "STAGE") for stage in stages],
        "data": [_data(stage) for stage in stages],
        "run": [_conditions(stage) for stage in stages],
    }
    found = {}
    for part, each in parts.items():
        fields = dict.fromkeys(field for one in each for field in one)
        values = {field: [_text(one.get(field, ...)) for one in each] for field in fields}
        found[part] = {field: row for field, row in values.items() if len(set(row)) > 1}
    return found


def curves(stages: Sequence[runs.Judged]) -> tuple[dict[str, list[charts.Series]], list[str]]:
    """(what two or more stages logged, by name, a curve of each; names that one logged alone)."""
    logs = [writers.history(stage.log) for stage in stages]
    names = list(dict.fromkeys(name for log in logs for row in log for name in row))
    found, alone = {}, []
    for name in names:
        if name in ("step", "time"):
            continue
        drawn = [report.series(log, name) for log in logs]
        if sum(len(one.x) > 0 for one in drawn) < 2:
            alone.append(name)
            continue
        found[name] = [
            charts.Series(f"{letter} {stage.name}", one.x, one.y)
            for letter, stage, one in zip(LETTERS, stages, drawn, strict=False)
        ]
    return found, alone


def _config(stage: runs.Judged, name: str) -> dict[str, Any]:
    """A config's fields: of its stages the judged one, and what it is called."""
    config = stage.config
    others = {k: v for k, v in config.items() if not (isinstance(v, Mapping) and "method" in v)}
    own = dict(config.get(stage.stage, {}))
    data = {**others.pop("data", {}), **own.pop("data", {})}
    data.pop("dir", None)  # told with the data
    flat = identity.flat({**others, "data": data, name: own})
    return flat | ({"the stage": stage.stage} if name == "STAGE" else {})


def _data(stage: runs.Judged) -> dict[str, Any]:
    found = dict(stage.start.get("data", {}).get(stage.stage, {}))
    judged = str(stage.results.get("name", "")).partition(" ")[2]
    return {
        **found,
        "judged on": judged,
        "clips judged": stage.results["numbers"].get("n", ...),
        "digest judged": stage.digest,
        "classes": stage.classes,
    }


def _conditions(stage: runs.Judged) -> dict[str, Any]:
    kept = {k: stage.start[k] for k in ("versions", "devices", "command") if k in stage.start}
    return identity.flat(kept) | {"checkpoint": stage.results.get("checkpoint", "")}


def _text(value: Any) -> str:
    if value is ...:
        return UNSET
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)
