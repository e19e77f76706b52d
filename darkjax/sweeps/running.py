"""Runs of a sweep, each `python -m darkjax.main` in a process of its own, several at a time.

A process of its own: what runs out of memory or crashes takes nobody with it, and every run is one
that can be continued by hand. They share the compiled programs on disc.
"""

from __future__ import annotations

import collections
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import jax

from darkjax import experiment, files, lock, overrides, run_data, stops
from darkjax.errors import UserError
from darkjax.sweeps import plan

RUNS, LOGS = "runs", "logs"
POLL = 0.2  # seconds


_AHEAD = "XLA_PYTHON_CLIENT_PREALLOCATE"
_ours: set[str] = set()  # variables of the environment that are this process's alone


def leave_devices() -> None:
    """Before anything else touches a device: this process reads configs and results, and what an
    accelerator has is the runs'. Which kind of device there is, configs may still ask (`own`); a
    TPU, which one process alone can open, is not opened."""
    if importlib.util.find_spec("libtpu") is not None:
        jax.config.update("jax_platforms", "cpu")
    elif _AHEAD not in os.environ:
        os.environ[_AHEAD] = "false"
        _ours.add(_AHEAD)


class Outcome(NamedTuple):
    """What became of a run: its last stage's results, or why there are none; neither yet: ""."""

    cell: plan.Cell
    folder: pathlib.Path
    results: Mapping[str, Any]
    error: str = ""


def started(command: list[str], log: IO[str], env: dict[str, str]) -> subprocess.Popen[str]:
    """A process whose output goes to `log`; Ctrl-C does not reach it but from us."""
    return subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True, text=True
    )


def outcome(cell: plan.Cell, workdir: pathlib.Path) -> Outcome:
    """What is there of a run, by its own comparison of settings (`experiment.complete`).

    Raises:
      UserError: it was trained with other settings.
    """
    folder = workdir / RUNS / cell.name
    if not folder.is_dir():
        found: Mapping[str, Any] = {}
    else:
        config = cell.load()
        overrides.apply_all(config, plan.records(config, workdir))
        found = experiment.complete(config, str(folder))
    failed = _file(cell, workdir, "error")
    error = failed.read_text(encoding="utf-8").strip() if failed.is_file() else ""
    return Outcome(cell, folder, found, "" if found else error)


def run(
    cells: Sequence[plan.Cell],
    workdir: pathlib.Path,
    jobs: int = 1,
    gpus: Sequence[str] = (),
) -> tuple[list[Outcome], int | None]:
    """Run what is not complete yet.

    Args:
      cells: which.
      workdir: of the sweep: `runs/NAME/` is a run's, `logs/NAME.log` what it printed.
      jobs: processes at a time.
      gpus: the k-th process sees the k-th of these, and so on around; () leaves it to the
        environment.

    Returns:
      (the outcome of every cell, the number of the signal that ended it early or None).

    Raises:
      UserError: a run was trained with other settings: nothing is started then.
    """
    found = {cell.name: outcome(cell, workdir) for cell in cells}
    waiting = collections.deque(c for c in cells if not found[c.name].results)
    if len(waiting) < len(cells):
        print(f"{len(cells) - len(waiting)} of {len(cells)} runs were finished earlier")
    for cell in waiting:
        draw(cell, workdir)
    clock = _Clock(len(waiting), jobs)
    running: dict[int, tuple[plan.Cell, Any, IO[str], float]] = {}
    with stops.listening(lambda step: False) as stop:
        told = False
        try:
            while running or (waiting and stop.number is None):
                while waiting and len(running) < jobs and stop.number is None:
                    slot = next(k for k in range(jobs) if k not in running)
                    cell = waiting.popleft()
                    running[slot] = (cell, *_begin(cell, workdir, gpus, slot))
                if stop.number is not None and not told:
                    told = True
                    for _, process, _, _ in running.values():
                        process.send_signal(signal.SIGINT)
                for slot, (cell, process, log, began) in list(running.items()):
                    status = process.poll()
                    if status is None:
                        continue
                    log.close()
                    del running[slot]
                    if status and stop.number is not None:
                        continue  # not failed: to be continued
                    found[cell.name] = _ended(cell, workdir, status)
                    clock.finished(found[cell.name], time.monotonic() - began)
                if running:
                    time.sleep(POLL)
        except KeyboardInterrupt:  # the second: at once
            for _, process, log, _ in running.values():
                process.send_signal(signal.SIGINT)
                process.wait()
                log.close()
        return [found[cell.name] for cell in cells], stop.number


