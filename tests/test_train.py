"""The loop: resuming, stopping, devices, averages, accumulation."""

import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from darkjax import checkpoint, loggers, optim, sharding, train
from darkjax import config as configs
from darkjax.data import split
from darkjax.errors import UserError
from darkjax.eval import classify
from darkjax.methods import Aux

pytestmark = pytest.mark.usefixtures("one_program")


def quick(folder):
    """The tiny experiment, its teacher a network with batch statistics that compiles at once."""
    c = tiny_run.config(folder)
    with c.unlocked():
        c.teacher.model = {"name": "padding:Classifier"}
    return c


def run(folder, tmp_path, *, stage="teacher", mesh=None, change=None, real=False, **kwargs):
    c = tiny_run.config(folder) if real else quick(folder)
    if change:
        change(c)
    c = configs.resolve(c)
    rows = []
    outcome = train.run(
        c,
        stage,
        tiny_run.records(c),
        workdir=tmp_path,
        mesh=mesh or sharding.make_mesh((1, 1), jax.devices()[:1]),
        evaluate=None,
        on_step=lambda step, numbers: rows.append((step, numbers)),
        **kwargs,
    )
    return outcome, rows


def alone(c):
    """The student without its teacher, so that it can be trained by itself."""
    c.student.init_from, c.student.allow_random_frozen = (), True
    c.student.optim.warmup_steps = 0
    c.student.optim.lr = 1e-3


def equal(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


@pytest.mark.parametrize("devices", [1, 8])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    tiny_folder, tmp_path, capsys, devices
):
    # Of convolutions, whose sums the devices share, and of the loop alone.
    with_ = {"mesh": sharding.make_mesh((devices, 1), jax.devices()[:devices]), "real": devices > 1}
    whole, rows = run(tiny_folder, tmp_path / "whole", **with_)
    stopped, first = run(tiny_folder, tmp_path / "parts", max_steps=2, **with_)
    assert not stopped.finished
    resumed, second = run(tiny_folder, tmp_path / "parts", **with_)
    assert resumed.finished
    assert first + second == rows  # every loss of every step, so the data order too
    equal(resumed.state, whole.state)

    # A damaged checkpoint costs the steps since the one before it, and a line.
    path = max((tmp_path / "parts/checkpoints/4/state").glob("**/d/*"), key=os.path.getsize)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    capsys.readouterr()
    again, third = run(tiny_folder, tmp_path / "parts", **with_)
    assert third == rows[2:]
    equal(again.state, whole.state)
    said = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
    assert len(said) == 1 and "set aside as 4.damaged, step 2 is taken" in said[0]


def test_sigterm_saves_and_the_next_run_goes_on(tiny_folder, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def stop(step, numbers):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    c = configs.resolve(quick(tiny_folder))
    c.teacher.steps = 30
    arguments = (c, "teacher", tiny_run.records(c))
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


def test_numbers_go_where_the_config_says_and_go_on_there(tiny_folder, tmp_path, monkeypatch):
    began, rows = [], []

    class Kept:
        def __init__(self, folder, about, before):
            self.id = before or "first"
            began.append((folder.name, about, before))

        def log(self, step, numbers, now):
            rows.append((step, numbers["loss"]))

        def close(self, failed):
            assert not failed

    def change(c):
        c.log_to = ("mlflow",)

    monkeypatch.setattr(loggers, "MLflow", Kept)
    monkeypatch.setattr(loggers, "check", lambda names: None)
    workdir = tmp_path / "night" / "teacher"
    _, first = run(tiny_folder, workdir, max_steps=2, change=change)
    _, then = run(tiny_folder, workdir, max_steps=3, change=change)
    assert rows == [(step, numbers["loss"]) for step, numbers in first + then]
    (_, about, before), (_, again, after) = began
    assert (before, after) == (None, "first") and about == again
    assert (about.run, about.stage, about.config["teacher.batch_size"]) == ("night", "teacher", 16)
    assert not (workdir / "tensorboard").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    tiny_folder, tmp_path
):
    def explode(c):
        c.teacher.optim.lr = 1e38  # the warm-up's first step has none

    run(tiny_folder, tmp_path, max_steps=1, change=explode)
    with pytest.raises(UserError, match=r"step [34]: .*ce is (nan|inf).*checkpoint is kept"):
        run(tiny_folder, tmp_path, change=explode)
    assert checkpoint.read_meta(tmp_path / "checkpoints", "latest")["step"] == 1
    _, rows = run(tiny_folder, tmp_path, change=explode, max_steps=2)
    assert [step for step, _ in rows] == [2]


def test_frozen_parameters_do_not_move_and_have_no_optimiser_state(tiny_folder, tmp_path):
    def freeze(c):
        c.teacher.freeze, c.teacher.allow_random_frozen = ("Dense_0/.*",), True

    start, _ = run(tiny_folder, tmp_path / "0", change=freeze, max_steps=1)
    end, _ = run(tiny_folder, tmp_path / "1", change=freeze, max_steps=3)
    moments = optim.flatten(end.state.opt_state[0].mu)
    before, after = (optim.flatten(s.state.params) for s in (start, end))
    frozen = {"Dense_0/kernel", "Dense_0/bias"}
    assert set(moments) == set(after) - frozen
    moved = {k for k, v in after.items() if not np.array_equal(v, before[k])}
    assert moved == set(moments)


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


