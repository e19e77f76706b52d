"""The program as a user meets it: one whole run, a second run, and one-line errors."""

import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import experiment, lock, main, run_data, train
from darkjax.errors import UserError
from darkjax.program import run as run_program

ROOT = tiny_run.ROOT


def program(*arguments):
    """Run `python -m darkjax.main` in a process of its own."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-m", "darkjax.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=240,
    )


def one_line(found):
    assert found.returncode == 2, found.stderr
    lines = [line for line in found.stderr.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("error: "), found.stderr
    return lines[0]


EXTRAS = ("av", "fsspec", "mlflow", "optuna", "sklearn", "tensorboard", "tensorboardX", "wandb")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder):
    """A finished run of both stages: its config, folder and results. Made without the packages that
    a plain `pip install` does not bring."""
    folder = tmp_path_factory.mktemp("whole")
    c = tiny_run.config(tiny_folder)
    c.mesh, c.student.save_every = (8, 1), 2
    with pytest.MonkeyPatch.context() as patched:
        for name in EXTRAS:
            patched.setitem(sys.modules, name, None)
        found = experiment.run(c, str(folder), command="python -m darkjax.main")
    return c, folder, found


def test_a_whole_run_leaves_results_and_a_report(whole, capsys):
    _, folder, found = whole
    assert found["name"] == "top-1@1x1 synthetic-test"
    assert found["numbers"]["n"] == 9
    for stage in ("teacher", "student"):
        saved = json.loads((folder / stage / "results.json").read_text())
        assert sum(map(sum, saved["confusion"])) == 9
        assert (folder / stage / "done.json").exists()
        assert (folder / stage / "metrics.jsonl").read_text().count("\n") >= 4
    html = (folder / "report.html").read_text()
    assert "top-1@1x1 synthetic-test" in html and "data:image" in html
    table = experiment.table(found, 1.0)
    assert [line for line in table.splitlines() if line.startswith("| top-1 ")]


def test_two_clips_have_a_table():
    """A third of them is empty."""
    thirds = [{"name": n, "accuracy": a} for n, a in (("darkest", 1.0), ("brightest", None))]
    found = {"name": "top-1@1x1 test", "numbers": {"top-1": 0.5, "n": 2}, "brightness": thirds}
    table = experiment.table(found, 1.0)
    rows = [line.split() for line in table.splitlines()]
    assert ["|", "top-1,", "darkest", "third", "|", "1.0000", "|"] in rows
    assert "brightest" not in table


def test_the_student_starts_from_the_teachers_network(whole):
    from darkjax import checkpoint, optim

    _, folder, _ = whole
    teacher = checkpoint.load_variables(folder / "teacher" / "checkpoints")
    student = checkpoint.load_variables(folder / "student" / "checkpoints")
    theirs, ours = (optim.flatten(v["params"]) for v in (teacher, student))
    assert (ours["student/luminous/stem_spatial/kernel"] == theirs["stem_spatial/kernel"]).all()
    assert (ours["teacher/head/kernel"] == theirs["head/kernel"]).all()


def test_a_second_run_trains_nothing_again(whole, capsys):
    c, folder, found = whole
    again = experiment.run(c, str(folder))
    assert again == found
    out = capsys.readouterr().out
    assert out.count("was finished earlier") == 2 and "trained," not in out


def test_mode_report_and_evaluate_work_from_what_is_there(whole):
    c, folder, found = whole
    (folder / "report.html").unlink()
    assert experiment.run(c, str(folder), "report") == found
    assert (folder / "report.html").exists()
    assert experiment.run(c, str(folder), "evaluate") == found


def test_whether_a_run_is_complete_is_known_without_running_it(whole, monkeypatch):
    c, folder, found = whole
    monkeypatch.setattr(train, "run", None)
    monkeypatch.setattr(experiment.judge, "evaluate", None)
    assert experiment.complete(c, str(folder)) == found
    assert experiment.complete(c, str(folder.parent / "another")) == {}
    other = c.copy_and_resolve_references()
    other.data.views_clips = 2  # judged otherwise: to be judged again
    assert experiment.complete(other, str(folder)) == {}
    other.seed = 1
    with pytest.raises(UserError, match=r"other settings: seed \(0, now 1\)"):
        experiment.complete(other, str(folder))
    assert experiment.once(c, str(folder), train=False) == found
    assert experiment.once(c, str(folder.parent / "another"), train=False) == {}
    monkeypatch.setattr(experiment, "run", lambda config, folder: {"numbers": config.seed})
    assert experiment.once(c, str(folder)) == found  # nothing is run
    assert experiment.once(c, str(folder.parent / "another")) == {"numbers": c.seed}
    # "auto" is what the run took, also on a machine that would take another.
    auto = c.copy_and_resolve_references()
    auto.dtype = "auto"
    monkeypatch.setattr(experiment.jax, "default_backend", lambda: "tpu")
    assert experiment.complete(auto, str(folder)) == found


def test_a_finished_stage_with_other_settings_is_refused(whole):
    c, folder, _ = whole
    other = c.copy_and_resolve_references()
    other.teacher.optim.lr = 0.5
    with pytest.raises(UserError, match=r"teacher.optim.lr \(0.01, now 0.5\).*another --workdir"):
        experiment.run(other, str(folder))


def test_a_stage_is_compared_with_the_weights_it_began_from(whole):
    _, folder, _ = whole
    done = json.loads((folder / "student" / "done.json").read_text())["identity"]
    assert done["student.init_from[teacher]"].startswith("step 4, ")
    done["student.init_from[teacher]"] = "step 9, 0123"
    with pytest.raises(UserError, match=r"init_from\[teacher\] \(step 4.*now step 9"):
        experiment.finished("student", str(folder / "student"), done)


def rendered(c, folder, classes, **options):
    """Other records like those of the config, with other classes."""
    other = c.copy_and_resolve_references()
    with other.unlocked():
        other.data.synthetic = {**other.data.synthetic.to_dict(), "classes": classes, **options}
    other.data.dir = str(folder)
    run_data.open_records(other.data, str(folder))
    return other


def kept(folder):
    """What a run has written, by path."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {p: p.stat().st_mtime_ns for p in files}


