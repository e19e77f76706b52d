"""`benchmarks/real_arid6.py`: which trainings its table is made of, and what it prints of them."""

import argparse
import dataclasses
import pathlib

import benches
import numpy as np
import pytest

from darkjax import ranges
from darkjax.data.catalog import get_dataset
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError


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

        return {"numbers": {}}

    monkeypatch.setattr(bench.experiment, "run", run)
    benches.kept(bench, monkeypatch)
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
    assert "| ensemble of 4 trainings on rendered clips | 4 | 0.750 |  |  |" in lines
    assert len(runs) == 2 * (3 + 1 + 3)  # finetune: its own beginning, three folds
    one, tuned = runs["plain-gamma-1"], runs["rich-motion-finetune-1-fold2"]
    assert (one.seed, one.rendered.steps, one.rendered.luminous_input) == (1, 7, "gamma")
    assert one.data.source_synthetic.near == 0 and one.data.dir == "real"
    assert one.data.source_synthetic.clips_per_class.train == 4
    assert (one.data.views_clips, one.data.views_crops) == (10, 3)
    assert runs["rich-motion-ema-0"].rendered.ema == 0.99
    assert (tuned.data.fold, tuned.finetune.steps, tuned.stages) == (2, 7, ("finetune",))
    assert tuned.finetune.init_from[0][0] == f"{tmp_path}/rich-motion-1/rendered"
    runs.clear()
    assert bench.main(flags) == 0 and not runs  # nothing twice
    with pytest.raises(AssertionError, match="refused: other settings"):
        bench.main([*flags, "--steps=8", "--only_finished"])


