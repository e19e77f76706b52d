"""Methods from outside the package, one of each kind, through the one loop and the whole run."""

import json
import pathlib
import re

import numpy as np
import one_stage
import pytest
import tiny_run

from configs import common
from darkjax import config as configs
from darkjax import experiment, run_data
from darkjax.data import pipeline, sources
from darkjax.data.records import Records
from darkjax.errors import UserError

KINDS = ("two_views", "two_sources", "fitted_knn", "masked")
every_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.usefixtures("one_device", "one_program")


@pytest.fixture(scope="module")
def other_clips(tmp_path_factory):
    """A dataset of another kind: thermal clips, fewer than their part of a batch."""
    folder = tmp_path_factory.mktemp("thermal")
    data = common.data()
    data.dir = str(folder)
    data.synthetic = common.synthetic(
        classes=tiny_run.CLASSES, clips_per_class={"train": 1}, groups={"train": 1},
        frames=12, height=36, width=40, domain="thermal",
    )  # fmt: skip
    return run_data.open_records(data, "")


def config(kind, folder, other=None):
    """A config that trains `outside/KIND.py` for a few steps."""
    c = common.base()
    c.data = tiny_run.config(folder).data
    c.data.frames, c.data.crop = 12, "random" if kind == "two_views" else "centre"
    c.data.size = (16, 16)
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    c.stages = ("only",)
    c.only = stage = common.stage(f"outside.{kind}:make", epochs=1, batch_size=16, lr=3e-2)
    stage.steps, stage.keep_best, stage.eval_every = 6, "", 0
    stage.save_every = 1000  # at the end, or where a run is stopped
    stage.model = {"name": "outside.net:Net"}
    stage.augment = common.light_augment()
    if kind == "two_views":
        stage.data.train_views = 2
        stage.momentum, stage.temperature, stage.knn_k, stage.keep_best = 0.9, 0.2, 3, "knn top-1"
    if kind == "two_sources":
        stage.data.sources = (("", 0.5, True), (str(other.directory), 0.5, False))
        stage.strength = 0.1
    if kind == "fitted_knn":
        stage.neighbours = 3
    if kind == "masked":
        stage.hidden = 0.5
    return c


@pytest.fixture
def made(tiny_folder, other_clips):
    """A function from a kind to its resolved config and records."""

    def make(kind, **fields):
        c = config(kind, tiny_folder, other_clips)
        for field, value in fields.items():
            c.only[field] = value
        c = configs.resolve(c)
        return c, tiny_run.records(c)

    return make


def trained(c, records, workdir, **options):
    """(losses, flat variables) of the loop alone."""
    rows, variables = one_stage.trained(c, "only", records, workdir, **options)
    return [row["loss"] for row in rows], variables


@pytest.fixture(scope="module")
def trainings():
    """Of each kind what `uninterrupted` found, for all tests of this file."""
    return {}


@pytest.fixture
def uninterrupted(made, trainings, tmp_path):
    """A function from a kind to its training on one device, which is done once."""

    def find(kind):
        if kind not in trainings:
            trainings[kind] = trained(*made(kind), tmp_path / "uninterrupted")
        return trainings[kind]

    return find


@pytest.mark.whole
@every_kind
def test_a_whole_run_learns_is_judged_and_reported(kind, made, tmp_path):
    c, _ = made(kind, steps=150 if kind == "two_sources" else 60)
    found = experiment.run(c, str(tmp_path))
    rows = [json.loads(r) for r in (tmp_path / "only" / "metrics.jsonl").read_text().splitlines()]
    key = "ce" if kind == "two_sources" else "loss"  # the other term is meant to rise
    losses = [row[key] for row in rows if key in row]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    page = (tmp_path / "report.html").read_text()
    assert "Sample clips" in page
    if kind == "masked":
        assert found["numbers"] == {} and "Confusion matrix" not in page
        return
    names = {"two_views": ["knn top-1", "probe top-1", "n"]}
    assert list(found["numbers"]) == names.get(kind, ["top-1", "top-3", "mean-class", "n", "nll"])
    assert found["name"].startswith(f"{next(iter(found['numbers']))}@1x1 ")
    assert found["numbers"]["n"] == 9
    assert 0 <= next(iter(found["numbers"].values())) <= 1
    assert np.sum(found["confusion"]) == 9 and "Confusion matrix" in page
    # From what the run left: another process finds the same.
    assert experiment.run(c, str(tmp_path), mode="evaluate")["numbers"] == found["numbers"]


@every_kind
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(kind, made, uninterrupted, tmp_path):
    c, records = made(kind)
    _, whole = uninterrupted(kind)
    _, part = trained(c, records, tmp_path / "parts", max_steps=3)
    _, rest = trained(c, records, tmp_path / "parts")
    assert any(np.any(part[k] != whole[k]) for k in whole)
    for path, value in whole.items():
        np.testing.assert_array_equal(rest[path], value, err_msg=path)


