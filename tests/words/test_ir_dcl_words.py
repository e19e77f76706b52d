"""The words of the infrared two-stream network: any order, or a refusal that names both."""

import dataclasses
import itertools
import json

import both_orders
import jax
import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import experiment, methods, optim, spec, starts
from darkjax.weights import zoo

WORDS = ("demo", "by_group", "no_dcl", "pretrained", "fusion")
PAIRS = list(itertools.combinations(WORDS, 2))
GOLDEN = tiny_run.ROOT / "tests" / "golden"


def load(*words):
    return configs.load(f"{tiny_run.ROOT}/configs/ir_dcl_infar.py:{','.join(words)}")


@pytest.mark.parametrize("pair", PAIRS, ids=",".join)
def test_every_pair_is_one_config_in_both_orders_or_is_refused_by_name(pair):
    refused = set(pair) in ({"demo", "pretrained"}, {"no_dcl", "fusion"})
    both_orders.agree(load, pair, refused)


def test_the_recipe_is_the_paper_s():
    c = load()
    assert c.stages == ("ir", "flow")
    assert (c.data.frames, tuple(c.data.size), c.data.views_clips) == (16, (112, 112), 0)
    for name, view in (("ir", "dark"), ("flow", "flow")):
        s = c[name]
        assert s.luminous_input == view and s.model.name == "c3d"
        assert (s.neurons, s.alpha, s.knn_k, s.knn_gamma) == (4096, 0.02, 5, 0.05)
        assert (s.optim.name, s.optim.lr, s.optim.weight_decay) == ("sgd", 1e-4, 5e-4)
        assert (s.batch_size, s.steps) == (30, 10_000)


def test_every_word_keeps_its_meaning_beside_the_others():
    c = load("no_dcl", "by_group", "demo")
    assert c.ir.alpha == c.flow.alpha == 0 and c.ir.answer == c.flow.answer == "softmax"
    assert c.data.split == "fold" and c.data.synthetic.domain == "thermal"
    assert load("demo").data.split == "random" and load("demo").data.random_share == 0.4
    f = load("fusion", "demo")
    assert f.stages == ("ir", "flow", "fusion") and f.fusion.weights.to_dict() == {
        "ir": 1,
        "flow": 2,
    }
    assert f.fusion.streams.flow.neurons == f.flow.neurons == load("demo").flow.neurons
    assert f.fusion.init_from[1] == ("flow", "(.*)", r"flow/\1")
    p = load("pretrained")
    assert [p[name].init_from[0][0] for name in p.stages] == ["weights/c3d"] * 2


def test_published_weights_fit_the_paper_s_network(tmp_path, monkeypatch):
    """By the frozen shapes of the zoo at full size; nothing is made."""
    frozen = json.loads((GOLDEN / "c3d.json").read_text())
    flat = {path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in frozen.items()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(starts, "stored", lambda _: optim.unflatten(flat))
    monkeypatch.setattr(starts, "_check_sources", lambda *_: None)
    c = configs.resolve(load("pretrained"))
    specs = {name: spec.bare(c, name, tuple(map(str, range(12)))) for name in c.stages}
    starts.check(c, tmp_path, specs)
    shapes = starts.abstract(methods.make(c.flow, specs["flow"]))["params"]
    assert shapes["codes"]["kernel"].shape == (4096, 4096)
    assert shapes["head"]["kernel"].shape == (4096, 12)
    assert zoo.get("c3d").input == (16, 112, 112)


def shrunk(words, folder):
    """The demo with few, small clips and networks, its flow rough."""
    c = load("demo", *words)
    with c.unlocked():
        c.data.synthetic.update(
            {"classes": tiny_run.CLASSES, "clips_per_class": {"train": 10},
             "groups": {"train": 5}, "frames": 9, "height": 24, "width": 32}
        )  # fmt: skip
        c.data.num_classes, c.data.frames, c.data.size = 3, 4, (16, 24)
        c.data.dir = str(folder)
        c.eval_batch_size, c.report_clips, c.log_every = 8, 1, 1
        for name in c.stages:
            s = c[name]
            s.model = {"name": "resnet3d", "variant": "10", "width": 4}
            s.batch_size, s.steps, s.neurons, s.augment.affine.p = 8, 2, 7, 0.0
    return c


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("by_group",), ("no_dcl",)], ids=",".join)
def test_the_demo_runs_to_the_end(words, tmp_path, monkeypatch):
    from darkjax.ops import flow

    quick = dataclasses.replace(flow.METHODS["tvl1"](), warps=1, nscales=1)
    monkeypatch.setitem(flow.METHODS, "tvl1", lambda: quick)
    c = shrunk(words, tmp_path / "clips")
    found = experiment.run(c, str(tmp_path / "run"))
    assert found["numbers"]["n"] == (6 if "by_group" in words else 12)
    assert ("others" in found) == ("no_dcl" not in words)
    for name in c.stages:
        assert (tmp_path / "run" / name / "predictions-train.npz").exists()
