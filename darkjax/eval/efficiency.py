"""What a model costs, found without running it: parameters by part, a compiled step's needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from darkjax import optim, sharding, train
from darkjax import state as states
from darkjax.methods import Method
from darkjax.ops import conv


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
    method: Method, config: Any, stage: Any, examples: int, mesh: jax.sharding.Mesh
) -> dict[str, float]:
    """Needs of one training step as the compiler counts them; the step is not run.

    Returns:
      `gflops` (XLA's count: every operation, multiply and add apart), `arguments_gib` (state and
      batch), `temporary_gib` (activations), `output_gib`, `program_mib`; per device.
    """
    tx = optim.make(stage.optim, 1000)

    def init() -> states.TrainState:
        one = {k: jnp.zeros(v.shape, v.dtype) for k, v in method.spec.like(1).items()}
        collections = dict(method.init(jax.random.key(0), one))
        params = collections.pop("params")
        trainable, _ = optim.split(params, method.frozen)
        return states.TrainState(
            jnp.zeros((), jnp.int32), params, collections, tx.init(trainable), {}
        )

    like = jax.eval_shape(init)
    shardings = sharding.by_rules(mesh, like, config.sharding)
    update = train.make_update(method, tx, stage, config.seed, 1000, mesh, shardings)
    with jax.set_mesh(mesh):
        compiled = update.lower(like, method.spec.like(examples)).compile()
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis() or {}
    return {
        "gflops": float(cost.get("flops", math.nan)) / 1e9,
        "arguments_gib": memory.argument_size_in_bytes / 2**30,
        "temporary_gib": memory.temp_size_in_bytes / 2**30,
        "output_gib": memory.output_size_in_bytes / 2**30,
        "program_mib": memory.generated_code_size_in_bytes / 2**20,
    }


def macs(function: Callable[..., Any], *args: Any) -> int:
    """Multiply-accumulates of the convolutions and matrix products in `function(*args)`.

    Counted on the traced program, nothing is run: a convolution does (outputs x kernel taps x
    input channels of its group), padding included, a matrix product (outputs x contracted
    length); everything else is free. This is what papers on these networks print as "FLOPs".
    Convolutions are traced in their native form, so that the count does not depend on the
    platform. A loop's body counts as often as it runs.
    """
    with conv.use_form("native"):
        # a new function object, so that no earlier trace in another form is reused
        return _macs(jax.make_jaxpr(lambda *a: function(*a))(*args).jaxpr)


def _macs(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        times = 1
        if name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            spec = params["dimension_numbers"].rhs_spec  # O, I, spatial
            outputs = math.prod(equation.outvars[0].aval.shape)
            total += outputs * math.prod(kernel) // kernel[spec[0]]
        elif name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            outputs = math.prod(equation.outvars[0].aval.shape)
            total += outputs * math.prod(shape[i] for i in contracted)
        elif name == "scan":
            times = params["length"]
        for value in params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += times * _macs(inner)
    return total
