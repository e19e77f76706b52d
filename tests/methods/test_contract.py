"""What every method owes the loop, on networks that compile at once."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import methods, models
from darkjax.models import layers

FILES = {
    "supervised": "lift_arid",
    "lift": "lift_arid",
    "dtcm": "dtcm_arid",
    "dinet": "dinet_infar",
    "enhancer": "zero_dce",
    "ir_dcl": "ir_dcl_infar",
    "darklight": "darklight_arid",
    "contrastive": "pretrain_dark",
    "actlumos": "actlumos_arid",
}
STAGES = {
    "supervised": "teacher", "lift": "student", "dtcm": "dtcm", "dinet": "dinet",
    "enhancer": "enhancer", "ir_dcl": "flow", "darklight": "darklight",
    "contrastive": "pretrain", "actlumos": "student",
}  # fmt: skip
ADAM = {"name": "adamw", "schedule": "constant"}  # the suite's rate and few steps are Adam's
CASES = {
    "supervised": {},
    "lift": {"luminous_frozen": False},
    "lift, frozen": {"luminous_frozen": True},
    "dtcm": {},
    "dtcm, frozen": {"enhancer_frozen": True},
    "dinet": {"domain_head": (8, 8), "optim": ADAM},
    "enhancer": {},
    "ir_dcl": {"luminous_input": "dark"},
    "ir_dcl, no code layer": {"luminous_input": "dark", "alpha": 0.0, "answer": "softmax"},
    "darklight": {},
    "contrastive": {"projection": (8, 4)},
    # both losses at once: the second is the teacher's
    "actlumos": {"views": ("dark", "gamma"), "supcon": {"weight": 1.0, "projection": (8, 4)}},
}
LOGGED = {
    "supervised": {"ce", "accuracy"},
    "lift": {"ce", "accuracy", "distill"},
    "lift, frozen": {"ce", "accuracy", "distill"},
    "dtcm": {"ce", "accuracy", "inconsistency", "dark"},
    "dtcm, frozen": {"ce", "accuracy"},
    "dinet": {"action_loss", "source_accuracy", "domain_loss", "domain_accuracy", "lambda"},
    "enhancer": {"inconsistency", "brightness"},
    "ir_dcl": {"ce", "accuracy", "codes"},
    "ir_dcl, no code layer": {"ce", "accuracy"},
    "darklight": {"ce", "accuracy"},
    "contrastive": {"contrast", "agreement"},
    "actlumos": {"ce", "accuracy", "supcon", "distill"},
}
FROZEN = {
    "lift": ("teacher/.*",),
    "actlumos": ("teacher/.*",),
    "lift, frozen": ("teacher/.*", "student/luminous/.*"),
    "dtcm, frozen": ("enhancer/.*",),
}
every_method = pytest.mark.parametrize("case", CASES)
MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    padding.small_networks(monkeypatch)


def made(case, **fields):
    """The method, and variables whose running statistics are not those of a start."""
    method = method_of(case, **fields)
    variables = method.init(jax.random.key(0), clips())
    if "batch_stats" in variables:
        stats = jax.tree.map(lambda x: x + 0.5, variables["batch_stats"])
        variables = {**variables, "batch_stats": stats}
    return method, variables


def method_of(case, dtype="float32", bn_group=0, **fields):
    name = case.split(",")[0]
    c = configs.load(f"{tiny_run.ROOT}/configs/{FILES[name]}.py:demo")
    stage = c[STAGES[name]]
    c.dtype, c.bn_group = dtype, bn_group
    with c.unlocked():
        stage.augment = {}
        stage.update({**CASES[case], **fields})
        if name == "lift":
            stage.distill.weight = 1.0
    spec = dataclasses.replace(methods.Spec.numbered(3), views=stage.data.get("train_views", 1))
    return methods.make(configs.resolve(c)[STAGES[name]], spec)


@functools.cache
def kept(case):
    """As `made(case)`, once for this file."""
    return made(case)


def clips():
    rng = np.random.default_rng(0)
    return {
        "video": jnp.asarray(rng.integers(0, 60, (4, 4, 16, 16, 3)), jnp.uint8),
        "label": jnp.asarray([0, 1, 2, 0], jnp.int32),
        "domain": jnp.asarray([0, 0, 1, 1], jnp.int32),
        "mask": jnp.ones(4, jnp.float32),
    }


@every_method
def test_a_prediction_does_not_depend_on_the_clips_beside_it(case):
    """Running statistics, no dropout: neither the batch nor a key is in it."""
    method, variables = kept(case)
    predict = jax.jit(method.predict)
    whole, _ = predict(variables, clips())
    turned, _ = predict(variables, jax.tree.map(lambda x: jnp.roll(x, 1, 0), clips()))
    np.testing.assert_allclose(jnp.roll(turned, -1, 0), whole, rtol=1e-5)
    other = {**clips(), "video": clips()["video"].at[1:].set(255)}
    np.testing.assert_allclose(predict(variables, other)[0][0], whole[0], rtol=1e-5)


@every_method
def test_statistics_and_numbers_come_back_by_name_and_only_what_learns_moves(case):
    method, variables = kept(case)
    _, aux = jax.jit(method.loss)(variables, clips(), jax.random.key(1), 0.0)
    assert set(aux.metrics) == LOGGED[case]
    old = variables.get("batch_stats", {})
    new = aux.collections.get("batch_stats", {})
    assert jax.tree.structure(new) == jax.tree.structure(old)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), new, old)
    expected = [not "".join(map(str, path)).startswith("['teacher']")
                for path, _ in jax.tree_util.tree_leaves_with_path(old)]  # fmt: skip
    assert jax.tree.leaves(moved) == expected


class Normalised(padding.Enhancer):
    """As DTCM's light network: with statistics."""

    @nn.compact
    def __call__(self, video, *, train):
        bright, out = padding.Enhancer(self.k)(video, train=train)
        return layers.BatchNorm()(bright, train=train), out


