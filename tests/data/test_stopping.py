"""A conversion that is stopped, in whatever way: no process is left, and the same command goes on.

Real processes. Workers hold the pipes that their parent prints to, so that reading to the end of
these waits for all of them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import tiny_run

from darkjax.data import convert as cli
from darkjax.data import stopping

FLAGS = [
    "--dataset=synthetic", "--clips_per_class=train:4", "--groups=train:4",
    "--classes=Walk,Sit,Run,Jump", "--frames=12", "--height=48", "--width=64", "--shards=4",
]  # fmt: skip
# A signal is raised wherever the program is, also inside `open`, before there is anybody to close
# the file: Python closes it, and under -W error says so.
WARNINGS = ["-W", "error", "-W", "ignore::ResourceWarning"]
COMMAND = [sys.executable, *WARNINGS, "-m", "darkjax.data.convert", *FLAGS]


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def reports(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*-of-00004.json")}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    assert cli.main([*FLAGS, f"--out={folder}", "--workers=0"]) == 0
    return files(folder)


def stopped(out, workers, sign, whole_group=False, command=COMMAND):
    """Begin the conversion, stop it after its first shard; (exit status, stderr, reports then)."""
    process = subprocess.Popen(
        [*command, f"--out={out}", f"--workers={workers}"], stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while not (out.is_dir() and reports(out) and list(out.glob("*.part-*"))):
            assert process.poll() in (None, 0), process.stderr.read()
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):  # it came to its end
            (os.killpg if whole_group else os.kill)(process.pid, sign)
        _, said = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    said = [line for line in said.splitlines() if " clips/s" not in line]
    return process.returncode, said, reports(out)


@pytest.mark.parametrize(
    ("workers", "sign", "whole_group"),
    [
        (0, signal.SIGTERM, False),
        (2, signal.SIGINT, True),  # Ctrl-C goes to every process on the terminal
        pytest.param(2, signal.SIGTERM, False, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGKILL, False, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_left_and_the_same_command_goes_on(
    reference, tmp_path, workers, sign, whole_group
):
    for attempt in range(5):  # a busy machine may notice the first shard when the last is written
        out = tmp_path / f"out{attempt}"
        status, said, before = stopped(out, workers, sign, whole_group)
        if len(before) <= 2:
            break
    assert 1 <= len(before) <= 2, "it went on, five times"
    assert not (out / "card.json").exists()
    for name, content in files(out).items():  # what has its own name is whole
        assert ".part-" in name or content == reference[name], name
    if sign == signal.SIGKILL:
        assert status == -sign
    else:
        name = signal.Signals(sign).name
        assert status == 128 + sign
        assert said == [f"stopped by {name}: the same command goes on; finished shards are kept"]
        assert not list(out.glob("*.part-*"))
    assert cli.main([*FLAGS, f"--out={out}", "--workers=0"]) == 0
    assert files(out) == reference
    assert before.items() <= reports(out).items()  # these were not written again


def test_a_worker_that_is_killed_ends_the_others(tmp_path, reference):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, f"--out={out}", "--workers=2"], stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while not (parts := list(out.glob("*.tfrecord.part-*")) if out.is_dir() else []):
            time.sleep(0.01)
        os.kill(int(parts[0].name.rpartition("-")[2]), signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    said = [line for line in said.splitlines() if " clips/s" not in line]
    assert process.returncode == 2 and len(said) == 1
    assert said[0].startswith("error: a worker process died, perhaps for lack of memory")


def test_workers_of_a_script_without_a_guard_are_told_of(tmp_path):
    """Each of them runs the script again, which starts workers again."""
    flags = [*FLAGS, f"--out={tmp_path / 'out'}", "--workers=2"]
    script = tmp_path / "mine.py"
    script.write_text(f"from darkjax.data import convert\n\nconvert.main({flags})\n")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tiny_run.ROOT,
        env={**os.environ, "PYTHONPATH": str(tiny_run.ROOT)},
    )  # fmt: skip
    assert 'below `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


def test_a_signal_while_processes_are_started_waits():
    """Taken by whichever thread, it is raised at the end of the block, and once."""
    told = []
    with pytest.raises(stopping.Stopped) as stop, stopping.raised():
        with stopping.delayed():
            signal.raise_signal(signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping.SIGNALS)  # as another thread's
            told.append("begun wholly")
        told.append("not reached")
    assert (stop.value.name, told) == ("SIGTERM", ["begun wholly"])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(stopping.SIGNALS)


def test_a_signal_that_is_dealt_with_already_is_left_alone():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping.raised():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
