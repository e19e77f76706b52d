"""An enhancer trained alone: objectives, what they need, a run from pictures to its report."""

import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import tiny_run
from compiled import compiled
from PIL import Image

from darkjax import config as configs
from darkjax import experiment, methods
from darkjax.data import convert
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.losses import enhancement
from darkjax.methods import base

zero_dce = compiled(enhancement.zero_dce)
CONFIG = f"{tiny_run.ROOT}/configs/zero_dce.py"


def stage(words="demo", **fields):
    c = configs.load(f"{CONFIG}:{words}")
    s = c.enhancer
    with c.unlocked():
        if s.enhancer.name != "sci":
            s.enhancer.width = 8
        s.augment.flip.p = 0.0
        for name, value in fields.items():
            setattr(s, name, value)
    return configs.resolve(c).enhancer


def batch(frames=2, n=2):
    rng = np.random.default_rng(0)
    return {
        "video": jnp.asarray(rng.integers(0, 60, (n, frames, 32, 32, 3)), jnp.uint8),
        "label": jnp.zeros(n, jnp.int32),
        "mask": jnp.asarray([1.0] + [0.0] * (n - 1)),
    }


SLOW_WORDS = [pytest.param(words, marks=pytest.mark.slow) for words in ("demo,light", "demo,sci")]


@pytest.mark.parametrize("words", ["demo", "demo,code", *SLOW_WORDS, ""])
def test_a_step_lowers_the_loss_of_its_batch(words):
    method = methods.make(stage(words), methods.Spec.numbered(1))
    given = batch(frames=2 if "demo" in words else 1)
    variables = jax.jit(method.init)(jax.random.key(0), given)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return method.loss({**variables, "params": params}, given, jax.random.key(0), 0.0)[0]

    value, grads = loss(variables["params"])
    size = float(sum(np.square(g).sum() for g in jax.tree.leaves(grads)))
    assert np.isfinite(value) and size > 0
    scale = np.float32(1e-3 / size**0.5)
    stepped = jax.tree.map(lambda p, g: p - scale * g, variables["params"], grads)
    assert loss(stepped)[0] < value
    bright, _ = jax.eval_shape(method.predict, variables, given)
    assert bright.shape == given["video"].shape


def test_zero_dce_s_value_is_eq_8_of_the_unmasked_clip():
    method = methods.make(stage("demo,code"), methods.Spec.numbered(1))
    given = batch()
    variables = jax.jit(method.init)(jax.random.key(0), given)
    value, _ = jax.jit(method.loss)(variables, given, jax.random.key(0), 0.0)
    bright, out = jax.jit(method.predict)(variables, given)
    expected = zero_dce(
        bright[0], base.to_float(given["video"])[0], out["curves"][0], form="code"
    ).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_frames_share_the_smoothness_of_their_own_group():
    """Nine frames by four are groups of 4, 4 and 1: frame 8 alone has the last group's curves."""
    shared = stage("demo,code", enhancer={"name": "zero_dce", "k": 4, "iterations": 8, "width": 8})
    method = methods.make(shared, methods.Spec.numbered(1))
    given = batch(frames=9)
    variables = jax.jit(method.init)(jax.random.key(0), given)
    rough = jax.tree.map(lambda p: 4 * p, variables["params"])  # groups whose curves differ
    variables = {**variables, "params": rough}
    value, _ = jax.jit(method.loss)(variables, given, jax.random.key(0), 0.0)
    bright, out = jax.jit(method.predict)(variables, given)
    group = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    expected = zero_dce(
        bright[0], base.to_float(given["video"])[0], out["curves"][0][group], form="code"
    ).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("objective", ["zero_dce", "dtcm", "sci"])
def test_padding_does_not_weigh(objective, monkeypatch):
    padding.small_networks(monkeypatch)
    config = stage("demo,sci" if objective == "sci" else "demo", objective=objective)
    padding.check(methods.make(config, methods.Spec.numbered(1)))


@pytest.mark.parametrize(("objective", "counts"), [("dtcm", 1.0), ("zero_dce", 0.0)])
def test_consistency_weighs_in_dtcm_s_objective_alone(objective, counts, monkeypatch):
    """And it is logged of both, as the brightness of the clips that are no padding."""
    padding.small_networks(monkeypatch)
    given = batch(frames=3)
    found = {}
    for weight in (0.0, 4.0):
        config = stage("demo", objective=objective, w_stc=weight)
        method = methods.make(config, methods.Spec.numbered(1))
        variables = method.init(jax.random.key(0), given)
        found[weight], aux = jax.jit(method.loss)(variables, given, jax.random.key(0), 0.0)
        assert set(aux.metrics) == {"inconsistency", "brightness"}
        assert aux.metrics["inconsistency"] > 1e-6
        bright, _ = method.predict(variables, given)
        np.testing.assert_allclose(aux.metrics["brightness"], bright[0].mean(), rtol=1e-5)
    np.testing.assert_allclose(
        found[4.0] - found[0.0], counts * 4 * aux.metrics["inconsistency"], atol=1e-6
    )


def test_objective_and_enhancer_must_fit():
    with pytest.raises(UserError, match="SCI has its own loss"):
        methods.make(stage("demo", objective="sci"), methods.Spec.numbered(1))
    with pytest.raises(UserError, match="objective='l1': expected one of 'zero_dce', 'dtcm'"):
        methods.make(stage("demo", objective="l1"), methods.Spec.numbered(1))


@pytest.mark.whole
def test_from_a_folder_of_pictures_to_the_report(tmp_path, capsys, one_device):
    raw = tmp_path / "raw"
    (raw / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(12):
        pixels = rng.integers(0, 50, (40 + n, 60, 3), np.uint8)
        Image.fromarray(pixels).save(raw / "sub" / f"{n}.png")
    (raw / "broken.png").write_bytes(b"no picture")
    convert.convert("images", tmp_path / "records", raw=raw, short_side=36, max_bad_fraction=0.1)
    records = Records(tmp_path / "records")
    assert len(records) == 12 and set(records.meta["frames"]) == {1}
    assert set(records.meta["height"]) == {36}
    c = configs.load(CONFIG)
    with c.unlocked():
        c.data.dir, c.data.size = str(tmp_path / "records"), (32, 32)
        c.enhancer.enhancer.width = 4
        c.enhancer.batch_size, c.enhancer.steps, c.enhancer.eval_every = 8, 3, 0
        c.report_clips = 2
    found = experiment.run(c, str(tmp_path / "run"))
    assert found["numbers"]["n"] == len(records.select("train", fold=1))
    assert found["numbers"]["brightness after"] > 0
    assert (tmp_path / "run" / "before_after.png").is_file()
    assert "brightness after" in (tmp_path / "run" / "report.html").read_text()
    again = experiment.run(c, str(tmp_path / "run"), "report")
    assert again == found
    assert "brightness after" in capsys.readouterr().out
    c.report_clips = 0  # no pictures, and all else as before
    assert experiment.run(c, str(tmp_path / "run"), "evaluate") == found


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(UserError, match="expected pictures; found none"):
        convert.convert("images", tmp_path / "out", raw=tmp_path)