@every_kind
def test_eight_devices_give_the_numbers_of_one(kind, made, uninterrupted, tmp_path):
    c, records = made(kind)
    one, _ = uninterrupted(kind)
    eight, _ = trained(c, records, tmp_path / "eight", devices=8)
    np.testing.assert_allclose(eight, one, rtol=1e-4)


def test_nothing_in_the_package_knows_them():
    package = pathlib.Path(experiment.__file__).parent
    for file in package.rglob("*.py"):
        assert not re.search(rf"outside\.({'|'.join(KINDS)})", file.read_text()), file


# ---- two sources ---------------------------------------------------------------------------------


def batches(c, records, count):
    data = configs.data_of(c, "only")
    parts = sources.of(records, data, c.only.batch_size)
    with pipeline.mixed_batches(parts, cfg=data, seed=0) as found:
        return [next(found) for _ in range(count)]


def test_fixed_positions_come_from_each_source_whatever_its_size(made, other_clips):
    c, records = made("two_sources")
    seen = {0: [], 1: []}
    for batch in batches(c, records, 4):
        np.testing.assert_array_equal(batch["domain"], [0] * 8 + [1] * 8)
        assert (batch["label"][:8] >= 0).all() and (batch["label"][8:] == -1).all()
        for domain in (0, 1):
            seen[domain] += batch["clip"][batch["domain"] == domain].tolist()
    # 33 clips: 4 batches of 8, none twice. 3 clips: each begins again when all were seen.
    assert len(set(seen[0])) == 32
    assert all(set(seen[1][i : i + 3]) == {0, 1, 2} for i in range(0, 30, 3))


def test_labels_of_an_unlabelled_source_never_reach_the_loss(
    made, other_clips, monkeypatch, tmp_path
):
    """Poisoned: with every label of its records another, nothing changes by a bit."""
    c, records = made("two_sources")
    clean = trained(c, records, tmp_path / "clean")
    opened = Records.__init__

    def poisoned(self, directory, *args, **kwargs):
        opened(self, directory, *args, **kwargs)
        if str(directory) == str(other_clips.directory):
            self.meta["label"] = (self.meta["label"] + 1) % 3

    monkeypatch.setattr(Records, "__init__", poisoned)
    again = trained(c, records, tmp_path / "poisoned")
    assert again[0] == clean[0]
    for path, value in clean[1].items():
        np.testing.assert_array_equal(again[1][path], value, err_msg=path)
    # That could have failed: with labels, the same poison is another training.
    c.only.data.sources = tuple((folder, share, True) for folder, share, _ in c.only.data.sources)
    assert trained(c, records, tmp_path / "labelled")[0] != clean[0]


def test_classes_that_only_a_labelled_source_has_are_named(made, other_clips):
    c, records = made("two_sources")
    c.only.data.sources = (("", 0.5, True), (str(other_clips.directory), 0.5, True))
    assert [len(s.rows) for s in sources.of(records, configs.data_of(c, "only"), 16)] == [33, 3]
    records.classes = ("Jump", "Sit", "Walk")
    with pytest.raises(UserError, match=r"has the classes Turn, which .* has not"):
        sources.of(records, configs.data_of(c, "only"), 16)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sources": (("", 1e-9, True), ("", 1.0, True))}, "a share of 1e-09 of 16 clips is none"),
        ({"train_views": 3}, "batch_size=16 is not a multiple of data.train_views=3"),
        ({"sources": (("gone", 1.0, True),)}, "gone"),
        ({"sources": ((3, 1.0, True),)}, "data.sources=.*expected"),
        ({"frames": 0}, "only.data.frames=0: expected an integer"),
        ({"frmes": 4}, "no field only.data.frmes: did you mean only.data.frames"),
    ],
)
def test_what_cannot_be_is_one_line(fields, said, made, tiny_folder, other_clips, tmp_path):
    c = config("fitted_knn", tiny_folder)
    for name, value in fields.items():
        c.only.data[name] = value
    with pytest.raises(UserError, match=said) as error:
        experiment.run(c, str(tmp_path))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "only").exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("method", "outside.gone:make", "method='outside.gone:make': No module named"),
        ("method", "outside.net:make", "has no attribute 'make'"),
        ("method", "outside.net:Net", "gave a Net without loss, predict"),
        ("model", {"name": "outside.net:Nat"}, "model.name='outside.net:Nat'"),
        ("model", {"name": "outside.net:nn"}, "expected a flax.linen.Module"),
        (
            "model",
            {"name": "outside.net:Net", "widht": 3},
            "no field",
        ),
        ("keep_best", "knn top-1", "there is none: expected 'top-1'"),
    ],
)
def test_what_is_not_there_outside_is_one_line(field, value, said, tiny_folder, tmp_path):
    c = config("fitted_knn", tiny_folder)
    with c.unlocked(), c.ignore_type():
        c.only[field] = value
    with pytest.raises(UserError, match=said) as error:
        experiment.run(c, str(tmp_path))
    assert "\n" not in str(error.value)


def test_an_unknown_mode_is_refused(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="mode='eval': expected one of all, train, evaluate"):
        experiment.run(config("masked", tiny_folder), str(tmp_path), "eval")
    assert not list(tmp_path.iterdir())
