"""The tables of docs/actlumos.md: what the student of ActLumos gains by each of its teachers.

    python benchmarks/actlumos.py [--seeds=5] [--rows=scratch,kd,ssl,both,teacher]
    python benchmarks/actlumos.py --config=configs/actlumos_arid.py:arid6 --records=records/arid6 \
        [--folds=1,2,3] [--seeds=3]

Rows: the student from scratch, with distillation alone, with the stage without labels alone, with
both, and the teacher; top-1 of the clips that are judged: mean and deviation over the seeds, each
seed (with folds the mean over all their clips), CPU seconds of the row's own last stage.
Beneath, what the stage without labels is worth by itself: neighbours and a linear layer. Of real
clips there is one row more: the stage of rendered clips, of which all others begin.

Stages that rows share (`rendered`, `pretrain`, `teacher`) are trained once for each seed and fold.
What is finished in --workdir is not trained again: the same command goes on, and prints what there
is with --only_finished. `--config=configs/actlumos_arid.py:demo,md_bert` has MD-BERT as the
teacher. `--steps=2` shows that it runs.
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
from darkjax.data.records import Records
from darkjax.errors import UserError

CONFIG = f"{pathlib.Path(__file__).resolve().parents[1]}/configs/actlumos_arid.py"
ROWS = {  # (name, the word of the config; "" is the whole)
    "scratch": ("student from scratch", "scratch"),
    "kd": ("student, distillation only", "kd_only"),
    "ssl": ("student, self-supervision only", "ssl_only"),
    "both": ("student, self-supervision and distillation", ""),
    "teacher": ("teacher", "teacher_only"),
}
TAUGHT = ("kd", "both", "teacher")  # rows that MD-BERT has a part in
SHARED = ("rendered", "pretrain", "teacher")
RENDERED = "rendered clips alone"  # no real clip read: judged on all, counted on those of a fold
CODES = ("knn top-1", "probe top-1")
Found = dict[str, dict[int, dict[int, dict[str, float]]]]  # row -> seed -> fold -> numbers


def main() -> None:
    """Train what is missing, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=f"{CONFIG}:demo")
    parser.add_argument("--records", default="", help="converted real clips, for arid6")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--folds", default="1,2,3", help="of arid6")
    parser.add_argument("--steps", type=int, default=0, help="of every stage instead of epochs")
    parser.add_argument("--workdir", default="runs/actlumos_tables")
    parser.add_argument("--only_finished", action="store_true", help="train nothing")
    args = parser.parse_args()
    rows = program.chosen("rows", args.rows, ROWS)
    real = "arid6" in args.config.partition(":")[2].split(",")
    if real and not args.records:
        raise UserError("arid6 needs --records=FOLDER of the converted clips")
    if "md_bert" in args.config.partition(":")[2].split(","):
        rows = [row for row in rows if row in TAUGHT]
    process.quiet()
    folds = [int(fold) for fold in args.folds.split(",")] if real else [0]
    found: Found = {row: {} for row in ("rendered", *rows, "pretrain")}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for fold in folds:
            for row in rows:
                for name, numbers in train(args, row, seed, fold).items():
                    which = row if name == last(args, row) else name
                    if which in found:
                        found[which].setdefault(seed, {}).setdefault(fold, numbers)
    for row, runs in found.items():  # of some folds alone a seed is another measurement
        found[row] = {seed: got for seed, got in runs.items() if len(got) == len(folds)}
    print(f"\n{args.config}, {datetime.date.today()}", *table(found), sep="\n")


def load(args: argparse.Namespace, row: str) -> Any:
    """The config of a row."""
    file, _, words = args.config.partition(":")
    return configs.load(f"{file}:{','.join(filter(None, (words, ROWS[row][1])))}")


def last(args: argparse.Namespace, row: str) -> str:
    """The stage that a row is judged by."""
    return str(load(args, row).stages[-1])


def train(args: argparse.Namespace, row: str, seed: int, fold: int) -> dict[str, dict[str, float]]:
    """The stages of a row, each a run of its own: its numbers by name.

    With --only_finished those that are there.
    """
    work = pathlib.Path(args.workdir)
    folders: dict[str, pathlib.Path] = {}
    found = {}
    for name in load(args, row).stages:
        of_all = name == "rendered" or not fold  # clips of no fold
        place = f"{seed}" if of_all else f"{seed}-fold{fold}"
        what = name if name in SHARED else f"{name}-{row}"
        run = work / f"{what}-{place}"
        folders[name] = run / name
        before = (run / name / "done.json").exists()
        c = alone(load(args, row), name, folders)
        c.seed = seed
        c.data.dir = args.records if fold else str(work / "records")
        if not of_all:
            c.data.fold = fold
        own = c[name].data
        if "source_synthetic" in own:
            with own.unlocked():
                own.source_dir = str(work / f"records-of-{name}")
        c[name].steps = args.steps or c[name].steps
        began = time.process_time()
        result = experiment.once(c, str(run), train=not args.only_finished)
        if not result:
            break
        numbers = dict(result["numbers"])
        if name == "rendered":
            numbers |= of_fold(run / name / "predictions.npz", args.records, fold)
        numbers["seconds"] = float("nan") if before else time.process_time() - began
        found[name] = numbers
    return found


def of_fold(predictions: pathlib.Path, folder: str, fold: int) -> dict[str, float]:
    """Top-1 and number of the clips of a fold among all that were judged."""
    with Records(folder) as records, np.load(predictions) as arrays:
        mine = records.meta["clip"][records.meta["fold"] == fold]
        own = np.isin(arrays["clip"], mine)
        right = arrays["probabilities"][own].argmax(1) == arrays["label"][own]
    return {"top-1": float(right.mean()), "n": float(own.sum())}


def alone(c: Any, name: str, folders: dict[str, pathlib.Path]) -> Any:
    """One stage of a config, which begins from the folders of those before it."""
    with c.unlocked():
        for other in c.stages:
            if other != name:
                del c[other]
        c.stages = (name,)
        c[name].init_from = tuple(
            (str(folders.get(source, source)), regex, to) for source, regex, to in c[name].init_from
        )
    return c


def table(found: Found) -> list[str]:
    """One line a row, and one for what is learnt without labels."""
    lines = ["| | top-1: mean | deviation | seeds | CPU s each |", "|---|---|---|---|---|"]
    for row, runs in found.items():
        if row == "pretrain" or not runs:
            continue
        tops = np.array([pooled(folds, "top-1") for folds in runs.values()])
        seconds = np.array([n["seconds"] for folds in runs.values() for n in folds.values()])
        known = seconds[np.isfinite(seconds)]
        spread = f"{tops.std(ddof=1):.3f}" if len(tops) > 1 else ""
        cost = f"{known.mean():.0f}" if len(known) else ""
        each = ", ".join(f"{top:.3f}" for top in tops)
        name = RENDERED if row == "rendered" else ROWS[row][0]
        lines.append(f"| {name} | {tops.mean():.3f} | {spread} | {each} | {cost} |")
    if found["pretrain"]:
        said = [
            f"{name.removesuffix(' top-1')} "
            + ", ".join(f"{pooled(folds, name):.3f}" for folds in found["pretrain"].values())
            for name in CODES
        ]
        lines += ["", f"without labels, top-1 of the features by seed: {'; '.join(said)}"]
    return lines


def pooled(folds: dict[int, dict[str, float]], name: str) -> float:
    """The mean over all clips of the folds."""
    values = [numbers[name] for numbers in folds.values()]
    return float(np.average(values, weights=[numbers["n"] for numbers in folds.values()]))


if __name__ == "__main__":
    program.run(main)