@pytest.mark.parametrize(
    ("stage", "shape"),
    [
        ("teacher", (4, 2)),
        pytest.param("student", (4, 2), marks=pytest.mark.slow),
        pytest.param("student", (8, 1), marks=pytest.mark.slow),
    ],
)
def test_eight_devices_give_the_losses_of_one(tiny_folder, tmp_path, stage, shape):
    def steps(c):
        alone(c)
        c[stage].steps = 4
        c.sharding = ((r".*/mlp/fc1/kernel", (None, "model")), (r".*/fc2/kernel", ("model", None)))
        if stage == "teacher":
            c.sharding = ((r".*Dense_0/kernel", (None, "model")),)
            c.teacher.optim.name = "sgd"  # Adam makes steps of rounding where no gradient is
            c.teacher.optim.lr = 1e-3  # at 1e-2 the loss jumps up, and differences with it

    one, expected = run(tiny_folder, tmp_path / "1", stage=stage, change=steps)
    mesh = sharding.make_mesh(shape, jax.devices()[:8])
    many, found = run(tiny_folder, tmp_path / "n", stage=stage, change=steps, mesh=mesh)
    for (_, a), (_, b) in zip(expected, found, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5, atol=1e-5)
    if shape[1] > 1:
        name = "Dense_0" if stage == "teacher" else "student/critic0/mlp/fc1"
        kernel = optim.flatten(many.state.params)[f"{name}/kernel"]
        assert kernel.sharding.spec == jax.sharding.PartitionSpec(None, "model")

    c = quick(tiny_folder)
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
    restored, _ = run(tiny_folder, tmp_path / "n", stage=stage, change=steps)
    assert restored.finished
    equal(restored.state.params, many.state.params)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("seed", 1, r"seed \(0, now 1\)"),
        ("teacher.batch_size", 8, r"teacher.batch_size \(16, now 8\)"),
        ("data.stride", 1, r"data.stride \(3, now 1\)"),
        ("teacher.label_smoothing", 0.3, r"teacher.label_smoothing \(0.1, now 0.3\)"),
    ],
)
def test_other_settings_are_not_resumed(stopped_run, tiny_folder, path, value, named):
    with pytest.raises(UserError, match=rf"to step 1 with other settings: {named}: a run that"):
        run(tiny_folder, stopped_run, change=lambda c: c.update_from_flattened_dict({path: value}))


def test_what_may_change_is_resumed(stopped_run, tiny_folder, tmp_path):
    shutil.copytree(stopped_run, tmp_path / "run")

    def freely(c):
        c.log_every, c.data.num_threads, c.data.read, c.data.views_crops = 2, 0, "pread", 3
        c.mesh, c.teacher.save_every = (8, 1), 2

    outcome, _ = run(tiny_folder, tmp_path / "run", change=freely)
    assert outcome.finished


@pytest.fixture(scope="module")
def stopped_run(tiny_folder, tmp_path_factory):
    """A folder in which one step was trained."""
    folder = tmp_path_factory.mktemp("stopped")
    run(tiny_folder, folder, max_steps=1)
    return folder


def test_a_longer_training_goes_on_when_asked(tiny_folder, tmp_path, capsys):
    def steps(n):
        return lambda c: c.teacher.update({"steps": n})

    run(tiny_folder, tmp_path, change=steps(2))
    with pytest.raises(UserError, match=r"teacher.steps \(2, now 5\).*or add --extend"):
        run(tiny_folder, tmp_path, change=steps(5))
    with pytest.raises(UserError, match="only lengthens, and 1 steps are not more than 2"):
        run(tiny_folder, tmp_path, change=steps(1), extend=True)
    capsys.readouterr()
    outcome, rows = run(tiny_folder, tmp_path, change=steps(5), extend=True, max_steps=4)
    assert (
        "extended from 2 to 5 steps: the schedule of the learning rate" in capsys.readouterr().out
    )
    assert not outcome.finished and [step for step, _ in rows] == [3, 4]
    # From here on it is a training of five steps: the plain command goes on.
    outcome, rows = run(tiny_folder, tmp_path, change=steps(5))
    assert outcome.finished and [step for step, _ in rows] == [5]


def test_ctrl_c_saves_and_a_second_one_leaves_at_once(tiny_folder, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    c = configs.resolve(quick(tiny_folder))
    c.teacher.steps = 30
    arguments = (c, "teacher", tiny_run.records(c))
    mesh = sharding.make_mesh((1, 1), jax.devices()[:1])
    presses = [1]

    def press(step, numbers):
        if step == 1:
            for _ in presses:
                os.kill(os.getpid(), signal.SIGINT)

    outcome = train.run(*arguments, workdir=tmp_path / "one", mesh=mesh, on_step=press)
    assert not outcome.finished and outcome.signal == signal.SIGINT
    assert 1 < outcome.saved_at == int(outcome.state.step) < 30
    assert signal.getsignal(signal.SIGINT) is before
    presses.append(2)
    with pytest.raises(KeyboardInterrupt):
        train.run(*arguments, workdir=tmp_path / "two", mesh=mesh, on_step=press)
    assert signal.getsignal(signal.SIGINT) is before


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