def test_other_records_are_judged_only_when_asked_and_apart(whole, tmp_path, capsys):
    c, folder, _ = whole
    other = rendered(c, tmp_path / "other", ("Stand", "Turn", "Jump"), seed=5)
    before = kept(folder)
    for mode in ("evaluate", "report", "all"):
        with pytest.raises(UserError) as error:
            experiment.run(other, str(folder), mode)
        if mode != "all":
            assert "trained on the classes Jump, Sit, Turn" in str(error.value)
            assert "--eval_name" in str(error.value)
    assert kept(folder) == before
    capsys.readouterr()
    found = experiment.run(other, str(folder), "evaluate", eval_name="night")
    assert "the model does not know: Stand; without clips here: Sit" in capsys.readouterr().out
    assert found["classes"] == ["Jump", "Sit", "Turn"] and found["numbers"]["n"] == 6
    confusion = np.asarray(found["confusion"])
    assert confusion.sum(1).tolist() == [3, 0, 3]  # true classes by the model's names
    assert found["classes_left_out"] == ["Stand"] and found["classes_without_clips"] == ["Sit"]
    after = kept(folder)
    new = {p.parent for p in after.keys() - before.keys()}
    assert new == {folder / stage / "eval-night" for stage in ("teacher", "student")}
    assert {p: t for p, t in after.items() if p in before} == before


def test_a_clip_keeps_its_prediction_whatever_the_order_of_the_classes(whole, tmp_path):
    c, folder, found = whole
    other = rendered(c, tmp_path / "turned", ("Turn", "Jump", "Sit"))
    again = experiment.run(other, str(folder), "evaluate", eval_name="turned")
    assert again["classes"] == found["classes"]
    assert again["numbers"]["n"] == found["numbers"]["n"]
    for run, names in ((folder / "student", found), (folder / "student/eval-turned", again)):
        labels = tiny_run.predictions(run)["label"]
        assert np.bincount(labels).tolist() == [3, 3, 3], names


def test_records_without_a_class_the_model_knows_are_refused(whole, tmp_path):
    c, folder, _ = whole
    other = rendered(c, tmp_path / "none", ("Run", "Stand", "Walk"))
    with pytest.raises(UserError, match=r"no clip of .* has a class the model knows"):
        experiment.run(other, str(folder), "evaluate", eval_name="none")


