"""DarkLight's ablation on rendered dark clips: dark only, gamma only, both, with attention or not.

    python benchmarks/darklight.py [--seeds=5] [--rows=dark,gamma,mean,darklight,bert,md_bert]

The trainings are of `configs/darklight_arid.py:demo` with the words of each row; top-1 on the 240
test clips: mean, lowest to highest over the seeds, parameters, CPU time of one training with its
evaluation. A training that is finished in --workdir is not done again; the table is printed after
each seed. `--steps=2` shows that it runs, `--data=FOLDER` takes converted clips of that many
classes instead (their split "test" is judged).
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from darkjax import checkpoint, experiment, files, process, program, run_data
from darkjax import config as configs

CONFIG = f"{pathlib.Path(__file__).resolve().parents[1]}/configs/darklight_arid.py"
ROWS = {
    "dark": ("dark only", "dark_only"),
    "gamma": ("gamma only", "gamma_only"),
    "mean": ("both, without attention", "no_attention"),
    "darklight": ("both, with attention", ""),
    "bert": ("R(2+1)D-BERT (dark only, tokens hidden)", "r2plus1d_bert"),
    "md_bert": ("MD-BERT (three views, fused)", "md_bert"),
}
ABLATION = "dark,gamma,mean,darklight"
COST = "cost.json"  # beside the run: what is known of it only while it trains


class Run(NamedTuple):
    """A finished training: `top` top-1 in [0, 1], parameters, CPU seconds (nan: it was stopped)."""

    top: float
    parameters: int
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, seed by seed; a table after each."""
    parser = program.Parser("benchmarks.darklight", __doc__)
    parser.add_argument("--rows", default=ABLATION, help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="of every training, not epochs")
    parser.add_argument("--data", default="", help="records; default: rendered into workdir")
    parser.add_argument("--workdir", default="runs/darklight_table")
    args = parser.parse_args(argv)
    rows = program.chosen("rows", args.rows, ROWS)
    process.quiet()
    found: dict[str, list[Run]] = {row: [] for row in rows}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for row in rows:
            found[row].append(trained(args, row, seed))
        print("\n".join(table(found)), flush=True)
    return 0


def trained(args: argparse.Namespace, row: str, seed: int) -> Run:
    """The run of one row and seed, finished before or now."""
    c = configs.load(f"{CONFIG}:{','.join(filter(None, ('demo', ROWS[row][1])))}")
    c.seed, c.darklight.steps = seed, args.steps
    c.data.dir = args.data or f"{args.workdir}/records"
    if args.data:
        c.data.synthetic, c.data.num_classes = None, 0
    folder = pathlib.Path(args.workdir, f"{row}-{seed}")
    run_data.open_records(c.data, args.workdir)  # drawn once, by no row
    began, whole = time.process_time(), not folder.exists()
    top = experiment.once(c, str(folder))["numbers"]["top-1"]
    cost = folder / COST
    if whole:
        files.write_text(cost, json.dumps({"seconds": time.process_time() - began}))
    shapes = checkpoint.shapes(str(folder / "darklight" / "checkpoints"))["params"]
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
    seconds = json.loads(cost.read_text())["seconds"] if cost.exists() else math.nan
    return Run(top, count, seconds)


def table(found: Mapping[str, Sequence[Run]]) -> list[str]:
    """Markdown: one line a row."""
    lines = [
        "| views | top-1, % (lowest to highest) | seeds | parameters | CPU s |",
        "|---|---|---|---|---|",
    ]
    for row, runs in found.items():
        tops = 100 * np.array([run.top for run in runs])
        known = [run.seconds for run in runs if math.isfinite(run.seconds)]
        seconds = f"{np.mean(known):.0f}" if known else ""
        lines.append(
            f"| {ROWS[row][0]} | {tops.mean():.1f} ({tops.min():.1f} to {tops.max():.1f}) "
            f"| {len(runs)} | {runs[0].parameters:,} | {seconds} |"
        )
    return ["", *lines]


if __name__ == "__main__":
    program.run(main)
