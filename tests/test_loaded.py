"""`darkjax.load`: any video is judged as the evaluation judges its clips."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tiny_run

import darkjax
from darkjax import config as configs
from darkjax import experiment, judge, loaded, trained
from darkjax.data.catalog import get_dataset
from darkjax.data.convert import convert
from darkjax.data.decode import write_video
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import collect
from darkjax.tools import evaluate

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def made(tmp_path_factory, one_device):
    """(run, records) of one tiny classifier, trained to its end and judged on nine clips."""
    folder, run = tmp_path_factory.mktemp("clips"), tmp_path_factory.mktemp("runs") / "run"
    c = tiny_run.config(folder)
    c.stages, c.data.views_crops, c.data.views_clips = ("teacher",), 3, 2
    experiment.run(c, str(run))
    return run, folder


@pytest.fixture(scope="module")
def model(made):
    return darkjax.load(made[0])


def clips(made):
    """(frames, probabilities that the evaluation found) of every judged clip."""
    run, folder = made
    records = Records(folder)
    kept = tiny_run.predictions(run / "teacher")
    for clip, found in zip(kept["clip"], kept["probabilities"], strict=True):
        row = int(np.flatnonzero(records.meta["clip"] == clip)[0])
        yield records.read_frames(row, range(int(records.meta["frames"][row]))), found


def test_clips_are_judged_as_by_the_evaluation(made, model):
    assert model.classes == tiny_run.CLASSES
    for frames, found in clips(made):
        np.testing.assert_allclose(model.probabilities(frames), found, atol=1e-6)
        names, shares = zip(*model.predict(frames, top=2), strict=True)
        assert list(names) == [model.classes[k] for k in np.argsort(-found)[:2]]
        np.testing.assert_allclose(shares, np.sort(found)[::-1][:2], atol=1e-6)


def test_a_file_is_its_frames(made, model, tmp_path):
    """Decoded at the rate and size of the training's clips."""
    frames, found = next(clips(made))
    twice = np.repeat(np.repeat(np.repeat(frames, 2, 0), 2, 1), 2, 2)
    write_video(tmp_path / "twice.mp4", twice, 2 * model.fps)
    read = model.read(tmp_path / "twice.mp4")
    assert read.shape == frames.shape
    assert np.abs(read.astype(float) - frames).mean() < 6  # the codec's
    np.testing.assert_allclose(model.probabilities(twice, fps=2 * model.fps), found, atol=0.02)


def test_views_and_embeddings(model):
    frames = np.random.default_rng(0).integers(0, 60, (12, 36, 40, 3), np.uint8)
    views = model.preprocess(frames)
    assert views.shape == (6, 4, 32, 32, 3) and views.dtype == np.uint8
    assert model.embed(frames).shape == (4,)
    # Any size and any length: small and short ones are enlarged and begun again.
    assert model.preprocess(frames[:1, :9, :9]).shape == views.shape
    np.testing.assert_array_equal(views, model.preprocess(np.repeat(frames, 2, 0), 2 * model.fps))
    # Views over, clips of several views each: the same as one by one.
    both = np.stack([views, views[::-1].copy()])
    np.testing.assert_allclose(model.judged(both)[0], model.probabilities(frames), atol=1e-6)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((4, 36, 40, 3)), np.zeros((36, 40, 3), np.uint8), np.zeros((4, 3, 8, 8), "u1")],
)
def test_other_arrays_are_refused(model, frames):
    with pytest.raises(UserError, match=r"expected frames uint8 \[T, H, W, 1 or 3\], found "):
        model.predict(frames)


@pytest.mark.parametrize("top", [0, 7.5, "2"])
def test_how_many_answers_is_a_number_of_classes(model, top):
    """`predict(video, 7.5)`: frames a second where `top` is."""
    with pytest.raises(UserError, match=r"top=.* expected how many classes.* fps="):
        model.predict(np.zeros((4, 36, 40, 3), np.uint8), top)


