"""The table of a sweep: mean, spread and n of every row, intervals of differences between rows."""

from __future__ import annotations

import csv
import io
import itertools
import math
import pathlib
import re
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from darkjax import files
from darkjax.errors import UserError
from darkjax.eval import runs, statistics
from darkjax.sweeps.running import Outcome

ALL_PAIRS = 10  # rows up to which every two are compared; of more each with the first
SHOWN = ("mean-class",)  # beside the first number of the runs


class Row(NamedTuple):
    """A grid point: what tells it from the others by field, and its runs."""

    point: dict[str, str]
    runs: list[Outcome]

    def spread(self, number: str) -> statistics.Spread:
        """Of the runs that have this number."""
        every = [run.results["numbers"] for run in self.runs if run.results]
        return statistics.spread([numbers[number] for numbers in every if number in numbers])


class Pair(NamedTuple):
    """Two rows by their numbers from 1: top-1 of the second less the first, on the clips and in the
    repetitions that both have, with its 95 % interval."""

    first: int
    second: int
    difference: float
    low: float
    high: float
    repetitions: int
    clips: int


class Table(NamedTuple):
    """Rows in the order of the grid; `fields` tell them apart; `numbers` are what was judged."""

    fields: list[str]
    numbers: list[str]
    rows: list[Row]
    pairs: list[Pair]

    @property
    def failed(self) -> list[Outcome]:
        """The runs that ended with an error."""
        return [run for row in self.rows for run in row.runs if run.error]

    @property
    def missing(self) -> int:
        """How many runs are not done yet."""
        return sum(not run.results and not run.error for row in self.rows for run in row.runs)


def of(outcomes: Sequence[Outcome]) -> Table:
    """The table of all runs of a sweep."""
    grouped: dict[Any, list[Outcome]] = {}
    for one in outcomes:
        grouped.setdefault(one.cell.row, []).append(one)
    points = [dict(key) for key in grouped]
    every = list(dict.fromkeys(field for point in points for field in point))
    fields = [f for f in every if len({point.get(f) for point in points}) > 1 or f != "config"]
    fields = fields or every
    shown = [{f: point.get(f, "") for f in fields} for point in points]
    rows = [Row(point, found) for point, found in zip(shown, grouped.values(), strict=True)]
    done = [one.results["numbers"] for one in outcomes if one.results]
    numbers = list(dict.fromkeys(n for own in done for n in own if n != "n"))
    return Table(fields, numbers, rows, _pairs(rows))


def _pairs(rows: Sequence[Row]) -> list[Pair]:
    every = itertools.combinations(range(len(rows)), 2)
    chosen = [(i, j) for i, j in every if i == 0 or len(rows) <= ALL_PAIRS]
    judged = [_judged(row) for row in rows] if chosen else []
    found = (pair(i + 1, j + 1, judged[i], judged[j]) for i, j in chosen)
    return [one for one in found if one is not None]


def _judged(row: Row) -> dict[Any, runs.Judged]:
    """What is kept of a row's runs, by repetition; of those that classified clips."""
    found = {}
    for run in row.runs:
        if run.results:
            one = runs.read(run.folder)
            if one.clips is not None:
                found[run.cell.repetition] = one
    return found


def pair(
    first: int, second: int, one: dict[Any, runs.Judged], other: dict[Any, runs.Judged]
) -> Pair | None:
    """Two rows compared; None where they share no repetition, or no clip in one of them."""
    right: list[tuple[np.ndarray, np.ndarray]] = []
    keys: list[Sequence[Hashable]] = []
    for repetition in (r for r in one if r in other):
        both = [one[repetition], other[repetition]]
        try:
            common = runs.match(both)
        except UserError:
            return None
        a, b = (stage.right()[rows] for stage, rows in zip(both, common.rows, strict=True))
        right.append((a, b))
        keys.append(common.keys)
    if not right:
        return None
    place = {key: k for k, key in enumerate(dict.fromkeys(key for own in keys for key in own))}
    scores = np.zeros((2, len(right), len(place)))
    seen = np.zeros((len(right), len(place)), bool)
    for r, own in enumerate(keys):
        at = [place[key] for key in own]
        seen[r, at] = True
        scores[:, r, at] = right[r]
    drawn = statistics.bootstrap(scores, seen)
    apart = float(np.mean([b.mean() - a.mean() for a, b in right]))
    low, high = statistics.interval(drawn[:, 1] - drawn[:, 0])
    return Pair(first, second, apart, low, high, len(right), len(place))


def write(table: Table, workdir: pathlib.Path, note: str = "") -> str:
    """Write `table.md`, `.csv` and `.tex`, `cells.csv` and `pairs.csv`; returns the first."""
    shown = markdown(table, note)
    texts = {
        "table.md": shown,
        "table.csv": _csv(*_values(table)),
        "table.tex": latex(table),
        "cells.csv": _csv(*_cells(table)),
        "pairs.csv": _csv(list(Pair._fields), [list(one) for one in table.pairs]),
    }
    for name, text in texts.items():
        files.write_text(workdir / name, text)
    return shown


