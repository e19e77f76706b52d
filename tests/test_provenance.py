"""Where a run comes from stands in its folder."""

import json

import jax
import pytest
import tiny_run

from configs import common
from darkjax import experiment, version


@pytest.fixture
def config(tiny_folder):
    c = common.base()
    c.data = tiny_run.config(tiny_folder).data
    c.eval_batch_size, c.stages, c.report_clips = 8, ("only",), 1
    c.only = stage = common.stage("outside.masked:make", epochs=1, batch_size=16, lr=1e-2)
    stage.steps, stage.keep_best, stage.hidden = 2, "", 0.5
    stage.model = {"name": "outside.net:Net"}
    tiny_run.records(c)
    return c


@pytest.mark.whole
def test_config_json_has_every_start_with_its_conditions(config, tmp_path):
    experiment.run(config, str(tmp_path), mode="train", command="typed it")
    config.only.steps = 4
    experiment.run(config, str(tmp_path), extend=True, command="typed more")
    found = json.loads((tmp_path / "config.json").read_text())
    assert found["config"]["only"]["steps"] == 4  # of the last start
    first, second = found["starts"]
    assert [s["command"] for s in (first, second)] == ["typed it", "typed more"]
    assert [s["mode"] for s in (first, second)] == ["train", "all"]
    assert first["versions"]["jax"] == jax.__version__
    assert first["versions"]["darkjax"] == version.__version__
    assert first["devices"]["kind"] == jax.devices()[0].device_kind
    assert first["devices"]["count"] == jax.device_count()
    assert first["data"]["only"]["digest"] == tiny_run.records(config).digest
    assert first["time"] <= second["time"]


@pytest.mark.parametrize("text", ["{", "[]", '{"starts": 3}'])
def test_a_damaged_one_is_set_aside(text, config, tmp_path):
    (tmp_path / "config.json").write_text(text)
    experiment.run(config, str(tmp_path), mode="train")
    assert (tmp_path / "config.json.damaged").read_text() == text
    assert len(json.loads((tmp_path / "config.json").read_text())["starts"]) == 1


def test_the_log_has_norms_by_part_of_the_network(config, tmp_path):
    """Their squares add up to that of the whole gradient."""
    experiment.run(config, str(tmp_path), mode="train")
    rows = [json.loads(r) for r in (tmp_path / "only" / "metrics.jsonl").read_text().splitlines()]
    (row, *_) = [r for r in rows if "loss" in r]
    for kind in ("grad", "update", "param"):
        assert {k for k in row if k.startswith(f"{kind}_norm/")} == {
            f"{kind}_norm/{part}" for part in ("net", "decoder")
        }
        assert all(row[f"{kind}_norm/{part}"] > 0 for part in ("net", "decoder"))
    whole = sum(row[f"grad_norm/{part}"] ** 2 for part in ("net", "decoder"))
    assert whole**0.5 == pytest.approx(row["grad_norm"], rel=1e-5)
