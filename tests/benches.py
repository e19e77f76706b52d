"""Benchmarks as modules, for tests of what they train and print."""

import importlib.util
import pathlib
import sys

from tiny_run import ROOT


def load(name, monkeypatch):
    """`benchmarks/NAME.py`, anew for each test, and what it imports beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(f"{name}_bench", ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def trainings(bench, monkeypatch, numbers):
    """Every (folder's name, config) that a benchmark trains; nothing is trained: the numbers that a
    run ends with are `numbers(config)`."""
    found = {}

    def run(config, folder):
        found[pathlib.Path(folder).name] = config
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        return {"numbers": numbers(config)}

    monkeypatch.setattr(bench.experiment, "run", run)
    kept(bench, monkeypatch)
    return found


def kept(bench, monkeypatch):
    """What `bench.experiment.run`, made up before, gave for a folder is kept and compared."""
    run, results = bench.experiment.run, {}

    def remembered(config, folder, *args):
        found = run(config, folder, *args)
        results[str(folder)] = (config.to_json_best_effort(), found)
        return found

    def complete(config, folder):
        settings, found = results.get(str(folder), (None, {}))
        assert settings in (None, config.to_json_best_effort()), "refused: other settings"
        return found

    monkeypatch.setattr(bench.experiment, "run", remembered)
    monkeypatch.setattr(bench.experiment, "complete", complete)
