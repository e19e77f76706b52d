"""One suite for every method of the table, through the loop, on networks that compile at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import padding
import pytest
import test_contract
import tiny_run
from one_stage import trained

from darkjax import config as configs
from darkjax import methods, optim, spec

CASES = tuple(test_contract.CASES)
# Two more of a method that stands above them. Beside the devices and the dtype, what is frozen is
# trained here for LIFT-Net alone; test_contract.py has it of every case.
SLOW = ("dtcm, frozen", "ir_dcl, no code layer")
every_method = pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in CASES]
)
once = pytest.mark.parametrize(  # a frozen part is no other program for devices and dtypes
    "case", [pytest.param(c, marks=pytest.mark.slow) if "," in c else c for c in CASES]
)
STEPS = 24
pytestmark = pytest.mark.usefixtures("one_program")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    padding.small_networks(monkeypatch, group=0)


@pytest.fixture(autouse=True)
def no_steps_of_rounding(monkeypatch):
    """Adam makes whole steps of slopes that are rounding (a bias before batch norm has no other),
    and rounding differs with the machine and with the number of devices."""
    monkeypatch.setattr(optax, "scale_by_adam", functools.partial(optax.scale_by_adam, eps=1e-4))


@pytest.fixture
def made(tiny_folder):
    """A function from a case to (config, the stage's name, records)."""

    def make(case, **fields):
        method = case.split(",")[0]
        c = configs.load(f"{tiny_run.ROOT}/configs/{test_contract.FILES[method]}.py:demo")
        name = test_contract.STAGES[method]
        stage, small = c[name], tiny_run.config(tiny_folder).data
        for field in ("dir", "synthetic", "num_classes", "channels", "views_clips"):
            with c.unlocked(), c.ignore_type():
                c.data[field] = small[field]
        # IR-DCL's slopes are rounding there, of which Adam makes whole steps.
        c.data.size = (32, 32) if method == "ir_dcl" else (16, 16)
        if method == "dinet":  # both halves of the same clips
            c.data.source_dir, c.data.source_synthetic = str(tiny_folder), None
        c.data.split, c.data.eval_split = "official", "test"
        c.data.frames, c.data.stride, c.data.crop = 12, 1, "centre"  # always the same of a clip
        with c.unlocked():
            stage.augment, stage.init_from, stage.allow_random_frozen = {}, (), True
            stage.update({**test_contract.CASES[case], **fields})
            if method == "lift":
                stage.distill.weight = 1.0
        stage.batch_size, stage.steps, stage.save_every = 16, STEPS, STEPS
        stage.optim.warmup_steps, stage.optim.lr, stage.optim.clip = 0, 3e-3, 1.0
        c.log_every = 1
        c = configs.resolve(c)
        return c, name, tiny_run.records(c)

    return make


@pytest.fixture(scope="module")
def trainings():
    """Of each case what `whole` found, for all tests of this file."""
    return {}


@pytest.fixture
def whole(made, tmp_path, request, trainings):
    """An uninterrupted training on one device."""
    case = request.node.callspec.params["case"]
    if case not in trainings:
        trainings[case] = trained(*made(case), tmp_path / "whole")
    return trainings[case]


def same(found, expected):
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


@every_method
def test_loss_falls_frozen_parameters_stay_and_a_resumed_run_is_the_same(
    case, made, whole, tmp_path
):
    rows, variables = whole
    assert np.mean([r["loss"] for r in rows[-6:]]) < np.mean([r["loss"] for r in rows[:6]])
    parts = tmp_path / "parts"
    _, first = trained(*made(case), parts, max_steps=2)
    same(trained(*made(case), parts)[1], variables)
    c, name, records = made(case)
    frozen = methods.make(c[name], spec.of(c, name, records)).frozen
    trainable, fixed = (
        {f"params/{k}" for k in part}
        for part in optim.split(optim.unflatten(variables)["params"], frozen)
    )
    for path in fixed:
        np.testing.assert_array_equal(variables[path], first[path], err_msg=path)
    moved = {path for path in trainable if np.any(variables[path] != first[path])}
    assert moved == trainable  # so every one of them had a gradient


@once
def test_eight_devices_give_the_numbers_of_one(case, made, whole, tmp_path):
    """Sums are taken in another order, which grows from step to step: of the first few."""
    rows, _ = trained(*made(case), tmp_path / "eight", devices=8, max_steps=3)
    for one, eight in zip(whole[0], rows, strict=False):
        assert one.keys() == eight.keys()
        for key, value in one.items():
            assert eight[key] == pytest.approx(value, rel=2e-4, abs=1e-5), key


@once
def test_jit_equals_eager_and_bfloat16_is_finite(case, made):
    c, name, records = made(case)
    method = methods.make(c[name], spec.of(c, name, records))
    batch = test_contract.clips()
    variables = method.init(jax.random.key(0), batch)
    args = (variables, batch, jax.random.key(1), jnp.float32(0.5))
    eager, jitted = method.loss(*args), jax.jit(method.loss)(*args)
    np.testing.assert_allclose(jitted[0], eager[0], rtol=1e-5)
    scores, _ = method.predict(variables, batch)
    np.testing.assert_allclose(
        jax.jit(method.predict)(variables, batch)[0], scores, rtol=1e-4, atol=1e-5
    )
    c[name].dtype = "bfloat16"
    low = methods.make(c[name], spec.of(c, name, records))
    value, aux = jax.jit(low.loss)(*args)
    assert np.isfinite(value) and all(np.isfinite(v) for v in aux.metrics.values())
    assert value.dtype == jnp.float32
