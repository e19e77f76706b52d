"""`benchmarks/real_arid6.py`: which trainings its table is made of, and what it prints of them."""

import pathlib

import benches
import numpy as np
import pytest

from darkjax.errors import UserError


@pytest.fixture
def bench(monkeypatch):
    return benches.load("real_arid6", monkeypatch)


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained; predictions of four clips are made up."""
    found = {}

    def run(config, folder):
        found[pathlib.Path(folder).name] = config
        stage = pathlib.Path(folder, config.stages[-1])
        stage.mkdir(parents=True)
        clips = np.arange(4) if "finetune" not in config else np.array([config.data.fold - 1])
        wrong = np.eye(6)[1] * (0.9 if config.seed else 0.4) + np.eye(6)[0] * 0.1
        p = np.stack([wrong if clip == config.seed else np.eye(6)[0] * 0.5 for clip in clips])
        arrays = {"clip": clips, "label": np.zeros(len(clips), int), "probabilities": p}
        np.savez(stage / "predictions.npz", **arrays)
        (stage / "results.json").write_text("{}")

    monkeypatch.setattr(bench.experiment, "run", run)
    return found


def test_the_table_and_its_trainings(bench, runs, capsys, tmp_path):
    rows = "plain-gamma,rich-motion-ema,rich-motion-adapt,rich-motion-finetune"
    flags = ["--records=real", f"--rows={rows}", "--seeds=2", "--steps=7", "--clips=4"]
    flags += [f"--workdir={tmp_path}", "--folds=3"]
    assert bench.main([*flags, "--only_finished"]) == 0 and not runs
    assert "| clips |" in capsys.readouterr().out
    assert bench.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    # of four clips each seed has another one wrong; together only the one that is surely wrong
    cells = "0.750 (0.750 to 0.750) | 0.750, 0.750 | 0.750 |"
    assert f"| plain, gamma | 4 | {cells}" in lines
    assert f"| rich, motion, adapt | 4 | {cells}" in lines
    assert any(line.startswith("| rich, motion, finetune | 3 | 0.667") for line in lines)
    assert "| mean of 4 trainings on rendered clips | 4 | 0.750 |  |  |" in lines
    assert len(runs) == 2 * (3 + 1 + 3)  # finetune: its own beginning, three folds
    one, tuned = runs["plain-gamma-1"], runs["rich-motion-finetune-1-fold2"]
    assert (one.seed, one.rendered.steps, one.rendered.luminous_input) == (1, 7, "gamma")
    assert one.data.source_synthetic.near == 0 and one.data.dir == "real"
    assert one.data.source_synthetic.clips_per_class.train == 4
    assert runs["rich-motion-ema-0"].rendered.ema == 0.99
    assert (tuned.data.fold, tuned.finetune.steps, tuned.stages) == (2, 7, ("finetune",))
    assert tuned.finetune.init_from[0][0] == f"{tmp_path}/rich-motion-1/rendered"
    runs.clear()
    assert bench.main(flags) == 0 and not runs  # nothing twice


@pytest.mark.parametrize("row", ["rich", "rich-colour", "poor-gamma", "rich-motion-luck"])
def test_an_unknown_row(bench, row):
    with pytest.raises(UserError, match=f"--rows: expected WORLD-INPUT.*found '{row}'"):
        bench.main(["--records=real", f"--rows={row}"])
