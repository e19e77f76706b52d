"""Real processes: two that train together as on a pod, and one that is killed while it writes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny_run

from darkjax import checkpoint, sharding, train
from darkjax import config as configs

HERE = os.path.dirname(__file__)


def launch(tiny_folder, workdir, **options):
    o = {
        "devices": 1,
        "processes": 1,
        "process": 0,
        "port": 0,
        "records": str(tiny_folder),
        "workdir": str(workdir),
        "stage": "teacher",
        "steps": 3,
        "save_every": 0,
        "kill": False,
        "cache": jax.config.jax_compilation_cache_dir,
    }
    # Output goes to a file: a pipe that nobody reads would stop the other process.
    log = open(f"{workdir}-{options.get('process', 0)}.log", "w")  # noqa: SIM115
    return log, subprocess.Popen(
        [sys.executable, os.path.join(HERE, "one_process.py"), json.dumps({**o, **options})],
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=HERE,
        # XLA's own convolution: the smallest program, and one that the cache keeps.
        env=dict(os.environ),
    )


def finish(log, process):
    try:
        code = process.wait(timeout=240)
    finally:
        process.kill()  # one that waits for ever
        log.close()
    with open(log.name) as f:
        return code, f.read()


def losses(text):
    return json.loads(re.search(r"^LOSSES (.*)$", text, re.M)[1])


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def launch_two(tiny_folder, workdir, **options):
    tiny_run.records(tiny_run.config(tiny_folder))  # rendered once, before both need it
    options = {"processes": 2, "port": free_port(), **options}
    return [launch(tiny_folder, workdir, process=p, **options) for p in range(2)]


def wait_for(text, log, process):
    """Until the process has printed `text`."""
    while process.poll() is None:
        with open(log.name) as f:
            if text in f.read():
                return
        time.sleep(0.02)
    raise AssertionError(finish(log, process))


# The second's loss compares every clip with those of the other process.
@pytest.mark.parametrize("stage", ["teacher", pytest.param("pretrain", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(stage, tiny_folder, tmp_path):
    pair = launch_two(tiny_folder, tmp_path / "pair", devices=2, stage=stage)
    ends = [finish(*p) for p in pair]
    for code, text in ends:
        assert code == 0, text[-3000:]

    c = (tiny_run.contrast if stage == "pretrain" else tiny_run.config)(tiny_folder)
    c[stage].steps = 3
    c = configs.resolve(c)
    alone = []
    train.run(
        c,
        stage,
        tiny_run.records(c),
        workdir=tmp_path / "alone",
        mesh=sharding.make_mesh((1, 1), jax.devices()[:1]),
        on_step=lambda step, numbers: alone.append(numbers["loss"]),
    )
    for _, text in ends:
        np.testing.assert_allclose(losses(text), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("number", "to"),
    [
        (signal.SIGTERM, (1,)),
        pytest.param(signal.SIGINT, (0,), marks=pytest.mark.slow),
        # Nothing to agree on that the first does not need.
        pytest.param(signal.SIGTERM, (0, 1), marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_two_processes_at_one_step_with_a_checkpoint(
    tiny_folder, tmp_path, number, to
):
    pair = launch_two(tiny_folder, tmp_path / "pair", steps=100_000, save_every=100_000)
    wait_for("STEP 2", *pair[0])
    for p in to:
        pair[p][1].send_signal(number)
    if number == signal.SIGTERM:  # once more, while the checkpoint is written
        while not any(checkpoints_of(tmp_path).glob("*")):
            time.sleep(0.001)
        for _, process in pair:
            process.send_signal(number)
    ends = [finish(*p) for p in pair]
    found = [re.search(r"^ENDED at (\d+), signal (\d+)$", text, re.M) for _, text in ends]
    assert all(code == 0 for code, _ in ends) and all(found), ends
    steps = {int(m[1]) for m in found}
    assert len(steps) == 1 and steps.pop() == checkpoint.read_meta(checkpoints_of(tmp_path))["step"]
    assert int(found[to[0]][2]) == number


def checkpoints_of(tmp_path):
    return tmp_path / "pair" / "checkpoints"


def test_killed_while_writing_a_checkpoint_resumes_from_the_last_whole_one(tiny_folder, tmp_path):
    tiny_run.records(tiny_run.config(tiny_folder))
    code, text = finish(*launch(tiny_folder, tmp_path / "run", steps=400, save_every=1, kill=True))
    assert code == -signal.SIGKILL, text[-3000:]
    there = re.search(r"^KILLED with (.*)$", text, re.M)[1].split()
    assert any("orbax-checkpoint-tmp" in name for name in there)
    whole = sorted(
        int(p.name) for p in (tmp_path / "run/checkpoints").iterdir() if p.name.isdigit()
    )

    c = tiny_run.config(tiny_folder)
    c.teacher.steps, c.teacher.save_every = 400, 1
    c = configs.resolve(c)
    seen = []
    outcome = train.run(
        c,
        "teacher",
        tiny_run.records(c),
        workdir=tmp_path / "run",
        mesh=sharding.make_mesh((1, 1), jax.devices()[:1]),
        on_step=lambda step, numbers: seen.append(step),
        max_steps=whole[-1] + 2,
    )
    assert seen == [whole[-1] + 1, whole[-1] + 2]
    assert int(outcome.state.step) == whole[-1] + 2


def program(tiny_folder, tmp_path, *flags, under=(), log="log", **options):
    """`python -m darkjax.main` on the tiny experiment, its output in a file."""
    tiny_run.records(tiny_run.config(tiny_folder))
    config = f"--config=tests/tiny_config.py:{tiny_folder}"
    command = [sys.executable, "-m", "darkjax.main", config, f"--workdir={tmp_path / 'run'}"]
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    env |= {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    log = open(tmp_path / log, "w")  # noqa: SIM115 - closed by finish
    return log, subprocess.Popen(
        [*under, *command, *flags],
        cwd=tiny_run.ROOT,
        env=env,
        **{"stdout": log, "stderr": subprocess.STDOUT, **options},
    )


def test_a_program_that_is_stopped_says_so_and_exits_as_clusters_expect(tiny_folder, tmp_path):
    flags = ("--config.teacher.steps=100000", "--config.teacher.save_every=100000")
    steps = []
    for number in (signal.SIGINT, signal.SIGTERM):
        log, process = program(tiny_folder, tmp_path, *flags)
        wait_for("/100000", log, process)
        process.send_signal(number)
        code, text = finish(log, process)
        assert code == 128 + number, text
        assert "Traceback" not in text and "the same command goes on from there" in text
        steps.append(int(re.search(r"stopped at step (\d+) of 100000", text)[1]))
    assert f"resumed from the checkpoint of step {steps[0]}" in text
    assert steps[1] > steps[0]
    assert checkpoint.read_meta(tmp_path / "run/teacher/checkpoints")["step"] == steps[1]


def two_programs(tiny_folder, tmp_path, *flags):
    """What `program` printed and ended with on each of two processes."""
    port = free_port()
    pair = [
        program(
            tiny_folder,
            tmp_path,
            f"--coordinator_address=localhost:{port}",
            "--num_processes=2",
            f"--process_id={i}",
            "--config.teacher.steps=2",
            *flags,
            log=f"log-{i}",
        )
        for i in range(2)
    ]
    return [finish(*p) for p in pair]


def test_two_processes_end_with_the_report_that_one_of_them_writes(tiny_folder, tmp_path):
    (code, text), (other, silent) = two_programs(tiny_folder, tmp_path)
    assert (code, other) == (0, 0), text + silent
    report = tmp_path / "run/report.html"
    assert f"report: {report}" in text and "report: " not in silent
    assert report.stat().st_size
    # What one of them alone finds out ends both, with the same line: whoever reads the weights
    # meets damage, whoever would render finds other clips.
    file = next(p for p in (tmp_path / "run/teacher/checkpoints/2/state").rglob("*") if p.is_file())
    file.write_bytes(file.read_bytes() + b"x")
    shutil.copytree(tiny_folder, tmp_path / "run/records")
    for flags, found in (
        (["--mode=report"], "no checkpoint in"),
        (["--config.data.dir=", "--config.data.synthetic.seed=1"], "data.synthetic: delete"),
    ):
        for code, text in two_programs(tiny_folder, tmp_path, *flags):
            (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
            assert code == 2 and found in line and "Traceback" not in text


def test_a_file_that_cannot_be_written_is_one_line(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")  # nor is half a program kept
    # As near to a full disk as a program comes without being root: files of 16 blocks.
    log, process = program(
        tiny_folder,
        tmp_path,
        "--config.teacher.save_every=1",
        under=["sh", "-c", 'ulimit -f 16; exec "$@"', "sh"],
        stdout=subprocess.PIPE,  # a log in a file would be cut off too
    )
    text = process.communicate(timeout=240)[0].decode()
    log.close()
    assert process.returncode == 2, text
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in text and len(errors) == 1
    assert "writing in " in errors[0] and "File too large" in errors[0]
