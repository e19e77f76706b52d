"""The loop: resuming, stopping, devices, averages, accumulation."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import optim, sharding, train
from darkjax.data import split
from darkjax.errors import UserError
from darkjax.eval import classify
from darkjax.methods import Aux


def run(folder, tmp_path, *, stage="teacher", mesh=None, change=None, evaluate=None, **kwargs):
    c = tiny_run.config(folder)
    if change:
        change(c)
    c = configs.resolve(c)
    rows = []
    outcome = train.run(
        c,
        c[stage],
        tiny_run.records(c),
        workdir=tmp_path,
        mesh=mesh or sharding.make_mesh((1, 1), jax.devices()[:1]),
        evaluate=evaluate,
        on_step=lambda step, numbers: rows.append((step, numbers)),
        **kwargs,
    )
    return outcome, rows


def alone(c):
    """The student without its teacher, so that it can be trained by itself."""
    c.student.init_from = ()
    c.student.optim.warmup_steps = 0
    c.student.optim.lr = 1e-3


def equal(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tiny_folder, tmp_path):
    whole, rows = run(tiny_folder, tmp_path / "whole")
    stopped, first = run(tiny_folder, tmp_path / "parts", max_steps=2)
    assert not stopped.finished
    resumed, second = run(tiny_folder, tmp_path / "parts")
    assert resumed.finished
    assert first + second == rows  # every loss of every step, so the data order too
    equal(resumed.state, whole.state)


def test_sigterm_saves_and_the_next_run_goes_on(tiny_folder, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def stop(step, numbers):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    c = configs.resolve(tiny_run.config(tiny_folder))
    c.teacher.steps = 30
    arguments = (c, c.teacher, tiny_run.records(c))
    mesh = sharding.make_mesh((1, 1), jax.devices()[:1])
    outcome = train.run(*arguments, workdir=tmp_path, mesh=mesh, on_step=stop)
    step = int(outcome.state.step)
    assert not outcome.finished and 1 < step < 30
    assert signal.getsignal(signal.SIGTERM) is before
    seen = []
    outcome = train.run(
        *arguments, workdir=tmp_path, mesh=mesh, on_step=lambda step, numbers: seen.append(step)
    )
    assert outcome.finished and seen[0] == step + 1


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    tiny_folder, tmp_path
):
    run(tiny_folder, tmp_path, max_steps=2)

    def explode(c):
        c.teacher.optim.lr = 1e38

    with pytest.raises(UserError, match=r"step 4: .*ce is (nan|inf).*checkpoint is kept"):
        run(tiny_folder, tmp_path, change=explode)
    outcome, rows = run(tiny_folder, tmp_path)
    assert outcome.finished and rows[0][0] == 3


def test_frozen_parameters_do_not_move_and_have_no_optimiser_state(tiny_folder, tmp_path):
    def freeze(c):
        alone(c)
        c.student.pvit_freeze = "first_free"

    start, _ = run(tiny_folder, tmp_path / "0", stage="student", change=freeze, max_steps=1)
    end, _ = run(tiny_folder, tmp_path / "1", stage="student", change=freeze, max_steps=3)
    moments = optim.flatten(end.state.opt_state[0].mu)
    before, after = (optim.flatten(s.state.params) for s in (start, end))
    frozen = {k for k in after if k.startswith(("teacher/", "student/luminous/"))}
    frozen |= {k for k in after if "pvit/vit/" in k and "block0" not in k}
    assert frozen and frozen.isdisjoint(moments)
    assert set(moments) == set(after) - frozen
    moved = {k for k, v in after.items() if not np.array_equal(v, before[k])}
    assert moved.isdisjoint(frozen)
    assert {k for k in after if k.endswith("/kernel")} - frozen <= moved


def test_the_moving_average_is_one_of_the_parameters(tiny_folder, tmp_path):
    def average(c):
        c.teacher.ema = 0.5

    one, _ = run(tiny_folder, tmp_path / "1", change=average, max_steps=1)
    two, _ = run(tiny_folder, tmp_path / "2", change=average, max_steps=2)
    name = "head/kernel"
    expected = 0.5 * one.state.ema[name] + 0.5 * optim.flatten(two.state.params)[name]
    np.testing.assert_allclose(two.state.ema[name], expected, rtol=1e-6)
    averaged = optim.flatten(two.state.variables(averaged=True)["params"])[name]
    np.testing.assert_array_equal(averaged, two.state.ema[name])


@pytest.mark.parametrize(("shape", "count"), [((8, 1), 8), ((4, 2), 8)])
def test_eight_devices_give_the_losses_of_one(tiny_folder, tmp_path, shape, count):
    def steps(c):
        alone(c)
        c.student.steps = 5
        c.sharding = ((r".*/mlp/fc1/kernel", (None, "model")), (r".*/fc2/kernel", ("model", None)))

    one, expected = run(tiny_folder, tmp_path / "1", stage="student", change=steps)
    mesh = sharding.make_mesh(shape, jax.devices()[:count])
    many, found = run(tiny_folder, tmp_path / "n", stage="student", change=steps, mesh=mesh)
    for (_, a), (_, b) in zip(expected, found, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5, atol=1e-5)
    if shape[1] > 1:
        kernel = many.state.params["student"]["critic0"]["mlp"]["fc1"]["kernel"]
        assert kernel.sharding.spec == jax.sharding.PartitionSpec(None, "model")

    c = tiny_run.config(tiny_folder)
    steps(c)
    c = configs.resolve(c)
    records = tiny_run.records(c)
    rows = split.rows(records, c.data)[1]
    scores = []
    for outcome, where in ((one, sharding.make_mesh((1, 1), jax.devices()[:1])), (many, mesh)):
        step = classify.make_predict(outcome.method, where)
        state = outcome.state.variables()
        found = classify.predict(step, state, records, rows, c.data, batch_size=8, mesh=where)
        scores.append(found.probabilities)
    np.testing.assert_allclose(*scores, atol=2e-4)
    np.testing.assert_array_equal(scores[0].argmax(1), scores[1].argmax(1))

    # What eight devices saved, one restores: nothing is left to do, and the state is the same.
    restored, _ = run(tiny_folder, tmp_path / "n", stage="student", change=steps)
    assert restored.finished
    equal(restored.state.params, many.state.params)


def test_another_seed_or_dataset_is_not_resumed(tiny_folder, tmp_path):
    run(tiny_folder, tmp_path, max_steps=1)
    with pytest.raises(UserError, match=r"trained with another seed.*another --workdir"):
        run(tiny_folder, tmp_path, change=lambda c: c.update({"seed": 1}))


def test_another_model_is_not_resumed(tiny_folder, tmp_path):
    run(tiny_folder, tmp_path, max_steps=1)

    def wider(c):
        c.teacher.model.width = 8

    with pytest.raises(UserError, match="does not fit this config's model"):
        run(tiny_folder, tmp_path, change=wider)


def test_a_batch_that_the_devices_cannot_share_is_refused(tiny_folder, tmp_path):
    def odd(c):
        c.teacher.batch_size = 12

    with pytest.raises(UserError, match=r"batch_size=12 .* 8 devices.*choose 16"):
        run(tiny_folder, tmp_path, mesh=sharding.make_mesh((8, 1)), change=odd)


def test_accumulation_gives_the_gradient_of_the_whole_batch():
    x = jnp.arange(12.0).reshape(6, 2)

    def loss(w, stats, batch, rng):
        del rng
        each = jnp.square(batch["x"] @ w["w"] - 1.0)
        return each.mean(), Aux({"largest": each.max()}, {"n": stats["n"] + 1})

    w = {"w": jnp.array([0.1, -0.2])}
    arguments = (loss, w, {"n": jnp.zeros(())}, {"x": x}, jax.random.key(0))
    whole, stats1, metrics1 = train.accumulated(*arguments, 1)
    parts, stats3, metrics3 = train.accumulated(*arguments, 3)
    np.testing.assert_allclose(parts["w"], whole["w"], rtol=1e-6)
    np.testing.assert_allclose(metrics3["loss"], metrics1["loss"], rtol=1e-6)
    assert stats1["n"] == 1 and stats3["n"] == 3
    by_hand = 2 * np.mean([(v @ w["w"] - 1) * v for v in np.asarray(x)], axis=0)
    np.testing.assert_allclose(whole["w"], by_hand, rtol=1e-6)
