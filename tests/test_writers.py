"""The record of a run: what is written can be read back, also after a crash and a resume."""

import builtins
import contextlib
import io
import json
import math
import struct
import sys
import time

import google_crc32c
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax import loggers
from darkjax.errors import UserError
from darkjax.writers import Progress, Writer, duration, history


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def writer(folder, *, process_index=0, tensorboard=False, stream=None, **kw):
    stream = stream if stream is not None else io.StringIO()
    kw = {"log_to": ("tensorboard",) * tensorboard} | kw
    return Writer(folder, process_index=process_index, stream=stream, **kw)


def steps(folder):
    return [row["step"] for row in history(folder)]


# ---------------------------------------------------------------- metrics.jsonl


def test_rows_are_read_back(tmp_path):
    with writer(tmp_path / "a" / "run") as w:
        w.write(1, {"loss": jnp.float32(0.5), "n": np.int64(3)})
        w.write(2, {"loss": 0.25})
    first, second = history(tmp_path / "a" / "run")
    assert (first["step"], first["loss"], first["n"]) == (1, 0.5, 3.0)
    assert second["loss"] == 0.25 and second["time"] >= first["time"] > 1.6e9


def test_a_row_is_on_disk_before_close(tmp_path):
    w = writer(tmp_path)
    w.write(1, {"loss": 1.0})
    assert steps(tmp_path) == [1]
    w.close()


def test_non_finite_numbers_are_valid_json_and_come_back(tmp_path):
    with writer(tmp_path) as w:
        w.write(1, {"a": math.nan, "b": math.inf, "c": -math.inf})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    row = history(tmp_path)[0]
    assert math.isnan(row["a"]) and row["b"] == math.inf and row["c"] == -math.inf


def test_without_a_file_there_is_no_history(tmp_path):
    assert history(tmp_path) == []


def test_a_resumed_run_drops_what_it_will_write_again(tmp_path):
    with writer(tmp_path) as w:
        for step in (10, 20, 30):
            w.write(step, {"loss": step})
    with writer(tmp_path, resume_step=20) as w:
        assert steps(tmp_path) == [10]
        w.write(20, {"loss": -1})
    assert [row["loss"] for row in history(tmp_path)] == [10, -1]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]  # no temporary file


def test_without_resume_step_a_second_run_appends(tmp_path):
    for step in (1, 2):
        with writer(tmp_path) as w:
            w.write(step, {})
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("torn", ['{"step": 2, "lo', '{"step": 2}'])
def test_a_torn_last_line_is_ignored_and_not_appended_to(tmp_path, torn):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + torn)
    assert steps(tmp_path) == [1]
    with writer(tmp_path) as w:
        w.write(3, {})
    assert steps(tmp_path) == [1, 3]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"loss": 1}'])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + line + '\n{"step": 2}\n')
    for use in (lambda: history(tmp_path), lambda: writer(tmp_path)):
        with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: expected a JSON row"):
            use()


def test_the_names_of_the_row_itself_are_refused(tmp_path):
    with writer(tmp_path) as w, pytest.raises(UserError, match="step and time"):
        w.write(1, {"time": 1.0})


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="workdir: expected a folder"):
        writer(tmp_path / "file")


def test_other_processes_write_nothing(tmp_path, capsys):
    with Writer(tmp_path / "run", process_index=1) as w:
        w.write(1, {"loss": 1.0})
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("process_index", [0, 1])  # all processes must stop alike
def test_a_bucket_is_refused_on_every_process(process_index):
    with pytest.raises(UserError, match=r"mounted folder, found gs://bucket/run; mount"):
        writer("gs://bucket/run", process_index=process_index)


# ---------------------------------------------------------------- printed lines


def test_the_printed_line(tmp_path):
    out = io.StringIO()
    with writer(tmp_path, stream=out) as w:
        w.write(20, {"val/top-1": 0.41234, "n": 1500})
        w.write(21, {"loss": 1.0}, echo=False)
    assert out.getvalue() == "step 20 | val/top-1 0.4123 n 1500\n"


def test_on_a_terminal_a_printed_line_replaces_the_progress_line(tmp_path):
    out = Terminal()
    with writer(tmp_path, stream=out) as w:
        w.write(1, {"loss": 1.0})
    assert out.getvalue() == "\r\x1b[Kstep 1 | loss 1\n"


# ---------------------------------------------------------------- TensorBoard


