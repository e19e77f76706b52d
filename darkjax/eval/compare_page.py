"""The page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from darkjax.eval import charts, runs
from darkjax.eval.compare import LETTERS, Comparison, Pair, curves
from darkjax.eval.page import page, percent, section, table

MOST = 1000  # flipped clips in the table
_STYLE = """
.good { color: var(--good); } .bad { color: var(--bad); }
td.text, tbody th.text { white-space: normal; overflow-wrap: break-word; max-width: 40em; }
"""
_FIRST = ("loss", "accuracy", "lr")  # what is drawn in the open, with whatever was validated
_PARTS = {"config": "Config", "data": "Data", "run": "How it was run"}


def write(found: Comparison) -> str:
    """The whole page."""
    names = [f"{letter} {stage.name}" for letter, stage in _lettered(found)]
    parts = [f"<header>\n<h1>{escape(' · '.join(names))}</h1>\n</header>", _results(found)]
    if found.clips is not None:
        parts.append(_pairs(found))
    parts.append(_settings(found))
    parts.append(_curves(found))
    if found.clips is not None:
        parts += [_classes(found), _flips(found, found.clips), _unmatched(found, found.clips)]
    return page("Comparison of " + ", ".join(names), "\n".join(parts), _STYLE)


def _lettered(found: Comparison) -> list[tuple[str, runs.Judged]]:
    return list(zip(LETTERS, found.stages, strict=False))


def _results(found: Comparison) -> str:
    """Every run in one row."""
    common = found.clips is not None and found.right is not None
    numbers = list(
        dict.fromkeys(
            n for s in found.stages for n in s.results["numbers"] if n not in ("n", "nll")
        )
    )
    heads = ["Run", "Stage", "Judged on", "Clips", *numbers]
    rows = []
    for k, (letter, stage) in enumerate(_lettered(found)):
        own = stage.results["numbers"]
        row = [f"{letter} {escape(stage.name)}", escape(stage.stage)]
        row += [escape(str(stage.results.get("name", ""))), f"{own.get('n', np.nan):.0f}"]
        row += [_number(own.get(name), name) for name in numbers]
        if found.right is not None:
            row.append(percent(float(found.right[k].mean()), bar=True))
        rows.append(row)
    if common:
        heads.append("Top-1 of the common clips")
    return section("Results", table("What each evaluation found", heads, rows, names=3))


def _number(value: float | None, name: str) -> str:
    share = re.match(r"top|mean-class|knn|probe", name)
    return "–" if value is None else percent(value) if share else f"{value:.6g}"


def _pairs(found: Comparison) -> str:
    """Every two runs on the clips they share."""
    rows = [
        (
            f"{LETTERS[p.first]} → {LETTERS[p.second]}",
            _points(p.difference),
            f"{_points(p.interval[0])} to {_points(p.interval[1])}",
            *(str(p.counts[i, j]) for i, j in ((0, 1), (1, 0), (1, 1), (0, 0))),
            f"{p.p:.3g}",
        )
        for p in found.pairs
    ]
    clips = found.clips.names if found.clips is not None else ()
    heads = ("Runs", "Top-1, points", "95 % interval", "Wrong, then right", "Right, then wrong",
             "Both right", "Both wrong", "McNemar p")  # fmt: skip
    note = (
        "The interval is a paired bootstrap of the clips: how far the difference would move with "
        "other clips of the same kind. p is McNemar's exact test: were the two equally good, as "
        "lopsided a division of the clips that only one has right would come up that often. "
        "Neither says anything of training again with another seed (darkjax.tools.sweep does), "
        "and of several pairs none is corrected for the others."
    )
    body = table(f"{len(clips)} clips in common", heads, rows)
    return section("Two by two", f'<p class="note">{note}</p>{body}')


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _settings(found: Comparison) -> str:
    letters = [letter for letter, _ in _lettered(found)]
    parts = []
    for part, fields in found.settings.items():
        if not fields:
            parts.append(f"<h3>{_PARTS[part]}</h3><p>No difference.</p>")
            continue
        rows = [(escape(f), *(_value(v) for v in values)) for f, values in fields.items()]
        body = table("", ("Field", *letters), rows, names=len(letters) + 1)
        parts.append(f"<h3>{_PARTS[part]}</h3>{body}")
    missing = [letter for letter, stage in _lettered(found) if not stage.config]
    note = f"<p class='note'>No config.json: {', '.join(missing)}.</p>" if missing else ""
    return section("What differs", note + "".join(parts))


def _value(text: str) -> str:
    if re.fullmatch("[0-9a-f]{64}", text):
        return f'<code title="{text}">{text[:12]}…</code>'
    if len(text) <= 160:
        return escape(text)
    return f"<details><summary>{escape(text[:60])}…</summary>{escape(text)}</details>"


def _curves(found: Comparison) -> str:
    drawn, alone = curves(found.stages)
    first: list[str] = []
    rest: list[str] = []
    for name, series in drawn.items():
        if max(len(one.x) for one in series) < 2:
            continue  # what was judged once stands above
        share = bool(re.search("top|acc|mean-class", name))
        chart = charts.line_chart(name, series, percent=share)
        (first if name in _FIRST or name.startswith("val/") else rest).append(chart)
    body = f'<div class="charts">{"".join(first)}</div>' if first else ""
    if rest:
        inner = f'<div class="charts">{"".join(rest)}</div>'
        body += f"<details><summary>{len(rest)} more</summary>{inner}</details>"
    if alone:
        body += f'<p class="note">Logged by one alone: {escape(", ".join(alone))}.</p>'
    return section("Training", body or "<p>No two of them logged the same.</p>")


def _classes(found: Comparison) -> str:
    """Recall of the common clips, class by class."""
    assert found.clips is not None and found.right is not None
    truth = np.array(found.clips.truth)
    rows = []
    for name in found.classes:
        mine = truth == name
        shares = [float(own[mine].mean()) if mine.any() else None for own in found.right]
        row = [escape(name), str(int(mine.sum())), *(percent(s, bar=True) for s in shares)]
        if len(shares) == 2:
            known = [s for s in shares if s is not None]
            row.append(_points(known[1] - known[0]) if len(known) == 2 else "–")
        rows.append(row)
    letters = [letter for letter, _ in _lettered(found)]
    heads = ["Class", "Clips", *letters, *(["A → B, points"] if len(letters) == 2 else [])]
    return section("By class", table("Recall (top-1) of the common clips", heads, rows))


def _flips(found: Comparison, clips: runs.Common) -> str:
    """The clips that some of them have right and others wrong."""
    assert found.right is not None
    flipped = np.flatnonzero(found.right.any(0) & ~found.right.all(0))
    letters = [letter for letter, _ in _lettered(found)]
    right = {
        k: ", ".join(x for x, own in zip(letters, found.right[:, k], strict=True) if own)
        for k in flipped.tolist()
    }
    order = sorted(right, key=lambda k: (right[k], clips.truth[k], clips.names[k]))
    said = []
    for stage, places in zip(found.stages, clips.rows, strict=True):
        number, probability = stage.answers()
        said.append([(stage.classes[number[k]], float(probability[k])) for k in places])
    rows = [
        (
            escape(clips.names[k]),
            right[k],
            escape(clips.truth[k]),
            *(_said(answers[k], clips.truth[k]) for answers in said),
        )
        for k in order[:MOST]
    ]
    if not rows:
        return section("Flipped clips", "<p>All have the same clips right.</p>")
    of = f"{len(order)} of {len(clips.names)} clips"
    more = f", the first {MOST} of them below" if len(order) > MOST else ""
    note = f"{of} are right in some runs and wrong in others{more}; with the answer's probability."
    heads = ("Clip", "Right in", "Truth", *letters)
    body = table("", heads, rows, names=len(heads))
    return section("Flipped clips", f'<p class="note">{note}</p>{body}')


def _said(answer: tuple[str, float], truth: str) -> str:
    name, probability = answer
    mark, colour = ("✓", "good") if name == truth else ("✗", "bad")
    return f'<span class="{colour}">{mark}</span> {escape(name)} {percent(probability)}'


def _unmatched(found: Comparison, clips: runs.Common) -> str:
    """Classes and clips that are not everywhere."""
    parts = []
    for k, (letter, stage) in enumerate(_lettered(found)):
        others = [n for n in stage.classes if n not in found.classes]
        alone = clips.alone[k]
        if others:
            parts.append(f"<p>Classes of {letter}, not of all: {escape(', '.join(others))}.</p>")
        if alone:
            parts.append(_list(f"Clips of {letter}, not of all: {len(alone)}", alone))
    if clips.otherwise:
        what = f"Clips to which they give different classes: {len(clips.otherwise)}"
        parts.append(_list(what, clips.otherwise))
    return section("What does not match", "".join(parts) or "<p>Everything matches.</p>")


def _list(title: str, names: Sequence[str]) -> str:
    shown = escape(", ".join(names[:MOST])) + (" …" if len(names) > MOST else "")
    return f"<details><summary>{escape(title)}</summary><p>{shown}</p></details>"


def lines(found: Comparison) -> list[str]:
    """The comparison in a few lines, for a terminal."""
    told = [
        f"{letter} {stage.name}: {stage.results.get('name', '')} "
        + _numbers(stage.results["numbers"])
        for letter, stage in _lettered(found)
    ]
    return told + [_told(pair, found) for pair in found.pairs]


def _numbers(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{k} {v:.4f}" for k, v in numbers.items() if k not in ("n", "nll"))


def _told(pair: Pair, found: Comparison) -> str:
    assert found.right is not None
    a, b = LETTERS[pair.first], LETTERS[pair.second]
    return (
        f"{a} to {b}: top-1 {pair.difference:+.4f} [{pair.interval[0]:+.4f}, "
        f"{pair.interval[1]:+.4f}] on {found.right.shape[1]} common clips; {pair.counts[0, 1]} "
        f"became right, {pair.counts[1, 0]} wrong, McNemar p {pair.p:.3g}"
    )
