"""`configs/real_arid6.py` stepped, on clips that stand for real ones."""

import json

import benches
import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import experiment
from darkjax.data.catalog import get_dataset
from darkjax.data.convert import convert
from darkjax.data.rendering.dataset import ACTIONS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device")]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Twelve clips of six actions in six sessions, all of them "train", as the real ones are."""
    folder = tmp_path_factory.mktemp("real")
    clips = get_dataset(
        "synthetic", classes=ACTIONS, clips_per_class={"train": 2}, groups={"train": 6},
        frames=8, height=36, width=40, seed=9,
    )  # fmt: skip
    convert(clips, str(folder), workers=0)
    return folder


def config(real, *words):
    c = configs.load(f"{tiny_run.ROOT}/configs/real_arid6.py:{','.join(words)}")
    shrink(c)
    c.data.dir = str(real)
    return c


def shrink(c):
    """Few tiny rendered clips, a network of one width that compiles at once."""
    s = c.data.source_synthetic
    s.frames, s.height, s.width = 8, 36, 40
    s.clips_per_class.train, s.groups.train = 2, 2
    c.data.frames, c.data.stride, c.data.size = 4, 1, (24, 24)
    c.data.views_clips = c.data.views_crops = 1
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    for name in c.stages:
        stage = c[name]
        with c.unlocked():
            stage.model = {"name": "r2plus1d", **tiny_run.NETS["r2plus1d"][0]}
        stage.batch_size, stage.steps, stage.optim.warmup_steps = 8, 3, 1
        for augmentation in tiny_run.AUGMENTATIONS:
            stage.augment[augmentation].p = 0.0


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_few_epochs_on_labelled_clips_go_on_from_the_rendered_ones(real, tmp_path):
    c = config(real, "finetune", "still")
    found = experiment.run(c, str(tmp_path))
    # sessions of fold 1 alone are judged, and no clip of the fold trained
    assert found["name"] == "top-1@1x1 synthetic-fold1" and 0 < found["numbers"]["n"] < 12
    before, after = (tiny_run.predictions(tmp_path / name) for name in c.stages)
    assert len(before["clip"]) == 12 and set(after["clip"]) < set(before["clip"])
    losses = [row["loss"] for row in rows(tmp_path / "finetune") if "loss" in row]
    assert len(losses) == 3 and np.isfinite(losses).all()


def test_adaptation_reads_the_real_clips_without_their_labels(real, tmp_path):
    found = experiment.run(config(real, "adapt"), str(tmp_path))
    assert found["name"] == "top-1@1x1 synthetic-train" and found["numbers"]["n"] == 12
    steps = [row for row in rows(tmp_path / "adapt") if "lambda" in row]
    assert len(steps) == 3 and steps[0]["lambda"] == 0 < steps[-1]["lambda"]
    assert all("target_accuracy" not in row for row in steps)
    assert np.isfinite([row["domain_loss"] for row in steps]).all()


def test_the_levers_on_real_clips_step(real, tmp_path, monkeypatch, capsys):
    bench = benches.load("real_arid6", monkeypatch)
    load = bench.load

    def tiny(*args):
        c = load(*args)
        shrink(c)
        return c

    monkeypatch.setattr(bench, "load", tiny)
    levers = ("head", "joint", "adabn", "knn")
    rows = ",".join(f"rich-motion-{lever}" for lever in levers)
    flags = [f"--records={real}", f"--rows={rows}", "--seeds=1", "--folds=1"]
    assert bench.main([*flags, f"--workdir={tmp_path}"]) == 0
    table = capsys.readouterr().out.splitlines()
    for lever in levers:
        line = next(line for line in table if line.startswith(f"| rich, motion, {lever} | "))
        judged = int(line.split("|")[2])
        # with labels the first fold alone; knn of all folds at once
        assert judged == 12 if lever in ("adabn", "knn") else 0 < judged < 12
