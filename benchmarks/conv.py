"""Convolutions of whole networks on the CPU, against PyTorch in the same run.

    python benchmarks/conv.py [--nets=c3d,r3d18,...] [--forms=onednn,pure] [--repeats=5]
    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/conv.py --cpu_time

For each network: milliseconds of inference and of a train step (forward, backward, SGD) in PyTorch
and in each form of `darkjax.ops.conv`, their ratio (below 1: faster than PyTorch), and how long
the two took to compile. The machine's own limit, a large float32 matrix product, is printed first
and the floating-point rate of inference beside the times. Then the loop trap: a convolution and
its gradients inside `lax.scan` against the same unrolled. PyTorch is needed for the comparison
alone: without it only our times are printed. One form of one network takes half a minute on 2
cores. The second command counts CPU time on one core, for a machine that others use too: PyTorch's
threads wait for each other, and wall times beside other work say nothing.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from darkjax.models import c3d, r2plus1d, resnet3d
from darkjax.ops import conv

try:
    import torch
    import torch_nets
except ImportError:
    torch = None

CLASSES = 11
R2PLUS1D = functools.partial(
    r2plus1d.R2Plus1D, CLASSES, "18", caffe2_mid=False, bn_eps=1e-5, bn_momentum=0.1
)
# name: our model, PyTorch's, the clips [B, T, H, W, C]
NETS: dict[str, tuple[Callable, Callable, tuple[int, ...]]] = {
    "c3d": (
        lambda: c3d.C3D(CLASSES),
        lambda: torch_nets.c3d(CLASSES),
        (2, 16, 112, 112, 3),
    ),
    "r3d18": (
        lambda: resnet3d.ResNet3D(CLASSES, "18"),
        lambda: torch_nets.resnet("18", CLASSES),
        (4, 16, 112, 112, 3),
    ),
    "r2plus1d18": (R2PLUS1D, lambda: torch_nets.r2plus1d18(CLASSES), (2, 8, 112, 112, 3)),
    "resnext50": (
        lambda: resnet3d.ResNet3D(CLASSES, "resnext50"),
        lambda: torch_nets.resnet("resnext50", CLASSES),
        (2, 16, 112, 112, 3),
    ),
    "resnext101": (
        lambda: resnet3d.ResNet3D(CLASSES, "resnext101"),
        lambda: torch_nets.resnet("resnext101", CLASSES),
        (2, 16, 112, 112, 3),
    ),
}
TRAP = (2, 8, 28, 28, 64)  # clips of the loop trap, 3x3x3 kernel, 64 channels
STEPS = 4
clock = time.perf_counter


class Runs(NamedTuple):
    """Functions that do one inference and one train step and wait for it."""

    inference: Callable[[], Any]
    train: Callable[[], Any]
    parameters: int
    compile: float  # seconds, both


def main() -> None:
    """Measure what the command line asks for and print it row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help="empty: the loop trap alone")
    parser.add_argument("--forms", default="onednn,pure")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu_time", action="store_true", help="of all threads; use one")
    args = parser.parse_args()
    if args.cpu_time:
        global clock
        clock = time.process_time
    threads = len(os.sched_getaffinity(0))
    print(f"{processor()}, {threads} cores, {datetime.date.today()}, jax {jax.__version__}", end="")
    if torch:
        torch.set_num_threads(threads)
        print(f", torch {torch.__version__}", end="")
    print("\n" + peaks())
    titles = ("network", "form", "infer ms", "torch", "ratio", "GF/s", "train ms", "torch", "ratio")
    print("".join(f"{t:>11}" for t in titles) + f"{'compile s':>11}")
    for name in filter(None, args.nets.split(",")):
        for form in args.forms.split(","):
            print(row(name, form, args.repeats), flush=True)
    print(f"\nloop trap: {STEPS} convolutions with their gradients, scan / unrolled, ms")
    for form in ("native", *args.forms.split(",")):
        print(f"{form:>11}" + "".join(f"{t:11.1f}" for t in loop_trap(form)), flush=True)


def row(name: str, form: str, repeats: int) -> str:
    """A network in a form, each measurement next to PyTorch's."""
    make, make_torch, shape = NETS[name]
    ours = jax_runs(make(), shape, form)
    theirs = torch_runs(make_torch(), shape) if torch else None
    cells = [f"{name:>11}{form:>11}"]
    for what in ("inference", "train"):
        mine, other = alternate(
            getattr(ours, what), getattr(theirs, what) if theirs else None, repeats
        )
        cells.append(f"{mine:11.1f}")
        cells.append(f"{other:11.1f}{mine / other:11.2f}" if theirs else f"{'-':>11}" * 2)
        if what == "inference":
            cells.append(f"{flops(make(), shape) / mine / 1e6:11.0f}")
    cells.append(f"{ours.compile:11.1f}")
    if theirs and theirs.parameters != ours.parameters:
        cells.append(f"  another graph: {ours.parameters} and {theirs.parameters} parameters")
    return "".join(cells)