def test_an_enhancer_s_own_statistics_come_back(monkeypatch):
    monkeypatch.setattr(models, "build", lambda *_, **__: Normalised())
    method, variables = made("enhancer")
    _, aux = jax.jit(method.loss)(variables, clips(), jax.random.key(1), 0.0)
    assert set(aux.collections) == {"batch_stats"}
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), aux.collections["batch_stats"], variables["batch_stats"]
    )
    assert jax.tree.leaves(moved) == [True, True]


@pytest.mark.parametrize("case", [c for c in CASES if "," not in c])
def test_flow_that_lies_beside_the_colours_is_left_alone(case):
    """Records with flow have six channels; a method that does not ask for it reads three."""
    method, variables = kept(case)
    loss = jax.jit(lambda batch: method.loss(variables, batch, jax.random.key(1), 0.0)[0])
    six = jnp.pad(clips()["video"], [(0, 0)] * 4 + [(0, 3)], constant_values=77)
    assert loss({**clips(), "video": six}) == loss(clips())
    predict = jax.jit(lambda batch: method.predict(variables, batch)[0])
    np.testing.assert_array_equal(predict({**clips(), "video": six}), predict(clips()))


@every_method
def test_only_dropout_draws_from_the_key_when_nothing_is_augmented(case):
    method, variables = kept(case)
    loss = jax.jit(lambda key: method.loss(variables, clips(), key, 0.0)[0])
    drops = not case.startswith(("lift", "enhancer"))
    assert (loss(jax.random.key(1)) != loss(jax.random.key(2))) == drops
    assert loss(jax.random.key(1)) == loss(jax.random.key(1))


@every_method
def test_every_network_gets_the_dtype_and_the_groups_of_its_batch_norm(case, monkeypatch):
    asked, build = [], models.build

    def noted(config, num_classes, **options):
        asked.append((options["dtype"], options["bn_group"]))
        return build(config, num_classes, **options)

    monkeypatch.setattr(models, "build", noted)
    method_of(case, dtype="bfloat16", bn_group=2)
    assert set(asked) == {(jnp.dtype("bfloat16"), 2)}


def seen_in_training_and_after(method, variables):
    """What the classifier was given, and what `predict` says beside it."""

    @jax.jit
    def both():
        method.loss(variables, clips(), jax.random.key(1), 0.0)
        (trained_on,) = padding.SEEN
        _, out = method.predict(variables, clips())
        return trained_on, *padding.SEEN, out

    return both()


@pytest.mark.parametrize("case", ["supervised", "dtcm"])
def test_the_classifier_sees_what_mean_and_std_say(case):
    fields = {"luminous_input": "dark"} if case == "supervised" else {}
    method, variables = made(case, mean=MEAN, std=STD, **fields)
    *found, out = seen_in_training_and_after(method, variables)
    light = out["enhanced"] if case == "dtcm" else clips()["video"].astype(jnp.float32) / 255
    for seen in found:
        expected = (light - jnp.asarray(MEAN)) / jnp.asarray(STD)
        np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-5)


def test_lift_s_pathways_each_see_their_own():
    """The stub adds its two views: the clip by `mean`, its gamma correction by `luminous_mean`."""
    fields = {"mean": MEAN, "std": STD, "luminous_mean": STD, "luminous_std": MEAN}
    method, variables = made("lift, frozen", gamma=2.0, luminous_input="gamma", **fields)
    dark = clips()["video"].astype(jnp.float32) / 255
    mean, std = jnp.asarray(MEAN), jnp.asarray(STD)
    for seen in seen_in_training_and_after(method, variables)[:2]:
        expected = (dark - mean) / std + (jnp.sqrt(dark) - std) / mean
        np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-4)


def test_darklight_s_network_is_given_both_views():
    method, variables = made("darklight", gamma=2.0, mean=MEAN, std=STD)
    dark = clips()["video"].astype(jnp.float32) / 255
    for seen in seen_in_training_and_after(method, variables)[:2]:
        expected = (dark + jnp.sqrt(dark) - 2 * jnp.asarray(MEAN)) / jnp.asarray(STD)
        np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-4)


@every_method
def test_what_is_frozen_is_what_the_config_says_and_what_the_case_says(case):
    method = method_of(case, freeze=("my/.*",))
    free = {"student/luminous/.*", "enhancer/.*"} - set(FROZEN.get(case, ()))
    assert {"my/.*", *FROZEN.get(case, ())} <= set(method.frozen)
    assert not free & set(method.frozen)


def test_a_method_that_says_nothing_shows_its_clips():
    video = jnp.full((2, 3, 4, 4, 3), 51, jnp.uint8)
    look = methods.Method(None, methods.Spec.numbered(2)).look({"video": video}, {})
    np.testing.assert_allclose(look.video, 0.2, rtol=1e-6)
    assert look.heat is None