def test_the_records_may_be_gone(made, tmp_path):
    """All that is needed is in the checkpoint."""
    run, folder = made
    shutil.copytree(run, tmp_path / "run")
    away = folder.rename(tmp_path / "away")
    try:
        there = darkjax.load(tmp_path / "run" / "teacher")
    finally:
        away.rename(folder)
    for frames, found in clips(made):
        np.testing.assert_allclose(there.probabilities(frames), found, atol=1e-6)
        break


def test_what_is_no_run_is_named(made, tmp_path):
    for where, said in (
        (tmp_path / "none", "no folder .*none: expected a run's folder"),
        (tmp_path, "holds no run: expected the --workdir of a training"),
    ):
        with pytest.raises(UserError, match=said):
            darkjax.load(where)
    shutil.copytree(made[0], tmp_path / "run")
    (tmp_path / "run" / "teacher" / "done.json").unlink()
    with pytest.raises(UserError, match=r"no stage .* was trained to its end \(there is teacher\)"):
        darkjax.load(tmp_path / "run")
    assert darkjax.load(tmp_path / "run" / "teacher").classes == tiny_run.CLASSES


def test_older_checkpoints_ask_their_records(made, model, monkeypatch):
    """Before they said how videos are read."""
    read = loaded.checkpoint.read_meta

    def older(*args):
        return {k: v for k, v in read(*args).items() if k != "intake"}

    monkeypatch.setattr(loaded.checkpoint, "read_meta", older)
    assert darkjax.load(made[0]).intake == model.intake
    assert (
        json.loads(json.dumps(model.intake.as_json()))
        == read(made[0] / "teacher" / "checkpoints")["intake"]
    )
    assert jax.tree.structure(model.variables) == jax.tree.structure(
        darkjax.load(made[0]).variables
    )


def test_a_run_is_judged_on_other_records(made, tmp_path, capsys):
    """By its own config: the same clips give the same, classes are matched by name."""
    run, folder = made
    kept = tiny_run.predictions(run / "teacher")
    same = evaluate.evaluate(run, folder, "same")
    found = tiny_run.predictions(run / "teacher" / "eval-same")
    np.testing.assert_allclose(found["probabilities"], kept["probabilities"], atol=1e-6)
    assert same["name"] == "top-1@2x3 synthetic-test" and same["classes_left_out"] == []
    other = tmp_path / "winter night"
    clips = {"train": 1, "test": 2}
    drawn = get_dataset(
        "synthetic",
        classes=("Stand", "Turn", "Jump"),
        clips_per_class=clips,
        groups={"train": 1, "test": 1},
        frames=12,
        height=36,
        width=40,
    )
    convert(drawn, other)
    capsys.readouterr()
    flags = [f"--run={run / 'teacher'}", f"--records={other}", "--set=data.views_clips=1"]
    assert evaluate.main(flags) == 0
    said = capsys.readouterr().out
    assert "4 clips; classes the model does not know: Stand; without clips here: Sit" in said
    results = json.loads((run / "teacher/eval-winter_night/results.json").read_text())
    assert results["name"] == "top-1@1x3 synthetic-test" and results["numbers"]["n"] == 4
    for flag, said in (
        ("--set=data.view_clips=2", "views_clips"),
        ("--set=data.views_clips", "expected FIELD=VALUE"),
        ("--set=teacher.optim.lr=3", r"teacher.optim.lr \(0.01, now 3"),
        ("--set=data.eval_split=dusk", "'dusk'"),
        (f"--records={tmp_path}", "expected a converted dataset"),
        (f"--run={tmp_path}", "holds no run"),
    ):
        with pytest.raises(UserError, match=said):
            evaluate.main([*flags, flag])


