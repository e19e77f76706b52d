"""Runs of a sweep without training: what a process is asked to do is written down at once."""

import json
import pathlib
import signal

import judged_runs
import numpy as np

from darkjax.errors import UserError
from darkjax.sweeps import plan, running

ANSWERS = np.arange(12) % 3  # all right


class Fake:
    """Stands for `subprocess.Popen` of `darkjax.main`; runs by folder name, in order, in `seen`.

    `right(name)` is how many of twelve clips a run has right, or an error that it ends with, or a
    negative status. It takes as many polls as `slow` says, and notes how many ran at once.
    """

    def __init__(self, right, slow=0):
        self.right, self.slow = right, slow
        self.seen, self.env, self.running, self.most, self.signals = [], [], 0, 0, []

    def __call__(self, command, log, env):
        assert command[1:3] == ["-m", "darkjax.main"]
        return Process(self, command[3:], log, env)


class Process:
    def __init__(self, fake, flags, log, env):
        self.fake, self.log, self.polls, self.stopped = fake, log, 0, None
        self.folder = pathlib.Path(flags[-1].removeprefix("--workdir="))
        self.flags = flags[:-1]
        fake.seen.append(self.folder.name)
        fake.env.append(env)
        fake.running += 1
        fake.most = max(fake.most, fake.running)

    def send_signal(self, number):
        self.fake.signals.append((self.folder.name, number))
        self.stopped = number

    def wait(self):
        return self.poll()

    def poll(self):
        self.polls += 1
        if self.stopped is None and self.polls <= self.fake.slow:
            return None
        self.fake.running -= 1
        if self.stopped is not None:
            return 128 + signal.Signals(self.stopped)
        found = self.fake.right(self.folder.name)
        if isinstance(found, str):
            self.log.write(f"some line\nerror: {found}\n")
            self.log.flush()
            return 2
        if found < 0:
            return found
        answers = ANSWERS.copy()
        answers[found:] = (answers[found:] + 1) % 3
        judged_runs.write(self.folder, answers, stage="only")
        (self.folder / "flags.json").write_text(json.dumps(self.flags))
        return 0


def complete(config, folder):
    """Stands for `experiment.complete`: the fields that all runs have are compared."""
    folder = pathlib.Path(folder)
    if not (folder / "flags.json").exists():
        return {}
    flags = dict(f.removeprefix("--config.").split("=", 1) for f in json.loads(
        (folder / "flags.json").read_text()) if f.startswith("--config."))  # fmt: skip
    if flags.get("only.steps", "2") != str(config.only.steps):
        raise UserError(f"{folder} was trained with other settings: only.steps")
    return json.loads((folder / "only" / "results.json").read_text())


def replaced(monkeypatch, right, **options):
    """Processes, rendering and the comparison of settings of this test."""
    fake = Fake(right, **options)
    monkeypatch.setattr(running, "started", fake)
    monkeypatch.setattr(running, "POLL", 0)
    monkeypatch.setattr(running, "draw", lambda cell, workdir: None)
    monkeypatch.setattr(running.experiment, "complete", complete)
    return fake


def rate(name):
    """The learning rate in a run's name, and its seed."""
    fields = dict(part.split("=") for part in name.split(",")[1:])
    return float(fields.get("only.optim.lr", 0)), int(fields.get("seed", 0))


def cell(point=(), repetition=(), config="c.py:a"):
    return plan.Cell(config, (), tuple(point), tuple(repetition))
