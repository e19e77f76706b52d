"""Everything that training changes, and how it is made on a mesh."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from darkjax import optim, sharding
from darkjax.methods import Method
from darkjax.ops import conv


class TrainState(struct.PyTreeNode):
    """`step` int32; `params` nested dicts; `collections`: what else the method's variables have
    (`batch_stats`, a queue), nested dicts by name; `opt_state` and `ema` of the trainable
    parameters alone, flat (`{"a/b/kernel": array}`); `ema` is empty when it is off."""

    step: Any  # an array, or what stands in its place where JAX takes the tree apart
    params: Any
    collections: dict[str, Any]
    opt_state: Any
    ema: Any

    def variables(self, averaged: bool = False) -> dict[str, Any]:
        """What a method takes; with `averaged`, the moving averages where there are some."""
        params = self.params
        if averaged and self.ema:
            params = optim.unflatten({**optim.flatten(params), **self.ema})
        return {"params": params, **self.collections}


def init_key(seed: int) -> jax.Array:
    """The key of a model's first parameters.

    Of the "rbg" kind: a model has hundreds of arrays, and compiling as many threefry generators
    takes several times longer than the training step. The numbers are a function of the seed and
    the platform. Everything else is drawn with JAX's default keys.
    """
    return jax.random.key(seed, impl="rbg")


def create(
    method: Method,
    tx: optax.GradientTransformation,
    *,
    seed: int,
    ema: bool,
    mesh: jax.sharding.Mesh,
    rules: sharding.Rules = (),
) -> tuple[TrainState, Any]:
    """A fresh state, made on the mesh, and the shardings of its leaves.

    Args:
      method: what is trained.
      tx: the optimiser of the trainable flat parameters.
      seed: of the parameters.
      ema: keep a moving average of the trainable parameters.
      mesh: the device mesh.
      rules: which parameters are split, see `sharding.by_rules`.
    """

    def init() -> TrainState:
        one = {k: jnp.zeros(v.shape, v.dtype) for k, v in method.spec.like(1).items()}
        collections = dict(method.init(init_key(seed), one))
        params = collections.pop("params")
        trainable, _ = optim.split(params, method.frozen)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            collections=collections,
            opt_state=tx.init(trainable),
            ema=jax.tree.map(jnp.copy, trainable) if ema else {},
        )

    # Only shapes come of the convolutions here, so the program can be stored: docs/conv_cpu.md.
    with conv.storable():
        shardings = sharding.by_rules(mesh, jax.eval_shape(init), rules)
        with jax.set_mesh(mesh):
            return jax.jit(init, out_shardings=shardings)(), shardings
