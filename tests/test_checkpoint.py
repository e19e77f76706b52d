"""What is read of a checkpoint, and what damage to its files does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from darkjax import checkpoint
from darkjax.state import TrainState


def state(step):
    w = jnp.arange(6, dtype=jnp.float32).reshape(2, 3) + step
    flat = {"a/w": w}
    return TrainState(
        step=jnp.asarray(step, jnp.int32),
        params={"a": {"w": w}, "b": w[0].astype(jnp.bfloat16)},
        batch_stats={"bn": {"mean": w[1] / 7}},
        opt_state=optax.adamw(1e-3).init(flat),
        ema={"a/w": w + 0.5},
    )


def save(folder, scores, best="top-1"):
    """Steps 1, 2, … with these values of the metric; None has none."""
    with checkpoint.Checkpointer(folder, best) as saver:
        for step, score in enumerate(scores, start=1):
            metrics = None if score is None else {"top-1": score}
            meta = {"step": step, "seed": 7, "data": "digest", "config": {"size": [1, 2]}}
            saver.save(state(step), meta, metrics)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Steps 1 (the best) and 3 (the latest)."""
    folder = tmp_path_factory.mktemp("three")
    save(folder, (0.9, 0.5, None))
    return folder


def test_meta_and_shapes_are_those_of_the_variables(three):
    best, latest = (checkpoint.read_meta(three, which) for which in ("best", "latest"))
    assert (best["step"], latest["step"]) == (1, 3)
    assert best["config"] == {"size": [1, 2]} and best["seed"] == 7
    variables = checkpoint.load_variables(three)
    expected = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    assert checkpoint.shapes(three) == expected
    np.testing.assert_array_equal(variables["params"]["a"]["w"], state(1).ema["a/w"])
