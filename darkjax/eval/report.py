"""One HTML file that tells how a run went: numbers, curves, confusion, sample clips, config.

The file needs nothing else to be read: style, charts (inline SVG) and pictures are inside.
"""

import dataclasses
import datetime
import json
import math
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from html import escape
from importlib import metadata
from typing import Any

import numpy as np

from darkjax import files
from darkjax.eval import charts, pictures
from darkjax.eval.page import page, percent, section, table

_CONFUSED_PAIRS = 10


@dataclasses.dataclass(frozen=True)
class StageLog:
    """What one stage of training logged.

    ``history`` rows are dicts with "step" and any metrics ("loss", "accuracy", "val/top-1",
    "lr", "steps/s"); a row may lack metrics, None and NaN are gaps. Names with "loss" in them
    are drawn together, so are accuracies (names with "top" or "acc") as shares in [0, 1].
    """

    name: str
    history: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Results:
    """What an evaluation found.

    Attributes:
        classes: K names.
        confusion: integer [K, K], rows are the truth, columns the prediction.
        numbers: headline numbers; floats are shares in [0, 1], strings are shown as they are.
        views: views and split of every number, such as "top-1@1x1 synthetic-test".
        terciles: rows (name, number of clips, top-1 share) from darkest to brightest.
    """

    classes: Sequence[str]
    confusion: np.ndarray
    numbers: Mapping[str, float | str]
    views: str
    terciles: Sequence[tuple[str, int, float]] = ()

    def per_class(self) -> list[tuple[str, int, float | None, float | None]]:
        """(class, clips, recall, precision); None where there is nothing to divide by."""
        hits = np.diagonal(self.confusion)
        truth, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return [
            (name, int(n), float(h / n) if n else None, float(h / p) if p else None)
            for name, h, n, p in zip(self.classes, hits, truth, predicted, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class ClipPicture:
    """A sample clip: what went in, what the model saw and where it looked.

    Attributes:
        truth: class name, None where nothing was classified.
        predicted: class name, or None likewise.
        probability: of the predicted class, in [0, 1].
        frames: uint8 [T, H, W, C] as recorded.
        enhanced: uint8 [T, H, W, C] after gamma correction or another enhancer, or None.
        attention: float [t, h, w] of any resolution, or None.
        looked: what it is: "Attention" of the method's own, or "Looked at" (`explain.looked`).
    """

    clip_id: str
    truth: str
    predicted: str | None
    probability: float
    frames: np.ndarray
    enhanced: np.ndarray | None = None
    attention: np.ndarray | None = None
    looked: str = "Attention"


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    config: Mapping[str, Any],
    stages: Sequence[StageLog],
    results: Results | None,
    clips: Sequence[ClipPicture],
    facts: Mapping[str, str] | None = None,
    figures: Sequence[str] = (),
) -> None:
    """Write the report of a run to ``path``, whole or not at all.

    Args:
        path: the .html file; its folder is made if need be.
        title: the run's name.
        config: the resolved config as nested dicts.
        stages: one log per stage of training; may be empty.
        results: the evaluation, or None for a run without one.
        clips: sample clips; may be empty.
        facts: rows of the header; by default `run_facts`, which describes this process.
        figures: sections of HTML behind the tables.

    Raises:
        ValueError: the confusion matrix or a picture has the wrong shape.
    """
    facts = run_facts() if facts is None else facts
    parts = [_header(title, facts)]
    if results is not None:
        parts.append(_headline(results))
    if stages:
        parts.append(section("Training", "".join(_stage(s) for s in stages)))
    if results is not None:
        parts.append(_confusion(results))
        parts.append(_tables(results))
    parts += figures
    if clips:
        parts.append(_clips(clips))
    text = json.dumps(config, indent=2, default=str)
    parts.append(
        section(
            "Config",
            f"<details><summary>Resolved config</summary><pre>{escape(text)}</pre></details>",
        )
    )
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page(title, "\n".join(parts)))


def run_facts() -> dict[str, str]:
    """Date, command, versions and device of this process, for the report's header."""
    import jax

    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("darkjax", "jax", "flax", "optax", "numpy")
    )
    devices = jax.devices()
    return {
        "Date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Command": shlex.join([pathlib.Path(sys.executable).name, *sys.argv]),
        "Versions": f"Python {sys.version.split()[0]}, {versions}",
        "Device": f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform})",
    }


def _header(title: str, facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>"
        + (f"<code>{escape(value)}</code>" if name == "Command" else escape(value))
        + "</dd>"
        for name, value in facts.items()
    )
    return f'<header>\n<h1>{escape(title)}</h1>\n<dl class="facts">{rows}</dl>\n</header>'


def _headline(results: Results) -> str:
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt>"
        f"<dd>{escape(value) if isinstance(value, str) else percent(value)}</dd></div>"
        for name, value in results.numbers.items()
    )
    clips = int(np.sum(results.confusion))
    note = f"{results.views}: {clips} clips, {len(results.classes)} classes."
    return section("Result", f'<dl class="tiles">{tiles}</dl><p class="note">{escape(note)}</p>')


# (title, is it this panel's metric, shown in per cent), in the order of the report.
_PANELS = (
    ("Loss", lambda name: "loss" in name, False),
    ("Accuracy", lambda name: "top" in name or "acc" in name, True),
    ("Learning rate", lambda name: name.split("/")[-1] in ("lr", "learning_rate"), False),
    ("Steps per second", lambda name: name.endswith("steps/s"), False),
)


