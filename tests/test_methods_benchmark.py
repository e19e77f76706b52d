"""`benchmarks/methods.py`: which trainings its table is made of, and what it prints of them."""

import benches
import pytest

from darkjax import methods
from darkjax.errors import UserError


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained; nothing is."""

    def numbers(config):
        fold = config.data.fold if config.data.split == "fold" else 0
        return {"top-1": 0.5 + 0.1 * (config.seed + fold), "n": 10.0 * (fold or 1)}

    cost = bench.cost.Cost("8 x 56x56", 1000, 0.5, 0.0, 0.0)
    monkeypatch.setattr(bench.cost, "measured", lambda *_: cost)
    monkeypatch.setattr(bench.run_data, "open_records", lambda *_: None)
    return benches.trainings(bench, monkeypatch, numbers)


def test_all_are_trained_on_the_same_clips(bench, runs, capsys, tmp_path):
    (tmp_path / "lift-1").mkdir()  # stopped before: what it cost is not known
    assert bench.main([f"--workdir={tmp_path}", "--seeds=2", "--steps=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ")][len(bench.ROWS) + 1 :][1:]
    assert len(rows) == len(bench.ROWS) and len(runs) == 2 * len(bench.ROWS)
    said = "| LIFT-Net | 55.0 (50.0 to 60.0) | 2 | 8 x 56x56 | 1,000 | 0.50 |  | 0 | 95.21, ARID"
    assert rows[1].startswith(said)
    assert {c.data.dir for c in runs.values()} == {f"{tmp_path}/records"}
    assert len({str(c.data.synthetic) for c in runs.values()}) == 1
    assert {c[name].steps for c in runs.values() for name in c.stages} == {3}
    assert {c[c.stages[-1]].method for c in runs.values()} == {
        name for name in methods.METHODS if name not in ("enhancer", "contrastive", "fusion")
    }
    assert runs["gamma-0"].stages == ("teacher",) and runs["ir-0"].stages == ("ir",)
    assert runs["dinet-0"].data.source_dir == f"{tmp_path}/records-source"


def test_folds_are_pooled_by_their_clips(bench, runs, capsys, tmp_path):
    flags = [f"--workdir={tmp_path}", "--seeds=1", "--records=mine", "--folds=1,3"]
    bench.main([*flags, "--rows=lift,actlumos"])
    real = ["actlumos-0-fold1", "actlumos-0-fold3", "lift-0-fold1", "lift-0-fold3"]
    assert sorted(runs) == sorted([*real, "actlumos-0-rendered"])
    assert {c.data.dir for c in runs.values()} == {"mine"}
    first, third = runs["actlumos-0-rendered"], runs["actlumos-0-fold3"]
    assert (first.stages, first.data.fold, third.data.fold) == (("rendered",), 1, 3)
    assert first.rendered.data.source_dir == f"{tmp_path}/records-of-actlumos-rendered"
    assert third.stages == ("pretrain", "teacher", "student") and "rendered" not in third
    begins = {rule[0] for name in third.stages for rule in third[name].init_from}
    assert begins == {f"{tmp_path}/actlumos-0-rendered/rendered", "pretrain", "teacher"}
    # 10 clips of 0.6 and 30 of 0.8
    assert "| LIFT-Net | 75.0 | 1 |" in capsys.readouterr().out


def test_what_is_not_finished_and_rows_that_are_not_there(bench, runs, capsys, tmp_path):
    bench.main([f"--workdir={tmp_path}", "--only_finished", "--seeds=1"])
    assert not runs and "LIFT-Net" not in capsys.readouterr().out
    with pytest.raises(UserError, match="--rows=ir: expected some of gamma, lift"):
        bench.main(["--records=mine", "--rows=ir"])
