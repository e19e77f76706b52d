"""The sweep: what is run and when, what goes on, what failed, several at a time, tasks, search."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
import swept
import tiny_run

from darkjax import experiment, lock, main
from darkjax.errors import Stopped, UserError
from darkjax.sweeps import plan, running, search
from darkjax.tools import compare, sweep

CONFIG = f"{tiny_run.ROOT}/tests/sweep_config.py"
RATES = "--grid=optim.lr=0.01,0.02"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """What the program sets in it is of these tests alone."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@pytest.fixture
def run(tmp_path):
    """The program with its config and workdir; returns its exit status."""

    def run(*flags):
        return sweep.main([f"--config={CONFIG}", f"--workdir={tmp_path / 's'}", *flags])

    return run


def right(name):
    rate, seed = swept.rate(name)
    return round(600 * rate) + seed


def test_what_is_finished_is_not_run_again_and_a_larger_grid_finds_it(run, tmp_path, monkeypatch):
    fake = swept.replaced(monkeypatch, right)
    assert run(RATES, "--seeds=0,1") == 0
    names = [f"sweep_config,only.optim.lr={r},seed={s}" for r in ("0.01", "0.02") for s in (0, 1)]
    assert fake.seen == names and fake.most == 1
    text = (tmp_path / "s" / "table.md").read_text()
    assert "| 0.01 | 0.5417 ± 0.0589 | 0.5417 ± 0.0589 | 2 | – |" in text
    assert "| 0.02 | 1.0000 ± 0.0000 | 1.0000 ± 0.0000 | 2 | +0.4583 [" in text
    fake.seen.clear()
    assert run("--grid=only.optim.lr=2e-2,0.01,0.005", "--seeds=1,0") == 0
    assert fake.seen == [f"sweep_config,only.optim.lr=0.005,seed={s}" for s in (1, 0)]


def test_a_changed_setting_is_refused_by_name_before_anything_is_run(run, monkeypatch):
    fake = swept.replaced(monkeypatch, right)
    assert run("--grid=optim.lr=0.01") == 0
    fake.seen.clear()
    with pytest.raises(UserError, match=r"lr=0.01 was trained with other settings: only.steps"):
        run("--grid=optim.lr=0.005,0.01", "--config.only.steps=3")
    assert not fake.seen


def test_a_failed_run_is_a_row_with_its_error_and_is_tried_again(
    run, tmp_path, monkeypatch, capsys
):
    bad = {"0.02": "batch too large"}
    fake = swept.replaced(
        monkeypatch, lambda name: next((e for k, e in bad.items() if k in name), 7)
    )
    assert run("--grid=optim.lr=0.02,0.01") == 1
    assert len(fake.seen) == 2 and "failed: batch too large" in capsys.readouterr().out
    text = (tmp_path / "s" / "table.md").read_text()
    assert "| 0.02 | – | – | 0 of 1 |" in text and "lr=0.02 | batch too large |" in text
    assert run("--table", "--grid=optim.lr=0.02,0.01") == 1  # it is remembered
    assert "batch too large" in (tmp_path / "s" / "table.md").read_text()
    bad["0.02"] = -9
    assert run("--grid=optim.lr=0.02,0.01") == 1
    assert "killed by signal 9, as when memory runs out" in capsys.readouterr().out
    bad.clear()
    fake.seen.clear()
    assert run("--grid=optim.lr=0.02,0.01") == 0 and len(fake.seen) == 1
    assert "batch" not in (tmp_path / "s" / "table.md").read_text()


def test_a_run_that_ends_well_without_results_has_failed(run, monkeypatch):
    swept.replaced(monkeypatch, right)
    monkeypatch.setattr(running.experiment, "complete", lambda config, folder: {})
    assert run() == 1


def test_ctrl_c_stops_what_runs_and_the_same_command_goes_on(run, tmp_path, monkeypatch, capsys):
    fake = swept.replaced(monkeypatch, right, slow=2)
    plain = swept.Process.poll

    def poll(process):
        if len(fake.seen) == 2 and process.polls == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return plain(process)

    monkeypatch.setattr(swept.Process, "poll", poll)
    with pytest.raises(Stopped, match="stopped with 2 runs to do") as error:
        run("--grid=optim.lr=0.01,0.02,0.005")
    assert error.value.signal == signal.SIGINT
    assert fake.signals == [(fake.seen[1], signal.SIGINT)] and len(fake.seen) == 2
    assert "Not run yet: 2." in (tmp_path / "s" / "table.md").read_text()
    assert not (tmp_path / "s" / "logs" / f"{fake.seen[1]}.error").exists()
    monkeypatch.setattr(swept.Process, "poll", plain)
    fake.seen.clear()
    assert run("--grid=optim.lr=0.01,0.02,0.005") == 0 and len(fake.seen) == 2


def test_several_at_a_time_each_with_its_gpu(run, monkeypatch):
    fake = swept.replaced(monkeypatch, right, slow=3)
    assert run("--seeds=0,1,2,3,4", "--jobs=2", "--gpus=4,7") == 0
    assert (
        fake.most == 2
        and len(fake.seen) == 5
        and {env["CUDA_VISIBLE_DEVICES"] for env in fake.env} == {"4", "7"}
    )
    with pytest.raises(UserError, match="--jobs=0: expected 1 or more"):
        run("--jobs=0")


