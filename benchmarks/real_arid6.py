r"""What carries rendered clips to real ones: one table of levers for `configs/real_arid6.py`.

    python -m darkjax.data.convert --dataset=arid_ee6222 --raw=ARID6 --out=records/arid6 \
        --short_side=120 --fps=15
    python benchmarks/real_arid6.py --records=records/arid6 [--rows=plain-gamma,rich-motion] \
        [--seeds=5]
    python benchmarks/real_arid6.py --records=records/arid6 --flow_records=records/arid6_flow \
        --rows=rich-motion,rich-flow,rich-motion+rich-flow

Rows: a world (plain, rich, filmed, natural; long, which is natural and of the config's three
seconds where they have the two of `short`) and an input (gamma, motion, difference, flow), as
`rich-motion`; a lever after them, as `rich-motion-ema`, is one change of the config. A plus between
rows is the mean of their probabilities, seed by seed: two streams. Records with flow are made as
`configs/real_arid6.py` says.
  rendered clips alone: ema (the mean of the weights over the last steps), frames16, small and large
    (40 and 72 pixels), wide, deep, colour (jitter of it), cutmix, still (a still frame of
    another clip over it, as StillMix), shuffle (of frames: without their order)
  real clips without their labels: adabn (their statistics), adapt (3D-DiNet), adapt_apart (both)
  labelled real clips, for each fold with its sessions left out: finetune (eight epochs), balanced
    (the same, classes equally often), mixed (and half of every batch rendered), head (the last
    layer alone), joint (from nothing, half of every batch rendered, classes equally often), knn
    (nearest neighbours of the features that rendered clips gave, nothing trained)
Top-1 on all real clips: mean, lowest and highest over the seeds, each seed, and that of the seeds'
ensemble: of the mean of their probabilities, which are read from what is kept, as
darkjax.tools.fuse does. The last line is the ensemble of all rows without real clips.

What is finished in --workdir is not trained again: the same command goes on where it was stopped;
--only_finished prints what there is. `--steps=1 --clips=2` shows that it runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax import channels, experiment, files, identity, loaded, process, program
from darkjax import config as configs
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.ops import neighbours as ops_neighbours

CONFIG = f"{pathlib.Path(__file__).resolve().parents[1]}/configs/real_arid6.py"
WORLDS: dict[str, tuple[str, ...]] = {
    **{name: (f"{name}_world", "short") for name in ("plain", "rich", "filmed")},
    "natural": ("short",),
    "long": (),
}
INPUTS = ("gamma", "motion", "difference", "flow")
# Lever -> fields, of the stage that is trained ("stage.") or of the config.
RENDERED: dict[str, dict[str, Any]] = {
    "ema": {"stage.ema": 0.99},
    "frames16": {"data.frames": 16, "data.stride": 1},
    "small": {"data.size": (40, 40)},
    "large": {"data.size": (72, 72)},
    "wide": {"stage.model.width": 32},
    "deep": {"stage.model.variant": "18"},
    "colour": {
        **{f"stage.augment.jitter.{k}": 0.5 for k in ("brightness", "contrast", "saturation")},
        "stage.augment.jitter.p": 0.8,
        "stage.augment.jitter.hue": 0.2,
    },
    "cutmix": {"stage.augment.cutmix.p": 0.5},
    "still": {},
    "shuffle": {"stage.augment.frame_shuffle.p": 1.0},
}
UNLABELLED: dict[str, dict[str, Any]] = {
    "adabn": {"stage.adapt": "none", "stage.batch_norm": "domain"},
    "adapt": {},
    "adapt_apart": {"stage.batch_norm": "domain"},
}
LABELLED: dict[str, dict[str, Any]] = {
    "finetune": {},
    "balanced": {"stage.data.balance": "class"},
    "mixed": {
        "stage.data.sources": (("", 0.5, True), ("source", 0.5, True)),
        "stage.data.balance": "class",
    },
    "head": {"stage.freeze": (r"(?!head/).*",)},
    "joint": {
        "data.sources": (("source", 0.5, True), ("", 0.5, True)),
        "data.split": "fold",
        "data.balance": "class",
    },
    "knn": {},
}
TUNED = ("finetune", "balanced", "mixed", "head")  # begin from the weights of rendered clips
LEVERS = {**RENDERED, **UNLABELLED, **LABELLED}
USUAL = [f"{world}-{seen}" for world in WORLDS for seen in INPUTS if seen != "flow"]
USUAL += [f"long-difference-{lever}" for lever in LEVERS]
OF_FLOW = [f"{world}-flow" for world in WORLDS]
OF_FLOW += [f"{world}-motion+{world}-flow" for world in WORLDS]
NEIGHBOURS = 5
FOLDS = 5
Found = dict[int, tuple[int, np.ndarray]]  # by clip: its label, its probabilities


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, seed by seed, and print the table."""
    parser = program.Parser("benchmarks.real_arid6", __doc__)
    parser.add_argument("--records", required=True, help="real clips of the six actions")
    parser.add_argument("--flow_records", default="", help="the same clips with their flow")
    parser.add_argument("--rows", default="", help="joined by commas; left out: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="of every training, not epochs")
    parser.add_argument("--clips", type=int, default=300, help="rendered ones of a class")
    parser.add_argument("--windows", type=int, default=0, help="over time, of a judged clip")
    parser.add_argument(
        "--crops", type=int, default=0, help="of a window: 10 has mirror images too"
    )
    parser.add_argument("--folds", type=int, default=FOLDS, help="with labels: the first so many")
    parser.add_argument("--workdir", default="runs/real_arid6_tables")
    parser.add_argument("--only_finished", action="store_true", help="train nothing")
    args = parser.parse_args(argv)
    usual = USUAL + (OF_FLOW if args.flow_records else [])
    rows = args.rows.split(",") if args.rows else usual
    parts = [parsed(part) for row in rows for part in row.split("+")]
    if not args.flow_records and any(seen == "flow" for _, seen, _ in parts):
        raise UserError("rows of flow need --flow_records: configs/real_arid6.py says how to make")
    process.quiet()
    found: dict[str, list[Found]] = {row: [] for row in rows}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for row in rows:
            predictions = [judged(args, part, seed) for part in row.split("+")]
            if all(predictions):
                found[row].append(together([one for one in predictions if one]))
    print(f"\n{datetime.date.today()}", *table(found), sep="\n")
    return 0


def together(found: Sequence[Found]) -> Found:
    """The mean of several predictions of the same clips."""
    if len({tuple((clip, one[clip][0]) for clip in sorted(one)) for one in found}) > 1:
        raise UserError("--flow_records has other clips than --records")
    return {
        clip: (label, np.mean([one[clip][1] for one in found], 0))
        for clip, (label, _) in found[0].items()
    }


def parsed(row: str) -> tuple[str, str, str]:
    """(world, input, lever or "") of a row."""
    world, _, rest = row.partition("-")
    seen, _, lever = rest.partition("-")
    if world not in WORLDS or seen not in INPUTS or lever not in ("", *LEVERS):
        raise UserError(
            "--rows: expected WORLD-INPUT or WORLD-INPUT-LEVER, or such joined by +, of "
            f"{', '.join(WORLDS)}; "
            f"{', '.join(INPUTS)}; {', '.join(LEVERS)}; found {row!r}"
        )
    return world, seen, lever


def judged(args: argparse.Namespace, row: str, seed: int) -> Found | None:
    """Predictions of the real clips; None where they are not to be had yet."""
    world, seen, lever = parsed(row)
    if lever not in LABELLED:
        return trained(args, load(args, row, seed), f"{row}-{seed}")
    start = f"{world}-{seen}-{seed}"
    if lever != "joint" and not trained(args, load(args, f"{world}-{seen}", seed), start):
        return None
    if lever == "knn":
        records = args.flow_records if seen == "flow" else args.records
        data = load(args, row, seed).data
        views = {"views_clips": data.views_clips, "views_crops": data.views_crops}
        return neighbours(args, records, views, f"{args.workdir}/{start}", f"{row}-{seed}")
    whole: Found = {}
    for fold in range(1, args.folds + 1):
        c = load(args, row, seed)
        with c.unlocked():
            c.data.fold = fold
            if lever != "joint":
                c.stages = ("finetune",)
                rules = ((f"{args.workdir}/{start}/rendered", r"(.*)", r"\1"),)
                c.finetune.init_from = rules
                del c.rendered
        part = trained(args, c, f"{row}-{seed}-fold{fold}")
        if not part:
            return None
        whole |= part
    return whole


def load(args: argparse.Namespace, row: str, seed: int) -> Any:
    """The config of a row."""
    world, seen, lever = parsed(row)
    word = "adapt" if lever in UNLABELLED else "finetune" if lever in TUNED else ""
    word = lever if lever == "still" else word
    words = filter(None, (*WORLDS[world], seen, word))
    c = configs.load(f"{CONFIG}:{','.join(words)}")
    c.seed, c.data.dir = seed, args.flow_records if seen == "flow" else args.records
    drawn = f"{world}-flow-clips" if seen == "flow" else f"{world}-clips"
    c.data.source_dir = f"{args.workdir}/{drawn}"  # drawn once for all
    c.data.source_synthetic.clips_per_class.train = args.clips
    c.data.source_synthetic.groups.train = max(args.clips // 2, 1)
    c.data.views_clips = args.windows or c.data.views_clips
    c.data.views_crops = args.crops or c.data.views_crops
    for stage in c.stages:
        c[stage].steps = args.steps
    for path, value in LEVERS.get(lever, {}).items():
        *sections, field = path.split(".")
        place = c
        for name in sections:
            place = place[c.stages[-1] if name == "stage" else name]
        with place.unlocked():  # a stage's own `data` has but what differs
            place[field] = value
    return c


def neighbours(
    args: argparse.Namespace, folder: str, views: dict[str, int], run: str, name: str
) -> Found | None:
    """What the nearest labelled real clips of other folds say, by the features of a run."""
    file, records = pathlib.Path(args.workdir, name, "predictions.npz"), Records(folder)
    of = f"{identity.origin(f'{run}/rendered')} {records.digest} {NEIGHBOURS} {views}"
    if not file.exists() or np.load(file).get("of") != of:
        if args.only_finished:
            return None
        model = loaded.load(run)
        own = dataclasses.replace(model.views, **views)  # not those it was trained by
        model = dataclasses.replace(model, views=own)
        rows = records.select("train")
        clips = [records.clips[int(records.meta["clip"][row])] for row in rows]
        frames = (  # of records with flow the colours: a model makes its own of them
            records.read_frames(r, range(int(records.meta["frames"][r])))[..., : channels.COLOURS]
            for r in rows
        )
        codes = np.stack(
            [model.embed(video, clip.get("fps")) for video, clip in zip(frames, clips, strict=True)]
        )
        labels, folds = records.meta["label"][rows], records.meta["fold"][rows]
        found = np.zeros((len(rows), len(model.classes)), np.float32)
        for fold in np.unique(folds):
            own = folds == fold
            found[own] = ops_neighbours.knn_probabilities(
                codes[own], codes[~own], labels[~own], len(model.classes), k=NEIGHBOURS
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = {"clip": records.meta["clip"][rows], "label": labels, "probabilities": found}
        files.write_npz(file, arrays | {"of": np.array(of)})
    return kept(file)


def trained(args: argparse.Namespace, config: Any, name: str) -> Found | None:
    """The predictions of a run's last stage, which is trained where it is not yet."""
    folder = pathlib.Path(args.workdir, name)
    last = folder / config.stages[-1]
    found = experiment.once(config, str(folder), train=not args.only_finished)
    return kept(last / "predictions.npz") if found else None


def kept(file: pathlib.Path) -> Found:
    """Predictions of a file, by clip."""
    with np.load(file) as arrays:
        rows = zip(*(arrays[k] for k in ("clip", "label", "probabilities")), strict=True)
        return {int(clip): (int(label), p) for clip, label, p in rows}


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
        "| world, input, lever | clips | top-1: mean (lowest, highest) | seeds | their ensemble |",
        "|---|---|---|---|---|",
    ]
    alone: list[Found] = []
    for row, seeds in found.items():
        if not seeds:
            continue
        tops = [top([one]) for one in seeds]
        spread = f"{np.mean(tops):.3f} ({min(tops):.3f} to {max(tops):.3f})"
        each = ", ".join(f"{value:.3f}" for value in tops)
        name = " + ".join(", ".join(filter(None, parsed(part))) for part in row.split("+"))
        lines.append(f"| {name} | {len(seeds[0])} | {spread} | {each} | {top(seeds):.3f} |")
        one_stream = "+" not in row and parsed(row)[2] in ("", *RENDERED)
        alone += seeds if one_stream else []
    if alone:
        clips = len(set.intersection(*(set(one) for one in alone)))
        lines.append(
            f"| ensemble of {len(alone)} trainings on rendered clips | {clips} | "
            f"{top(alone):.3f} |  |  |"
        )
    return lines


if __name__ == "__main__":
    program.run(main)
