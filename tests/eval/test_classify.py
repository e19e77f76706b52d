"""Judging clips: what of a view is averaged, what is concluded from it, and what is saved."""

import dataclasses
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data.tiny import Noise, converted

from configs import common
from darkjax import sharding, train
from darkjax.data import pipeline, sources
from darkjax.data.records import Records
from darkjax.eval import classify
from darkjax.methods import base


@dataclasses.dataclass(frozen=True, eq=False)
class Plain(base.Method):
    """Scores are made of the pixels of a view, so every view has its own."""

    fits: ClassVar[bool] = True

    def predict(self, variables, batch):
        video = base.to_float(batch["video"])
        return jnp.stack([video.mean((1, 2, 3, 4)) * 9, video[:, 0].mean((1, 2, 3)) * 9], -1), {}

    def fit(self, variables, batches):
        return base.means_of_clips(
            lambda v, b: {"scores": self.predict(v, b)[0]}, variables, batches
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Coded(Plain):
    """With codes, and another answer that is made of them and of the variables."""

    fits_views: ClassVar[bool] = True

    def seen(self, scores, out):
        return {**super().seen(scores, out), "codes": 2 * scores}

    def concluded(self, variables, means):
        turned = jnp.flip(jnp.asarray(means["codes"]), 1) * variables["params"]["factor"]
        return {"turned": turned, "softmax": means["probabilities"]}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    with Records(converted(tmp_path_factory, Noise(train=7, test=5))) as opened:
        yield opened


@pytest.fixture
def data():
    c = common.data()
    c.update({"frames": 2, "size": (6, 8), "crop": "centre", "views_clips": 0, "views_crops": 3})
    return c


VARIABLES = {"params": {"factor": np.float32(0.25)}}
SPEC = base.Spec(("a", "b"))
SCORES = jax.jit(Plain(None, SPEC).predict)


def mesh(devices):
    return sharding.make_mesh((devices, 1), jax.devices()[:devices])


def by_hand(records, rows, data):
    """Scores of every view, float32, by clip."""
    found = {}
    with pipeline.eval_batches(records, rows, cfg=data, batch_size=1) as batches:
        for batch in batches:
            scores, _ = SCORES({}, batch)
            found.setdefault(int(batch["clip"][0]), []).append(np.asarray(scores[0]))
    return found


def predicted(method, records, rows, data, devices=1):
    step = classify.make_predict(method, mesh(devices))
    variables = jax.device_put(VARIABLES, sharding.replicated(mesh(devices)))
    return classify.predict(step, variables, records, rows, data, batch_size=8, mesh=mesh(devices))


def test_without_hooks_probabilities_are_means_of_softmaxes_and_files_are_as_they_were(
    records, data, tmp_path
):
    rows = records.select("test")
    found = predicted(Plain(None, SPEC), records, rows, data)
    expected = []
    for scores in by_hand(records, rows, data).values():
        views = np.asarray(jax.jit(jax.nn.softmax)(np.stack(scores)))
        total = np.zeros(2)
        for view in views:
            total += view
        expected.append(total / len(views))
    np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-7)
    assert found.probabilities.dtype == np.float64 and found.label.dtype == np.int64
    result = classify.results(found, classify.summarise(found), records, "x", data, ("a", "b"))
    classify.save(tmp_path, found, result)
    with np.load(tmp_path / "predictions.npz") as saved:
        assert set(saved) == {"clip", "label", "probabilities"}
        np.testing.assert_array_equal(saved["probabilities"], found.probabilities)
    names = ["name", "classes", "numbers", "confusion", "per_class", "brightness"]
    assert list(json.loads((tmp_path / "results.json").read_text())) == names
    assert result["name"] == "top-1@allx3 x"


@pytest.mark.parametrize("devices", [1, 8])
def test_what_is_concluded_first_is_judged_and_the_others_stand_beside_it(
    records, data, tmp_path, devices
):
    rows = records.select("test")
    found = predicted(Coded(None, SPEC), records, rows, data, devices)
    plain = predicted(Plain(None, SPEC), records, rows, data)
    codes = [2 * np.mean(s, 0) for s in by_hand(records, rows, data).values()]
    np.testing.assert_allclose(found.codes, codes, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities, 0.25 * found.codes[:, ::-1], rtol=1e-5)
    np.testing.assert_allclose(found.others["softmax"], plain.probabilities, rtol=1e-5)
    np.testing.assert_array_equal(found.others["turned"], found.probabilities)
    numbers = classify.summarise(found)
    result = classify.results(found, numbers, records, "x", data, ("a", "b"))
    assert result["others"]["softmax"]["top-1"] == classify.summarise(plain)["top-1"]
    classify.save(tmp_path, found, result)
    with np.load(tmp_path / "predictions.npz") as saved:
        names = {"clip", "label", "probabilities", "codes"}
        names |= {"probabilities_softmax", "probabilities_turned"}
        assert set(saved) == names and saved["codes"].dtype == np.float32


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("method", [Plain, Coded])
def test_fit_sees_one_view_of_each_clip_or_those_of_the_evaluation(records, data, method, devices):
    data.split, data.train_views = "official", 1
    parts = sources.of(records, data, 4)
    with jax.set_mesh(mesh(devices)):
        found = train.fit(method(None, SPEC), VARIABLES, parts, data, 8, mesh(devices))
    if method is Plain:
        data.views_clips = data.views_crops = 1
    expected = {clip: np.mean(s, 0) for clip, s in by_hand(records, parts[0].rows, data).items()}
    assert sorted(found["clip"].tolist()) == sorted(expected)
    for clip, scores in zip(found["clip"], found["scores"], strict=True):
        np.testing.assert_allclose(scores, expected[int(clip)], rtol=1e-5)
    labels = [records.clips[int(clip)]["label"] for clip in found["clip"]]
    assert found["label"].tolist() == labels