@pytest.mark.parametrize("given", [None, "true"])
def test_the_accelerators_memory_is_the_runs(run, monkeypatch, given):
    """What keeps this process from taking it is not what they are told."""
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.setattr(running, "_ours", set())
    monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv(name, given)
    fake = swept.replaced(monkeypatch, right)
    monkeypatch.setattr(running.importlib.util, "find_spec", lambda module: None)
    assert run() == 0
    assert os.environ[name] == (given or "false") and fake.env[0].get(name) == given
    monkeypatch.delenv(name)


def test_one_sweep_at_a_time_has_a_workdir(run, tmp_path, monkeypatch):
    fake = swept.replaced(monkeypatch, right)
    with lock.held(tmp_path / "s"), pytest.raises(UserError, match="in use by another run"):
        run()
    assert not fake.seen


def test_array_tasks_and_their_table(run, tmp_path, monkeypatch, capsys):
    fake = swept.replaced(monkeypatch, right)
    assert run(RATES, "--list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[1].startswith("1  -m darkjax.main --config=") and "lr=0.02" in listed[1]
    assert listed[2] == "2 runs: sbatch --array=0-1" and not fake.seen
    assert run(RATES, "--table") == 1
    assert "Not run yet: 2." in (tmp_path / "s" / "table.md").read_text()
    assert run(RATES, "--task=1") == 0 and "0.02" in fake.seen[0]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert run(RATES) == 0 and "0.01" in fake.seen[1]
    assert run(RATES, "--table") == 0 and len(fake.seen) == 2  # nothing is run by it
    for number in ("2", "x"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
        with pytest.raises(UserError, match=f"--task={number}: expected 0 to 1: the sweep has 2"):
            run(RATES)


def test_in_a_notebook_it_is_a_function(tmp_path, monkeypatch):
    swept.replaced(monkeypatch, right)
    table = sweep.sweep(CONFIG, tmp_path / "s", {"optim.lr": [0.01, 0.02]}, seeds=[0, 1])
    assert [row.spread("top-1").n for row in table.rows] == [2, 2]
    assert (tmp_path / "s" / "table.tex").exists()
    with pytest.raises(UserError, match="expected seeds, folds, splits; found seed"):
        sweep.sweep(CONFIG, tmp_path / "s", seed=[0])


def test_array_tasks_wait_for_the_one_that_renders(tmp_path, monkeypatch):
    """Their lock is on the records' folder; who has waited finds the clips there."""
    (cell,) = plan.cells([CONFIG])
    waited, opened = [], []
    other = contextlib.ExitStack()
    other.enter_context(lock.held(tmp_path / "records"))
    monkeypatch.setattr(running.time, "sleep", lambda s: (waited.append(s), other.close()))
    monkeypatch.setattr(
        running.run_data, "open_stages", lambda c, w: opened.append(c.data.dir) or {}
    )
    running.draw(cell, tmp_path)
    assert len(waited) == 1 and opened == [plan.records(cell.load(), tmp_path)[0][1]]


# ---------------------------------------------------------------- real runs


class Inside:
    """`darkjax.main` in this process instead of one of its own."""

    def __init__(self, command, log, env):
        self.flags, self.log = command[3:], log

    def poll(self):
        with contextlib.redirect_stdout(self.log), contextlib.redirect_stderr(self.log):
            try:
                return main.main(self.flags) or 0
            except UserError as e:
                print(f"error: {e}", file=sys.stderr)
                return 2
            finally:
                self.log.flush()


def test_real_runs_fill_the_table_and_are_compared(run, tmp_path, monkeypatch, one_device, capsys):
    monkeypatch.setattr(running, "started", Inside)
    monkeypatch.setattr(running, "POLL", 0)
    assert run("--grid=batch_size=8,4000", "--config.only.steps=1") == 1
    out = capsys.readouterr().out
    assert out.count("rendering clips") == 1 and "[2/2]" in out
    assert "only.batch_size=8: top-1 " in out
    text = (tmp_path / "s" / "table.md").read_text()
    assert "only.batch_size=4000 is more than the 12 clips" in text
    (folder,) = (tmp_path / "s" / "runs").glob("*batch_size=8")
    trained = (folder / "only" / "done.json").stat().st_mtime_ns
    assert (folder / "report.html").exists()
    monkeypatch.setattr(experiment.train, "run", None)
    assert run("--grid=batch_size=8", "--config.only.steps=1") == 0
    assert "1 of 1 runs were finished earlier" in capsys.readouterr().out
    assert trained == (folder / "only" / "done.json").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"batch_size=8.*other settings: only.steps \(1, now 2\)"):
        run("--grid=batch_size=8", "--config.only.steps=2")
    page = tmp_path / "c.html"
    assert compare.main([str(folder), str(folder / "only"), f"--output={page}"]) == 0
    assert "6 clips in common" in page.read_text() and "Everything matches" in page.read_text()


@pytest.mark.slow  # processes of its own, which import and compile
@pytest.mark.parametrize("kill", [False, True])
def test_real_processes_are_stopped_by_ctrl_c_and_go_on(tmp_path, kill):
    flags = [f"--config={CONFIG}", f"--workdir={tmp_path / 's'}", "--seeds=0", "--config.mesh=1,1"]
    flags += ["--config.only.steps=600", "--config.only.save_every=20"]
    log = tmp_path / "log"
    command = [sys.executable, "-m", "darkjax.tools.sweep", *flags]

    def begun():
        with open(log, "w") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, cwd=tiny_run.ROOT)

    process = begun()
    checkpoints = tmp_path / "s" / "runs" / "sweep_config,seed=0" / "only" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("[0-9]*0")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(signal.SIGINT)
    if kill:
        process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, log.read_text()
    process = begun()
    assert process.wait(400) == 0, log.read_text()
    told = (tmp_path / "s" / "logs" / "sweep_config,seed=0.log").read_text()
    assert "resumed from the checkpoint of step" in told, told


