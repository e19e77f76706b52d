"""`benchmarks/dinet.py`: which trainings its table is made of, and what it prints of them."""

import importlib.util
import pathlib
import sys

import pytest
from tiny_run import ROOT


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("dinet_bench", ROOT / "benchmarks" / "dinet.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dinet_bench", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained; nothing is."""
    found = {}

    def run(config, folder):
        found[pathlib.Path(folder).name] = config
        (pathlib.Path(folder) / "dinet").mkdir(parents=True, exist_ok=True)
        (pathlib.Path(folder) / "dinet" / "done.json").write_text("{}")
        return {"numbers": {"top-1": 0.5 + 0.1 * config.seed}}

    monkeypatch.setattr(bench.experiment, "run", run)
    return found


def printed(bench, monkeypatch, capsys, *flags):
    monkeypatch.setattr(sys, "argv", ["dinet.py", *flags])
    status = bench.main()
    out = capsys.readouterr()
    return status, out.out.splitlines(), out.err


def test_the_table_and_the_trainings_that_it_is_made_of(bench, runs, monkeypatch, capsys, tmp_path):
    work = f"--workdir={tmp_path}"
    _, lines, _ = printed(bench, monkeypatch, capsys, work, "--pairs=day_thermal", "--seeds=2")
    assert len(runs) == 10 and sum(line.startswith("| ") for line in lines) == 6
    assert any(line.startswith("| 3D-DiNet | 0.550 | 0.071 | 0.500, 0.600 | ") for line in lines)
    got = {name.split("-")[1]: (c.dinet.adapt, c.dinet.batch_norm) for name, c in runs.items()}
    assert got == {
        "source": ("none", "shared"), "adabn": ("none", "domain"), "dann": ("dann", "shared"),
        "dann_apart": ("dann", "domain"), "oracle": ("target", "shared"),
    }  # fmt: skip
    assert len({(c.data.dir, c.data.source_dir) for c in runs.values()}) == 1
    # What there is is printed, and nothing else trained.
    runs.clear()
    flags = (work, "--pairs=day_thermal,day_dark", "--seeds=3", "--only_finished")
    _, lines, _ = printed(bench, monkeypatch, capsys, *flags)
    assert len(runs) == 10 and sum(line.startswith("| 3D-DiNet |") for line in lines) == 1


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--pairs=dusk", "error: --pairs=dusk: expected some of day_thermal"),
        ("--rows=floor", "error: --rows=floor: expected some of source"),
        ("--pairs=real", "error: --pairs=real needs --real=FOLDER"),
    ],
)
def test_what_is_not_there_is_named(bench, runs, monkeypatch, capsys, flag, said):
    status, _, err = printed(bench, monkeypatch, capsys, flag)
    assert status == 2 and err.startswith(said) and not runs
