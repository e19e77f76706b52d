"""The program as a user meets it: one whole run, a second run, and one-line errors."""

import json
import os
import shutil
import subprocess
import sys

import jax
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import experiment
from darkjax.errors import UserError

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


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder):
    """A finished run of both stages: its config, folder and results."""
    folder = tmp_path_factory.mktemp("whole")
    c = tiny_run.config(tiny_folder)
    c.mesh = (8, 1)
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


def test_a_finished_stage_with_other_settings_is_refused(whole):
    c, folder, _ = whole
    other = c.copy_and_resolve_references()
    other.teacher.optim.lr = 0.5
    with pytest.raises(UserError, match=r"other settings \(teacher.optim\).*another --workdir"):
        experiment.run(other, str(folder))


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
    assert len(experiment.open_records(c, str(tmp_path))) == 42
    assert list(copy.glob("*.idx.npy"))


def test_errors_of_the_command_line_are_one_line(tmp_path):
    config = "--config=configs/lift_arid.py:demo"
    work = f"--workdir={tmp_path}"
    assert "no --config" in one_line(program())
    assert "convert" in one_line(program("--config=configs/lift_arid.py", work))
    line = one_line(program(config, work, "--config.teacher.optim.lrr=1"))
    assert 'Did you mean "lr" instead of "lrr"' in line
    assert "'dmeo' is not one of" in one_line(program("--config=configs/lift_arid.py:dmeo", work))
    missing = one_line(program("--config=configs/lift_ard.py", work))
    assert "lift_ard.py" in missing
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
