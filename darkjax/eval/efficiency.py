"""What a model costs, found without running it: parameters by part, a compiled step's needs."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from darkjax import optim, sharding, train
from darkjax import state as states
from darkjax.methods import Method


def parameter_table(method: Method, batch: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(part, parameters, of which trained), by `jax.eval_shape`: nothing is allocated.

    A part is the first two names of a path (`student/critic0`), numbered repetitions together.
    The last row is the total.
    """
    one = {k: jnp.zeros((1, *v.shape[1:]), v.dtype) for k, v in batch.items()}
    params = jax.eval_shape(lambda: method.init(jax.random.key(0), one))["params"]
    trained, frozen = optim.split(params, method.frozen)
    rows: dict[str, list[int]] = {}
    for flat, counts in ((trained, True), (frozen, False)):
        for path, leaf in flat.items():
            part = "/".join(name.rstrip("0123456789") for name in path.split("/")[:2])
            row = rows.setdefault(part, [0, 0])
            row[0] += math.prod(leaf.shape)
            row[1] += math.prod(leaf.shape) * counts
    table = [(part, all_, some) for part, (all_, some) in sorted(rows.items())]
    return [*table, ("total", sum(r[1] for r in table), sum(r[2] for r in table))]


def compiled_step(
    method: Method, config: Any, stage: Any, batch: dict[str, Any], mesh: jax.sharding.Mesh
) -> dict[str, float]:
    """Needs of one training step as the compiler counts them; the step is not run.

    Returns:
      `gflops` (XLA's count: every operation, multiply and add apart), `arguments_gib` (state and
      batch), `temporary_gib` (activations), `output_gib`, `program_mib`; per device.
    """
    tx = optim.make(stage.optim, 1000)

    def init() -> states.TrainState:
        one = {k: jnp.zeros((1, *v.shape[1:]), v.dtype) for k, v in batch.items()}
        variables = method.init(jax.random.key(0), one)
        trainable, _ = optim.split(variables["params"], method.frozen)
        return states.TrainState(
            jnp.zeros((), jnp.int32),
            variables["params"],
            variables.get("batch_stats", {}),
            tx.init(trainable),
            {},
        )

    like = jax.eval_shape(init)
    shardings = sharding.by_rules(mesh, like, config.sharding)
    update = train.make_update(method, tx, stage, config.seed, 1000, mesh, shardings)
    with jax.set_mesh(mesh):
        compiled = update.lower(like, batch).compile()
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis() or {}
    return {
        "gflops": float(cost.get("flops", math.nan)) / 1e9,
        "arguments_gib": memory.argument_size_in_bytes / 2**30,
        "temporary_gib": memory.temp_size_in_bytes / 2**30,
        "output_gib": memory.output_size_in_bytes / 2**30,
        "program_mib": memory.generated_code_size_in_bytes / 2**20,
    }
