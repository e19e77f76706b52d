"""`benchmarks/darklight.py`: which trainings its table is made of, and what it prints of them."""

import benches
import jax
import numpy as np
import pytest

from darkjax.errors import UserError


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained; nothing is."""
    shapes = {"params": {"a": jax.ShapeDtypeStruct((1000, 3), np.float32)}}
    monkeypatch.setattr(bench.run_data, "open_records", lambda *_: None)
    monkeypatch.setattr(bench.checkpoint, "shapes", lambda _: shapes)
    return benches.trainings(bench, monkeypatch, lambda c: {"top-1": 0.5 + 0.1 * c.seed})


def test_the_ablation_and_what_is_printed_of_it(bench, runs, capsys, tmp_path):
    for row in ("darklight-0", "darklight-1"):  # stopped before: what they cost is not known
        (tmp_path / row).mkdir()
    assert bench.main([f"--workdir={tmp_path}", "--seeds=2", "--steps=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ")][5:]  # the second table
    assert len(rows) == 5
    assert rows[-1].startswith("| both, with attention | 55.0 (50.0 to 60.0) | 2 | 3,000 |  |")
    assert rows[1].startswith("| dark only | 55.0 (50.0 to 60.0) | 2 | 3,000 | 0 |")
    got = {k: (tuple(c.darklight.views), c.darklight.model.attention) for k, c in runs.items()}
    both = ("dark", "gamma")
    assert {k: v for k, v in got.items() if k.endswith("-1")} == {
        "dark-1": (("dark",), True), "gamma-1": (("gamma",), True), "mean-1": (both, False),
        "darklight-1": (both, True),
    }  # fmt: skip
    assert len(got) == 8 and {c.darklight.steps for c in runs.values()} == {3}
    assert {c.data.dir for c in runs.values()} == {f"{tmp_path}/records"}


def test_records_of_one_s_own_and_rows_that_are_not_there(bench, runs, tmp_path):
    flags = [f"--workdir={tmp_path}", "--seeds=1", "--data=mine", "--rows=bert,md_bert"]
    bench.main(flags)
    assert {c.data.dir for c in runs.values()} == {"mine"} and len(runs) == 2
    assert {c.data.synthetic for c in runs.values()} == {None}
    with pytest.raises(UserError, match="--rows=light: expected some of dark, gamma"):
        bench.main(["--rows=light"])
