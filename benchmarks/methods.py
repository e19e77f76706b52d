r"""The table of docs/methods.md: every method of the library on the same clips.

    python benchmarks/methods.py [--rows=gamma,lift,dtcm] [--seeds=3]
    python benchmarks/methods.py --records=records/arid6 [--folds=1,2,3,4,5] [--seeds=1]

The first command trains each on the 720 rendered dark clips of six actions that the demos share
and judges it on 240 others; the second on real clips, each fold's sessions left out in turn
(`arid6` of the method's config), pooled over the folds. Each by its own demo's recipe: its frames,
epochs and stages, so the table says what a recipe of that size gives, not which idea is better.
Top-1 in %: mean, lowest to highest over the seeds; parameters and GMACs at test; seconds of one
clip from 8-bit frames to its logits, the median of three on this machine; CPU time of a training
with its evaluation, all its stages. Of real clips ActLumos begins from a stage of rendered ones,
which is trained once for all folds, in the time of the first.

What is finished in --workdir is not trained again; the table is printed after each seed.
--only_finished prints what there is, `--steps=2 --seeds=1` shows that it runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

# of this folder: a benchmark is run from anywhere
import actlumos
import cost
import jax
import numpy as np

from darkjax import config as configs
from darkjax import experiment, files, process, program, run_data

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"
CLIPS = f"{CONFIGS}/lift_arid.py:demo"  # whose rendered clips all are trained on
SPENT = "cpu_seconds.json"
BEGINNING = "rendered"  # a stage of rendered clips before those of real ones: for all folds


class Row(NamedTuple):
    """How a method is called, its config with words, what its paper says of it."""

    called: str
    file: str
    words: str
    paper: str


class Trained(NamedTuple):
    """Top-1 in [0, 1] of so many clips, CPU seconds (nan: it was stopped in between)."""

    top: float
    clips: float
    seconds: float


ROWS = {
    "gamma": Row("R(2+1)D on gamma-corrected clips", "lift_arid", "", ""),
    "lift": Row("LIFT-Net", "lift_arid", "", "95.21, ARID v1.0"),
    "dtcm": Row("DTCM", "dtcm_arid", "", "96.36, ARID"),
    "bert": Row("R(2+1)D-BERT", "darklight_arid", "r2plus1d_bert", ""),
    "darklight": Row("DarkLight", "darklight_arid", "", "94.04, ARID v1.0"),
    "md_bert": Row("MD-BERT", "darklight_arid", "md_bert", "96.89, ARID v1.0"),
    "actlumos": Row("ActLumos, student", "actlumos_arid", "", "96.92, ARID v1.0"),
    "teacher": Row("ActLumos, teacher", "actlumos_arid", "teacher_only", ""),
    "ir": Row("IR net with codes, k-NN", "ir_dcl_infar", "", "54.58, InFAR"),
    "dinet": Row(
        "3D-DiNet, labels of day clips only", "dinet_infar", "", "90.83, InFAR (infrared)"
    ),
}
REAL = [name for name in ROWS if name not in ("ir", "dinet")]  # whose configs have arid6


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, seed by seed; a table after each."""
    parser = program.Parser("benchmarks.methods", __doc__)
    parser.add_argument("--rows", default="", help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--records", default="", help="real clips instead of rendered ones")
    parser.add_argument("--folds", default="1,2,3,4,5", help="of the real clips")
    parser.add_argument("--steps", type=int, default=0, help="of every stage, not epochs")
    parser.add_argument("--runs", type=int, default=3, help="of one clip; 0 times none")
    parser.add_argument("--workdir", default="runs/methods")
    parser.add_argument("--only_finished", action="store_true", help="train nothing")
    args = parser.parse_args(argv)
    known = REAL if args.records else list(ROWS)
    rows = program.chosen("rows", args.rows, known) if args.rows else known
    folds = [int(fold) for fold in args.folds.split(",")] if args.records else [0]
    process.quiet()
    found: dict[str, list[list[Trained]]] = {row: [] for row in rows}  # by seed, then by fold
    costs: dict[str, cost.Cost] = {}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for row in rows:
            runs = [trained(args, row, seed, fold) for fold in folds]
            if all(runs):
                found[row].append([run for run in runs if run])
        for row in rows:
            if found[row] and row not in costs:
                costs[row] = costed(args, row)
        print("\n".join(table(found, costs)), flush=True)
    return 0


def config(args: argparse.Namespace, row: str, seed: int, fold: int) -> Any:
    """The config of one training."""
    _, file, words, _ = ROWS[row]
    data = "arid6" if args.records else "day_dark" if row == "dinet" else "demo"
    c = configs.load(f"{CONFIGS}/{file}.py:{','.join(filter(None, (data, words)))}")
    c.seed = seed
    work = pathlib.Path(args.workdir)
    with c.unlocked():
        if args.records:
            c.data.dir, c.data.fold = args.records, fold
        else:
            c.data.dir, c.data.synthetic = str(work / "records"), clips().data.synthetic
        CHANGES.get(row, lambda c: None)(c)
        for name in c.stages:
            own = c[name].get("data", {})
            if own.get("source_synthetic"):  # clips that a stage draws for itself, beside others
                own.source_dir = str(work / f"records-of-{row}-{name}")
            c[name].steps = args.steps or c[name].steps
        if c.data.get("source_synthetic"):
            c.data.source_dir = str(work / "records-source")
    return c


def clips() -> Any:
    """The config whose clips are everybody's."""
    return configs.load(CLIPS)


def _teacher(c: Any) -> None:
    c.stages = ("teacher",)
    del c.student


def _ir(c: Any) -> None:
    """One stream, of dark clips in the place of thermal ones."""
    c.stages = ("ir",)
    del c.flow
    c.data.channels, c.data.num_classes, c.data.split = 3, 6, "official"
    c.data.views_clips, c.data.views_crops = 1, 3


CHANGES: dict[str, Callable[[Any], None]] = {"gamma": _teacher, "ir": _ir}


def trained(args: argparse.Namespace, row: str, seed: int, fold: int) -> Trained | None:
    """One training, finished before or now; None: not yet, with --only_finished."""
    c = config(args, row, seed, fold)
    folder = pathlib.Path(args.workdir, f"{row}-{seed}" + f"-fold{fold}" * bool(fold))
    if not args.records and not args.only_finished:
        run_data.open_records(clips_at(c), args.workdir)  # drawn once, by no row
    began, whole = time.process_time(), not folder.exists()
    if BEGINNING in c.stages:
        first = folder.with_name(f"{row}-{seed}-{BEGINNING}")
        own = actlumos.alone(config(args, row, seed, 1), BEGINNING, {})
        if not experiment.once(own, str(first), train=not args.only_finished):
            return None
        go_on(c, first / BEGINNING)
    found = experiment.once(c, str(folder), train=not args.only_finished)
    if not found:
        return None
    spent, numbers = folder / SPENT, found["numbers"]
    if whole:
        files.write_text(spent, json.dumps(time.process_time() - began))
    seconds = json.loads(spent.read_text()) if spent.exists() else float("nan")
    return Trained(numbers["top-1"], numbers["n"], seconds)


def go_on(c: Any, beginning: pathlib.Path) -> None:
    """Leave out the stage of rendered clips: it has no fold, and is a run of its own."""
    with c.unlocked():
        del c[BEGINNING]
        c.stages = tuple(name for name in c.stages if name != BEGINNING)
        for name in c.stages:
            c[name].init_from = tuple(
                (str(beginning) if source == BEGINNING else source, regex, to)
                for source, regex, to in c[name].init_from
            )


def clips_at(c: Any) -> Any:
    """The data section of everybody's clips, at the folder of a config's."""
    data = clips().data
    data.dir = c.data.dir
    return data


def costed(args: argparse.Namespace, row: str) -> cost.Cost:
    """What a clip costs at test."""
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        c = config(args, row, 0, 1)
        return cost.measured(c, c.stages[-1], args.runs)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def table(
    found: Mapping[str, Sequence[Sequence[Trained]]], costs: Mapping[str, cost.Cost]
) -> list[str]:
    """Markdown: one line a row."""
    device = jax.devices()[0].device_kind
    lines = [
        "",
        f"{device}, jax {jax.__version__}, {datetime.date.today()}",
        "| | top-1, % | seeds | clip | parameters | GMACs | s a clip | CPU s | paper |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row, seeds in found.items():
        if not seeds:
            continue
        tops = 100 * np.array(
            [np.average([r.top for r in runs], weights=[r.clips for r in runs]) for runs in seeds]
        )
        spread = f" ({tops.min():.1f} to {tops.max():.1f})" * (len(tops) > 1)
        known = [r.seconds for runs in seeds for r in runs if np.isfinite(r.seconds)]
        spent = f"{np.mean(known):.0f}" if known else ""
        one = costs[row]
        each = f"{one.seconds:.3f}" if one.seconds else ""
        lines.append(
            f"| {ROWS[row].called} | {tops.mean():.1f}{spread} | {len(tops)} | {one.clip} | "
            f"{one.parameters:,} | {one.gmacs:.2f} | {each} | {spent} | {ROWS[row].paper} |"
        )
    return lines


if __name__ == "__main__":
    program.run(main)
