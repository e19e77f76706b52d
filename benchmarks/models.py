"""Compile time, forward and train-step time and memory of every architecture, one table.

    python benchmarks/models.py [--only=r3d18,swin3d_t] [--frames=16 --size=64] [--batch=2]

A step is value and gradient of a cross entropy for all parameters, without an optimiser. Times are
medians of runs after the first; memory is what the compiler reserves for the step: arguments,
results and temporary buffers. The compilation cache is off.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from darkjax import models
from darkjax.errors import UserError
from darkjax.weights import zoo


def main() -> None:
    """Print one line for each architecture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="architectures, joined by commas")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    device = jax.devices()[0]
    print(
        f"{device.device_kind} ({platform.processor() or platform.machine()}), jax "
        f"{jax.__version__}, {args.dtype}, {datetime.date.today()}: batch {args.batch} of "
        f"{args.frames} frames of {args.size}x{args.size}"
    )
    print(
        f"{'architecture':<22} {'params':>11} {'forward':>9} {'compile':>8} {'step':>9} "
        f"{'compile':>8} {'memory':>9}"
    )
    for name in args.only.split(",") if args.only else zoo.NAMES:
        try:
            print(_line(name, args), flush=True)
        except (UserError, ValueError, TypeError) as e:
            print(f"{name:<22} cannot take this clip: {str(e).splitlines()[0]}", flush=True)


def _line(name: str, args: argparse.Namespace) -> str:
    arch = zoo.get(name)
    model = models.build(arch.model, 11, dtype=jnp.dtype(args.dtype))
    shape = (args.batch, args.frames, args.size, args.size, 3)
    clip = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    clips = [jnp.asarray(clip)] * arch.views
    variables = plausible(
        jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x, train=False), *clips)
    )
    labels = jnp.arange(args.batch) % 11

    def forward(variables: Any, *clips: Any) -> Any:
        return model.apply(variables, *clips, train=False)[0]

    def loss(params: Any, stats: Any, *clips: Any) -> Any:
        (logits, _), new = model.apply(
            {"params": params, "batch_stats": stats}, *clips, train=True, mutable=["batch_stats"]
        )
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return value, new.get("batch_stats", {})

    slope = jax.value_and_grad(loss, has_aux=True)
    stats = variables.get("batch_stats", {})
    step, seconds = compiled(forward, variables, *clips)
    forward_time = median(lambda: step(variables, *clips), args.runs)
    train, train_seconds = compiled(slope, variables["params"], stats, *clips)
    step_time = median(lambda: train(variables["params"], stats, *clips), args.runs)
    memory = train.memory_analysis()
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    return (
        f"{name:<22} {count:>11,} {forward_time:>7.3f} s {seconds:>6.1f} s {step_time:>7.3f} s "
        f"{train_seconds:>6.1f} s {total / 2**30:>5.2f} GiB"
    )


def plausible(shapes: Any) -> Any:
    """Parameters of plausible size without compiling an initialiser."""
    rng = np.random.default_rng(0)

    def leaf(path: Any, like: Any) -> Any:
        name = path[-1].key
        if name in ("scale", "var"):
            return jnp.ones(like.shape, like.dtype)
        if name == "kernel":
            fan = max(np.prod(like.shape[:-1]), 1)
            return jnp.asarray(rng.standard_normal(like.shape) / fan**0.5, like.dtype)
        return jnp.zeros(like.shape, like.dtype)

    return jax.tree_util.tree_map_with_path(leaf, dict(shapes))


def compiled(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """The program of a function, and the seconds that it took to compile."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    return program, time.perf_counter() - start


def median(call: Callable[[], Any], runs: int) -> float:
    """Seconds of a call, the median of `runs` after one that is not counted."""
    jax.block_until_ready(call())
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