def records(path):
    """The payloads of a TFRecord file: length, its CRC, data, its CRC."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        payload = data[at + 12 : at + 12 + length]
        (crc,) = struct.unpack_from("<I", data, at + 12 + length)
        raw = google_crc32c.value(payload)
        assert crc == (((raw >> 15) | (raw << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        yield payload
        at += 16 + length


def events(folder):
    from tensorboardX.proto.event_pb2 import Event

    files = sorted((folder / "tensorboard").iterdir())
    return [Event.FromString(r) for path in files for r in records(path)]


def test_tensorboard_has_every_scalar(tmp_path):
    with writer(tmp_path, tensorboard=True) as w:
        w.write(5, {"train/loss": 1.5})
        w.write(7, {"train/loss": 1.25, "val/top-1": 0.5})
    found = [(e.step, v.tag, v.simple_value) for e in events(tmp_path) for v in e.summary.value]
    assert found == [(5, "train/loss", 1.5), (7, "train/loss", 1.25), (7, "val/top-1", 0.5)]
    assert [r["time"] for r in history(tmp_path)] == sorted(
        {e.wall_time for e in events(tmp_path) if e.summary.value}
    )


def test_tensorboard_is_told_which_steps_a_resumed_run_replaces(tmp_path):
    from tensorboardX.proto.event_pb2 import SessionLog

    with writer(tmp_path, tensorboard=True, resume_step=20) as w:
        w.write(20, {"loss": 1.0})
    starts = [e.step for e in events(tmp_path) if e.session_log.status == SessionLog.START]
    assert starts == [20]


def test_without_tensorboardx_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kw):
        if name == "tensorboardX":
            raise ImportError(name)
        return real(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", fake)
    out = io.StringIO()
    with writer(tmp_path, tensorboard=True, stream=out) as w:
        w.write(1, {"loss": 1.0}, echo=False)
    assert out.getvalue().count("\n") == 1
    assert "pip install 'darkjax[tensorboard]'" in out.getvalue()
    assert steps(tmp_path) == [1]


# ---------------------------------------------------------------- Weights & Biases, MLflow

ABOUT = loggers.About("night", "student", {"seed": 0, "data.size": (4, 4)})


def logged(folder, name, out, *, first, resume_step=None, process_index=0):
    """Two rows, from `first` on."""
    how = {"log_to": (name,), "about": ABOUT, "resume_step": resume_step}
    with writer(folder, stream=out, process_index=process_index, **how) as w:
        w.write(first, {"train/loss": 1.0 / first, "val/top-1@1x1": 0.5}, echo=False)
        w.write(first + 1, {"train/loss": math.nan}, echo=False)


def offline(name, folder, monkeypatch):
    """The package keeps all it is given in files below the folder, or is not here."""
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{folder}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to set up
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for field in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(field, raising=False)


def ids(folder):
    return json.loads((folder / "loggers.json").read_text())


def wandb_records(path):
    """What an offline run keeps: LevelDB's log, blocks of 32 KiB after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if at % 32768 > 32768 - 7:  # no room for a header: the block's end is filled up
            at += -at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def wandb_rows(folder):
    """(rows, what is said of the run) in the files of all starts."""
    seen, runs = [], []
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    for record in (record for file in files for record in wandb_records(file)):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = record.history.item
            row = {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}
            seen.append({k: v for k, v in row.items() if not k.startswith("_")})
        elif kind == "run":
            runs.append(record.run)
    return seen, runs


def test_wandb_has_every_row_and_goes_on_in_the_same_run(tmp_path, monkeypatch):
    offline("wandb", tmp_path, monkeypatch)
    import wandb

    out = io.StringIO()
    logged(tmp_path / "s", "wandb", out, first=1)
    (name,) = ids(tmp_path / "s").values()
    logged(tmp_path / "s", "wandb", out, first=2, resume_step=2)
    assert ids(tmp_path / "s") == {"wandb": name} and not out.getvalue()
    seen, runs = wandb_rows(tmp_path / "s")
    for _ in range(300):  # its own process may still be writing, on a machine that others load
        if len(seen) >= 4:
            break
        time.sleep(0.1)
        seen, runs = wandb_rows(tmp_path / "s")
    assert {run.run_id for run in runs} == {name} and runs[0].project == "darkjax"
    assert (runs[0].run_group, runs[0].display_name) == ("night", "night-student")
    assert {i.key or i.nested_key[0] for i in runs[0].config.update} >= {"seed", "data.size"}
    assert [row["step"] for row in seen] == [1, 2, 2, 3]
    assert [row["train/loss"] for row in seen][::2] == [1.0, 0.5]
    assert math.isnan(float(seen[1]["train/loss"])) and seen[0]["val/top-1@1x1"] == 0.5
    assert wandb.run is None  # it was closed


STORES = ["file", pytest.param("sqlite", marks=pytest.mark.slow)]  # whose tables take 20 s


@pytest.mark.parametrize("store", STORES)
# mlflow 3.17 asks sqlalchemy 2.1 for a loader that is to go.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_mlflow_has_every_row_and_goes_on_in_the_same_run(tmp_path, monkeypatch, store):
    offline("mlflow", tmp_path, monkeypatch)
    if store == "sqlite":
        pytest.importorskip("sqlalchemy")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        monkeypatch.chdir(tmp_path)
    from mlflow.tracking import MlflowClient

    out, client = io.StringIO(), MlflowClient()
    logged(tmp_path / "s", "mlflow", out, first=1)
    (name,) = ids(tmp_path / "s").values()
    assert client.get_run(name).info.status == "FINISHED"
    with pytest.raises(KeyError), writer(tmp_path / "s", log_to=("mlflow",), about=ABOUT):
        raise KeyError
    assert client.get_run(name).info.status == "FAILED"
    logged(tmp_path / "s", "mlflow", out, first=2, resume_step=2)
    run = client.get_run(name)
    assert run.info.run_name == "night-student" and run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "darkjax"
    assert run.data.params == {"seed": "0", "data.size": "(4, 4)"}
    found = client.get_metric_history(name, "train/loss")
    kept = [(row.step, row.value) for row in found if math.isfinite(row.value)]
    assert sorted(kept) == [(1, 1.0), (2, 0.5)] and len(found) == 4 and not out.getvalue()
    assert [r.value for r in client.get_metric_history(name, "val/top-1_1x1")] == [0.5, 0.5]
    # What it was called is asked for by that name, and the rest of the run is as it was.
    (tmp_path / "s/loggers.json").write_text(json.dumps({"mlflow": "0" * 32}))
    with pytest.raises(UserError, match=r"mlflow does not begin to go on with 0{32}, which .*json"):
        writer(tmp_path / "s", log_to=("mlflow",), about=ABOUT)
    assert steps(tmp_path / "s") == [1, 2, 3]


