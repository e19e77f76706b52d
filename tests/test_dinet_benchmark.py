"""`benchmarks/dinet.py`: which trainings its table is made of, and what it prints of them."""

import pathlib

import benches
import pytest

from darkjax.errors import UserError


@pytest.fixture
def runs(bench, monkeypatch):
    """Every (folder's name, config) that is trained; nothing is."""
    found = {}

    def run(config, folder):
        found[pathlib.Path(folder).name] = config
        (pathlib.Path(folder) / "dinet").mkdir(parents=True, exist_ok=True)
        (pathlib.Path(folder) / "dinet" / "done.json").write_text("{}")
        top = 0.5 + 0.1 * config.seed
        if folder.endswith("fold1"):  # one fold of thrice as many clips, none of them right
            return {"numbers": {"top-1": 0.0, "n": 30.0}}
        return {"numbers": {"top-1": top, "n": 10.0}}

    monkeypatch.setattr(bench.experiment, "run", run)
    benches.kept(bench, monkeypatch)
    return found


def test_the_table_and_the_trainings_that_it_is_made_of(runs, printed, tmp_path):
    work = f"--workdir={tmp_path}"
    lines = printed(work, "--pairs=day_thermal", "--seeds=2")
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
    lines = printed(*flags)
    assert not runs and sum(line.startswith("| 3D-DiNet |") for line in lines) == 1


def test_labels_of_real_clips_are_judged_on_every_fold_that_they_do_not_come_from(
    runs, printed, tmp_path
):
    rows = "--rows=source,oracle"
    lines = printed(f"--workdir={tmp_path}", "--pairs=real", "--real=clips", "--seeds=1", rows)
    folds = {name: c.data.fold for name, c in runs.items() if "oracle" in name}
    assert folds == {f"real-oracle-0-fold{fold}": fold for fold in (1, 2, 3, 4, 5)}
    assert all(runs[name].data.split == "fold" for name in folds)
    assert runs["real-source-0"].data.split != "fold" and len(runs) == 6
    # 40 clips of four folds have 0.5, 30 of one have none: pooled, not the mean of the folds.
    assert any(line.startswith("| the target's labels | 0.286 | ") for line in lines)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--pairs=dusk", "--pairs=dusk: expected some of day_thermal"),
        ("--rows=floor", "--rows=floor: expected some of source"),
        ("--pairs=real", "--pairs=real needs --real=FOLDER"),
    ],
)
def test_what_is_not_there_is_named(runs, printed, flag, said):
    with pytest.raises(UserError, match=said):
        printed(flag)
    assert not runs
