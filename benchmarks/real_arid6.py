r"""What carries rendered clips to real ones: one table of levers for `configs/real_arid6.py`.

    python -m darkjax.data.convert --dataset=arid_ee6222 --raw=ARID6 --out=records/arid6 \
        --short_side=120 --fps=15
    python benchmarks/real_arid6.py --records=records/arid6 [--rows=plain-gamma,rich-motion] \
        [--seeds=5]

Rows: a world (plain, rich) and an input (gamma, motion, difference), as `rich-motion`; with `-ema`
the mean of the weights over the last steps is judged, with `-adapt` it is 3D-DiNet with the real
clips unlabelled, with `-finetune` eight epochs on labelled ones follow, for each fold with its
sessions left out. Top-1 on all real clips: mean, lowest and highest over the seeds, each seed, and
that of the mean of their probabilities. The last line is the mean of all rows without real clips.

What is finished in --workdir is not trained again: the same command goes on where it was stopped;
--only_finished prints what there is. `--steps=1 --clips=2` shows that it runs.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import experiment, process, program
from darkjax.errors import UserError

CONFIG = f"{pathlib.Path(__file__).resolve().parents[1]}/configs/real_arid6.py"
WORLDS = {"plain": ("plain_world",), "rich": ()}
INPUTS = ("gamma", "motion", "difference")
LEVERS = ("ema", "adapt", "finetune")
USUAL = [f"{world}-{seen}" for world in WORLDS for seen in INPUTS]
USUAL += ["rich-motion-ema", "rich-motion-adapt", "rich-motion-finetune"]
FOLDS = 5
Found = dict[int, tuple[int, np.ndarray]]  # by clip: its label, its probabilities


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, seed by seed, and print the table."""
    parser = program.Parser("benchmarks.real_arid6", __doc__)
    parser.add_argument("--records", required=True, help="real clips of the six actions")
    parser.add_argument("--rows", default=",".join(USUAL), help="joined by commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="of every training, not epochs")
    parser.add_argument("--clips", type=int, default=300, help="rendered ones of a class")
    parser.add_argument("--folds", type=int, default=FOLDS, help="of -finetune: the first so many")
    parser.add_argument("--workdir", default="runs/real_arid6_tables")
    parser.add_argument("--only_finished", action="store_true", help="train nothing")
    args = parser.parse_args(argv)
    rows = args.rows.split(",")
    for row in rows:
        parsed(row)
    process.quiet()
    found: dict[str, list[Found]] = {row: [] for row in rows}
    for seed in range(args.seeds):
        for row in rows:
            predictions = judged(args, row, seed)
            if predictions:
                found[row].append(predictions)
    print(f"\n{datetime.date.today()}", *table(found), sep="\n")
    return 0


def parsed(row: str) -> tuple[str, str, str]:
    """(world, input, lever or "") of a row."""
    world, _, rest = row.partition("-")
    seen, _, lever = rest.partition("-")
    if world not in WORLDS or seen not in INPUTS or lever not in ("", *LEVERS):
        raise UserError(
            f"--rows: expected WORLD-INPUT or WORLD-INPUT-LEVER of {', '.join(WORLDS)}; "
            f"{', '.join(INPUTS)}; {', '.join(LEVERS)}; found {row!r}"
        )
    return world, seen, lever


def judged(args: argparse.Namespace, row: str, seed: int) -> Found | None:
    """Predictions of the real clips; None where they are not to be had yet."""
    world, seen, lever = parsed(row)
    if lever != "finetune":
        return trained(args, load(args, row, seed), f"{row}-{seed}")
    before = f"{world}-{seen}"
    if not trained(args, load(args, before, seed), f"{before}-{seed}"):
        return None
    whole: Found = {}
    for fold in range(1, args.folds + 1):
        c = load(args, row, seed)
        with c.unlocked():
            c.stages, c.data.fold = ("finetune",), fold
            start = f"{args.workdir}/{before}-{seed}/rendered"
            c.finetune.init_from = ((start, r"(.*)", r"\1"),)
            del c.rendered
        part = trained(args, c, f"{row}-{seed}-fold{fold}")
        if not part:
            return None
        whole |= part
    return whole


def load(args: argparse.Namespace, row: str, seed: int) -> Any:
    """The config of a row."""
    world, seen, lever = parsed(row)
    words = [*WORLDS[world], seen, *([lever] if lever in ("adapt", "finetune") else [])]
    c = configs.load(f"{CONFIG}:{','.join(words)}")
    c.seed, c.data.dir = seed, args.records
    c.data.source_dir = f"{args.workdir}/{world}-clips"  # drawn once for all
    c.data.source_synthetic.clips_per_class.train = args.clips
    c.data.source_synthetic.groups.train = max(args.clips // 2, 1)
    for stage in c.stages:
        c[stage].steps = args.steps
    if lever == "ema":
        c.rendered.ema = 0.99
    return c


def trained(args: argparse.Namespace, config: Any, name: str) -> Found | None:
    """The predictions of a run's last stage, which is trained where it is not yet."""
    folder = pathlib.Path(args.workdir, name)
    last = folder / config.stages[-1]
    whole = (last / "results.json").exists() and (last / "predictions.npz").exists()
    if not whole and args.only_finished:
        return None
    if not whole:
        experiment.run(config, str(folder))
    with np.load(last / "predictions.npz") as kept:
        return {
            int(clip): (int(label), p)
            for clip, label, p in zip(
                kept["clip"], kept["label"], kept["probabilities"], strict=True
            )
        }


def top(found: Sequence[Found]) -> float:
    """Top-1 of the mean of several predictions of the same clips."""
    clips = set.intersection(*(set(one) for one in found))
    right = [
        int(np.argmax(np.mean([one[clip][1] for one in found], 0))) == found[0][clip][0]
        for clip in sorted(clips)
    ]
    return float(np.mean(right))


def table(found: dict[str, list[Found]]) -> list[str]:
    """One line a row that has anything."""
    lines = [
        "| world, input, lever | clips | top-1: mean (lowest to highest) | seeds | their mean |",
        "|---|---|---|---|---|",
    ]
    alone: list[Found] = []
    for row, seeds in found.items():
        if not seeds:
            continue
        tops = [top([one]) for one in seeds]
        spread = f"{np.mean(tops):.3f} ({min(tops):.3f} to {max(tops):.3f})"
        each = ", ".join(f"{value:.3f}" for value in tops)
        name = ", ".join(filter(None, parsed(row)))
        lines.append(f"| {name} | {len(seeds[0])} | {spread} | {each} | {top(seeds):.3f} |")
        alone += seeds if parsed(row)[2] in ("", "ema") else []
    if alone:
        clips = len(set.intersection(*(set(one) for one in alone)))
        lines.append(
            f"| mean of {len(alone)} trainings on rendered clips | {clips} | "
            f"{top(alone):.3f} |  |  |"
        )
    return lines


if __name__ == "__main__":
    program.run(main)
