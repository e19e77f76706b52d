"""Optimiser, sharding rules, checkpoints: the loop's parts by themselves."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from darkjax import checkpoint, compilation, optim, sharding, train
from darkjax.errors import UserError
from darkjax.state import TrainState


def options(**changes):
    c = ml_collections.ConfigDict()
    c.update(name="adamw", lr=0.1, schedule="constant", warmup_steps=0, final=0.0)
    c.update(betas=(0.9, 0.999), momentum=0.9, weight_decay=0.0, decay_exclude=(), lr_scale=())
    c.clip = 0.0
    c.update(changes)
    return c


def test_schedules_by_hand():
    cosine = optim.schedule(options(schedule="cosine", warmup_steps=10, lr=2.0), 110)
    np.testing.assert_allclose([cosine(s) for s in (0, 5, 10, 60, 110)], [0, 1, 2, 1, 0], atol=1e-6)
    dann = optim.schedule(options(schedule="dann", lr=0.01), 100)
    np.testing.assert_allclose(dann(100), 0.01 / 11**0.75, rtol=1e-6)
    warm = optim.schedule(options(schedule="dann", lr=0.01, warmup_steps=20), 40)
    rates = [float(warm(step)) for step in (0, 10, 20, 40)]
    np.testing.assert_allclose(rates, [0, 0.005, 0.01, 0.01 / 11**0.75], rtol=1e-6)
    with pytest.raises(UserError, match="'cosine', 'constant' or 'dann'"):
        optim.schedule(options(schedule="cos"), 10)


def step(tx, params, grads):
    updates, _ = tx.update(grads, tx.init(params), params)
    return optax.apply_updates(params, updates)


def test_rates_and_decay_by_path():
    params = {"a/kernel": jnp.ones(2), "b/bias": jnp.ones(2)}
    grads = {k: jnp.ones(2) for k in params}
    with jax.numpy_dtype_promotion("standard"):
        c = options(name="sgd", momentum=0.0, lr_scale=((r"b/.*", 0.5),))
        new = step(optim.make(c, 10), params, grads)
        np.testing.assert_allclose(new["a/kernel"], 0.9)
        np.testing.assert_allclose(new["b/bias"], 0.95)
        c = options(weight_decay=0.5, decay_exclude=(r".*/bias",))
        new = step(optim.make(c, 10), params, {k: jnp.zeros(2) for k in params})
        np.testing.assert_allclose(new["a/kernel"], 1 - 0.1 * 0.5)
        np.testing.assert_allclose(new["b/bias"], 1.0)


def test_adam_s_decay_joins_the_gradient_and_adamw_s_does_not():
    """Adam's first step is the gradient's sign: of -1 + 0.3 x 10, or of -1 with 3 beside it."""
    params, grads = {"kernel": jnp.full(2, 10.0)}, {"kernel": -jnp.ones(2)}
    for name, expected in (("adam", 10 - 0.1 * 1), ("adamw", 10 - 0.1 * (-1 + 3))):
        with jax.numpy_dtype_promotion("standard"):
            new = step(optim.make(options(name=name, weight_decay=0.3), 10), params, grads)
        np.testing.assert_allclose(new["kernel"], expected, rtol=1e-5)
    with pytest.raises(UserError, match="'adam1' is not 'adamw', 'adam' or 'sgd'"):
        optim.make(options(name="adam1"), 10)


def test_split_takes_whole_paths():
    params = {"a": {"kernel": 1, "kernel2": 2}, "b": {"kernel": 3}}
    trained, frozen = optim.split(params, [r"a/kernel", r"b/.*"])
    assert trained == {"a/kernel2": 2} and frozen == {"a/kernel": 1, "b/kernel": 3}
    assert optim.unflatten({**trained, **frozen}) == params


def test_meshes_and_rules():
    mesh = sharding.make_mesh((-1, 2))
    assert dict(mesh.shape) == {"data": 4, "model": 2}
    with pytest.raises(UserError, match="does not use the 8 devices"):
        sharding.make_mesh((3, 2))
    tree = {"x": {"kernel": jnp.ones((4, 6))}, "y": {"kernel": jnp.ones((4, 5))}}
    found = sharding.by_rules(mesh, tree, [(r".*/kernel", (None, "model"))])
    assert found["x"]["kernel"].spec == jax.sharding.PartitionSpec(None, "model")
    assert found["y"]["kernel"].spec == jax.sharding.PartitionSpec()  # 5 is not even


def state(step, value):
    w = jnp.full((2, 3), value)
    return TrainState(jnp.asarray(step, jnp.int32), {"w": w}, {}, {"w": w}, {"w": w + 1.0})


def test_the_last_two_and_the_best_are_kept(tmp_path):
    with checkpoint.Checkpointer(tmp_path, "top-1") as saver:
        for number, score in ((1, 0.2), (2, 0.9), (3, None), (4, 0.5), (5, None)):
            metrics = None if score is None else {"top-1": score}
            saver.save(state(number, float(number)), {"step": number}, metrics)
        saver.wait()
        assert saver.latest() == 5 and saver.best() == 2
        restored, meta = saver.restore(5, state(0, 0.0))
        assert meta["step"] == 5 and int(restored.step) == 5
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["2", "4", "5"]
    best, latest = (checkpoint.load_variables(tmp_path, w) for w in ("best", "latest"))
    np.testing.assert_array_equal(best["params"]["w"], np.full((2, 3), 3.0))  # the average
    np.testing.assert_array_equal(latest["params"]["w"], np.full((2, 3), 6.0))
    with pytest.raises(UserError, match="holds no whole checkpoint"):
        checkpoint.load_variables(tmp_path / "nothing")


def test_weights_of_an_earlier_stage_are_placed_by_rule():
    source = {
        "net": {"params": {"a": {"k": np.full((2, 3), 7.0)}, "b": np.ones(2)}, "batch_stats": {}}
    }
    start = TrainState(jnp.zeros((), jnp.int32), {"new": {"k": jnp.zeros((2, 3))}}, {}, {}, {})
    placed, line = checkpoint.place(start, source, (("net", r"a/(.*)", r"new/\1"),))
    np.testing.assert_array_equal(placed.params["new"]["k"], 7.0)
    assert line.startswith("1 arrays taken from net")
    with pytest.raises(UserError, match="placed no weight"):
        checkpoint.place(start, source, (("net", r"c/(.*)", r"new/\1"),))
    source["net"]["params"]["a"]["k"] = np.ones(5)
    with pytest.raises(UserError, match=r"is \(5,\), new/k is \(2, 3\)"):
        checkpoint.place(start, source, (("net", r"a/(.*)", r"new/\1"),))


def test_mesh_axes_are_auto_and_the_batch_is_split_over_data():
    mesh = sharding.make_mesh((4, 2))
    assert mesh.axis_types == (jax.sharding.AxisType.Auto,) * 2
    batch = sharding.to_global(mesh, {"label": np.arange(8, dtype=np.int32)})
    assert batch["label"].sharding.spec == jax.sharding.PartitionSpec("data")
    np.testing.assert_array_equal(batch["label"], np.arange(8))


def test_at_most_eight_steps_are_in_flight():
    class Silent:
        def write(self, *_, **__):
            pass

    landed = []
    flight = train._Flight(Silent(), 1, lambda step: 0.1, lambda step, _: landed.append(step))
    one = sharding.replicated(sharding.make_mesh((8, 1)))
    for step in range(1, 21):
        flight.launched(step, {"loss": jax.device_put(jnp.ones(()), one)})
        assert len(landed) == max(0, step - train.MAX_IN_FLIGHT)
    flight.land()
    assert landed == list(range(1, 21))


def test_the_compilation_cache_is_on_unless_the_user_chose_one(monkeypatch, tmp_path):
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        compilation.use_compilation_cache()
        assert jax.config.values["jax_compilation_cache_dir"] == before
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        compilation.use_compilation_cache()
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "darkjax" / "jax")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("given", ["", "relative"])
def test_a_cache_home_that_means_nothing_is_as_if_not_set(given, monkeypatch, tmp_path):
    before = jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.chdir(tmp_path)
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        compilation.use_compilation_cache()
        found = jax.config.values["jax_compilation_cache_dir"]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert found == str(tmp_path / ".cache" / "darkjax" / "jax")


def test_a_home_that_cannot_be_written_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        compilation.use_compilation_cache()
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    said = capsys.readouterr().err
    assert said.startswith("compiled programs are not kept") and said.count("\n") == 1


def test_norms_are_of_the_parts_that_paths_divide_into_first():
    flat = {"a/b/k": jnp.asarray([3.0]), "a/b/l": jnp.asarray([4.0]), "a/c": jnp.asarray([2.0])}
    assert optim.norms(flat) == {"a/b": 5.0, "a/c": 2.0}
    assert optim.norms({"b": jnp.ones(4), "c/d": jnp.ones(1)}) == {"b": 2.0, "c": 1.0}
    assert optim.norms({"a/b": jnp.ones(4)}) == {"a/b": 2.0}
    assert optim.norms({}) == {}