@pytest.mark.whole
def test_a_finished_stage_whose_last_checkpoint_is_damaged_is_trained_to_its_end_again(
    whole, tmp_path, capsys
):
    c, folder, found = whole
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    last = max((run / "student/checkpoints").glob("[0-9]*"), key=lambda p: int(p.name))
    victim = max(last.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    victim.write_bytes(bytes([victim.read_bytes()[0] ^ 1]) + victim.read_bytes()[1:])
    capsys.readouterr()
    again = experiment.run(c, str(run))
    said = capsys.readouterr().out
    assert "is damaged" in said and "set aside" in said and "resumed from the checkpoint" in said
    assert again["numbers"] == found["numbers"]


def test_another_width_is_one_line(whole):
    c, folder, _ = whole
    other = c.copy_and_resolve_references()
    other.student.model.width = 8
    with pytest.raises(UserError, match=r"student.model.width \(16, now 8\)"):
        experiment.run(other, str(folder), "evaluate")


def test_report_does_not_take_results_of_other_views(whole):
    c, folder, found = whole
    other = c.copy_and_resolve_references()
    other.data.views_clips = 2
    assert experiment.run(other, str(folder), "report")["name"].startswith("top-1@2x1")
    assert experiment.run(c, str(folder), "report")["name"] == found["name"]


def test_a_leaky_split_says_so_in_every_number(whole, capsys):
    c, folder, _ = whole
    other = c.copy_and_resolve_references()
    other.data.split = "random"
    with pytest.raises(UserError, match=r"have several clips .*data.split='fold'"):
        experiment.run(other, str(folder), "evaluate", eval_name="leaky")
    other.data.allow_leaky_split = True
    found = experiment.run(other, str(folder), "evaluate", eval_name="leaky")
    results = json.loads((folder / "student" / "eval-leaky" / "results.json").read_text())
    assert found["name"] == results["name"] == "top-1@1x1 synthetic-random0.2 (leaky split)"
    assert capsys.readouterr().out.count("synthetic-random0.2 (leaky split)") == 2  # data, table


@pytest.mark.whole
def test_a_new_run_begins_from_another_one_on_other_classes(whole, tmp_path, capsys):
    c, folder, _ = whole
    other = rendered(c, tmp_path / "more", ("Run", "Stand", "Walk", "Jump"))
    other.data.num_classes, other.stages = 4, ("teacher",)
    other.teacher.init_from = ((f"{folder}/teacher", r"(?!head/)(.*)", r"\1"),)
    other.teacher.steps = 1
    capsys.readouterr()
    found = experiment.run(other, str(tmp_path / "run"))
    said = capsys.readouterr().out
    assert "was trained on other classes (Jump, Sit, Turn)" in said and "arrays taken from" in said
    assert found["classes"] == ["Run", "Stand", "Walk", "Jump"]


def test_a_folder_has_one_run_at_a_time(whole):
    c, folder, _ = whole
    with (
        lock.held(folder),
        pytest.raises(UserError, match=rf"in use by another run \(process {os.getpid()} on"),
    ):
        experiment.run(c, str(folder))
    assert experiment.run(c, str(folder), "report")


def test_a_full_disk_is_one_line(tiny_folder, tmp_path, monkeypatch):
    c = tiny_run.config(tiny_folder)
    tiny_run.records(c)

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: write: No space left on device") from OSError(28)

    monkeypatch.setattr(train, "run", full)
    with pytest.raises(UserError, match=r"writing in .* failed: No space left on device; .*again"):
        experiment.run(c, str(tmp_path))


def test_a_class_count_that_the_card_does_not_have_is_refused(tiny_folder, tmp_path):
    c = tiny_run.config(tiny_folder)
    tiny_run.records(c)
    c.data.num_classes = 11
    with pytest.raises(UserError, match=r"num_classes=11, but the card of .* has 3 classes"):
        experiment.run(c, str(tmp_path))


def test_a_truncated_shard_is_named(tiny_folder, tmp_path):
    c = tiny_run.config(tiny_folder)
    tiny_run.records(c)
    copy = tmp_path / "records"
    shutil.copytree(tiny_folder, copy)
    shard = next(copy.glob("*train*.tfrecord"))
    os.truncate(shard, shard.stat().st_size - 1000)
    c.data.dir, c.data.synthetic = str(copy), None
    with pytest.raises(UserError, match=rf"{shard.name}.*--verify"):
        experiment.run(c, str(tmp_path / "run"))


def test_a_missing_index_is_rebuilt(tiny_folder, tmp_path):
    c = tiny_run.config(tiny_folder)
    tiny_run.records(c)
    copy = tmp_path / "records"
    shutil.copytree(tiny_folder, copy)
    for index in copy.glob("*.idx.npy"):
        index.unlink()
    c.data.dir, c.data.synthetic = str(copy), None
    assert len(run_data.open_records(c.data, "")) == 42
    assert list(copy.glob("*.idx.npy"))


def test_errors_of_the_command_line_are_one_line(tmp_path, capsys):
    def here(*arguments):
        """As `program`, in this process."""
        with pytest.raises(SystemExit) as end:
            run_program(lambda: main.main([*map(str, arguments)]))
        said = capsys.readouterr().err
        return one_line(subprocess.CompletedProcess(arguments, end.value.code, stderr=said))

    config = "--config=configs/lift_arid.py:demo"
    work = f"--workdir={tmp_path}"
    line = one_line(program(config, work, "--config.teacher.optim.lrr=1"))
    assert line.endswith("no field teacher.optim.lrr: did you mean teacher.optim.lr?")
    assert line == here(config, work, "--config.teacher.optim.lrr=1")
    assert "required: --config" in here()
    assert "convert" in here("--config=configs/lift_arid.py", work)
    assert "'dmeo' is not one of" in here("--config=configs/lift_arid.py:dmeo", work)
    assert "lift_ard.py" in here("--config=configs/lift_ard.py", work)
    assert not list(tmp_path.iterdir())  # nothing was written


def test_configs_resolve_and_name_their_mistakes():
    c = configs.load(f"{ROOT}/configs/lift_arid.py:demo")
    assert configs.resolve(c).student.dtype == "float32"
    c.dtype = "float8"
    with pytest.raises(UserError, match="dtype='float8'"):
        configs.resolve(c)
    c = configs.load(f"{ROOT}/configs/lift_arid.py:demo")
    c.teacher.accumulate = 7
    with pytest.raises(UserError, match=r"teacher.accumulate=7 does not divide"):
        configs.resolve(c)
    with pytest.raises(UserError, match="expected a config file"):
        configs.load("configs/none.py")
    assert jax.device_count() == 8
