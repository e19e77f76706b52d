"""The tables about DTCM in docs/enhance.md, from trainings on rendered clips.

    python benchmarks/dtcm.py [--tables=fig7,table6,alone,path,start] [--seeds=3] [--epochs=8]

fig7    DTCM's Fig. 7, does a larger weight of the consistency loss make steadier video: W_STC (of
        both stages) 0, 4, 10; inconsistency (Eq. 4) and brightness of enhanced test clips, top-1
table6  its Table VI, the three trainings: top-1
alone   enhancers trained without a classifier: brightness, inconsistency, CPU time
path    where the consistency loss of seed 0 of Table VI's L_total goes while it is trained
start   how the enhancer begins, seed 0, all 20 epochs: top-1, brightness, norms of the gradient

The configs are `dtcm_arid.py:demo` and `zero_dce.py:demo`. A training of 8 epochs takes 4 minutes
on 2 cores of an Intel Xeon at 2.5 GHz, all tables 2 hours. Trainings that are finished in
`--workdir` are not done again; one with other settings is refused. `--steps=2` shows that it runs.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from darkjax import config as configs
from darkjax import experiment, process, program, run_data, writers
from darkjax.data import split
from darkjax.eval import enhance as enhancement
from darkjax.eval import enhancers

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = f"{ROOT}/configs/dtcm_arid.py:demo"
ALONE = f"{ROOT}/configs/zero_dce.py:demo"
NOTHING_BEFORE = {"stages": ("dtcm",), "dtcm.init_from": (), "dtcm.alpha": 0.1}


def main() -> None:
    """Print the tables that are asked for, training what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8, help="of fig7, table6 and path")
    parser.add_argument("--steps", type=int, default=0, help="of every stage instead of epochs")
    parser.add_argument("--workdir", default="runs/dtcm_tables")
    parser.add_argument("--data", default="", help="records; default: rendered into workdir")
    args = parser.parse_args()
    tables = program.chosen("tables", args.tables, TABLES)
    process.quiet()
    for name in tables:
        lines = TABLES[name](args)
        print(f"\n{name}, {datetime.date.today()}", *lines, sep="\n")


class Run(NamedTuple):
    """A finished run; `numbers` of its last stage, CPU `seconds` of it (0: finished before)."""

    folder: pathlib.Path
    config: Any
    numbers: dict[str, float]
    seconds: float

    def judged(self) -> dict[str, float]:
        """Brightness and inconsistency of the test clips after the run's enhancer."""
        records = run_data.open_records(self.config.data, str(self.folder / "records"))
        enhance = enhancers.enhancer(None, self.folder / "dtcm")
        return enhancement.judge(enhance, records, split.rows(records, self.config.data)[1])

    def logged(self, stage: str, key: str) -> list[tuple[int, float]]:
        """(step, value) of what a stage logged."""
        rows = writers.history(self.folder / stage)
        return [(int(row["step"]), row[key]) for row in rows if key in row]


def train(args: argparse.Namespace, name: str, config: str, change: Mapping[str, Any]) -> Run:
    """Run a config with some fields changed, by dotted paths."""
    c = configs.load(config)
    with c.unlocked():
        for path, value in {**change, "data.dir": args.data or f"{args.workdir}/records"}.items():
            section = c
            *parts, field = path.split(".")
            for part in parts:
                section = section[part]
            section[field] = value
        for stage in c.stages:
            c[stage].steps = args.steps or c[stage].steps
        if args.data:
            c.data.num_classes = 0
    folder = pathlib.Path(args.workdir, name)
    began = time.process_time()
    before = (folder / c.stages[-1] / "done.json").exists()
    result = experiment.once(c, str(folder))
    seconds = 0.0 if before else time.process_time() - began
    return Run(folder, c, result["numbers"], seconds)


def demo(
    args: argparse.Namespace, name: str, words: str, seed: int, change: Mapping[str, Any]
) -> Run:
    """Run the demo of DTCM, with words after it, a seed and some fields changed."""
    fields = {"seed": seed, "dtcm.epochs": args.epochs, **change}
    return train(args, f"{name}-{seed}", DEMO + words, fields)


