"""From a run's folder to its report: histories, results, sample clips with what was looked at."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import trained, writers
from darkjax.data import pipeline, split
from darkjax.data.records import Records
from darkjax.eval import code_figures, explain, report
from darkjax.eval.enhancers import to_uint8


def write(
    config: Any,
    workdir: str,
    records: Records,
    found: Mapping[str, Any],
    command: str = "",
) -> pathlib.Path:
    """Write `workdir/report.html` about the last stage; returns its path.

    Args:
      config: the resolved config.
      workdir: the run's folder.
      records: of the last stage; some of the clips that were judged are shown.
      found: the last stage's `results.json`.
      command: what was typed to make the run.
    """
    path = pathlib.Path(workdir, "report.html")
    _, rows, _ = split.rows(records, configs.data_of(config, config.stages[-1]))
    stages = [
        report.StageLog(name, writers.history(os.path.join(workdir, name)))
        for name in config.stages
    ]
    facts = report.run_facts() | ({"Command": command} if command else {})
    results, predicted = None, None
    if "classes" in found:
        with np.load(pathlib.Path(workdir, config.stages[-1], "predictions.npz")) as kept:
            predicted = dict(zip(kept["clip"].tolist(), kept["probabilities"], strict=True))
        results = report.Results(
            classes=found["classes"],
            confusion=np.asarray(found["confusion"]),
            numbers=_shown(found["numbers"])
            | {
                f"{k} ({name})": v
                for name, other in found.get("others", {}).items()
                for k, v in _shown(other).items()
            },
            views=found["name"],
            terciles=[(r["name"], r["n"], r["accuracy"]) for r in found["brightness"]],
        )
    elif found["numbers"]:
        facts |= {found["name"]: ", ".join(f"{k} {v:.6g}" for k, v in found["numbers"].items())}
    if pathlib.Path(workdir, "before_after.png").exists():
        facts |= {"Pictures": "before_after.png"}
    chosen = np.linspace(0, len(rows) - 1, min(config.report_clips, len(rows))).astype(int)
    clips = pictures(config, workdir, records, rows[chosen], predicted)
    report.write_report(
        path,
        title=f"{config.stages[-1]} of {os.path.basename(os.path.normpath(workdir))}",
        config=config.to_dict(),
        stages=stages,
        results=results,
        clips=clips,
        facts=facts,
        figures=code_figures.sections(workdir, config.stages),
    )
    return path


def _shown(numbers: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in numbers.items() if k not in ("n", "nll")}


def pictures(
    config: Any,
    workdir: str,
    records: Records,
    rows: np.ndarray,
    predicted: Mapping[int, np.ndarray] | None = None,
) -> list[report.ClipPicture]:
    """The given records as the last stage saw them, where it looked (`explain.looked`), and what it
    took them for; of none (`report_clips=0`) nothing is read.

    `predicted` has the class probabilities by clip (row of the card); None where nothing is
    classified.
    """
    if not len(rows):
        return []
    name = config.stages[-1]
    method, variables, _ = trained.load(config, name, workdir, records)

    data = configs.data_of(config, name)
    data.views_clips = data.views_crops = 1

    shown = []
    with pipeline.eval_batches(records, rows, cfg=data, batch_size=1) as batches:
        for batch in batches:
            clip = int(batch["clip"][0])
            probabilities = np.zeros(1) if predicted is None else predicted[clip]
            best = int(probabilities.argmax())
            chosen = -1 if predicted is None else best
            seen, of = explain.looked(method, variables, batch, chosen)
            video = to_uint8(np.asarray(seen.video[0]))
            shown.append(
                report.ClipPicture(
                    clip_id=records.clips[clip]["id"],
                    truth=records.classes[int(batch["label"][0])],
                    predicted=None if predicted is None else records.classes[best],
                    probability=float(probabilities[best]),
                    frames=batch["video"][0],
                    # Where nothing enhances, a second strip would say the same.
                    enhanced=None if np.array_equal(video, batch["video"][0]) else video,
                    attention=None if seen.heat is None else np.asarray(seen.heat[0]),
                    looked=of,
                )
            )
    return shown
