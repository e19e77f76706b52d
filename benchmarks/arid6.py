"""A method on the real clips of a course subset: accuracy by fold and seed, and what is mistaken.

    python benchmarks/arid6.py --records=records/arid6 [--config=configs/dtcm_arid.py:arid6] \
        [--folds=1,2,3] [--seeds=0,1,2] [--balance=class]

Each run trains the stages of the config (by default LIFT-Net's teacher and student) with one fold's
sessions left out, and is judged on them. About two minutes a run of LIFT-Net on two CPU cores,
eight of DTCM on one. With `--workdir` trainings and their numbers are kept: the same command goes
on where it was stopped, and trainings with other settings or clips are refused.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import platform
import tempfile

import numpy as np

from darkjax import config as configs
from darkjax import experiment, process, program

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main() -> None:
    """Run every fold and seed, print top-1 of each and their mean and spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--config", default=f"{ROOT}/configs/lift_arid.py:arid6")
    parser.add_argument("--folds", default="1,2,3")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--balance", default="", help="data.balance; left out: the config's")
    parser.add_argument("--workdir", help="kept between runs; by default a temporary folder")
    args = parser.parse_args()
    measure(args)


def measure(args: argparse.Namespace) -> None:
    """Train what is missing and print the table."""
    process.quiet()
    base = args.workdir or tempfile.mkdtemp()
    config = configs.load(args.config)
    stages = [name for name in config.stages if config[name].method != "enhancer"]
    found: dict[str, dict[int, list[float]]] = {stage: {} for stage in stages}
    mistakes: dict[int, np.ndarray] = {}
    clips = {}
    for fold in map(int, args.folds.split(",")):
        for seed in map(int, args.seeds.split(",")):
            c = configs.load(args.config)
            c.data.dir, c.data.fold, c.seed = args.records, fold, seed
            c.data.balance = args.balance or c.data.balance
            folder = pathlib.Path(base, f"fold{fold}-seed{seed}")
            result = experiment.once(c, str(folder))
            clips[fold], judged = int(result["numbers"]["n"]), result
            mistakes[fold] = mistakes.get(fold, 0) + np.array(result["confusion"])
            for stage in found:
                numbers = configs.read_json(folder / stage / "results.json")["numbers"]
                found[stage].setdefault(fold, []).append(numbers["top-1"])
    print(f"\n{platform.processor() or platform.machine()}, {datetime.date.today()}")
    views = judged["name"].split()[0]
    print(
        f"{views}, arid_ee6222, sessions of the fold left out, {judged['checkpoint']} checkpoint;"
    )
    print("mean (min to max) over seeds")
    print(f"{'fold':>6} {'clips':>6}" + "".join(f" {stage:>22}" for stage in stages))
    for fold in clips:
        cells = "".join(f" {_spread(found[stage][fold]):>22}" for stage in stages)
        print(f"{fold:>6} {clips[fold]:>6}{cells}")
    pooled = [
        [
            np.average([found[stage][f][s] for f in clips], weights=list(clips.values()))
            for s in range(len(args.seeds.split(",")))
        ]
        for stage in found
    ]
    cells = "".join(f" {_spread(values):>22}" for values in pooled)
    print(f"{'pooled':>6} {sum(clips.values()):>6}{cells}")
    print(f"what {stages[-1]} takes for what, clips of all seeds:")
    for fold, counts in mistakes.items():
        print(f"{fold:>6} {_mistakes(counts, judged['classes'])}")


def _mistakes(counts: np.ndarray, classes: list[str]) -> str:
    """The commonest wrong answers of a confusion matrix (rows are what it is)."""
    wrong = [
        (int(n), f"{classes[i]} for {classes[j]}")
        for (i, j), n in np.ndenumerate(counts)
        if i != j and n
    ]
    return ", ".join(f"{what} {n}" for n, what in sorted(wrong, reverse=True)[:5])


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    program.run(main)