def test_a_run_is_judged_on_darker_clips(made, model, capsys, monkeypatch):
    """As `predict` judges those frames; what was found before stays."""
    run, folder = made
    flags = [f"--run={run}", f"--records={folder}", "--name=dim"]
    assert evaluate.main([*flags, "--brightness=1,0.5"]) == 0
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert rows[0].startswith("| x1 |") and rows[1].startswith("| x0.5 |")
    kept = tiny_run.predictions(run / "teacher" / "eval-dim-x0.5")["probabilities"]
    for (frames, _), found in zip(clips(made), kept, strict=True):
        dark = np.rint(frames * 0.5).astype(np.uint8)
        np.testing.assert_allclose(model.probabilities(dark), found, atol=1e-6)
        assert np.abs(found - model.probabilities(frames)).max() > 1e-4
    assert (run / "teacher" / "eval-dim" / "results.json").exists()
    for wrong in ("0", "x", "1,-2", "nan"):
        with pytest.raises(UserError, match="expected factors up to 16"):
            evaluate.main([*flags, f"--brightness={wrong}"])

    class Enhancing(type(model.method)):
        judge = "frames"

    load = trained.load

    def enhancing(*args, **kwargs):
        found = load(*args, **kwargs)
        own = {f.name: getattr(found.method, f.name) for f in dataclasses.fields(found.method)}
        return found._replace(method=Enhancing(**own))

    monkeypatch.setattr(trained, "load", enhancing)
    with pytest.raises(UserError, match="teacher is an enhancer and judged by brightness itself"):
        evaluate.main([*flags, "--brightness=2"])


def test_it_is_said_that_recorded_flow_stays_as_it_is(made, monkeypatch, capsys):
    run, folder = made
    config, workdir = evaluate.config_of(run)
    with config.unlocked():
        config.data.channels = 6
    monkeypatch.setattr(evaluate, "config_of", lambda _: (config, workdir))
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: {"numbers": {"top-1": 0.5, "n": 2}})
    for factors, said in (("1", False), ("0.5", True), ("1,0.5", True)):
        evaluate.main([f"--run={run}", f"--records={folder}", f"--brightness={factors}"])
        assert ("only the colours change" in capsys.readouterr().out) == said


def test_flow_is_as_bright_as_it_was():
    video = np.arange(60, 72, dtype=np.uint8).reshape(2, 6)
    found = np.asarray(judge.dimmed(video, 4.0))
    np.testing.assert_array_equal(found, [[240, 244, 248, 63, 64, 65], [255] * 3 + [69, 70, 71]])
    found = np.asarray(judge.dimmed(video[:, :3], 0.25))
    np.testing.assert_array_equal(found, [[15, 15, 16], [16, 17, 17]])


def test_the_report_shows_what_was_enhanced_where_something_was(made, monkeypatch):
    run, folder = made
    config, _ = evaluate.config_of(run)
    config, load = configs.resolve(config), trained.load

    def dark(*args):
        found = load(*args)
        config = found.method.config.copy_and_resolve_references()
        config.luminous_input = "dark"
        return found._replace(method=dataclasses.replace(found.method, config=config))

    with Records(folder) as records:
        rows = records.select("test")[:1]
        (gamma,) = collect.pictures(config, str(run), records, rows)
        monkeypatch.setattr(trained, "load", dark)
        (same,) = collect.pictures(config, str(run), records, rows)
    assert gamma.enhanced.mean() > gamma.frames.mean() + 10 and same.enhanced is None
    for shown in (gamma, same):  # the method has no heat of its own
        assert shown.looked == "Looked at" and shown.attention.min() >= 0
        assert shown.attention.ndim == 3 and np.isfinite(shown.attention).all()
    np.testing.assert_array_equal(gamma.frames, same.frames)


def test_the_span_is_of_the_longest_delta(model):
    """A window of live labels, or of `predict`, holds a view at every distance between frames."""

    def span(**fields):
        views = dataclasses.replace(model.views, frames=4, views_clips=3, **fields)
        return dataclasses.replace(model, views=views).span

    assert [span(stride=2), span(deltas=(1, 3, 2)), span(sampling="segments")] == [7, 10, 4]
