"""A run taken up again is compared by everything its weights depend on."""

import json

import pytest
import tiny_run

from darkjax import config as configs
from darkjax import experiment, identity, run_data
from darkjax.errors import UserError


@pytest.fixture(scope="module")
def config(tiny_folder):
    return configs.resolve(tiny_run.config(tiny_folder))


def changed(config, path, value, **kwargs):
    """What differs after one field of a copy was set."""
    other = config.copy_and_resolve_references()
    with other.unlocked(), other.ignore_type():
        *sections, field = path.split(".")
        section = other
        for name in sections:
            section = section[name]
        section[field] = value
    before = identity.of(config, "teacher", "d", {})
    return identity.changes(before, identity.of(other, "teacher", kwargs.get("digest", "d"), {}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("data.stride", 1),
        ("data.size", (16, 16)),
        ("data.fold", 2),
        ("data.protocol", "2"),
        ("data.random_seed", 1),
        ("data.balance", "class"),
        ("teacher.batch_size", 8),
        ("teacher.label_smoothing", 0.3),
        ("teacher.augment.flip.p", 0.0),
        ("teacher.optim.betas", (0.8, 0.999)),
        ("teacher.optim.lr", 0.5),
        ("teacher.model.width", 8),
        ("teacher.dtype", "bfloat16"),
        ("teacher.bn_group", 4),
        ("teacher.ema", 0.9),
        ("teacher.steps", 9),
    ],
)
def test_what_weights_depend_on_is_named(config, path, value):
    found = changed(config, path, value)
    assert list(found) == [path]
    assert "now" in found[path]


@pytest.mark.parametrize("field", identity.MAY_CHANGE)
def test_what_may_change_is_not_compared(config, field):
    path = field.replace("STAGE", "teacher")
    if path.split(".")[-1] in config.teacher or not path.startswith("teacher."):
        assert not changed(config, path, "anything")
    assert identity.MAY_CHANGE[field]  # with a reason


def test_evaluation_may_change_unless_it_chooses_the_weights(config):
    assert not changed(config, "data.views_crops", 3)
    chosen = config.copy_and_resolve_references()
    chosen.teacher.keep_best = "top-1"
    assert "teacher.keep_best" in changed(config, "teacher.keep_best", "top-1")
    assert list(changed(chosen, "data.views_crops", 3)) == ["data.views_crops"]
    assert list(changed(chosen, "teacher.eval_every", 7)) == ["teacher.eval_every"]


def test_the_data_and_the_sources_count(config):
    one = identity.of(config, "student", "d", {"teacher": "step 4, abc"})
    assert list(identity.changes(one, {**one, "data.digest": "e"})) == ["data.digest"]
    long = identity.changes({**one, "data.digest": "a" * 64}, {**one, "data.digest": "b" * 64})
    assert identity.told(long) == f"data.digest ({'a' * 12}…, now {'b' * 12}…)"
    source = "student.init_from[teacher]"
    assert list(identity.changes(one, {**one, source: "step 9, abc"})) == [source]
    assert not identity.changes(one, {**one, source: None})  # gone: its weights are in ours


def test_a_record_from_before_identities_is_compared_by_what_it_has(config):
    now = identity.of(config, "teacher", "d", {})
    meta = {"seed": 0, "data": "d", "config": config.to_json_best_effort()}
    assert not identity.changes(identity.of_meta(meta, "teacher"), now)
    other = config.copy_and_resolve_references()
    other.teacher.batch_size = 8
    meta["config"] = other.to_json_best_effort()
    assert list(identity.changes(identity.of_meta(meta, "teacher"), now)) == ["teacher.batch_size"]
    # done.json had the fields of a section as one value.
    old = {"seed": 0} | {f"teacher.{k}": v for k, v in other.teacher.to_dict().items()}
    old = json.loads(json.dumps(old))
    assert list(identity.changes(identity.of_done(old), now)) == ["teacher.batch_size"]


def test_a_finished_stage_compares_the_data_too(config, tmp_path):
    now = identity.of(config, "teacher", "d", {})
    (tmp_path / "done.json").write_text(json.dumps({"identity": now}))
    assert experiment.finished("teacher", str(tmp_path), now)
    with pytest.raises(UserError, match=r"data.digest \(d, now e\)"):
        experiment.finished("teacher", str(tmp_path), {**now, "data.digest": "e"})
    longer = {**now, "teacher.epochs": 99}
    with pytest.raises(UserError, match=r"teacher.epochs \(30, now 99\).*--extend"):
        experiment.finished("teacher", str(tmp_path), longer)
    assert not experiment.finished("teacher", str(tmp_path), longer, extend=True)


def test_clips_that_a_run_rendered_are_compared_with_its_options(tmp_path):
    """Those of the workdir; records that `data.dir` names are taken as they are."""
    c = tiny_run.config(tmp_path)
    c.data.dir = ""
    c.data.synthetic.clips_per_class = {"train": 1, "test": 1}
    c.data.synthetic.groups = {"train": 1, "test": 1}
    digest = run_data.open_records(c.data, str(tmp_path / "records")).digest
    assert run_data.open_records(c.data, str(tmp_path / "records")).digest == digest
    c.data.synthetic.seed = 5
    with pytest.raises(UserError, match=r"options changed since.*another --workdir"):
        run_data.open_records(c.data, str(tmp_path / "records"))
    c.data.dir = str(tmp_path / "records")
    assert run_data.open_records(c.data, str(tmp_path / "records")).digest == digest
