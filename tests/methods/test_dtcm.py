"""DTCM: Eq. 7 is its terms, the three trainings of Table VI train what they say."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import tiny_run
from compiled import compiled

from darkjax import config as configs
from darkjax import methods, optim
from darkjax.errors import UserError
from darkjax.losses import enhancement
from darkjax.weights import preprocess

CONFIG = f"{tiny_run.ROOT}/configs/dtcm_arid.py"


def make(words="demo", **fields):
    c = configs.load(f"{CONFIG}:{words}")
    stage = c.dtcm
    with c.unlocked():
        stage.model = {"name": "r2plus1d", "variant": (1,), "width": 4, "stem_mid": 4}
        stage.enhancer.update({"width": 8, "k": 2})
        stage.augment.flip.p = stage.augment.affine.p = 0.0
        stage.label_smoothing = 0.0
        for name, value in fields.items():
            setattr(stage, name, value)
    return methods.make(configs.resolve(c).dtcm, methods.Spec.numbered(3))


def batch(n=3):
    rng = np.random.default_rng(0)
    return {
        "video": jnp.asarray(rng.integers(0, 60, (n, 4, 16, 16, 3)), jnp.uint8),
        "label": jnp.arange(n, dtype=jnp.int32) % 3,
        "mask": jnp.ones(n, jnp.float32),
    }


def trained(method):
    variables = jax.jit(method.init)(jax.random.key(0), batch())
    flat, frozen = optim.split(variables["params"], method.frozen)

    def step(flat):
        params = optim.unflatten({**flat, **frozen})
        return method.loss({**variables, "params": params}, batch(), jax.random.key(1), 0.0)

    (value, aux), grads = jax.jit(jax.value_and_grad(step, has_aux=True))(flat)
    return variables, value, aux, grads


def test_the_weights_of_eq_7_are_those_of_the_enhancers_own_stage():
    c = configs.load(f"{CONFIG}:demo")
    c.dtcm.w_stc = 10.0
    c = configs.resolve(c)
    assert c.stages == ("enhancer", "dtcm")
    assert (c.enhancer.w_stc, c.dtcm.w_stc) == (10, 10)
    assert c.enhancer.enhancer == c.dtcm.enhancer
    assert configs.resolve(configs.load(CONFIG)).stages == ("dtcm",)  # the paper's one stage


def test_eq_7_is_the_weighted_sum_of_its_terms():
    method = make(alpha=0.2, w_stc=3.0, w_col=0.7, w_tv=5.0)
    variables, value, aux, grads = trained(method)
    video = batch()["video"].astype(jnp.float32) / 255
    m = {k: float(v) for k, v in aux.metrics.items()}
    np.testing.assert_allclose(value, m["ce"] + 0.2 * (3 * m["inconsistency"] + m["dark"]), 1e-6)
    # The terms are those of Eq. 4 and 5 on what the enhancer, in training, makes of the clips.
    from darkjax import models

    net = models.build({"name": "zero_dce_light", "k": 2, "width": 8}, None)
    part = {kind: v["enhancer"] for kind, v in variables.items()}
    (enhanced, out), _ = net.apply(part, video, train=True, mutable=["batch_stats"])
    stc = compiled(enhancement.spatio_temporal_consistency)(enhanced, video)
    np.testing.assert_allclose(m["inconsistency"], stc.mean(), rtol=1e-4)
    dark = compiled(enhancement.dark_enhancement)(
        enhanced, out["curves"], colour_weight=0.7, smooth_weight=5.0
    )
    np.testing.assert_allclose(m["dark"], dark.mean(), rtol=1e-4)
    assert all(np.isfinite(g).all() for g in grads.values())


def test_recognition_alone_reaches_the_enhancer_through_the_classifier():
    method = make("demo,recognition")
    _, value, aux, grads = trained(method)
    np.testing.assert_allclose(value, aux.metrics["ce"])
    enhancer = [k for k in grads if k.startswith("enhancer/")]
    assert enhancer and any(np.abs(grads[k]).max() > 0 for k in enhancer)


def test_a_frozen_enhancer_gets_no_gradient_and_keeps_its_statistics():
    method = make("demo,two_stage")
    variables, value, aux, grads = trained(method)
    assert not any(k.startswith("enhancer/") for k in grads)
    kept = aux.collections["batch_stats"]["enhancer"], variables["batch_stats"]["enhancer"]
    chex.assert_trees_all_equal(*kept)
    np.testing.assert_allclose(value, aux.metrics["ce"])


@pytest.mark.parametrize("words", ["demo", "demo,two_stage"])
def test_padding_does_not_weigh(words, monkeypatch):
    padding.small_networks(monkeypatch)
    padding.check(make(words))


def test_a_prediction_says_what_was_enhanced_and_by_which_curves():
    method = make()
    variables = jax.jit(method.init)(jax.random.key(0), batch())
    logits, out = jax.jit(method.predict)(variables, batch())
    assert logits.shape == (3, 3) and out["enhanced"].shape == batch()["video"].shape
    assert out["curves"].shape == (3, 2, 16, 16, 24)  # two groups of two frames
    assert all(np.isfinite(x).all() for x in (logits, out["enhanced"], out["curves"]))


def test_the_paper_size_is_table_ix():
    """ResNeXt-101 with 11 classes, 47,543,755 (Table III: 47.54 M), and 23,768 of the light net."""
    c = preprocess.settle(configs.resolve(configs.load(CONFIG)))
    method = methods.make(c.dtcm, methods.Spec.numbered(11))
    clip = {"video": jax.ShapeDtypeStruct((1, 64, 112, 112, 3), jnp.uint8)}
    params = jax.eval_shape(lambda b: method.init(jax.random.key(0), b), clip)["params"]
    count = {k: sum(x.size for x in jax.tree.leaves(v)) for k, v in params.items()}
    assert count == {"classifier": 47_543_755, "enhancer": 23_768}


def test_an_unknown_objective_names_the_known():
    with pytest.raises(UserError, match="objective='all': expected one of 'total', 'recognition'"):
        make(objective="all")


def test_a_black_clip_has_finite_gradients():
    """`mean=()` divides by a deviation, whose slope at 0 is infinite."""
    method = make()
    black = {**batch(), "video": jnp.zeros_like(batch()["video"])}
    variables = jax.jit(method.init)(jax.random.key(0), black)

    def loss(params):
        return method.loss({**variables, "params": params}, black, jax.random.key(1), 0.0)[0]

    value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
