"""From a run's folder to its report: histories, results, sample clips with what was looked at."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax import trained, writers
from darkjax.data import pipeline
from darkjax.data.records import Records
from darkjax.eval import report
from darkjax.eval.enhancers import to_uint8
from darkjax.methods import base


def write(
    config: Any,
    workdir: str,
    records: Records,
    rows: np.ndarray,
    found: Mapping[str, Any],
    command: str = "",
) -> pathlib.Path:
    """Write `workdir/report.html` about the last stage; returns its path.

    Args:
      config: the resolved config.
      workdir: the run's folder.
      records: the dataset.
      rows: the records that were evaluated; some of them are shown.
      found: `classify.results` of the last stage.
      command: what was typed to make the run.
    """
    path = pathlib.Path(workdir, "report.html")
    stages = [
        report.StageLog(name, writers.history(os.path.join(workdir, name)))
        for name in config.stages
    ]
    facts = report.run_facts() | ({"Command": command} if command else {})
    results, clips = None, []
    if "classes" in found:
        results = report.Results(
            classes=found["classes"],
            confusion=np.asarray(found["confusion"]),
            numbers={k: v for k, v in found["numbers"].items() if k not in ("n", "nll")},
            views=found["name"],
            terciles=[(r["name"], r["n"], r["accuracy"]) for r in found["brightness"]],
        )
        chosen = np.linspace(0, len(rows) - 1, min(config.report_clips, len(rows))).astype(int)
        clips = pictures(config, workdir, records, rows[chosen])
    else:  # an enhancer: its numbers are facts, its pictures a file beside
        facts |= {found["name"]: ", ".join(f"{k} {v:.6g}" for k, v in found["numbers"].items())}
        facts |= {"Pictures": "before_after.png"}
    report.write_report(
        path,
        title=f"{config.stages[-1]} of {os.path.basename(os.path.normpath(workdir))}",
        config=config.to_dict(),
        stages=stages,
        results=results,
        clips=clips,
        facts=facts,
    )
    return path


def pictures(
    config: Any, workdir: str, records: Records, rows: np.ndarray
) -> list[report.ClipPicture]:
    """The given records as the last stage saw them, with its prediction and attention."""
    name = config.stages[-1]
    stage = config[name]
    method, variables, _ = trained.load(config, name, workdir, records)

    data = config.data.copy_and_resolve_references()
    data.views_clips = data.views_crops = 1

    @jax.jit
    def look(variables: Any, batch: Any) -> tuple[jax.Array, jax.Array | None, jax.Array]:
        logits, out = method.predict(variables, batch)
        seen = method.attention(out, batch["video"].shape) if method.attention else None
        # What the network looked at: an enhancer of its own, or the config's luminous input.
        bright = out.get("enhanced")
        if bright is None:
            bright = base.luminous_view(stage, base.to_float(batch["video"]))
        return jax.nn.softmax(logits.astype(jnp.float32)), seen, bright

    shown = []
    with pipeline.eval_batches(records, rows, cfg=data, batch_size=1) as batches:
        for batch in batches:
            probabilities, seen, bright = jax.device_get(look(variables, batch))
            best = int(probabilities[0].argmax())
            frames = batch["video"][0]
            shown.append(
                report.ClipPicture(
                    clip_id=records.clips[int(batch["clip"][0])]["id"],
                    truth=records.classes[int(batch["label"][0])],
                    predicted=records.classes[best],
                    probability=float(probabilities[0, best]),
                    frames=frames,
                    enhanced=to_uint8(bright[0]),
                    attention=None if seen is None else np.asarray(seen[0]),
                )
            )
    return shown