def draw(cell: plan.Cell, workdir: pathlib.Path) -> None:
    """Render the clips that the runs share, unless they are there: before several would.

    Another process of the same sweep (an array task) that does it is waited for.
    """
    config = cell.load()
    fields = plan.records(config, workdir)
    missing = [folder for _, folder in fields if not os.path.exists(f"{folder}/card.json")]
    place = workdir / "records"
    while missing:
        place.mkdir(parents=True, exist_ok=True)
        try:
            with lock.held(place):
                overrides.apply_all(config, fields)
                run_data.draw_sources(config, str(workdir))
                for opened in run_data.open_stages(config, str(workdir)).values():
                    opened.close()
                return
        except UserError as e:
            if "in use by another run" not in str(e):
                raise
        time.sleep(1)


def _begin(
    cell: plan.Cell, workdir: pathlib.Path, gpus: Sequence[str], slot: int
) -> tuple[Any, IO[str], float]:
    """(its process, its log, when it began)."""
    path = _file(cell, workdir, "log")
    path.parent.mkdir(parents=True, exist_ok=True)
    _file(cell, workdir, "error").unlink(missing_ok=True)
    log = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed when the process has ended
    env = {name: value for name, value in os.environ.items() if name not in _ours}
    if gpus:
        env["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return started(command(cell, workdir), log, env), log, time.monotonic()


def command(cell: plan.Cell, workdir: pathlib.Path) -> list[str]:
    """What a run is by hand."""
    fields = cell.base + cell.point + cell.repetition + plan.records(cell.load(), workdir)
    own = [f"--config.{field}={text}" for field, text in fields]
    where = f"--workdir={workdir / RUNS / cell.name}"
    return [sys.executable, "-m", "darkjax.main", f"--config={cell.config}", *own, where]


def _ended(cell: plan.Cell, workdir: pathlib.Path, status: int) -> Outcome:
    """Of a process that has ended by itself."""
    found = outcome(cell, workdir) if status == 0 else None
    if found and found.results:
        return found
    lines = _file(cell, workdir, "log").read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith("error: ")] or [ln for ln in lines if ln]
    error = said[-1].removeprefix("error: ")[:400] if said else f"ended with status {status}"
    if status < 0:
        more = ", as when memory runs out" if -status == signal.SIGKILL else ""
        error = f"killed by signal {-status}{more}; its last line: {error}"
    files.write_text(_file(cell, workdir, "error"), error + "\n")
    return Outcome(cell, workdir / RUNS / cell.name, {}, error)


def _file(cell: plan.Cell, workdir: pathlib.Path, kind: str) -> pathlib.Path:
    return workdir / LOGS / f"{cell.name}.{kind}"


class _Clock:
    """A line for each run that ended, and when all will have."""

    def __init__(self, total: int, jobs: int) -> None:
        self.total, self.jobs = total, jobs
        self.seconds: list[float] = []

    def finished(self, ended: Outcome, seconds: float) -> None:
        self.seconds.append(seconds)
        left = self.total - len(self.seconds)
        eta = sum(self.seconds) / len(self.seconds) * left / min(self.jobs, max(left, 1))
        numbers = ended.results.get("numbers", {})
        said = ", ".join(f"{k} {v:.4f}" for k, v in list(numbers.items())[:1])
        print(
            f"[{len(self.seconds)}/{self.total}] {ended.cell.name}: "
            f"{said or 'failed: ' + ended.error} ({seconds:.0f} s"
            + (f", eta {eta / 60:.0f} min)" if left else ")"),
            flush=True,
        )
