"""`benchmarks/dtcm.py`: which trainings each table is made of, and what it prints of them."""

import json

import pytest

from darkjax.errors import UserError


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained; nothing is."""
    found = {}

    def run(config, folder):
        name = folder.rpartition("/")[2]
        assert found.setdefault(name, config).to_json_best_effort() == config.to_json_best_effort()
        for stage in config.stages:
            (bench.pathlib.Path(folder) / stage).mkdir(parents=True, exist_ok=True)
            rows = [{"step": s, "inconsistency": v, "grad_norm": 30 * v} for s, v in LOGGED]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (bench.pathlib.Path(folder) / stage / "metrics.jsonl").write_text(text)
        top = 0.5 + 0.1 * config.seed
        return {"numbers": {"top-1": top, "brightness before": 0.078, **JUDGED}}

    monkeypatch.setattr(bench.experiment, "run", run)
    monkeypatch.setattr(bench.Run, "judged", lambda self: JUDGED)
    return found


LOGGED = ((1, 0.5), (10, 2.0), (20, 1.0), (30, 1.5))
JUDGED = {"brightness after": 0.6, "inconsistency": 0.0123}


@pytest.mark.parametrize(
    ("table", "names", "line"),
    [
        ("fig7", "w0-0 w0-1 total-0 total-1 w10-0 w10-1",
         "| 4 | 0.0123 (0.0123 to 0.0123) | 0.600 (0.600 to 0.600) | 0.550 (0.500 to 0.600) |"),
        ("table6", "two_stage-0 two_stage-1 recognition-0 recognition-1 total-0 total-1",
         "| one stage, L_AR only | `:demo,recognition` | 0.550 (0.500, 0.600) |"),
        ("alone", "alone alone-light alone-sci", "| the dark clips | 0.078 | 0 | |"),
        ("path", "total-0", "| dtcm | 2.000 | 10 | 1.500 to 1.500 |"),
        ("start", "start start-gentle start-whole",
         "| from nothing, alpha 0.1, the whole rate | 0.5000 | 0.600 | 38, 60 |"),
    ],
)  # fmt: skip
def test_each_table(runs, printed, tmp_path, table, names, line):
    lines = printed(f"--tables={table}", "--seeds=2", f"--workdir={tmp_path}")
    assert list(runs) == names.split()
    assert line in lines


def test_the_trainings_are_what_the_tables_say(bench, runs, printed, tmp_path):
    for table in bench.TABLES:
        printed(f"--tables={table}", "--seeds=2", f"--workdir={tmp_path}")
    assert [runs[name].dtcm.w_stc for name in ("w0-1", "total-1", "w10-1")] == [0, 4, 10]
    assert {c.dtcm.epochs for n, c in runs.items() if n[-2:] in ("-0", "-1")} == {8}
    assert runs["two_stage-0"].dtcm.enhancer_frozen and not runs["total-0"].dtcm.enhancer_frozen
    assert runs["recognition-1"].dtcm.objective == "recognition"
    assert runs["alone-sci"].enhancer.objective == "sci"
    assert runs["start"].stages == ("enhancer", "dtcm") and runs["start"].dtcm.alpha == 1
    gentle, whole = runs["start-gentle"].dtcm, runs["start-whole"].dtcm
    assert gentle.init_from == whole.init_from == () and gentle.alpha == 0.1
    assert gentle.optim.lr_scale and not whole.optim.lr_scale


def test_an_unknown_table_is_named(printed):
    with pytest.raises(UserError, match="--tables=fig8: expected some of fig7, "):
        printed("--tables=fig8")
