"""Contrast without labels: whose views agree, what is never read, who begins from it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import test_contract
import tiny_run

from darkjax import config as configs
from darkjax import experiment, losses, methods, optim, spec, starts
from darkjax.errors import UserError
from darkjax.losses.contrast import by_clip


@pytest.fixture
def made(monkeypatch):
    padding.small_networks(monkeypatch, group=0)
    return test_contract.made("contrastive")


def step(method, variables, batch):
    """(loss, gradient) of a batch, without dropout's chance: the same key."""

    def loss(params):
        value, aux = method.loss({**variables, "params": params}, batch, jax.random.key(1), 0.0)
        return value, aux

    (value, aux), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return {"loss": value, **aux.metrics}, slope


def six_views():
    """Three clips, two views of each."""
    batch = test_contract.clips()
    more = jnp.asarray(np.random.default_rng(1).integers(0, 60, (2, 4, 16, 16, 3)), jnp.uint8)
    return {
        "video": jnp.concatenate([batch["video"], more]),
        "label": jnp.zeros(6, jnp.int32),
        "domain": jnp.zeros(6, jnp.int32),
        "mask": jnp.asarray([1.0, 1, 1, 1, 0, 1]),  # the second clip lacks its second view
    }


@pytest.mark.parametrize(
    ("batch", "mask"), [(test_contract.clips(), (1.0, 1.0)), (six_views(), (1.0, 0.0, 1.0))]
)
def test_two_blocks_of_a_batch_are_the_views_of_its_clips(made, monkeypatch, batch, mask):
    method, variables = made
    monkeypatch.setattr(
        padding.Classifier, "has_rng", lambda *_: False
    )  # nothing is dropped out: the loss is that of the features
    numbers, _ = step(method, variables, batch)
    (features, _), _ = method.model.apply(
        {kind: value["features"] for kind, value in variables.items()},
        method.view(batch["video"].astype(jnp.float32) / 255),
        train=True,
        mutable=["batch_stats"],
    )
    rows = method.projection.apply({"params": variables["params"]["projection"]}, features)
    mask = jnp.asarray(mask)
    each = jax.jit(losses.nt_xent)(by_clip(rows, 2), method.config.temperature, mask=mask)
    assert numbers["loss"] == pytest.approx(float(each[mask > 0].mean()), rel=1e-4)
    unit = rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
    n = len(mask)  # a block has as many clips
    cosines = [float(unit[i] @ unit[i + n]) for i in range(n) if mask[i]]
    assert numbers["agreement"] == pytest.approx(np.mean(cosines), rel=1e-4)


def test_no_label_is_read(made):
    method, variables = made
    batch = test_contract.clips()
    known = step(method, variables, batch)
    for label in ([2, 2, 2, 2], [-1, -1, -1, -1]):
        found = step(method, variables, {**batch, "label": jnp.asarray(label, jnp.int32)})
        jax.tree.map(np.testing.assert_array_equal, found, known)


def test_a_clip_counts_when_both_its_views_do(made):
    """Two clips, of which the second is padding in its second view alone: nothing is left."""
    method, variables = made
    batch = {**test_contract.clips(), "mask": jnp.asarray([1.0, 1, 1, 0])}
    numbers, slope = step(method, variables, batch)
    assert numbers["loss"] == 0  # the first has nobody to be told from
    assert not any(np.any(x) for x in jax.tree.leaves(slope))


def test_what_cannot_be_contrasted_is_refused(made):
    method, variables = made
    one = dataclasses.replace(method, spec=dataclasses.replace(method.spec, views=1))
    with pytest.raises(UserError, match=r"at least 2 views.*found 1.*data\.train_views"):
        one.loss(variables, test_contract.clips(), jax.random.key(0), 0.0)
    config = method.config.copy_and_resolve_references()
    with config.unlocked():
        config.augment = {"cutmix": {"p": 0.5}}
    with pytest.raises(UserError, match=r"augment\.cutmix\.p=0\.5.*set it to 0"):
        methods.make(config, method.spec)


RULE = ("pretrain", r"features/(.*)", r"\1")


def test_a_supervised_stage_begins_from_it_heads_apart(tmp_path):
    c = configs.load(f"{tiny_run.ROOT}/configs/supervised.py:mobilenet3d_v2,demo")
    before = configs.load(f"{tiny_run.ROOT}/configs/pretrain_dark.py:mobilenet3d_v2,demo")
    with c.unlocked():
        c.pretrain = before.pretrain
    c.stages, c.classifier.init_from = ("pretrain", "classifier"), (RULE,)
    c = configs.resolve(c)
    specs = {name: spec.bare(c, name, tuple("abcdef")) for name in c.stages}
    starts.check(c, tmp_path, specs)
    own, given = (starts.abstract(methods.make(c[name], specs[name])) for name in c.stages[::-1])
    for kind in ("params", "batch_stats"):
        placed = {to for _, to in starts._matches(RULE, optim.flatten(given[kind]))}
        heads = {"head/kernel", "head/bias"} if kind == "params" else set()
        assert placed == set(optim.flatten(own[kind])) - heads


@pytest.mark.slow
def test_pre_training_is_judged_by_epoch_and_trained_on_with_labels(tiny_folder, tmp_path):
    c = tiny_run.contrast(tiny_folder)
    c.pretrain.steps, c.pretrain.eval_every = 0, 1
    c.pretrain.epochs = 2
    found = experiment.run(c, str(tmp_path / "before"))["numbers"]
    assert set(found) == {"knn top-1", "probe top-1", "n"} and found["n"] == 9
    report = (tmp_path / "before" / "report.html").read_text()
    assert "val/knn top-1" in report and "val/probe top-1" in report

    after = configs.load(f"{tiny_run.ROOT}/configs/supervised.py:r2plus1d34,demo")
    with after.unlocked():
        after.data = c.data
        after.classifier.model = c.pretrain.model
    folder = str(tmp_path / "before" / "pretrain")
    s = after.classifier
    s.batch_size, s.steps, s.optim.lr = 16, 1, 0.0
    s.init_from = ((folder, *RULE[1:]),)
    experiment.run(after, str(tmp_path / "after"))
    own, given = (
        optim.flatten(experiment.source_variables(str(place))["params"])
        for place in (tmp_path / "after" / "classifier", folder)
    )
    assert set(own) - {path.removeprefix("features/") for path in given} == {
        "head/kernel",
        "head/bias",
    }
    for path in set(own) - {"head/kernel", "head/bias"}:  # a rate of 0: as they were placed
        np.testing.assert_array_equal(own[path], given[f"features/{path}"], err_msg=path)
