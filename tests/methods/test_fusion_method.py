"""Fusion as a stage, of streams that compile at once: what is trained, and what is concluded."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from data.tiny import Noise

from configs import common
from darkjax import checkpoint, experiment
from darkjax.data.convert import convert
from darkjax.errors import UserError
from darkjax.methods import base, fusion

SPEC = base.Spec(("a", "b"))


@dataclasses.dataclass(frozen=True, eq=False)
class Stream(base.Method):
    """Codes are the means of the clip's rows (of one half of them) by a factor that is learnt."""

    def init(self, rng, batch):
        return {"params": {"factor": jax.random.uniform(rng)}, "counted": {"steps": jnp.zeros(())}}

    def predict(self, variables, batch):
        rows = base.to_float(batch["video"]).mean((1, 3, 4)) * variables["params"]["factor"]
        half = rows.shape[1] // 2
        codes = rows[:, :half] if self.config.half == "upper" else rows[:, half:]
        return 9 * codes[:, :2], {"codes": codes}

    def loss(self, variables, batch, rng, progress):
        scores, _ = self.predict(variables, batch)
        return jnp.square(scores).mean(), base.Aux({}, {"counted": {"steps": jnp.float32(3)}})

    def seen(self, scores, out):
        found = super().seen(scores, out)
        return found if self.config.half == "bare" else {**found, "codes": out["codes"]}


def stream(config, spec):
    return Stream(config, spec)


def section(half):
    s = common.stage("test_fusion_method:stream", epochs=1, batch_size=8, lr=0.1)
    s.half, s.steps, s.keep_best, s.eval_every = half, 2, "", 0
    return s


def fused(**fields):
    s = common.stage("fusion", epochs=1, batch_size=8, lr=0.05)
    s.streams = ml_collections.ConfigDict({"ir": section("upper"), "flow": section("lower")})
    s.weights = ml_collections.ConfigDict({"ir": 1.0, "flow": 2.0})
    s.filters, s.activation = 3, "relu"
    s.answer, s.knn_k, s.knn_gamma = "late2", 2, 50.0
    s.init_from = (("ir", r"(.*)", r"ir/\1"), ("flow", r"(.*)", r"flow/\1"))
    s.steps, s.keep_best, s.eval_every = 6, "", 0
    with s.unlocked():
        for name, value in fields.items():
            s[name] = ml_collections.ConfigDict(value) if isinstance(value, dict) else value
        s.dtype, s.bn_group = "float32", 0
    return s


def clips(seed, count=8):
    """Clips of two classes: the light is above or below, and noise."""
    rng = np.random.default_rng(seed)
    label = np.arange(count, dtype=np.int32) % 2
    video = rng.integers(0, 60, (count, 2, 8, 6, 3), np.uint8)
    video[label == 0, :, :2] += 150
    video[label == 1, :, 5:] += 150
    zero = np.zeros(count, np.int32)
    who = {"clip": np.arange(count, dtype=np.int32), "domain": zero, "view": zero}
    whole = {"video": video, "label": label, "mask": np.ones(count, np.float32), **who}
    return jax.tree.map(jnp.asarray, whole)