# ---------------------------------------------------------------- search


def rows(folder):
    return [
        line.split(" | ")[0].removeprefix("| ")
        for line in (folder / "table.md").read_text().splitlines()
        if line.startswith("| 0.")
    ]


def test_a_search_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    optuna = pytest.importorskip("optuna")
    best = lambda name: round(12 - 400 * abs(swept.rate(name)[0] - 0.01))  # noqa: E731
    fake = swept.replaced(monkeypatch, best)

    def search(folder, trials, *flags):
        own = [f"--config={CONFIG}", f"--workdir={tmp_path / folder}", f"--trials={trials}"]
        return sweep.main([*own, "--search=optim.lr=log:1e-3,3e-2", "--seeds=0,1", *flags])

    assert search("whole", 3) == 0
    text = (tmp_path / "whole" / "table.md").read_text()
    assert len(rows(tmp_path / "whole")) == 3 and "judge it on clips that chose nothing" in text
    assert len(fake.seen) == 6 and "trial 2: top-1 " in capsys.readouterr().out
    assert search("parts", 1) == 0
    plain = swept.Process.poll

    def poll(process):
        if len(fake.seen) == 10:  # the second run of the second trial
            os.kill(os.getpid(), signal.SIGINT)
            process.send_signal(signal.SIGINT)
        return plain(process)

    monkeypatch.setattr(swept.Process, "poll", poll)
    with pytest.raises(Stopped):
        search("parts", 3)
    monkeypatch.setattr(swept.Process, "poll", plain)
    fake.seen.clear()
    assert search("parts", 3) == 0 and len(fake.seen) == 3
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    study = optuna.load_study(
        study_name="sweep", storage=f"sqlite:///{tmp_path / 'parts' / 'study.db'}"
    )
    values = [t.value for t in study.trials]
    assert len(values) == 3 and None not in values and study.best_value == max(values)
    for flag, match in (
        ("--metric=nll", "was begun with --metric=top-1, now nll"),
        ("--config.only.steps=3", "begun with --config.only.steps=none, now 3"),
    ):
        with pytest.raises(UserError, match=match):
            search("parts", 6, flag)


def test_a_failed_trial_is_told_and_others_go_on(run, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    fake = swept.replaced(monkeypatch, lambda name: "broke" if len(fake.seen) == 2 else 7)
    flags = ("--search=batch_size=int:2,9", "--search=optim.lr=float:0.001,0.02", "--trials=3")
    assert run(*flags) == 1
    assert "broke" in (tmp_path / "s" / "table.md").read_text() and len(fake.seen) == 3
    assert run(*flags) == 1 and len(fake.seen) == 3  # it is not tried again


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--search=optim.lr=log:0,1"], "expected FIELD=log:LOW,HIGH"),
        (["--search=optim.lr=1,2"], "expected FIELD=log:LOW,HIGH"),
        (["--search=batch_size=int:2,2.5"], "expected FIELD=log:LOW,HIGH"),
        (["--search=optim.rl=log:1,2"], "only.optim.rl"),
        (["--search=optim.lr=log:1,2", "--grid=seed=1,2"], "leave out --grid"),
        (["--search=optim.lr=log:1,2", "--trials=0"], "and --trials=1 or more"),
        (["--search=optim.lr=log:1e-3,1e-2", "--metric=top"], "--metric=top: the runs have top-1"),
    ],
)
def test_what_a_search_refuses(run, monkeypatch, flags, match):
    pytest.importorskip("optuna")
    swept.replaced(monkeypatch, right)
    with pytest.raises(UserError, match=match):
        run("--trials=2", *flags)


def test_without_optuna_it_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'darkjax\[sweep\]'"):
        run("--search=optim.lr=log:1,2", "--trials=2")


def test_a_study_that_is_none_is_one_line(run, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / search.FILE).write_text("not a database, " * 100)
    with pytest.raises(UserError, match=r"study\.db cannot be opened") as error:
        run("--search=optim.lr=log:1,2", "--trials=2")
    assert "\n" not in str(error.value)