def fig7(args: argparse.Namespace) -> list[str]:
    """Fig. 7."""
    lines = ["| W_STC | inconsistency | brightness | top-1 |", "|---|---|---|---|"]
    trainings: tuple[tuple[str, dict[str, float]], ...] = (
        ("w0", {"dtcm.w_stc": 0.0}),
        ("total", {}),  # the config's own 4: the training of Table VI
        ("w10", {"dtcm.w_stc": 10.0}),
    )
    for name, change in trainings:
        found = []
        for seed in range(args.seeds):
            run = demo(args, name, "", seed, change)
            found.append({**run.judged(), "top-1": run.numbers["top-1"]})
        cells = [
            spread([f[key] for f in found], digits)
            for key, digits in (("inconsistency", 4), ("brightness after", 3), ("top-1", 3))
        ]
        lines.append(f"| {run.config.dtcm.w_stc:g} | " + " | ".join(cells) + " |")
    return lines


def table6(args: argparse.Namespace) -> list[str]:
    """Table VI."""
    lines = ["| training | config | top-1 |", "|---|---|---|"]
    for what, name, words in (
        ("two stages, the enhancer frozen", "two_stage", ",two_stage"),
        ("one stage, L_AR only", "recognition", ",recognition"),
        ("one stage, L_total", "total", ""),
    ):
        top = [demo(args, name, words, s, {}).numbers["top-1"] for s in range(args.seeds)]
        each = ", ".join(f"{v:.3f}" for v in top)
        lines.append(f"| {what} | `:demo{words}` | {np.mean(top):.3f} ({each}) |")
    return lines


def alone(args: argparse.Namespace) -> list[str]:
    """Enhancers without a classifier."""
    lines = ["| config | brightness | inconsistency | CPU s |", "|---|---|---|---|"]
    for words in ("", ",light", ",sci"):
        run = train(args, f"alone{words.replace(',', '-')}", ALONE + words, {})
        if not words:
            lines.append(f"| the dark clips | {run.numbers['brightness before']:.3f} | 0 | |")
        lines.append(
            f"| `configs/zero_dce.py:demo{words}` | {run.numbers['brightness after']:.3f} | "
            f"{run.numbers['inconsistency']:.4f} | {run.seconds:.0f} |"
        )
    return lines


def path(args: argparse.Namespace) -> list[str]:
    """The consistency loss of training batches, by stage."""
    run = demo(args, "total", "", 0, {})
    lines = ["| stage | highest | at step | last third of the steps |", "|---|---|---|---|"]
    for stage in ("enhancer", "dtcm"):
        rows = run.logged(stage, "inconsistency")
        step, top = max(rows, key=lambda row: row[1])
        late = [value for at, value in rows if at > rows[-1][0] * 2 / 3]
        lines.append(f"| {stage} | {top:.3f} | {step} | {min(late):.3f} to {max(late):.3f} |")
    return lines


def start(args: argparse.Namespace) -> list[str]:
    """What the enhancer's own stage, alpha and its gentler rate are for."""
    lines = ["| enhancer | top-1 | brightness | gradient: median, largest |", "|---|---|---|---|"]
    whole_rate = {**NOTHING_BEFORE, "dtcm.optim.lr_scale": ()}
    trainings: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("trained alone before, alpha 1, a tenth of the rate", "start", {}),
        ("from nothing, alpha 0.1, a tenth of the rate", "start-gentle", NOTHING_BEFORE),
        ("from nothing, alpha 0.1, the whole rate", "start-whole", whole_rate),
    )
    for what, name, change in trainings:
        run = train(args, name, DEMO, change)
        norms = [value for _, value in run.logged("dtcm", "grad_norm")]
        lines.append(
            f"| {what} | {run.numbers['top-1']:.4f} | {run.judged()['brightness after']:.3f} | "
            f"{np.median(norms):.0f}, {max(norms):.0f} |"
        )
    return lines


def spread(values: list[float], digits: int) -> str:
    """Mean (lowest to highest)."""
    mean, low, high = (f"{f(values):.{digits}f}" for f in (np.mean, min, max))
    return f"{mean} ({low} to {high})"


TABLES: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "fig7": fig7,
    "table6": table6,
    "alone": alone,
    "path": path,
    "start": start,
}


if __name__ == "__main__":
    program.run(main)