def _stage(stage: StageLog) -> str:
    """A stage's heading, a sentence on where it ended, and its charts."""
    names = list(dict.fromkeys(name for row in stage.history for name in row))
    names = [name for name in names if name not in ("step", "time")]
    logged = {name: series(stage.history, name) for name in names}
    drawn = []
    for title, belongs, share in _PANELS:
        mine = [logged.pop(name) for name in list(logged) if belongs(name.lower())]
        mine = [s for s in mine if s.x]
        if mine:
            drawn.append(charts.line_chart(title, mine, percent=share))
    # Norms and the like have scales of their own and are many: folded, or results are far below.
    rest = [charts.line_chart(name, [s]) for name, s in logged.items() if len(s.x) > 1]
    body = _charts(drawn) if drawn or rest else "<p>Nothing was logged.</p>"
    if rest:
        more = f"{len(rest)} more curve{'s' * (len(rest) > 1)}"
        body += f"<details><summary>{more}</summary>{_charts(rest)}</details>"
    return f'<h3>{escape(stage.name)}</h3><p class="note">{escape(_ending(stage))}</p>{body}'


def _charts(drawn: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(drawn)}</div>'


def series(history: Sequence[Mapping[str, Any]], name: str) -> charts.Series:
    """What was logged under a name, over the steps."""
    rows = [(row["step"], row[name]) for row in history if row.get(name) is not None]
    return charts.Series(name, [float(x) for x, _ in rows], [float(y) for _, y in rows])


def _ending(stage: StageLog) -> str:
    """Where the stage ended and its best validation accuracy."""
    if not stage.history:
        return "No step was logged."
    parts = [f"Last logged step: {int(stage.history[-1]['step'])}"]
    best = [
        (float(row[name]), name, int(row["step"]))
        for row in stage.history
        for name in ("val/top-1", "val/knn top-1")
        if row.get(name) is not None and math.isfinite(float(row[name]))
    ]
    if best:
        value, name, step = max(best, key=lambda b: b[0])
        parts.append(f"best {name} {percent(value)} at step {step}")
    return "; ".join(parts) + "."


def _confusion(results: Results) -> str:
    count = len(results.classes)
    confusion = np.asarray(results.confusion)
    if confusion.shape != (count, count):
        raise ValueError(f"confusion: expected [{count}, {count}], got {confusion.shape}")
    legend = "Rows are the truth, columns the prediction; the shade is the share of the row."
    if count > charts.NAME_CLASSES:
        legend += " Classes are numbered as in the table below."
    body = charts.confusion_matrix(results.classes, confusion)
    body = f'<div class="columns">{body}{_confused_pairs(results.classes, confusion)}</div>'
    return section("Confusion matrix", f'<p class="note">{legend}</p>{body}')


def _confused_pairs(classes: Sequence[str], confusion: np.ndarray) -> str:
    """The mistakes that were made most often."""
    wrong = confusion * (1 - np.eye(len(classes), dtype=confusion.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSED_PAIRS]
    rows = []
    for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[i, j]:
            share = wrong[i, j] / confusion[i].sum()
            rows.append((escape(classes[i]), escape(classes[j]), str(wrong[i, j]), percent(share)))
    if not rows:
        return "<p>No clip was misclassified.</p>"
    return table(
        "Most frequent mistakes", ("Truth", "Taken for", "Clips", "Of the truth"), rows, names=2
    )


def _tables(results: Results) -> str:
    numbered = len(results.classes) > charts.NAME_CLASSES
    rows = [
        (
            f"{i} {escape(name)}" if numbered else escape(name),
            str(n),
            percent(recall, bar=True),
            percent(precision, bar=True),
        )
        for i, (name, n, recall, precision) in enumerate(results.per_class())
    ]
    parts = [table("By class", ("Class", "Clips", "Recall (top-1)", "Precision"), rows)]
    if results.terciles:
        thirds = [
            (escape(name), str(n), percent(top1, bar=True)) for name, n, top1 in results.terciles
        ]
        parts.append(table("By brightness of the clip", ("Tercile", "Clips", "Top-1"), thirds))
    return section("By class and brightness", f'<div class="columns">{"".join(parts)}</div>')


def _clips(clips: Sequence[ClipPicture]) -> str:
    note = "Time runs to the right."
    if any(c.predicted is not None for c in clips):
        right = sum(c.truth == c.predicted for c in clips)
        note = f"{right} of these {len(clips)} clips are classified correctly; {note.lower()}"
    body = "".join(_clip(c) for c in clips)
    return section("Sample clips", f'<p class="note">{note}</p><div class="clips">{body}</div>')


def _clip(clip: ClipPicture) -> str:
    """A clip's card: verdict, then strips as recorded, enhanced, and with attention."""
    right = clip.truth == clip.predicted
    frames = pictures.colour_frames(clip.frames)
    seen = frames if clip.enhanced is None else pictures.colour_frames(clip.enhanced)
    rows = [("As recorded", frames)]
    if clip.enhanced is not None:
        rows.append(("Enhanced", seen))
    if clip.attention is not None:
        rows.append((clip.looked, pictures.overlay_clip(seen, np.asarray(clip.attention))))
    strips = "".join(
        f'<p class="row">{name}</p>'
        + pictures.strip_html(video[pictures.spread(len(video))], f"{name}: clip {clip.clip_id}")
        for name, video in rows
    )
    verdict = "✓ right" if right else "✗ wrong"
    told = f"predicted {clip.predicted} ({percent(clip.probability)}), truth {clip.truth}"
    if clip.predicted is None:
        said = escape(clip.truth)
    else:
        said = f'<span class="verdict">{verdict}</span>: {escape(told)}'
    return (
        f'<figure class="clip{" right" if right else ""}"><figcaption>'
        f"{said}<br>"
        f'<span class="note">{escape(clip.clip_id)}</span></figcaption>{strips}</figure>'
    )
