"""What every method owes the loop, on networks that compile at once."""

import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import methods

FILES = {
    "supervised": "lift_arid",
    "lift": "lift_arid",
    "dtcm": "dtcm_arid",
    "enhancer": "zero_dce",
}
STAGES = {"supervised": "teacher", "lift": "student", "dtcm": "dtcm", "enhancer": "enhancer"}
CASES = {
    "supervised": {},
    "lift": {"luminous_frozen": False},
    "lift, frozen": {"luminous_frozen": True},
    "dtcm": {},
    "dtcm, frozen": {"enhancer_frozen": True},
    "enhancer": {},
}
every_method = pytest.mark.parametrize("case", CASES)
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    padding.small_networks(monkeypatch)


def made(case, **fields):
    """The method, and variables whose running statistics are not those of a start."""
    name = case.split(",")[0]
    c = configs.load(f"{tiny_run.ROOT}/configs/{FILES[name]}.py:demo")
    stage = c[STAGES[name]]
    with c.unlocked():
        stage.augment = {}
        stage.update({**CASES[case], **fields})
        if name == "lift":
            stage.distill.weight = 1.0
    method = methods.make(configs.resolve(c)[STAGES[name]], 3)
    variables = method.init(jax.random.key(0), clips())
    if "batch_stats" in variables:
        stats = jax.tree.map(lambda x: x + 0.5, variables["batch_stats"])
        variables = {**variables, "batch_stats": stats}
    return method, variables


def clips():
    rng = np.random.default_rng(0)
    return {
        "video": jnp.asarray(rng.integers(0, 60, (4, 4, 16, 16, 3)), jnp.uint8),
        "label": jnp.asarray([0, 1, 2, 0], jnp.int32),
        "mask": jnp.ones(4, jnp.float32),
    }


@every_method
def test_a_prediction_does_not_depend_on_the_clips_beside_it(case):
    """Running statistics, no dropout: neither the batch nor a key is in it."""
    method, variables = made(case)
    predict = jax.jit(method.predict)
    whole, _ = predict(variables, clips())
    turned, _ = predict(variables, jax.tree.map(lambda x: jnp.roll(x, 1, 0), clips()))
    np.testing.assert_allclose(jnp.roll(turned, -1, 0), whole, rtol=1e-5)
    other = {**clips(), "video": clips()["video"].at[1:].set(255)}
    np.testing.assert_allclose(predict(variables, other)[0][0], whole[0], rtol=1e-5)


@every_method
def test_statistics_come_back_in_their_places_and_only_what_learns_moves(case):
    method, variables = made(case)
    _, aux = jax.jit(method.loss)(variables, clips(), jax.random.key(1), 0.0)
    old = variables.get("batch_stats", {})
    assert jax.tree.structure(aux.batch_stats) == jax.tree.structure(old)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), aux.batch_stats, old)
    expected = [not "".join(map(str, path)).startswith("['teacher']")
                for path, _ in jax.tree_util.tree_leaves_with_path(old)]  # fmt: skip
    assert jax.tree.leaves(moved) == expected


@every_method
def test_only_dropout_draws_from_the_key_when_nothing_is_augmented(case):
    method, variables = made(case)
    loss = jax.jit(lambda key: method.loss(variables, clips(), key, 0.0)[0])
    drops = case.startswith(("supervised", "dtcm"))
    assert (loss(jax.random.key(1)) != loss(jax.random.key(2))) == drops
    assert loss(jax.random.key(1)) == loss(jax.random.key(1))


@pytest.mark.parametrize("case", ["supervised", "dtcm"])
def test_the_classifier_sees_what_mean_and_std_say(case):
    fields = {"mean": MEAN, "std": STD, "luminous_input": "dark"}
    if case == "dtcm":
        fields.pop("luminous_input")
    method, variables = made(case, **fields)
    _, out = method.predict(variables, clips())
    light = out["enhanced"] if case == "dtcm" else clips()["video"].astype(jnp.float32) / 255
    expected = (light - jnp.asarray(MEAN)) / jnp.asarray(STD)
    np.testing.assert_allclose(out["seen"], expected, rtol=1e-5)


def test_lift_s_pathways_each_see_their_own():
    """The stub adds its two views: the clip by `mean`, its gamma correction by `luminous_mean`."""
    fields = {"mean": MEAN, "std": STD, "luminous_mean": STD, "luminous_std": MEAN}
    method, variables = made("lift", gamma=2.0, luminous_input="gamma", **fields)
    _, out = method.predict(variables, clips())
    dark = clips()["video"].astype(jnp.float32) / 255
    mean, std = jnp.asarray(MEAN), jnp.asarray(STD)
    expected = (dark - mean) / std + (jnp.sqrt(dark) - std) / mean
    np.testing.assert_allclose(out["seen"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["lift", "lift, frozen", "dtcm, frozen"])
def test_what_is_frozen_is_named(case):
    method, _ = made(case, freeze=("my/.*",))
    expected = {
        "lift": {"teacher/.*"},
        "lift, frozen": {"teacher/.*", "student/luminous/.*"},
        "dtcm, frozen": {"enhancer/.*"},
    }[case]
    assert {"my/.*", *expected} <= set(method.frozen)
    assert ("student/luminous/.*" in method.frozen) == (case == "lift, frozen")