def test_what_is_trained_and_what_is_concluded():
    method = fusion.make(fused(), SPEC)
    batch = clips(0)
    variables = method.init(jax.random.key(0), batch)
    assert set(variables["params"]) == {"ir", "flow", "layer", "two_layer"}
    assert set(variables["counted"]) == {"ir", "flow"}
    assert set(method.frozen) == {"ir/.*", "flow/.*"}

    def loss(params):
        return method.loss({**variables, "params": params}, batch, jax.random.key(1), 0.0)[0]

    step = jax.jit(jax.value_and_grad(loss))
    params, (before, grads) = variables["params"], step(variables["params"])
    assert float(grads["ir"]["factor"]) == float(grads["flow"]["factor"]) == 0
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads["layer"]))
    for _ in range(150):
        params = jax.tree.map(lambda p, g: p - 2 * g, params, step(params)[1])
    after, _ = step(params)
    assert after < 0.2 * before

    variables = {**variables, "params": params}
    fitted = method.fit(variables, [batch])
    assert set(fitted) == {"ir/codes", "flow/codes", "label", "clip"}
    asked = clips(1)
    scores, out = method.predict(variables, asked)
    means = {k: np.asarray(v) for k, v in method.seen(scores, out).items()}
    assert means["codes"].shape == (8, 8)
    found = method.concluded({**variables, "fitted": fitted}, means)
    assert list(found) == ["late2", "late1", "layer", "two_layer"]
    for name, probabilities in found.items():
        np.testing.assert_allclose(np.sum(probabilities, 1), 1, rtol=1e-5, err_msg=name)
    expected = (means["ir/probabilities"] + 2 * means["flow/probabilities"]) / 3
    np.testing.assert_allclose(found["late1"], expected, rtol=1e-5)
    near = []
    for name in ("ir", "flow"):
        apart = np.linalg.norm(means[f"{name}/codes"][:, None] - fitted[f"{name}/codes"], axis=-1)
        by_class = [np.sort(apart[:, fitted["label"] == k], 1)[:, :2].mean(1) for k in (0, 1)]
        alike = np.exp(-50 * np.square(np.stack(by_class, 1)))
        near.append(alike / alike.sum(1, keepdims=True))
    np.testing.assert_allclose(found["late2"], (near[0] + 2 * near[1]) / 3, rtol=1e-3, atol=1e-6)
    for name in ("layer", "two_layer"):
        assert (np.argmax(found[name], 1) == asked["label"]).all()
    # Without codes of training clips there is no k-NN.
    assert list(method.concluded(variables, means)) == ["late1", "layer", "two_layer"]


@pytest.mark.whole
def test_three_stages_of_one_run(tmp_path):
    convert(Noise(train=16, test=6), tmp_path / "records")
    c = common.base()
    c.stages, c.ir, c.flow = ("ir", "flow", "fusion"), section("upper"), section("lower")
    c.fusion = fused()
    c.data.update({"dir": str(tmp_path / "records"), "frames": 2, "size": (8, 8)})
    c.data.views_clips, c.report_clips, c.eval_batch_size = 0, 1, 8
    result = experiment.run(c, str(tmp_path / "run"))
    assert set(result["others"]) == {"late1", "late2", "layer", "two_layer"}
    assert result["numbers"] == result["others"]["late2"]
    whole = checkpoint.load_variables(str(tmp_path / "run/fusion/checkpoints"))
    for name in ("ir", "flow"):
        own = checkpoint.load_variables(str(tmp_path / "run" / name / "checkpoints"))
        assert own["params"]["factor"] == whole["params"][name]["factor"]
        assert own["counted"]["steps"] == whole["counted"][name]["steps"] == 3
    with np.load(tmp_path / "run/fusion/predictions-train.npz") as kept:
        assert kept["codes"].shape[0] == 16
    assert json.loads((tmp_path / "run/fusion/done.json").read_text())["step"] == 6


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weights": {"ir": 1.0}}, "the streams flow, ir and weights of ir"),
        ({"weights": {"ir": 1.0, "flow": -1.0}}, "one above 0"),
        ({"answer": "late3"}, "an answer of late2, late1, layer, two_layer"),
        ({"activation": "gelu"}, "an activation of relu, tanh, none"),
        ({"streams": {"ir": {"method": "x"}}}, "the streams ir and weights of flow, ir"),
    ],
)
def test_wrong_values_are_one_line(fields, words):
    with pytest.raises(UserError, match=words):
        fusion.make(fused(**fields), SPEC)


def test_a_stream_without_codes_is_named():
    config = fused()
    config.streams.flow.half = "bare"
    with pytest.raises(UserError, match=r"streams\.flow: its method has no codes"):
        fusion.make(config, SPEC).init(jax.random.key(0), clips(0))