def markdown(table: Table, note: str = "") -> str:
    """The table with what its numbers mean, and the runs that are not in it."""
    heads, rows = _shown(table, " ± ", "–")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(_bar(cell) for cell in row) + " |" for row in rows]
    lines += ["", caption(table), *([note] if note else [])]
    if table.failed:
        lines += ["", "| failed | error |", "|---|---|"]
        lines += [f"| {_bar(one.cell.name)} | {_bar(one.error)} |" for one in table.failed]
    if table.missing:
        lines += ["", f"Not run yet: {table.missing}."]
    return "\n".join(lines) + "\n"


def caption(table: Table) -> str:
    """What the numbers are of, in one paragraph."""
    every = [run for row in table.rows for run in row.runs]
    names = list(dict.fromkeys(str(run.results["name"]) for run in every if run.results))
    repeated: dict[str, list[str]] = {}
    for run in every:
        for field, text in run.cell.repetition:
            values = repeated.setdefault(field, [])
            values += [text] * (text not in values)
    over = "; ".join(f"{field} {', '.join(values)}" for field, values in repeated.items())
    parts = [", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")]
    parts.append(
        f"mean ± sample standard deviation (n - 1) over n repetitions ({over})"
        if over
        else "one run"
    )
    if table.pairs:
        parts.append(
            "difference: of top-1 to the first row, with the 95 % interval of "
            f"{statistics.DRAWS} paired bootstrap draws of "
            + ("clips and repetitions" if over else "clips (nothing of another seed is in it)")
        )
    return "; ".join(filter(None, parts)) + "."


def latex(table: Table) -> str:
    """The same as a tabular of booktabs."""
    heads, rows = _shown(table, r" \pm ", "--")
    marks = "l" * len(table.fields) + "r" * (len(heads) - len(table.fields))
    lines = [f"% {caption(table)}", "% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{marks}}}"]
    lines += ["\\toprule", " & ".join(map(_tex, heads)) + r" \\", "\\midrule"]
    lines += [" & ".join(map(_tex, row)) + r" \\" for row in rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _shown(table: Table, between: str, nothing: str) -> tuple[list[str], list[list[str]]]:
    """Heads and cells as a reader wants them: few digits, few numbers."""
    chosen = [n for n in table.numbers if n == table.numbers[0] or n in SHOWN]
    heads = [*table.fields, *chosen, "n", *(["difference"] if table.pairs else [])]
    first = {one.second: one for one in table.pairs if one.first == 1}
    rows = []
    for number, row in enumerate(table.rows, start=1):
        cells = list(row.point.values())
        for name in chosen:
            mean, sd, n = row.spread(name)
            cells.append(f"{mean:.4f}" + (f"{between}{sd:.4f}" if n > 1 else "") if n else nothing)
        done = sum(bool(run.results) for run in row.runs)
        cells.append(str(done) if done == len(row.runs) else f"{done} of {len(row.runs)}")
        if table.pairs:
            one = first.get(number)
            told = f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]" if one else nothing
            cells.append(told)
        rows.append(cells)
    return heads, rows


def _values(table: Table) -> tuple[list[str], list[list[Any]]]:
    """Every number in full, for a spreadsheet."""
    heads = list(table.fields)
    heads += [f"{name} {what}" for name in table.numbers for what in ("mean", "sd", "n")]
    heads += ["difference", "low", "high"]
    first = {one.second: one for one in table.pairs if one.first == 1}
    rows = []
    for number, row in enumerate(table.rows, start=1):
        spreads = [row.spread(name) for name in table.numbers]
        one = first.get(number)
        apart = [one.difference, one.low, one.high] if one else ["", "", ""]
        rows.append([*row.point.values(), *(v for spread in spreads for v in spread), *apart])
    return heads, rows


def _cells(table: Table) -> tuple[list[str], list[list[Any]]]:
    """One row a run: also those that failed, with their error."""
    again = list(
        dict.fromkeys(f for row in table.rows for r in row.runs for f, _ in r.cell.repetition)
    )
    heads = [*table.fields, *again, "status", *table.numbers, "folder", "error"]
    rows = []
    for row in table.rows:
        for run in row.runs:
            status = "done" if run.results else "failed" if run.error else "not run"
            own = dict(run.cell.repetition)
            numbers = run.results.get("numbers", {})
            values = [numbers.get(name, "") for name in table.numbers]
            told = [own.get(field, "") for field in again]
            rows.append([*row.point.values(), *told, status, *values, str(run.folder), run.error])
    return heads, rows


def _csv(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return out.getvalue()


def _bar(text: str) -> str:
    return text.replace("|", "\\|")


def _tex(text: str) -> str:
    """A cell as LaTeX writes it: numbers in maths, else with its special characters escaped."""
    if r"\pm" in text or re.fullmatch(r"[-+.,\d\[\] ]*\d[\d.\]]*", text):
        return f"${text}$"
    names = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(names.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
