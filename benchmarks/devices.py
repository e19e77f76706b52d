"""What another number of devices changes, on the CPU.

    python benchmarks/devices.py [--steps=20] [--conv=pure]

The teacher of LIFT-Net's demo at the width of the tests, trained from the same seed on 1, 2, 4 and
8 CPU devices, and stopped half way on one number and taken up on another. Printed: how many of the
final parameters differ from those of one device, by how much at most (in units of the largest
parameter of the same array), and how far the losses of the steps are apart.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import tempfile

import jax
import numpy as np

from darkjax import config as configs
from darkjax import optim, process, sharding, train
from darkjax.ops import conv

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
COUNTS = (1, 2, 4, 8)


def main() -> None:
    """Train on each number of devices, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--conv", default="pure", help="form of the convolutions, see ops/conv.py")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", max(COUNTS))
    conv.set_form(args.conv)
    process.quiet()
    base = pathlib.Path(tempfile.mkdtemp())
    rows = {str(n): run(base, f"{n}", [(n, args.steps)], args.steps) for n in COUNTS}
    again = run(base, "again", [(1, args.steps)], args.steps)
    half = args.steps // 2
    rows["1, again"] = again
    for first, then in ((1, 1), (8, 8), (8, 1)):
        parts = [(first, half), (then, args.steps)]
        rows[f"{first}, then {then}"] = run(base, f"{first}-{then}", parts, args.steps)
    params, losses = rows["1"]
    print(f"{args.steps} steps, convolutions {args.conv}, jax {jax.__version__}, against 1 device")
    print(f"{'devices':>10} {'differ':>8} {'of':>8} {'largest':>9} {'loss':>9}")
    for name, (found, values) in rows.items():
        differ = sum(int((found[k] != v).sum()) for k, v in params.items())
        scale = {k: max(np.abs(v).max(), 1e-12) for k, v in params.items()}
        largest = max(np.abs(found[k] - v).max() / scale[k] for k, v in params.items())
        apart = np.abs(np.array(values) - np.array(losses)).max()
        count = sum(v.size for v in params.values())
        print(f"{name:>10} {differ:>8} {count:>8} {largest:>9.1e} {apart:>9.1e}")
    eight = all((rows["8, then 8"][0][k] == v).all() for k, v in rows["8"][0].items())
    print(f"8 devices stopped and taken up on 8 equal 8 uninterrupted, bit for bit: {eight}")


def run(
    base: pathlib.Path, name: str, parts: list[tuple[int, int]], steps: int
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Parameters and losses of a training whose parts are (devices, last step)."""
    import tiny_run

    c = tiny_run.config(base / "records")
    c.teacher.steps = steps
    c = configs.resolve(c)
    losses: list[float] = []
    for devices, end in parts:
        outcome = train.run(
            c,
            "teacher",
            tiny_run.records(c),
            workdir=os.fspath(base / name),
            mesh=sharding.make_mesh((-1, 1), jax.devices()[:devices]),
            max_steps=end,
            on_step=lambda _, numbers: losses.append(numbers["loss"]),
        )
    flat = optim.flatten(outcome.state.params)
    return {k: np.asarray(v) for k, v in flat.items()}, losses


if __name__ == "__main__":
    main()
