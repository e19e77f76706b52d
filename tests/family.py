"""A family's model with weights under the original's names, by the path conversion takes."""

from __future__ import annotations

from typing import Any

import golden_weights as golden
import jax
import numpy as np

from darkjax.optim import flatten, unflatten
from darkjax.weights import names

META = {"g": 1.0, "std_override": {}, "norm_scale_suffixes": ["a_2"]}


def generated(shapes: dict[str, tuple[int, ...]]) -> golden.StateDict:
    """A state dict of those names and shapes, by the rules of generator.md."""
    return {key: golden.entry(key, tuple(shape), META) for key, shape in shapes.items()}


def blank(shapes: dict[str, tuple[int, ...]]) -> golden.StateDict:
    """As `generated`, zero everywhere and without memory: where names and shapes alone matter."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


def convert(arch: Any, cls: Any, source: golden.StateDict, *inputs: np.ndarray, **fields: Any):
    """The model that `arch` infers from `source` and its variables.

    Every name is known, every parameter filled, every shape right.
    """
    clean = names.stripped(source, arch.names.strip)
    config = {**arch.model, **arch.infer(clean), **fields}
    config.pop("name")
    model = cls(**config)
    found = names.rename(source, arch.names)
    shapes = jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x, train=False), *inputs)
    variables = {}
    for kind in shapes:
        wanted = {k: v.shape for k, v in flatten(shapes[kind]).items()}
        fit = names.fit(getattr(found, kind), wanted)
        assert (fit.missing, fit.extra, fit.other_shape) == ([], [], [])
        variables[kind] = unflatten(fit.placed)
    assert found.unknown == []
    return model, variables


def init(model: Any, *inputs: Any):
    """Variables of a new model."""
    return jax.jit(lambda key, *x: model.init(key, *x, train=False))(jax.random.key(0), *inputs)


def evaluate(model: Any, variables: Any, *inputs: np.ndarray):
    """`(logits, out)` in evaluation."""
    return jax.jit(lambda v, *x: model.apply(v, *x, train=False))(variables, *inputs)


def count(model: Any, *inputs: Any) -> int:
    """Parameters, without making them."""
    shapes = jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x, train=False), *inputs)
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


def close(found: Any, expected: np.ndarray, share: float) -> None:
    """Equal up to `share` of the largest expected number."""
    assert found.shape == expected.shape
    assert np.abs(np.asarray(found) - expected).max() <= share * np.abs(expected).max()


def dropout_needs_training_and_an_rng(model: Any, clip: Any) -> None:
    """Random bits are drawn where it trains and an rng is given, and nowhere else."""
    v = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), clip)

    def draws(train, rngs):
        def apply(v, x):
            return model.apply(v, x, train=train, rngs=rngs, mutable=["batch_stats"])

        return "random_bits" in str(jax.make_jaxpr(apply)(v, clip))

    rngs = {"dropout": jax.random.key(0)}
    assert [draws(True, rngs), draws(True, {}), draws(False, rngs)] == [True, False, False]
