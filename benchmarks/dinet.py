"""The tables of docs/dinet.md: what 3D-DiNet carries from one rendered camera to another.

    python benchmarks/dinet.py [--pairs=day_thermal,day_dark] [--seeds=5]

day_thermal   `configs/dinet_infar.py:demo`, InFAR's twelve classes
day_dark      `configs/dinet_infar.py:day_dark`, six classes
real          `configs/dinet_infar.py:real`, rendered dark to real clips: give --real=FOLDER

Rows: the source alone (the floor), with the target's batch statistics (AdaBN), 3D-DiNet, 3D-DiNet
with statistics of each domain, the target's own labels (the ceiling); top-1 on the target's test
clips: mean, deviation over the seeds, each seed, CPU time of a training. Labels of real clips: each
fold's sessions left out in turn, pooled over the folds.

What is finished in --workdir is not trained again: the same command goes on, and prints what there
is with --only_finished. `--steps=2` shows that it runs.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import time
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import experiment, process, program
from darkjax.errors import UserError

CONFIG = f"{pathlib.Path(__file__).resolve().parents[1]}/configs/dinet_infar.py"
PAIRS = {"day_thermal": "demo", "day_dark": "day_dark", "real": "real"}
ROWS = {
    "source": ("the source alone", ("source_only",)),
    "adabn": ("the source alone, the target's statistics (AdaBN)", ("source_only", "adabn")),
    "dann": ("3D-DiNet", ()),
    "dann_apart": ("3D-DiNet, statistics of each domain", ("adabn",)),
    "oracle": ("the target's labels", ("oracle",)),
}
FOLDS = (1, 2, 3, 4, 5)  # of real clips


def main() -> None:
    """Train what is missing, seed by seed, and print one table for each pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", default="day_thermal,day_dark")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="of every training, not epochs")
    parser.add_argument("--real", default="", help="converted real clips, for the pair real")
    parser.add_argument("--workdir", default="runs/dinet_tables")
    parser.add_argument("--only_finished", action="store_true", help="train nothing")
    args = parser.parse_args()
    pairs = program.chosen("pairs", args.pairs, PAIRS)
    rows = program.chosen("rows", args.rows, ROWS)
    if "real" in pairs and not args.real:
        raise UserError("--pairs=real needs --real=FOLDER of converted clips")
    process.quiet()
    for pair in pairs:
        found: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            for row in rows:
                if number := train(args, pair, row, seed):
                    found[row].append(number)
        print(f"\n{pair}, {datetime.date.today()}", *table(found), sep="\n")


def train(args: argparse.Namespace, pair: str, row: str, seed: int) -> tuple[float, float] | None:
    """(top-1, CPU seconds; nan where it was finished before), or None where it is not to be run."""
    folds: tuple[int, ...] = FOLDS if (pair, row) == ("real", "oracle") else (0,)
    found = [once(args, pair, row, seed, fold) for fold in folds]
    if not all(found):
        return None
    tops, clips, seconds = zip(*(one for one in found if one), strict=True)
    return float(np.average(tops, weights=clips)), sum(seconds)


def once(
    args: argparse.Namespace, pair: str, row: str, seed: int, fold: int
) -> tuple[float, float, float] | None:
    """(top-1, clips, CPU seconds) of one training; of a fold where it is not 0."""
    folder = pathlib.Path(args.workdir, f"{pair}-{row}-{seed}" + (f"-fold{fold}" if fold else ""))
    before = (folder / "dinet" / "done.json").exists()
    c = configs.load(f"{CONFIG}:{','.join((PAIRS[pair], *ROWS[row][1]))}")
    fields: dict[str, Any] = {
        "dir": args.real if pair == "real" else f"{args.workdir}/{pair}-target",
        "source_dir": f"{args.workdir}/{pair}-source",
    }
    c.data.update(fields)
    c.data.fold = fold or c.data.fold
    c.seed, c.dinet.steps = seed, args.steps or c.dinet.steps
    began = time.process_time()
    found = experiment.once(c, str(folder), train=not args.only_finished)
    spent = float("nan") if before else time.process_time() - began
    return (found["numbers"]["top-1"], found["numbers"]["n"], spent) if found else None


def table(found: dict[str, list[tuple[float, float]]]) -> list[str]:
    """One line a row: mean and deviation of top-1, each seed, CPU seconds."""
    lines = [
        "| trained on | top-1: mean | deviation | seeds | CPU s each |",
        "|---|---|---|---|---|",
    ]
    for row, numbers in found.items():
        if not numbers:
            continue
        tops, seconds = np.array(numbers).T
        each = ", ".join(f"{top:.3f}" for top in tops)
        spread = f"{tops.std(ddof=1):.3f}" if len(tops) > 1 else ""
        known = seconds[np.isfinite(seconds)]
        cost = f"{known.mean():.0f}" if len(known) else ""
        lines.append(f"| {ROWS[row][0]} | {tops.mean():.3f} | {spread} | {each} | {cost} |")
    return lines


if __name__ == "__main__":
    program.run(main)
