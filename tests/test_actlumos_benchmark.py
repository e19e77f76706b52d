"""`benchmarks/actlumos.py`: which stages its table is made of, where they begin, what it prints; a
line of `benchmarks/cost.py` of a small network."""

import pathlib
import sys

import benches
import numpy as np
import pytest
import tiny_run

from darkjax.data.catalog import get_dataset
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.errors import UserError

TOP = {"rendered": 0.1, "teacher": 0.9, "scratch": 0.5, "kd": 0.6, "ssl": 0.7, "both": 0.8}


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained, once each; nothing is."""
    found = {}

    def run(config, folder):
        (stage,) = config.stages
        name = pathlib.Path(folder).name
        assert name not in found
        found[name] = config
        if stage == "pretrain":
            return {"numbers": {"knn top-1": 0.25, "probe top-1": 0.375, "n": 10.0}}
        row = name.split("-")[1 if stage == "student" else 0]
        return {"numbers": {"top-1": TOP[row] + 0.01 * config.seed, "n": 10.0 * config.data.fold}}

    monkeypatch.setattr(bench.experiment, "run", run)
    benches.kept(bench, monkeypatch)
    return found


def test_rows_share_the_stages_before_them(runs, printed, tmp_path):
    lines = printed(f"--workdir={tmp_path}", "--seeds=2", "--steps=3")
    students = {f"student-{row}" for row in ("scratch", "kd", "ssl", "both")}
    assert set(runs) == {
        f"{name}-{seed}" for name in ("pretrain", "teacher", *students) for seed in (0, 1)
    }
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == 5
    assert rows[0].startswith("| student from scratch | 0.505 | 0.007 | 0.500, 0.510 | ")
    assert rows[-1].startswith("| teacher | 0.905 | 0.007 | 0.900, 0.910 | ")
    assert lines[-1].endswith("by seed: knn 0.250, 0.250; probe 0.375, 0.375")
    both = runs["student-both-1"]
    begins = {rule[0] for rule in both.student.init_from}
    assert begins == {str(tmp_path / f"{name}-1" / name) for name in ("pretrain", "teacher")}
    assert both.seed == 1 and both.student.steps == 3 and both.student.distill.weight > 0
    assert runs["student-scratch-0"].student.init_from == ()
    assert runs["pretrain-0"].pretrain.data.source_dir == str(tmp_path / "records-of-pretrain")
    # What there is is printed, and nothing else trained.
    runs.clear()
    flags = ("--only_finished", "--seeds=3", "--steps=3", f"--workdir={tmp_path}")
    assert rows[0][:55] in "\n".join(printed(*flags)) and not runs


def test_real_clips_begin_from_rendered_ones(bench, runs, printed, monkeypatch, tmp_path):
    config = f"--config={tiny_run.ROOT}/configs/actlumos_arid.py:arid6"
    flags = (config, "--records=real", "--folds=1,3", "--seeds=1", f"--workdir={tmp_path}")
    at = []
    monkeypatch.setattr(
        bench, "of_fold", lambda *of: at.append(of) or {"top-1": of[-1] / 4, "n": 10.0}
    )
    lines = printed(*flags, "--rows=scratch,both,teacher")
    assert set(runs) == {"rendered-0"} | {
        f"{name}-0-fold{fold}"
        for name in ("pretrain", "teacher", "student-scratch", "student-both")
        for fold in (1, 3)
    }
    assert any(line.startswith("| student from scratch | 0.500 |  | 0.500 | ") for line in lines)
    rendered = str(tmp_path / "rendered-0" / "rendered")
    for name in ("pretrain", "teacher", "student-scratch"):
        c = runs[f"{name}-0-fold3"]
        assert {rule[0] for rule in c[c.stages[0]].init_from} == {rendered}
        assert (c.data.dir, c.data.fold, c.data.split) == ("real", 3, "fold")
    own = runs["rendered-0"]
    assert own.rendered.data.source_dir == str(tmp_path / "records-of-rendered")
    assert own.data.dir == "real"  # all of whose clips are judged
    assert any(line.startswith("| rendered clips alone | 0.500 |  | 0.500 | ") for line in lines)
    more = (*flags[:2], "--folds=1,3,5", *flags[3:], "--rows=scratch", "--only_finished")
    assert not any("scratch" in line for line in printed(*more))  # not of two folds of three
    file = tmp_path / "rendered-0" / "rendered" / "predictions.npz"
    assert set(at) == {(file, "real", fold) for fold in (1, 3, 5)}


def test_of_rendered_clips_the_clips_of_a_fold_count(bench, tmp_path):
    real = get_dataset("synthetic", classes=("Jump", "Run"), clips_per_class={"train": 5},
                       groups={"train": 5}, frames=4, height=24, width=32)  # fmt: skip
    convert(real, str(tmp_path / "real"), workers=0)
    with Records(tmp_path / "real") as records:
        clips, folds, labels = (records.meta[k] for k in ("clip", "fold", "label"))
    wrong = (folds == 2) & (labels == 1)  # of fold 2, nothing else
    p = np.eye(2, dtype=np.float32)[labels ^ wrong]
    order = np.argsort(-clips)
    arrays = {"clip": clips[order], "label": labels[order], "probabilities": p[order]}
    np.savez(tmp_path / "predictions.npz", **arrays)
    for fold in (1, 2):
        n = int((folds == fold).sum())
        found = bench.of_fold(tmp_path / "predictions.npz", str(tmp_path / "real"), fold)
        right = n - (labels[folds == 2].sum() if fold == 2 else 0)
        assert found == {"top-1": right / n, "n": n}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rows=kd,all",), "--rows=all: expected some of scratch"),
        (("--config=configs/actlumos_arid.py:arid6",), "arid6 needs --records=FOLDER"),
    ],
)
def test_what_is_missing_is_said(printed, flags, said):
    with pytest.raises(UserError, match=said):
        printed(*flags)


def test_md_bert_s_table_has_the_rows_that_it_teaches(runs, printed, tmp_path):
    config = f"--config={tiny_run.ROOT}/configs/actlumos_arid.py:demo,md_bert"
    printed(config, "--seeds=1", f"--workdir={tmp_path}")
    assert set(runs) == {"pretrain-0", "teacher-0", "student-kd-0", "student-both-0"}
    assert runs["teacher-0"].teacher.views == ("dark", "gamma", "he")


def test_the_cost_of_a_small_network_without_running_it(monkeypatch, capsys):
    monkeypatch.syspath_prepend(tiny_run.ROOT / "benchmarks")
    cost = benches.load("cost", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["cost.py", "--only=student", "--words=demo", "--runs=0"])
    cost.main()
    line = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert line[0] == "| ActLumos student" and line[1] == "8 x 56x56"
    assert int(line[2].replace(",", "")) > 10_000 and float(line[3]) > 0