def alternate(
    first: Callable[[], Any], second: Callable[[], Any] | None, repeats: int
) -> tuple[float, float]:
    """Median milliseconds of both, run in turns so that a noisy minute hits both."""
    times: dict[Callable, list[float]] = {}
    for _ in range(repeats + 1):
        for run in filter(None, (first, second)):
            began = clock()
            run()
            times.setdefault(run, []).append(1e3 * (clock() - began))
    found = [statistics.median(t[1:]) for t in times.values()]  # the first warms up
    return found[0], found[-1]


def jax_runs(model: Any, shape: tuple[int, ...], form: str) -> Runs:
    x, label = jax.random.normal(jax.random.key(0), shape), jnp.zeros(shape[0], jnp.int32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(1), x)
    rest = {k: v for k, v in variables.items() if k != "params"}

    def logits(variables: Any, x: Any) -> Any:
        return model.apply(variables, x, train=False)[0]

    def step(params: Any, rest: Any, x: Any) -> Any:
        def loss(params: Any) -> Any:
            (y, _), new = model.apply(
                {"params": params, **rest}, x, train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(y, label).mean(), new

        grads, new = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads), new

    with conv.use_form(form):
        began = clock()
        infer = jax.jit(logits).lower(variables, x).compile()
        train = jax.jit(step, donate_argnums=(0, 1)).lower(variables["params"], rest, x).compile()
        seconds = clock() - began
    state = [jax.tree.map(jnp.copy, (variables["params"], rest))]

    def trained() -> None:
        state[0] = jax.block_until_ready(train(*state[0], x))

    count = sum(p.size for p in jax.tree.leaves(variables["params"]))
    return Runs(lambda: infer(variables, x).block_until_ready(), trained, count, seconds)


def torch_runs(model: Any, shape: tuple[int, ...]) -> Runs:
    """Channels last, which is PyTorch's fast layout here."""
    model = model.to(memory_format=torch.channels_last_3d)
    x = torch.randn(shape).permute(0, 4, 1, 2, 3)  # [B, C, T, H, W] in channels-last memory
    label = torch.zeros(shape[0], dtype=torch.long)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)

    def infer() -> None:
        model.eval()
        with torch.inference_mode():
            model(x)

    def train() -> None:
        model.train()
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), label).backward()
        optimiser.step()

    return Runs(infer, train, sum(p.numel() for p in model.parameters()), 0.0)


@functools.cache
def flops(model: Any, shape: tuple[int, ...]) -> float:
    """Floating-point operations of inference as XLA counts them in the native form."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    with conv.use_form("native"):
        variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)
        lowered = jax.jit(lambda v, x: model.apply(v, x, train=False)[0]).lower(variables, x)
    return lowered.cost_analysis()["flops"]


def loop_trap(form: str) -> tuple[float, float]:
    """Milliseconds of a scan over convolutions with gradients, and of the same unrolled."""
    x = jax.random.normal(jax.random.key(0), (STEPS, *TRAP))
    k = jax.random.normal(jax.random.key(1), (3, 3, 3, TRAP[-1], TRAP[-1]))

    def part(total: Any, x: Any) -> Any:
        def loss(k: Any, x: Any) -> Any:
            return jnp.square(conv.conv3d(x, k, padding=((1, 1),) * 3, form=form)).sum()

        return jax.tree.map(jnp.add, total, jax.grad(loss, (0, 1))(k, x)), None

    zero = jnp.zeros_like(k), jnp.zeros_like(x[0])
    times = []
    for unroll in (1, STEPS):
        run = jax.jit(lambda x, unroll=unroll: jax.lax.scan(part, zero, x, unroll=unroll)[0])
        run = run.lower(x).compile()
        times.append(alternate(lambda run=run: jax.block_until_ready(run(x)), None, 3)[0])
    return times[0], times[1]


def peaks() -> str:
    """The rate of a 2048x2048 float32 matrix product."""
    a, work = jnp.ones((2048, 2048)), 2 * 2048**3 / 1e6
    product = jax.jit(lambda a: a @ a)
    b = torch.ones(2048, 2048) if torch else None
    mine, other = alternate(
        lambda: product(a).block_until_ready(), (lambda: b @ b) if torch else None, 9
    )
    text = f"float32 matrix product of 2048: {work / mine:.0f} GF/s in JAX"
    return text + (f", {work / other:.0f} in PyTorch" if torch else "")


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown processor"


if __name__ == "__main__":
    main()
