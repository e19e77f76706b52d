"""What tests of networks of tokens share: clips, variables, outputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


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


def headless(model, shape):
    """Shapes of what a model without classes gives: first result, `out`. It has no head."""
    params = parameters(model, shape)
    assert "head" not in params
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda v, x: model.apply(v, x, train=False), {"params": params}, x)


def parameters(model, shape=(1, 8, 32, 32, 3)):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)["params"]
