"""What a clip costs at test: ActLumos' student and teacher, DarkLight, LIFT-Net, in one table.

    python benchmarks/cost.py [--only=student,teacher] [--frames=64 --size=112] [--words=demo]

Of each network as its config has it, at paper size, on clips of its own size unless `--frames` and
`--size` are given (LIFT-Net's patches divide 224 and 112): parameters without those that only
training needs, multiply-accumulates of convolutions and matrix products (the enhancement counted
too), the time of one clip from 8-bit frames to logits (the median of `--runs` after the first) and
what the compiler reserves for it: arguments, results and temporary buffers. Weights are noise; the
compilation cache is off. `--words=demo` takes the small networks, `--runs=0` runs nothing.
"""

from __future__ import annotations

import argparse
import datetime
import math
import pathlib
import platform
from typing import Any, NamedTuple

import jax
import numpy as np

# of this folder: a benchmark is run from anywhere
from models import compiled, median, plausible

from darkjax import config as configs
from darkjax import methods, optim, program, spec
from darkjax.eval import efficiency
from darkjax.weights import preprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS = {  # (what it is called, config, stage)
    "student": ("ActLumos student", "actlumos_arid", "student"),
    "teacher": ("ActLumos teacher", "actlumos_arid", "teacher"),
    "darklight": ("DarkLight", "darklight_arid", "darklight"),
    "lift": ("LIFT-Net", "lift_arid", "student"),
}
TRAINING = ("projection/", "teacher/")  # parameters that no clip meets at test


def main() -> None:
    """Print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--frames", type=int, default=0)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--words", default="", help="of every config, such as demo")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    rows = program.chosen("only", args.only, ROWS)
    if args.runs:
        jax.config.update("jax_enable_compilation_cache", False)
    device = jax.devices()[0]
    print(
        f"{device.device_kind} ({platform.processor() or platform.machine()}), "
        f"jax {jax.__version__}, {datetime.date.today()}\n"
        "| | clip | parameters | GMACs | seconds a clip | MiB |\n|---|---|---|---|---|---|"
    )
    for row in rows:
        print(line(args, *ROWS[row]), flush=True)


class Cost(NamedTuple):
    """What a clip costs; seconds and MiB are 0 where nothing was run."""

    clip: str
    parameters: int
    gmacs: float
    seconds: float
    mib: float


def line(args: argparse.Namespace, called: str, file: str, stage: str) -> str:
    """The line of one network."""
    c = configs.load(f"{ROOT}/configs/{file}.py:{args.words}")
    c.data.frames = args.frames or c.data.frames
    c.data.size = (args.size,) * 2 if args.size else c.data.size
    cost = measured(c, stage, args.runs)
    seconds, mib = (f"{cost.seconds:.3f}", f"{cost.mib:,.1f}") if args.runs else ("", "")
    return (
        f"| {called} | {cost.clip} | {cost.parameters:,} | {cost.gmacs:.2f} | {seconds} | {mib} |"
    )


def measured(config: Any, stage: str, runs: int) -> Cost:
    """What a clip of a config's stage costs; the compilation cache should be off with `runs`."""
    c = preprocess.settle(configs.resolve(config), needed=False)
    made = spec.bare(c, stage, tuple(map(str, range(c.data.num_classes))))
    method = methods.make(c[stage], made)
    like = made.like(1)
    shapes = jax.eval_shape(lambda b: method.init(jax.random.key(0), b), like)
    params = optim.flatten(shapes["params"])
    count = sum(math.prod(x.shape) for k, x in params.items() if not k.startswith(TRAINING))

    def logits(variables: Any, batch: Any) -> Any:
        return method.predict(variables, batch)[0]

    gmacs = efficiency.macs(logits, shapes, like) / 1e9
    seconds = mib = 0.0
    if runs:
        variables = {kind: plausible(value) for kind, value in shapes.items()}
        rng = np.random.default_rng(0)
        batch = {k: np.ones(v.shape, v.dtype) for k, v in like.items()}
        batch["video"] = rng.integers(0, 40, like["video"].shape, np.uint8)  # a dark clip
        step, _ = compiled(logits, variables, batch)
        needs = step.memory_analysis()
        total = needs.argument_size_in_bytes + needs.output_size_in_bytes
        mib = (total + needs.temp_size_in_bytes) / 2**20
        seconds = median(lambda: step(variables, batch), runs)
    frames, (height, width) = c.data.frames, c.data.size
    return Cost(f"{frames} x {height}x{width}", count, gmacs, seconds, mib)


if __name__ == "__main__":
    program.run(main)
