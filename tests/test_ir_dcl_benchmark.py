"""`benchmarks/ir_dcl.py`: which nets each repeat trains, and what it makes of what they saved."""

import json
import pathlib
import types

import numpy as np
import pytest

from darkjax.errors import UserError

CLASSES = ("a", "b", "c")
LABELS = np.arange(6) % 3


def scores(right):
    """Probabilities that are right of the first `right` clips of six."""
    return np.eye(3)[np.where(np.arange(6) < right, LABELS, (LABELS + 1) % 3)]


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained; what is saved is right of 2 to 6 clips."""
    found = {}

    def run(config, folder):
        found[pathlib.Path(folder).name] = config
        for net in config.stages:
            stage = pathlib.Path(folder, net)
            stage.mkdir(parents=True)
            dcl = config[net].alpha > 0
            right = (3 if net == "ir" else 5) - (not dcl)
            who = {"clip": np.arange(6), "label": LABELS, "probabilities": scores(right)}
            codes = 3 * np.eye(3, dtype=np.float32)[LABELS]
            if dcl:
                who |= {"probabilities_softmax": scores(right), "codes": codes}
                who |= {"probabilities_knn": scores(right + 1)}
            np.savez(stage / "predictions.npz", **who)
            who |= {"clip": np.arange(10, 16), "codes": codes}
            np.savez(stage / "predictions-train.npz", **who)
            result = {"name": "top-1@allx1 t", "classes": CLASSES, "numbers": {}}
            (stage / "results.json").write_text(json.dumps(result))

    def finished(config, folder):
        return all((folder / net / "results.json").exists() for net in config.stages)

    def trained(net, codes, labels, num_classes):
        assert [x.shape for x in codes] == [(6, 3)] * 2 and num_classes == 3
        return types.SimpleNamespace(probabilities=lambda asked: asked[0] / 3)

    monkeypatch.setattr(bench.fusion.Net, "trained", trained)  # compiling takes seconds
    monkeypatch.setattr(bench.experiment, "run", run)
    monkeypatch.setattr(bench, "finished", finished)
    return found


def test_tables_claims_and_sweeps(bench, runs, tmp_path, capsys):
    flags = [f"--workdir={tmp_path}", "--repeats=2", "--k=2", "--alpha=0.5,0.02"]
    assert bench.main(flags) == 0
    out = capsys.readouterr().out
    names = [f"{d}-{r}-{n}" for r in (0, 1) for d in ("chance", "group") for n in ("dcl", "no_dcl")]
    assert list(runs) == [*names, "chance-0-dcl-alpha0.5"]
    for row, paper, ours in (
        ("IR net without DCL", 48.75, 2), ("IR net (softmax)", 52.91, 3),
        ("IR net (k-NN)", 54.58, 4), ("Flow net without DCL", 69.58, 4),
        ("Flow net (softmax)", 72.91, 5), ("Flow net (k-NN)", 75.42, 6),
        ("Late fusion 1", 74, 5), ("Late fusion 2", 77.5, 6),
        ("Single-layer NN fusion", 71.25, 6), ("Two-layer NN fusion", 70.42, 6),
    ):  # fmt: skip
        cell = f"{100 * ours / 6:.2f}"
        cell = f"{cell} ({cell} to {cell})"
        assert f"| {row} | {paper:g} | {cell} | {cell} |" in out
    assert "| | paper | by chance, 2 repeats | by group, 2 repeats |" in out
    assert "chance: flow above IR: held: Flow net (k-NN) +33.33 against IR net (k-NN)" in out
    assert "group: k-NN above softmax: held: IR net (k-NN) +16.67" in out
    assert "late fusion 2 best: not held: Late fusion 2 +0.00 against Flow net (k-NN)" in out
    assert "| 2 | 100.00 | 100.00 |" in out  # k = 2: codes of training clips are the same
    assert "| 0.02 | 83.33 | 100.00 |" in out
    page = (tmp_path / "figures.html").read_text()
    assert page.count("<image ") == 2 and page.count("clips on the diagonal") == 3
    assert "AP over alpha" in page
    # Once more: nothing is trained.
    runs.clear()
    assert bench.main(flags) == 0 and not runs


def test_the_nets_are_what_the_tables_say(bench, runs, tmp_path):
    assert bench.main([f"--workdir={tmp_path}", "--repeats=2", "--k=", "--alpha=0.5"]) == 0
    chance, group = runs["chance-1-dcl"], runs["group-1-dcl"]
    assert chance.seed == chance.data.random_seed == 1 and chance.data.split == "random"
    assert group.data.split == "fold" and group.data.fold == 2
    assert chance.flow.alpha == 0.02 and runs["chance-1-no_dcl"].flow.alpha == 0
    other = runs["chance-0-dcl-alpha0.5"]
    assert other.stages == ("flow",) and other.flow.alpha == 0.5
    assert {c.data.dir for c in runs.values()} == {f"{tmp_path}/records"}


def test_bad_flags_are_named(bench):
    for flag in ("--divisions=chance,person", "--k=one"):
        with pytest.raises(UserError, match=f"{flag.split('=')[0]}="):
            bench.main([flag])
