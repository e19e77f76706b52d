"""The table of a sweep, by hand: means, spread, intervals between rows, and how it is written."""

import csv
import io
import math

import judged_runs
import numpy as np
import pytest
import swept

from darkjax.eval import runs
from darkjax.sweeps import running, tables

LR = "only.optim.lr"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Two rows of seeds 0 and 1, twelve clips; the second row lacks its last run, the third all."""
    monkeypatch.setattr(runs, "_card", lambda folder: ("", ()))
    right = {("a_b", "0"): 6, ("a_b", "1"): 9, ("0.1%", "0"): 9}
    found = []
    for value in ("a_b", "0.1%", "bad"):
        for seed in ("0", "1"):
            cell = swept.cell([(LR, value)], [("seed", seed)])
            folder = tmp_path / f"{value}{seed}"
            done = right.get((value, seed))
            results, error = {}, ""
            if done is not None:
                answers = np.where(np.arange(12) < done, swept.ANSWERS, (swept.ANSWERS + 1) % 3)
                judged_runs.write(folder, answers, stage="only")
                results = runs.read(folder).results
            elif value == "bad":
                error = "a | broke"
            found.append(running.Outcome(cell, folder, results, error))
    return tables.of(found)


def test_spread_and_intervals_by_hand(table):
    assert table.fields == [LR] and table.numbers == ["top-1", "mean-class", "nll"]
    first, second, third = (row.spread("top-1") for row in table.rows)
    assert first == pytest.approx((0.625, math.sqrt(0.03125), 2))
    assert (second.mean, second.n, third.n) == (0.75, 1, 0)
    (pair,) = table.pairs  # the third has nothing, the second one seed: 9 against 6 of the same 12
    assert pair[:3] == (1, 2, 0.25) and (pair.repetitions, pair.clips) == (1, 12)
    assert 0 <= pair.low < 0.25 < pair.high <= 0.75
    assert len(table.failed) == 2 and table.missing == 1


def test_it_is_written_in_three_forms(table, tmp_path):
    text = tables.write(table, tmp_path, "A note.")
    lines = text.splitlines()
    assert lines[0] == f"| {LR} | top-1 | mean-class | n | difference |"
    assert lines[2] == "| a_b | 0.6250 ± 0.1768 | 0.6250 ± 0.1768 | 2 | – |"
    assert lines[3].startswith("| 0.1% | 0.7500 | 0.7500 | 1 of 2 | +0.2500 [+")
    assert lines[4] == "| bad | – | – | 0 of 2 | – |"
    assert "sample standard deviation (n - 1) over n repetitions (seed 0, 1)" in text
    assert "95 % interval of 10000 paired bootstrap draws of clips and repetitions" in text
    assert "A note." in text and text.endswith("Not run yet: 1.\n")
    assert "| c-a,only.optim.lr=bad,seed=0 | a \\| broke |" in lines
    values = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert [row["top-1 mean"] for row in values] == ["0.625", "0.75", ""]
    assert [row["top-1 n"] for row in values] == ["2", "1", "0"]
    assert values[1]["difference"] == "0.25" and values[0]["difference"] == ""
    cells = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text())))
    assert [row["status"] for row in cells] == ["done"] * 3 + ["not run"] + ["failed"] * 2
    assert cells[1]["seed"] == "1" and cells[1]["top-1"] == "0.75" and cells[4]["error"]
    pairs = list(csv.DictReader(io.StringIO((tmp_path / "pairs.csv").read_text())))
    assert [(row["first"], row["second"]) for row in pairs] == [("1", "2")]


def test_latex_escapes_what_it_must(table):
    lines = tables.latex(table).splitlines()
    assert lines[2] == "\\begin{tabular}{lrrrr}" and lines[-1] == "\\end{tabular}"
    assert lines[6] == "a\\_b & $0.6250 \\pm 0.1768$ & $0.6250 \\pm 0.1768$ & $2$ & -- \\\\"
    assert lines[7].startswith("0.1\\% & $0.7500$ & $0.7500$ & 1 of 2 & $+0.2500 [+")


def judged(tmp_path, name, right, clip):
    right = np.asarray(right, bool)
    answers = np.where(right, 0, 1)
    kept = judged_runs.write(tmp_path / name, answers, labels=0 * answers, clip=clip)
    return runs.read(kept)


def test_folds_and_seeds_are_paired_each_with_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_card", lambda folder: ("", ()))
    one = {
        "fold1": judged(tmp_path, "a1", [1, 1, 0, 0], [0, 1, 2, 3]),
        "fold2": judged(tmp_path, "a2", [1, 0], [4, 5]),
        "fold3": judged(tmp_path, "a3", [1, 1], [6, 7]),
    }
    other = {
        "fold1": judged(tmp_path, "b1", [1, 1, 1, 0], [0, 1, 2, 3]),
        "fold2": judged(tmp_path, "b2", [1, 1], [4, 5]),
    }
    pair = tables.pair(1, 2, one, other)
    assert pair.difference == pytest.approx((0.25 + 0.5) / 2)
    assert (pair.repetitions, pair.clips) == (2, 6)
    back = tables.pair(2, 1, other, one)
    assert (back.low, back.high) == pytest.approx((-pair.high, -pair.low))
    assert tables.pair(1, 2, one, {"fold4": other["fold1"]}) is None
    apart = {"fold1": judged(tmp_path, "c1", [1, 1], [8, 9])}
    assert tables.pair(1, 2, one, apart) is None


def test_many_rows_are_compared_with_the_first(monkeypatch):
    asked = []
    monkeypatch.setattr(tables, "_judged", lambda row: {})
    monkeypatch.setattr(tables, "pair", lambda i, j, a, b: asked.append((i, j)))
    rows = [tables.Row({}, [])] * (tables.ALL_PAIRS + 1)
    tables._pairs(rows)
    assert asked == [(1, k) for k in range(2, tables.ALL_PAIRS + 2)]
    asked.clear()
    tables._pairs(rows[:3])
    assert asked == [(1, 2), (1, 3), (2, 3)]
