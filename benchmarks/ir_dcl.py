"""Tables 2 and 3 of the infrared two-stream paper beside ours, from trainings on rendered clips.

    python benchmarks/ir_dcl.py [--repeats=5] [--divisions=chance,group] [--alpha=0.002,0.2] \
        [--k=1,3,5,7,9] [--workdir=runs/ir_dcl_tables]

A repeat has a seed and a division of its own: `chance` 30 clips of each class to train on and 20 to
judge, as the paper; `group` one fold of recordings left out, which does not leak. It trains the
stages of `configs/ir_dcl_infar.py:demo` (IR net and flow net) with the code layer and without, and
fuses what they said. Numbers are `mean-class` in per cent, the paper's "AP": means over repeats
(lowest to highest). Then which of the paper's claims hold; with --alpha the flow net at other
weights of the code loss (Figure 6 a; first repeat alone); with --k other numbers of neighbours
(6 b), from saved codes.
`figures.html` in the workdir has Figures 4 to 6 of the first repeat.

Nets that are finished in `--workdir` are not trained or judged again; one with other settings is
refused. The table is printed after every repeat. `--steps=2` shows that it runs.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import experiment, files, metrics, process, program
from darkjax.errors import UserError
from darkjax.eval import charts, code_figures, fusion, page, streams

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = f"{ROOT}/configs/ir_dcl_infar.py"
NETS = ("ir", "flow")
WEIGHTS = (1, 2)  # IR : flow, of both late fusions (the paper says it of the first)
PAPER = {
    "IR net without DCL": 48.75,
    "IR net (softmax)": 52.91,
    "IR net (k-NN)": 54.58,
    "Flow net without DCL": 69.58,
    "Flow net (softmax)": 72.91,
    "Flow net (k-NN)": 75.42,
    "Late fusion 1": 74.0,
    "Late fusion 2": 77.5,
    "Single-layer NN fusion": 71.25,
    "Two-layer NN fusion": 70.42,
}
WAYS = ("without DCL", "(softmax)", "(k-NN)")
Found = dict[str, dict[str, list[float]]]  # division -> row -> one number a repeat


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, print the tables."""
    parser = program.Parser("benchmarks.ir_dcl", __doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--divisions", default="chance,group")
    parser.add_argument("--alpha", default="", help="weights of the code loss, joined by commas")
    parser.add_argument("--k", default="1,3,5,7,9", help="neighbours, joined by commas")
    parser.add_argument("--words", default="demo", help="of the config")
    parser.add_argument("--steps", type=int, default=0, help="of every net instead of epochs")
    parser.add_argument("--workdir", default="runs/ir_dcl_tables")
    parser.add_argument("--data", default="", help="records; default: rendered into workdir")
    run(parser.parse_args(argv))
    return 0


def run(args: argparse.Namespace) -> None:
    """Every repeat of every division, a table after each; then the sweeps."""
    divisions = program.chosen("divisions", args.divisions, ("chance", "group"))
    alphas, ks = numbers("alpha", args.alpha), [int(k) for k in numbers("k", args.k)]
    process.quiet()
    found: Found = {division: {} for division in divisions}
    for repeat in range(args.repeats):
        for division in divisions:
            dcl, plain = (trained(args, name, division, repeat) for name in ("dcl", "no_dcl"))
            for row, value in measured(dcl, plain).items():
                found[division].setdefault(row, []).append(value)
        print("\n".join(table(found)), flush=True)
    print("\n".join(claims(found)), flush=True)
    first = trained(args, "dcl", divisions[0], 0)
    by_k = neighbours(first, ks)
    by_alpha = {alpha: alone(args, divisions[0], alpha) for alpha in alphas}
    for name, by in (("k", by_k), ("alpha", by_alpha)):
        if by:
            print("\n".join(sweep(name, by)), flush=True)
    path = pathlib.Path(args.workdir, "figures.html")
    files.write_text(path, figures(first, by_k, by_alpha))
    print(f"written to {path}")


def numbers(flag: str, text: str) -> list[float]:
    """Numbers of a flag."""
    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError:
        raise UserError(f"--{flag}={text}: expected numbers joined by commas") from None


def trained(
    args: argparse.Namespace,
    name: str,
    division: str,
    repeat: int,
    change: Mapping[str, Any] | None = None,
    stages: tuple[str, ...] = NETS,
) -> pathlib.Path:
    """The folder of a finished run of these nets; trained there where it is not.

    `name` is "dcl" or "no_dcl"; `change` sets fields of every net, and its values end the name.
    """
    words = [args.words, *(["by_group"] if division == "group" else [])]
    words += ["no_dcl"] if name == "no_dcl" else []
    c = configs.load(f"{CONFIG}:{','.join(words)}")
    with c.unlocked():
        c.stages, c.seed = stages, repeat
        c.data.dir = args.data or f"{args.workdir}/records"
        if args.data:
            c.data.synthetic, c.data.num_classes = None, 0
        c.data.random_seed, c.data.fold = repeat, repeat % 5 + 1
        for net in stages:
            c[net].steps = args.steps or c[net].steps
            c[net].update(dict(change or {}))
    ending = "".join(f"-{key}{value:g}" for key, value in (change or {}).items())
    folder = pathlib.Path(args.workdir, f"{division}-{repeat}-{name}{ending}")
    if not finished(c, folder):
        began = time.process_time()
        experiment.run(c, str(folder))
        print(f"{folder.name}: {time.process_time() - began:.0f} s of CPU time", flush=True)
    return folder


def finished(config: Any, folder: pathlib.Path) -> bool:
    """Whether every net there was trained and judged with these settings and data.

    Raises:
      UserError: with others; what differs.
    """
    kept = all((folder / net / streams.TRAINING).exists() for net in config.stages)
    return kept and bool(experiment.complete(config, str(folder)))


def measured(dcl: pathlib.Path, plain: pathlib.Path) -> dict[str, float]:
    """The rows of Tables 2 and 3, per cent, of the runs with the code layer and without."""
    nets = [streams.read(dcl / net) for net in NETS]
    bare = [streams.read(plain / net) for net in NETS]
    streams.check_same([*nets, *bare])
    rows = {}
    for title, net, without in zip(("IR net", "Flow net"), nets, bare, strict=True):
        rows[f"{title} without DCL"] = ap(without, without.judged.take("probabilities"))
        rows[f"{title} (softmax)"] = ap(net, net.judged.take("softmax"))
        rows[f"{title} (k-NN)"] = ap(net, net.judged.take("knn"))
    for number, use in ((1, "softmax"), (2, "knn")):
        fused = fusion.weighted_mean([net.judged.take(use) for net in nets], WEIGHTS)
        rows[f"Late fusion {number}"] = ap(nets[0], fused)
    known = [net.training() for net in nets]
    streams.match(*known)
    for title, filters in (("Single-layer", 0), ("Two-layer", fusion.FILTERS)):
        network = fusion.Net(filters).trained(
            [clips.take("codes") for clips in known], known[0].label, len(nets[0].classes)
        )
        fused = network.probabilities([net.judged.take("codes") for net in nets])
        rows[f"{title} NN fusion"] = ap(nets[0], fused)
    return rows


def ap(stream: streams.Stream, probabilities: np.ndarray) -> float:
    """The paper's "AP": mean over classes of the share of their clips recognised, per cent."""
    confusion = metrics.Confusion.from_logits(probabilities, stream.judged.label)
    return 100 * confusion.compute()["mean-class"]


def neighbours(folder: pathlib.Path, ks: Sequence[int]) -> dict[float, dict[str, float]]:
    """Figure 6 (b): AP of both nets by k, from the codes that they left."""
    found: dict[float, dict[str, float]] = {}
    for title, net in (("IR net", "ir"), ("Flow net", "flow")):
        stream = streams.read(folder / net)
        for k in ks:
            scores = code_figures.by_neighbours(stream, k)
            found.setdefault(k, {})[title] = ap(stream, scores)
    return found


def alone(args: argparse.Namespace, division: str, alpha: float) -> dict[str, float]:
    """Figure 6 (a): AP of the flow net of the first repeat, trained with another alpha."""
    given = configs.load(f"{CONFIG}:{args.words}").flow.alpha
    if alpha == given:
        folder = trained(args, "dcl", division, 0)
    else:
        folder = trained(args, "dcl", division, 0, {"alpha": alpha}, ("flow",))
    stream = streams.read(folder / "flow")
    return {
        "Flow net (softmax)": ap(stream, stream.judged.take("softmax")),
        "Flow net (k-NN)": ap(stream, stream.judged.take("knn")),
    }


def table(found: Found) -> list[str]:
    """Our numbers beside the paper's."""
    filled = {division: rows for division, rows in found.items() if rows}
    count = {division: len(next(iter(rows.values()))) for division, rows in filled.items()}
    titles = {"chance": "by chance", "group": "by group"}
    heads = [f"{titles[d]}, {count[d]} repeats" for d in filled]
    lines = [f"{datetime.date.today()}", "| | paper | " + " | ".join(heads) + " |"]
    lines.append("|---|---|" + "---|" * len(filled))
    for row, theirs in PAPER.items():
        cells = [spread(filled[division][row]) for division in filled]
        lines.append(f"| {row} | {theirs:g} | " + " | ".join(cells) + " |")
    return lines


def claims(found: Found) -> list[str]:
    """Whether the paper's claims hold, by the means, and in how many repeats."""
    lines = []
    for division, rows in found.items():
        pairs = [("flow above IR", f"Flow net {w}", f"IR net {w}") for w in WAYS]
        pairs += [
            ("k-NN above softmax", f"{net} (k-NN)", f"{net} (softmax)")
            for net in ("IR net", "Flow net")
        ]
        others = [row for row in PAPER if row != "Late fusion 2"]
        best = max(others, key=lambda row: np.mean(rows[row]))
        pairs.append(("late fusion 2 best", "Late fusion 2", best))
        for claim, better, worse in pairs:
            gains = np.subtract(rows[better], rows[worse])
            held = "held" if gains.mean() > 0 else "not held"
            lines.append(
                f"{division}: {claim}: {held}: {better} {gains.mean():+.2f} against {worse}, "
                f"above in {int((gains > 0).sum())} of {len(gains)}"
            )
    return lines


def sweep(name: str, found: Mapping[float, Mapping[str, float]]) -> list[str]:
    """A table of AP by one parameter."""
    titles = list(next(iter(found.values())))
    lines = [f"| {name} | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for value, row in found.items():
        lines.append(f"| {value:g} | " + " | ".join(f"{row[t]:.2f}" for t in titles) + " |")
    return lines


def spread(values: Sequence[float]) -> str:
    """Mean (lowest to highest)."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def figures(
    folder: pathlib.Path,
    by_k: Mapping[float, Mapping[str, float]],
    by_alpha: Mapping[float, Mapping[str, float]],
) -> str:
    """Figures 4 to 6 as a page."""
    nets = {title: streams.read(folder / net) for title, net in (("IR", "ir"), ("Flow", "flow"))}
    fused = fusion.weighted_mean([net.judged.take("knn") for net in nets.values()], WEIGHTS)
    ir = nets["IR"]
    parts = [
        page.section(f"Codes of the test clips, {title} net", code_figures.matrix(net))
        for title, net in nets.items()
    ]
    said = {f"{title} net, k-NN": net.judged.take("knn") for title, net in nets.items()}
    for title, scores in {**said, "late fusion 2": fused}.items():
        counts = metrics.Confusion.from_logits(scores, ir.judged.label).counts
        parts.append(
            page.section(f"Confusion, {title}", charts.confusion_matrix(ir.classes, counts))
        )
    for name, found in (("k", by_k), ("alpha", by_alpha)):
        if found:
            parts.append(page.section(f"AP over {name}", curves(name, found)))
    return page.page("Figures 4 to 6", "\n".join(parts))


def curves(name: str, found: Mapping[float, Mapping[str, float]]) -> str:
    """AP over one parameter as a chart."""
    titles = next(iter(found.values()))
    series = [
        charts.Series(t, list(found), [row[t] / 100 for row in found.values()]) for t in titles
    ]
    chart = charts.line_chart(f"AP over {name}", series, percent=True, across=name)
    return f'<div style="max-width:480px">{chart}</div>'


if __name__ == "__main__":
    program.run(main)