def test_two_streams_are_the_mean_of_what_each_says(bench, runs, capsys, tmp_path):
    rows = "rich-motion,rich-flow,rich-motion+rich-flow"
    flags = ["--records=real", f"--rows={rows}", "--seeds=2", f"--workdir={tmp_path}"]
    with pytest.raises(UserError, match="rows of flow need --flow_records"):
        bench.main(flags)
    assert bench.main([*flags, "--flow_records=flow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = "| 4 | 0.750 (0.750 to 0.750) | 0.750, 0.750 | 0.750 |"
    assert f"| rich, motion + rich, flow {cells}" in lines and f"| rich, flow {cells}" in lines
    assert "| ensemble of 4 trainings on rendered clips | 4 | 0.750 |  |  |" in lines
    assert len(runs) == 4
    flow, motion = (runs[name].data for name in ("rich-flow-0", "rich-motion-0"))
    assert (flow.dir, flow.channels, motion.dir, motion.channels) == ("flow", 6, "real", 3)
    assert flow.source_dir != motion.source_dir and flow.source_synthetic.flow.bound == 6


def test_streams_are_of_the_same_clips(bench):
    one = {0: (1, np.array([0.2, 0.8])), 1: (0, np.array([0.4, 0.6]))}
    two = {0: (1, np.array([0.4, 0.6])), 1: (0, np.array([1.0, 0.0]))}
    np.testing.assert_allclose([p for _, p in bench.together([one, two]).values()],
                               [[0.3, 0.7], [0.7, 0.3]])  # fmt: skip
    for other in ({0: two[0]}, {0: two[0], 1: (1, two[1][1])}):
        with pytest.raises(UserError, match="--flow_records has other clips"):
            bench.together([one, other])


def test_every_lever_is_a_field_of_its_row_and_of_no_other(bench):
    args = argparse.Namespace(records="real", workdir="w", clips=4, steps=7, windows=0, crops=0)
    plain = bench.load(args, "rich-motion", 0)
    assert (plain.data.views_clips, plain.data.views_crops) == (10, 3)
    judged = bench.load(
        argparse.Namespace(**vars(args) | {"windows": 5, "crops": 10}), "rich-motion", 0
    )
    assert changed(plain, judged) == {"data.views_clips", "data.views_crops"}
    seen = {}
    for lever in bench.LEVERS:
        c = bench.load(args, f"rich-motion-{lever}", 0)
        ranges.check(c)
        seen[lever] = c
        if lever == "still":
            assert c.rendered.augment.still.p == 0.5 and "still" not in plain.rendered.augment
        elif lever in bench.RENDERED:
            assert changed(plain, c) == {
                path.replace("stage.", "rendered.") for path in bench.RENDERED[lever]
            }
    assert seen["adabn"].adapt.adapt == "none" and seen["adabn"].adapt.batch_norm == "domain"
    assert (seen["adapt"].adapt.adapt, seen["adapt"].adapt.batch_norm) == ("dann", "shared")
    assert seen["adapt_apart"].adapt.batch_norm == "domain"
    assert seen["head"].finetune.freeze and not seen["finetune"].finetune.freeze
    assert seen["balanced"].finetune.data.balance == "class" and seen["balanced"].data.sources
    assert seen["mixed"].finetune.data.sources == (("", 0.5, True), ("source", 0.5, True))
    assert seen["finetune"].finetune.data.sources == () and not seen["head"].finetune.data.sources
    assert (seen["joint"].data.balance, seen["ema"].data.balance) == ("class", "none")
    assert seen["joint"].stages == ("rendered",) and seen["joint"].data.split == "fold"
    assert [known for _, _, known in seen["joint"].data.sources] == [True, True]
    assert seen["deep"].rendered.model.variant == "18"


def changed(one, two):
    """Fields that differ."""
    fields = [{f.path: f.value for f in ranges.walk(c)} for c in (one, two)]
    assert fields[0].keys() == fields[1].keys()
    return {path for path in fields[0] if fields[0][path] != fields[1][path]}


@pytest.mark.parametrize("row", ["rich", "rich-colour", "poor-gamma", "rich-motion-luck"])
def test_an_unknown_row(bench, row):
    with pytest.raises(UserError, match=f"--rows: expected WORLD-INPUT.*found '{row}'"):
        bench.main(["--records=real", f"--rows={row}"])


@pytest.mark.parametrize("seen", ["motion", "flow"])
def test_neighbours_are_of_other_folds(seen, bench, runs, monkeypatch, tmp_path):
    """Features are the label, and in fold 1 that of another class: its own clips would be right.
    A model makes its own flow of the colours."""
    options = {"frames": 4, "height": 36, "width": 40, "seed": 0}
    real = get_dataset("synthetic", classes=("Jump", "Run"), clips_per_class={"train": 5},
                       groups={"train": 5}, **options)  # fmt: skip
    convert(real, str(tmp_path / "real"), workers=0)
    records = Records(tmp_path / "real")
    rows = records.select("train")
    at = iter(rows)

    @dataclasses.dataclass
    class Stub:
        views: ViewConfig
        classes = ("Jump", "Run")

        def embed(self, video, fps=None):
            row = next(at)
            views = self.views
            assert video.shape == (4, 36, 40, 3)
            assert (views.views_clips, views.views_crops) == asked[-1]
            wrong = records.meta["fold"][row] == 1
            return 9.0 * np.eye(2, dtype=np.float32)[records.meta["label"][row] ^ wrong]

    read = Records.read_frames
    monkeypatch.setattr(
        bench.Records, "read_frames", lambda *at: np.repeat(read(*at), 1 + (seen == "flow"), -1)
    )
    asked, own = [(10, 3)], ViewConfig(frames=8, size=(56, 56), views_clips=5)
    monkeypatch.setattr(bench.loaded, "load", lambda run: Stub(own))
    flags = [f"--records={tmp_path / 'real'}", f"--rows=rich-{seen}-knn", "--seeds=1"]
    flags += [f"--flow_records={tmp_path / 'real'}"] * (seen == "flow")
    assert bench.main([*flags, f"--workdir={tmp_path / 'w'}"]) == 0
    found = bench.kept(tmp_path / "w" / f"rich-{seen}-knn-0" / "predictions.npz")
    right = {clip: int(np.argmax(p)) == label for clip, (label, p) in found.items()}
    folds = dict(zip(records.meta["clip"], records.meta["fold"], strict=True))
    assert len(found) == 10 and right == {clip: folds[clip] != 1 for clip in right}
    assert list(runs) == [f"rich-{seen}-0"]
    again = [*flags, f"--workdir={tmp_path / 'w'}"]
    assert bench.main(again) == 0 and not next(at, None)  # kept: no clip is looked at again
    monkeypatch.setattr(bench.identity, "origin", lambda run: "other weights")
    at = iter(rows)
    assert bench.main(again) == 0 and next(at, None) is None  # all of them again
    at = iter(rows)
    asked.append((3, 3))
    monkeypatch.setattr(bench, "trained", lambda args, config, name: {0: (0, np.ones(2))})
    assert bench.main([*again, "--windows=3"]) == 0 and next(at, None) is None
    at = iter(rows)
    asked.append((3, 10))
    assert bench.main([*again, "--windows=3", "--crops=10"]) == 0 and next(at, None) is None
