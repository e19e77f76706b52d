"""What tests of networks of tokens share: clips, variables, and three checks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax.optim import flatten


def clips(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def initial(model, x):
    """Random variables, biases too, that keep the signal's size; made without compiling."""
    rng = np.random.default_rng(0)

    def draw(path, shape):
        value = rng.standard_normal(shape.shape).astype(np.float32)
        if path[-1].key == "scale":
            return 1 + 0.1 * value
        return value / np.sqrt(max(np.prod(shape.shape[:-1]), 10))

    return {"params": jax.tree_util.tree_map_with_path(draw, parameters(model, x.shape))}


def apply(model, v, x):
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(v, x)


def parameters(model, shape=(1, 8, 32, 32, 3)):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)["params"]


def bfloat16_is_near(cls: Any, fields: dict, x: jax.Array) -> None:
    """Logits of both dtypes agree to 2 %; they are float32, the last map is bfloat16."""
    full, half = cls(5, **fields), cls(5, **fields, dtype=jnp.bfloat16)
    v = initial(full, x)
    logits, out = apply(half, v, x)
    assert (logits.dtype, out["features"].dtype) == (jnp.float32, jnp.bfloat16)
    expected = apply(full, v, x)[0]
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.abs(expected).max())


def gradients_are_there(cls: Any, fields: dict, x: jax.Array, unseen: str) -> None:
    """Recomputation changes nothing; every parameter that does not end in `unseen` has a slope."""
    v = initial(cls(5, **fields), x)

    def grads(remat):
        model = cls(5, **fields, remat=remat)
        loss = lambda v: jnp.square(model.apply(v, x, train=True)[0]).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(v)

    plain, again = grads(False), grads(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), plain, again)
    for path, g in flatten(plain[1]["params"]).items():
        if not path.endswith(unseen):
            assert np.abs(g).max() > 1e-6, path


def drop_path_drops_whole_branches(model: Any, x: jax.Array) -> None:
    """Of two blocks with rates 0 and 0.5, and only where an rng is given."""
    v = initial(model, x)
    quiet, out = apply(model, v, x)
    trained = jax.jit(lambda v, x, rngs: model.apply(v, x, train=True, rngs=rngs))
    np.testing.assert_array_equal(trained(v, x, {})[0], quiet)
    first, noisy = trained(v, x, {"dropout": jax.random.key(2)})
    assert np.abs(first - quiet).max() > 0.01
    np.testing.assert_allclose(noisy["stage1/0"], out["stage1/0"], atol=1e-5)  # rate 0 there
    branch = noisy["stage1/1"] - noisy["stage1/0"]
    dropped = np.mean(np.abs(branch).max(tuple(range(1, branch.ndim))) == 0)
    assert 0.05 < dropped < 0.5  # both branches of a clip: a quarter of the clips
