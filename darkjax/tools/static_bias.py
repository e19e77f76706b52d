"""Answers where backgrounds change and figures stand still: `python -m darkjax.tools.static_bias`.

    python -m darkjax.tools.static_bias runs/real --clips=10 --out=bias.json --sheet=bias.png
    python -m darkjax.tools.static_bias box --records=records/arid6 --clips=0
    python -m darkjax.tools.static_bias runs/lift --records=own --pictures=stripes

SCUBA is the figure over another background: who looks at the action stays right. SCUFO is one frame
of that, repeated: who is still right knows it from what stands still, and should be right by chance
alone. `contrasted` is the share of the clips that are right as SCUBA and not right as SCUFO (Li et
al. 2023, "StillMix", arXiv 2211.12883). Backgrounds (--pictures): the place of another clip,
stripes, noise that does not move.

Clips are rendered ones, --clips of each class, of the run's own world in rooms and performances
that it never saw, with the renderer's masks; and those of --records (a folder, or `own`: those the
run is judged on), where the figure is what moves: clips whose mask is next to nothing or most of
the picture (the camera moves) are left out and counted. --sheet shows one clip of each class,
brightened: two frames, the mask, and for each background two frames of SCUBA and its SCUFO.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import files, loaded, process, program
from darkjax.data import split
from darkjax.data.clip import Clip
from darkjax.data.progress import Progress
from darkjax.data.records import Records
from darkjax.data.rendering.dataset import Synthetic
from darkjax.errors import UserError
from darkjax.eval import bias_sheet, static_bias
from darkjax.eval.pictures import spread

OWN = "own"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; write what is asked for."""
    parser = program.Parser("darkjax.tools.static_bias", __doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder, RUN/STAGE, or box")
    parser.add_argument(
        "--clips", type=int, default=10, help="rendered ones of each class; 0: none"
    )
    parser.add_argument("--records", default="", help=f"a folder of converted clips, or {OWN}")
    parser.add_argument("--split", default="", help="of --records (default: all; of own, judged)")
    parser.add_argument("--most", type=int, default=0, help="clips of --records; 0: all")
    parser.add_argument("--pictures", default=",".join(static_bias.PICTURES))
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--out", default="", help="a .json for all answers")
    parser.add_argument("--sheet", default="", help="a .png of sample clips")
    args = parser.parse_args(argv)
    names = program.chosen("pictures", args.pictures, static_bias.PICTURES)
    for flag in ("clips", "most", "seed"):
        if getattr(args, flag) < 0:
            raise UserError(f"--{flag}={getattr(args, flag)}: expected 0 or more")
    if not args.clips and not args.records:
        raise UserError("--clips=0 without --records=FOLDER: there is no clip to judge")
    for flag, suffix in (("out", ".json"), ("sheet", ".png")):
        given = pathlib.Path(getattr(args, flag))
        if str(given) != "." and (given.suffix != suffix or not given.parent.is_dir()):
            raise UserError(f"--{flag}={given}: expected a {suffix} in a folder that is there")
    process.quiet()
    model = loaded.load(args.run)
    asked: dict[str, list[static_bias.Entry]] = {}
    if args.clips:
        asked["rendered"] = drawn(model, args.clips, args.seed)
    if args.records:
        name, entries = kept(model, args.records, args.split, args.most)
        asked[name] = entries
    rows: list[np.ndarray] = []
    found = {}
    for name, entries in asked.items():
        seen = watcher(len(entries), rows if args.sheet else None)
        found[name] = static_bias.measure(judge(model), entries, names, args.seed, seen)
    print("\n".join(table(found, names, len(model.classes))))
    if args.out:
        files.write_json(args.out, as_json(found, names, model))
    if args.sheet:
        bias_sheet.write(args.sheet, rows)
        print(f"{args.sheet}: {bias_sheet.columns(names)}")
    return 0


def judge(model: Any) -> static_bias.Judge:
    """The model's answers to clips of one size, by its own preprocessing."""

    def asked(clips: Sequence[np.ndarray], fps: float) -> np.ndarray:
        return model.judged(np.stack([model.preprocess(clip, fps or None) for clip in clips]))

    return asked


def watcher(clips: int, rows: list[np.ndarray] | None) -> Callable[..., None]:
    """Says how far it is; collects a row of the sheet for the first clip of each class."""
    progress, shown, done = Progress(clips, "clips"), set[int](), 0

    def seen(entry: static_bias.Entry, shot: static_bias.Shot, made: Any) -> None:
        nonlocal done
        done += 1
        progress.update(done)
        if rows is not None and entry.label not in shown:
            shown.add(entry.label)
            rows.append(bias_sheet.row(shot, made))

    return seen


def drawn(model: Any, clips: int, seed: int) -> list[static_bias.Entry]:
    """Rendered clips of the model's classes, in its own world, of rooms that it never saw.

    Raises:
      UserError: a class that the renderer does not know.
    """
    data = configs.data_of(model.config, pathlib.Path(model.where).name)
    own = data.synthetic or data.get("source_synthetic")
    options: dict[str, Any] = own.to_dict() if own else {"frames": 24, "fps": model.fps or 12.0}
    options.pop("flow", None)
    worlds = [w for w in (data.synthetic, data.get("source_synthetic")) if w and "groups" in w]
    rooms = max([sum(w.groups.values()) for w in worlds], default=1)
    counts = {"seen": rooms, "unseen": clips * len(model.classes)}  # a room for each clip
    world = Synthetic(
        **options
        | {"classes": model.classes, "seed": options.get("seed", 0) + 1 + seed}
        | {"clips_per_class": {"seen": 1, "unseen": clips}, "groups": counts}
    )
    try:
        every = [clip for clip in world.clips() if clip.split == "unseen"]
    except UserError as e:
        raise UserError(f"{e}: to judge real clips alone give --records=FOLDER --clips=0") from e

    def read(clip: Clip) -> static_bias.Shot:
        found = world.render(clip, world.frames)
        return static_bias.Shot(np.asarray(found.video), np.asarray(found.mask), float(world.fps))

    return [static_bias.Entry(c.id, c.label, c.group, functools.partial(read, c)) for c in every]


def kept(model: Any, folder: str, part: str, most: int) -> tuple[str, list[static_bias.Entry]]:
    """(what they are called, clips of records whose class the model knows).

    Raises:
      UserError: no records there, no such split, or no class in common.
    """
    data = configs.data_of(model.config, pathlib.Path(model.where).name)
    directory = folder
    if folder == OWN:
        beside = pathlib.Path(model.where).parent / "records"
        directory = data.dir or (str(beside) if beside.is_dir() else "")
        if not directory:
            raise UserError(f"--records={OWN}: {model.where} names no records: give their folder")
    records = Records(directory, read=data.read)
    rows, name = records.select(part or None), "-".join(filter(None, (records.card["name"], part)))
    if folder == OWN and not part:
        rows, name = split.held_rows(records, data)
    labels = {
        k: model.classes.index(c) for k, c in enumerate(records.classes) if c in model.classes
    }
    rows = rows[np.isin(records.meta["label"][rows], list(labels))]
    if not len(rows):
        raise UserError(
            f"{directory} has {', '.join(records.classes)}; none is a class of {model.where}, "
            f"which knows {', '.join(model.classes)}"
        )
    rows = rows[spread(len(rows), most)] if most else rows

    def read(row: int, fps: float) -> static_bias.Shot:
        frames = records.read_frames(row, range(int(records.meta["frames"][row])))
        frames = frames[..., : min(frames.shape[-1], 3)]  # flow is computed anew
        return static_bias.Shot(frames, static_bias.motion_mask(frames), fps)

    entries = []
    for row in map(int, rows):
        card = records.clips[int(records.meta["clip"][row])]
        label, group = labels[int(records.meta["label"][row])], str(card.get("group"))
        reader = functools.partial(read, row, float(card.get("fps") or 0))
        entries.append(static_bias.Entry(card["id"], label, group, reader))
    return name, entries


def table(found: dict[str, static_bias.Found], names: Sequence[str], classes: int) -> Iterator[str]:
    """Markdown: a line for each kind of clips and background."""
    yield "| clips | background | judged | as they are | SCUBA | SCUFO | contrasted |"
    yield "|---|---|---|---|---|---|---|"
    for kind, one in found.items():
        for name in names:
            row = static_bias.figures(one.answers, name)
            shown = (f"{row[k]:.3f}" for k in ("original", "scuba", "scufo", "contrasted"))
            yield f"| {kind} | {name} | {row['clips']} | {' | '.join(shown)} |"
    yield ""
    yield f"Chance is {1 / classes:.3f}."
    for kind, one in found.items():
        if one.left_out:
            share = f"{program.counted(len(one.left_out), 'clip')} left out"
            yield f"{kind}: {share}: the mask is next to nothing or most of the picture."


def as_json(
    found: dict[str, static_bias.Found], names: Sequence[str], model: Any
) -> dict[str, Any]:
    """The figures and every answer, class names for numbers."""

    def named(answer: static_bias.Answers) -> dict[str, Any]:
        made = {
            k: dict(zip(("scuba", "scufo"), (model.classes[n] for n in two), strict=True))
            for k, two in answer.made.items()
        }
        said = {"label": model.classes[answer.label], "original": model.classes[answer.original]}
        return {"clip": answer.name} | said | made

    return {
        "run": model.where,
        "classes": list(model.classes),
        "figures": {
            kind: {name: static_bias.figures(one.answers, name) for name in names}
            for kind, one in found.items()
        },
        "answers": {kind: [named(a) for a in one.answers] for kind, one in found.items()},
        "left_out": {kind: one.left_out for kind, one in found.items()},
    }


if __name__ == "__main__":
    program.run(main)
