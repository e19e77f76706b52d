"""DTCM's Fig. 7: does a larger weight of the consistency loss make steadier enhanced video?

    python benchmarks/consistency.py [--weights=0,4,10] [--seeds=3] [--epochs=8]

Trains `configs/dtcm_arid.py:demo` with each W_STC (of both its stages) and seed and prints, for the
test clips, the spatio-temporal inconsistency (Eq. 4) and mean brightness of the enhanced video, and
top-1. A training takes 4 minutes on 2 cores; those that are finished in `--workdir` are not done
again.
"""

from __future__ import annotations

import argparse
import datetime
import os

import numpy as np

from darkjax import config as configs
from darkjax import experiment, models, trained
from darkjax.data import split
from darkjax.eval import enhance as enhancement


def main() -> None:
    """Train what is missing, print a row for each weight."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/dtcm_arid.py:demo")
    parser.add_argument("--weights", default="0,4,10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--workdir", default="runs/consistency")
    parser.add_argument("--data", default="", help="records; default: rendered into workdir")
    args = parser.parse_args()
    experiment.quiet()
    rows = []
    for weight in (float(w) for w in args.weights.split(",")):
        found = [one(args, weight, seed) for seed in range(args.seeds)]
        cells = [f"{weight:6g}"]
        for key, digits in (("inconsistency", 6), ("brightness after", 3), ("top-1", 3)):
            values = [f[key] for f in found]
            span = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
            cells.append(f"{np.mean(values):.{digits}f} ({span})")
        rows.append(cells)
    print(f"\n{datetime.date.today()}, {args.config}, {args.epochs} epochs, {args.seeds} seeds")
    print("| W_STC | inconsistency | brightness | top-1 |\n|---|---|---|---|")
    for cells in rows:
        print("| " + " | ".join(cells) + " |")


def one(args: argparse.Namespace, weight: float, seed: int) -> dict[str, float]:
    """The numbers of one training."""
    config = configs.load(args.config)
    config.seed, config.dtcm.w_stc, config.dtcm.epochs = seed, weight, args.epochs
    config.data.dir = args.data or os.path.join(args.workdir, "records")
    folder = os.path.join(args.workdir, f"w{weight:g}-{seed}")
    result = experiment.run(config, folder)
    if not result:
        raise SystemExit(f"stopped early in {folder}: the same command goes on from there")
    config = configs.resolve(config)
    records = experiment.open_records(config, folder)
    variables = trained.load(config, "dtcm", folder, records).variables
    model = models.build(config.dtcm.enhancer, None)
    part = {kind: value["enhancer"] for kind, value in variables.items()}
    enhance = enhancement.applied(lambda v, x: model.apply(v, x, train=False)[0], part)
    return enhancement.judge(enhance, records, split.rows(records, config.data)[1]) | {
        "top-1": result["numbers"]["top-1"]
    }


if __name__ == "__main__":
    main()