class Gone:
    """A logger whose server is gone after the first row."""

    def __init__(self, folder, about, before):
        self.id, self.rows = before or "new", []

    def log(self, step, numbers, now):
        if self.rows:
            raise ConnectionError("connection\nrefused")
        self.rows.append(step)

    def close(self, failed):
        raise AssertionError("it was lost before")


def test_a_server_that_goes_away_stops_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "check", lambda names: None)
    monkeypatch.setattr(loggers, "MLflow", Gone)
    out = io.StringIO()
    with writer(tmp_path, stream=out, log_to=("mlflow",)) as w:
        for step in (1, 2, 3):
            w.write(step, {"loss": 1.0}, echo=False)
    said = "mlflow takes no more (connection refused): metrics.jsonl has every number\n"
    assert out.getvalue() == said and steps(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed_is_named_and_nothing_is_begun(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    for use in (lambda: loggers.check([name]), lambda: writer(tmp_path / "s", log_to=(name,))):
        with pytest.raises(UserError, match=rf"pip install 'darkjax\[{name}\]'"):
            use()
    assert not (tmp_path / "s" / "loggers.json").exists()
    with writer(tmp_path / "t", log_to=(name,), process_index=1):
        pass  # nobody but process 0 writes
    assert not (tmp_path / "t").exists()


# ---------------------------------------------------------------- progress


def test_progress_line_by_hand():
    clock, out = Clock(), io.StringIO()
    progress = Progress(1000, 8, stream=out, clock=clock)
    clock.now = 60.0  # compilation
    progress.update(1, {"loss": 2.0})
    for step in range(2, 42):  # 40 steps in 20 s, a quarter of it waiting
        with progress.waiting():
            clock.now += 0.125
        clock.now += 0.375
        progress.update(step, {"loss": 1.0, "ce": 0.5})
    assert out.getvalue().splitlines() == [
        "step 1/1000 0% | loss 2",
        "step 21/1000 2% | loss 1 ce 0.5 | 2 steps/s | 16 clips/s | data wait 25% | eta 8m10s",
        "step 41/1000 4% | loss 1 ce 0.5 | 2 steps/s | 16 clips/s | data wait 25% | eta 8m00s",
    ]


def test_evaluation_is_in_no_rate():
    clock, out = Clock(), io.StringIO()
    progress = Progress(100, 1, stream=out, clock=clock, interval=0)
    progress.update(0, {})
    with progress.paused():
        clock.now += 1000
    clock.now += 1
    progress.update(4, {})
    assert "4 steps/s | 4 clips/s | data wait 0% | eta 24s" in out.getvalue()


def test_the_last_step_is_always_shown_and_losses_are_read_only_when_shown():
    class Watched:
        read = 0

        def __float__(self):
            Watched.read += 1
            return 1.0

    clock, out = Clock(), io.StringIO()
    progress = Progress(50, 1, stream=out, clock=clock)
    for step in range(1, 51):
        clock.now += 0.01
        progress.update(step, {"loss": Watched()})
    assert Watched.read == 2
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("step 1/50") and lines[-1].endswith("eta 0s") and len(lines) == 2


def test_on_a_terminal_the_line_is_redrawn_and_fits(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    clock, out = Clock(), Terminal()
    with Progress(10, 1, stream=out, clock=clock) as progress:
        progress.update(1, {"a long name of a loss": 1.0})
        clock.now = 0.4
        progress.update(2, {})  # not yet due
        clock.now = 0.5
        progress.update(3, {})
    first, second = out.getvalue().split("\r\x1b[K")[1:]
    assert first == "step 1/10 10% | a l"  # 19 columns
    assert second.startswith("step 3/10 30%") and second.endswith("\n")
    assert out.getvalue().count("\n") == 1


def test_other_processes_show_nothing():
    out = io.StringIO()
    with Progress(10, 1, process_index=3, stream=out) as progress:
        with progress.waiting(), contextlib.suppress(KeyError):
            raise KeyError
        progress.update(10, {"loss": 1.0})
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (42.4, "42s"),
        (59.6, "1m00s"),
        (245, "4m05s"),
        (11220, "3h07m"),
        (190800, "2d05h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
