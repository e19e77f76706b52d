"""Runs that are killed at random moments and started again, against one that is left alone.

    python benchmarks/kills.py [--kills=100] [--seed=0] [--workdir=DIR]

Small trainings (LIFT-Net's teacher at the width of the tests, 24 steps, a checkpoint every 2) are
hit by SIGTERM, SIGINT (Ctrl-C) or SIGKILL at a random moment, one kill in three inside a save, and
started again until they end; runs of one process and of two (where the signal goes to one or both)
take turns. Printed: kills by signal and processes, and how many bits of the final parameters
differ from those of the run that nobody touched.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

from darkjax import checkpoint, optim, process

TESTS = pathlib.Path(__file__).resolve().parents[1] / "tests"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


def main() -> None:
    """Kill, count, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", help="by default a temporary folder")
    args = parser.parse_args()
    process.quiet()
    base = pathlib.Path(args.workdir or tempfile.mkdtemp())
    base.mkdir(parents=True, exist_ok=True)
    draw = random.Random(args.seed)
    untouched = {}
    for processes in (1, 2):
        folder = base / f"untouched-{processes}"
        ended = attempt(base, folder, processes, None, draw)
        assert ended, f"the run of {processes} processes did not end, see {folder}-0.log"
        untouched[processes] = parameters(folder)
    counts: collections.Counter[tuple[int, str, str]] = collections.Counter()
    wrong, runs, number = 0, 0, 0
    while sum(counts.values()) < args.kills:
        number += 1
        processes = 1 + number % 2
        folder = base / f"run{number}"
        for _ in range(200):  # a run that never ends is a finding too
            done = sum(counts.values()) >= args.kills
            shot = None if done else (draw.choice(SIGNALS), draw.random() < 1 / 3)
            if attempt(base, folder, processes, shot, draw, counts):
                break
        else:
            raise SystemExit(f"{folder} did not end after 200 starts")
        runs += 1
        wrong += differing(parameters(folder), untouched[processes])
        print(f"run {runs}, {sum(counts.values())} kills, {wrong} differing bits", flush=True)
    print(f"\n{'processes':>9} {'signal':>8} {'when':>14} {'kills':>6}")
    for (processes, name, when), count in sorted(counts.items()):
        print(f"{processes:>9} {name:>8} {when:>14} {count:>6}")
    print(f"{sum(counts.values())} kills, {runs} runs: {wrong} differing bits")


def attempt(
    base: pathlib.Path,
    folder: pathlib.Path,
    processes: int,
    shot: tuple[signal.Signals, bool] | None,
    draw: random.Random,
    counts: collections.Counter[tuple[int, str, str]] | None = None,
) -> bool:
    """Start the run and perhaps kill it; whether it came to its end."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    options = {
        "devices": 1,
        "processes": processes,
        "port": port,
        "records": str(base / "records"),
        "workdir": str(folder),
        "stage": "teacher",
        "steps": 24,
        "save_every": 2,
        "kill": False,
        "cache": str(base / "cache"),
    }
    # The form of convolutions that compiles fastest, and compiled programs from the cache.
    env = {**os.environ, "DARKJAX_CONV": "native"}
    running = []
    for p in range(processes):
        log = open(f"{folder}-{p}.log", "w")  # noqa: SIM115 - closed below
        command = [
            sys.executable,
            str(TESTS / "one_process.py"),
            json.dumps({**options, "process": p}),
        ]
        running.append((log, subprocess.Popen(command, stdout=log, stderr=log, cwd=TESTS, env=env)))
    if shot is not None and counts is not None:
        number, saving = shot
        hit = [running[i][1] for i in draw.choice(((0,), (processes - 1,), range(processes)))]
        if ready(running, folder, saving, draw):
            for process in hit:
                process.send_signal(number)
            counts[processes, number.name, "inside a save" if saving else "any moment"] += 1
            if number == signal.SIGKILL:  # what a cluster does with the rest of a broken job
                for _, process in running:
                    process.kill()
    codes = [process.wait(timeout=1800) for _, process in running]
    for log, _ in running:
        log.close()
    text = pathlib.Path(f"{folder}-0.log").read_text()
    return not any(codes) and "ENDED at 24" in text


def ready(running: list, folder: pathlib.Path, saving: bool, draw: random.Random) -> bool:
    """Wait for the moment: a random one after the first step, or a save; False if it has ended."""
    log, process = running[0]
    while "STEP" not in pathlib.Path(log.name).read_text():
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    if not saving:
        time.sleep(draw.random() * 1.5)
        return process.poll() is None
    while process.poll() is None:
        names = os.listdir(folder / "checkpoints") if (folder / "checkpoints").is_dir() else []
        if any("tmp" in name for name in names):
            time.sleep(draw.random() * 0.03)
            return process.poll() is None
        time.sleep(0.0005)
    return False


def parameters(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The last checkpoint's arrays."""
    found = checkpoint.load_variables(folder / "checkpoints", "latest")
    return {
        f"{part}/{k}": v for part, tree in found.items() for k, v in optim.flatten(tree).items()
    }


def differing(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> int:
    """How many bits differ."""
    assert one.keys() == other.keys()
    return sum(
        int(np.bitwise_count(one[k].view(np.uint32) ^ other[k].view(np.uint32)).sum()) for k in one
    )


if __name__ == "__main__":
    main()
