"""What a model will see of converted clips, on one page: `python -m darkjax.tools.browse DIR`.

    python -m darkjax.tools.browse records/arid --out=arid.html
    python -m darkjax.tools.browse records/arid --config=configs/lift_arid.py:small \
        --config.data.fold=2

Draws the very batches that the pipeline gives to training and to evaluation under a config's data
section: the first --clips clips of the first epoch, the same clips where they come in the second
(other frames, other windows), and as many clips of the evaluation, each with all its views. Every
row says the step and the place in the batch, the frames and the window. What a method does to a
batch on the device (mirroring, colour, rain, …) comes after that and is not shown.

The page is one HTML file that loads nothing. Dark clips are shown as they are; the page's switch
brightens all pictures by a factor, for the eye. Without --config fields are those of
`configs/common.py`, and the clips are judged on what there is: the split test, else validate, else
fold 1.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from darkjax import config as configs
from darkjax import files, overrides, program
from darkjax.data import pipeline, sources, split
from darkjax.data.records import Records
from darkjax.data.views import EvalViews, TrainViews, View, ViewConfig
from darkjax.errors import UserError
from darkjax.eval import page, pictures

VIEWS = 12  # of one clip of the evaluation; more are counted
STYLE = """
.clips { grid-template-columns: 1fr; } .clip { border-left-color: var(--accent); }
.clip img { height: 112px; width: auto; max-width: 100%; object-fit: contain;
  object-position: left; }
.both { display: flex; flex-wrap: wrap; gap: 4px 20px; }
.frame { position: relative; display: inline-block; line-height: 0; }
.frame i { position: absolute; border: 2px solid var(--w); }
.w0 { --w: #f5935a; } .w1 { --w: #5aa9f5; } .row b { color: var(--w); }
.light { position: sticky; top: 0; z-index: 1; background: var(--panel); padding: 6px 10px;
  border: 1px solid var(--line); border-radius: 6px; }
body:has(#light4:checked) .clip img { filter: brightness(4); }
body:has(#light12:checked) .clip img { filter: brightness(12); }
"""
LIGHT = (
    '<p class="light">Pictures '
    + " ".join(
        f'<label><input type="radio" name="light" id="light{k}"{" checked" * (k == 1)}>{text}'
        "</label>"
        for k, text in ((1, "as they are"), (4, "4 times brighter"), (12, "12 times"))
    )
    + "</p>"
)


class Shown(NamedTuple):
    """One example of a batch: where it was, what was chosen, and what was read."""

    where: str
    view: View
    label: int
    video: np.ndarray  # uint8 [T, h, w, C]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    words, fields = overrides.split(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words)
    if args.clips < 1:
        raise UserError(f"--clips={args.clips}: expected at least 1")
    with Records(args.directory) as records:
        content = html(records, args.config, fields, args.stage, args.clips)
    try:
        files.write_text(args.out, content)
    except OSError as error:
        raise UserError(f"--out={args.out}: {error.strerror or error}") from error
    print(f"{args.out}: {len(content) / 1e6:.1f} MB")
    return 0


def _parser() -> program.Parser:
    parser = program.Parser("darkjax.tools.browse", __doc__)
    parser.add_argument("directory", metavar="DIR", help="records, as the conversion wrote them")
    parser.add_argument("--config", default="", help="configs/FILE.py[:WORDS]; --config.FIELD=…")
    parser.add_argument("--stage", default="", help="of the config (default: its first)")
    parser.add_argument("--out", default="browse.html", help="the page (default: browse.html)")
    parser.add_argument("--clips", type=int, default=24, help="of each side (default: 24)")
    return parser


def defaults(records: Records) -> ml_collections.ConfigDict:
    """The data section of `configs/common.py`, judged on what these records have."""
    c = ml_collections.ConfigDict(
        {
            "split": "official", "protocol": "", "train_split": "train", "eval_split": "test",
            "fold": 1, "random_share": 0.2, "random_seed": 0, "allow_leaky_split": False,
            "read": "mmap", "check_crc": False, "sources": (), "balance": "none",
            "train_views": 1, "frames": 30, "stride": 1, "deltas": (), "sampling": "dense",
            "size": (224, 224), "crop": "resized", "scale": (0.7, 1.0), "centre": (), "flip": False,
            "views_clips": 1, "views_crops": 1,
        }
    )  # fmt: skip
    parts = records.parts()
    if "train" not in parts and parts:
        c.train_split = parts[0]
    judged = [part for part in ("test", "validate", "val") if part in parts]
    if judged:
        c.eval_split = judged[0]
    elif (records.meta["fold"] > 0).any():
        c.split, c.fold = "fold", int(min(records.meta["fold"][records.meta["fold"] > 0]))
    else:
        c.sources = (("", 1.0, True),)  # the same batches; nothing to judge on is asked for
    return c


def html(
    records: Records, config: str, fields: Sequence[tuple[str, str]], stage: str, clips: int
) -> str:
    """The page.

    Args:
      records: the dataset.
      config: `configs/FILE.py[:WORDS]`, or "" for `defaults`.
      fields: of the config, with their values as text.
      stage: of the config; "" is its first.
      clips: how many of each side.

    Raises:
      UserError: the config and the records do not fit, as training would say.
    """
    if config:
        whole = configs.resolve(configs.load(config, fields))
        stage = stage or whole.stages[0]
        if stage not in whole.stages:
            raise UserError(f"--stage={stage}: {config} has {', '.join(whole.stages)}")
        data, seed, batch_size = configs.data_of(whole, stage), whole.seed, whole[stage].batch_size
    elif fields or stage:
        raise UserError(f"--config.{fields[0][0]} needs --config" if fields else
                        f"--stage={stage} needs --config")  # fmt: skip
    else:
        data, seed = defaults(records), 0
        batch_size = min(16, len(split.train_rows(records, data)))
    parts = sources.of(records, data, batch_size)
    cards = [_card(parts, shown) for shown in train(parts, data, seed, clips)]
    first = _section("Training: two epochs", cards)
    try:
        rows, name = split.held_rows(records, data)
    except UserError as error:
        if config:
            raise
        second = page.section("Evaluation", f'<p class="note">None: {escape(str(error))}</p>')
        rows, name = np.empty(0, int), ""
    else:
        source = (sources.Source(records, rows, 1, np.arange(len(records.classes))),)
        cards = [_card(source, shown) for shown in evaluation(records, rows, data, clips)]
        second = _section(f"Evaluation: {name}", cards)
    counts = f"{sum(len(s.rows) for s in parts)} to train on, {len(rows)} to be judged on"
    facts = _facts(records, data, config, f"{counts} ({name})" if name else counts)
    body = f"<h1>{escape(records.card['name'])}</h1>{facts}{LIGHT}{first}{second}"
    return page.page(f"{records.card['name']}: what a model sees", body, STYLE)


def train(
    parts: Sequence[sources.Source], data: Any, seed: int, clips: int
) -> Iterator[list[Shown]]:
    """For each of the first clips of the first epoch: its examples there and in the second."""
    views = TrainViews(tuple(parts), ViewConfig.of(data), seed)
    steps = max(sources.steps_per_epoch(parts), 1)
    block = views.batch_size // data.train_views
    found: dict[tuple[int, int], list[tuple[int, int, int, View]]] = {}
    turns: dict[tuple[int, int, int], tuple[int, int]] = {}  # of several in one epoch the first
    for epoch in (0, 1):
        for step in range(epoch * steps, (epoch + 1) * steps):
            for place, view in enumerate(views.batch(step)):
                key = (view.source, view.record)
                if epoch == 0 and len(found) < clips:
                    found.setdefault(key, [])
                turn = (step, place % block)  # its other views are whole blocks further on
                if key in found and turns.setdefault((epoch, *key), turn) == turn:
                    found[key].append((epoch, step, place, view))
            if len(found) == clips and all((epoch, *key) in turns for key in found):
                break
    # Its errors, without its batches: of most of them nothing is shown.
    pipeline.mixed_batches(parts, cfg=data, seed=seed, num_threads=0).close()
    read = pipeline.reader(tuple(parts), ViewConfig.of(data))
    for places in found.values():
        batch = read([view for _, _, _, view in places])
        yield [
            Shown(f"epoch {epoch + 1}, step {step}, place {place}", view, int(label), video)
            for (epoch, step, place, view), label, video in zip(
                places, batch["label"], batch["video"], strict=True
            )
        ]


def evaluation(records: Records, rows: np.ndarray, data: Any, clips: int) -> Iterator[list[Shown]]:
    """For clips spread evenly over those that are judged: their views."""
    chosen = rows[pictures.spread(len(rows), clips)]
    cfg = ViewConfig.of(data)
    views = EvalViews(records.meta, cfg, chosen)
    with pipeline.eval_batches(records, chosen, cfg=data, batch_size=1, num_threads=0) as batches:
        for _, of_clip in itertools.groupby(enumerate(batches), lambda found: found[1]["clip"][0]):
            yield [
                Shown(f"view {k}", views[number], int(batch["label"][0]), batch["video"][0])
                for k, (number, batch) in enumerate(of_clip)
            ]


def _section(title: str, cards: Sequence[str]) -> str:
    note = f"{len(cards)} clips; time runs to the right."
    body = f'<p class="note">{note}</p><div class="clips">{"".join(cards)}</div>'
    return page.section(title, body)


def _facts(records: Records, data: Any, config: str, counts: str) -> str:
    cut = f"{data.crop} windows" + (f" of {data.scale[0]:g} to {data.scale[1]:g} of the area"
                                    if data.crop == "resized" else "")  # fmt: skip
    stride = " or ".join(map(str, data.deltas or (data.stride,)))
    told = {
        "Records": f"{records.directory}, digest {records.digest[:12]}",
        "Config": config or "the default fields",
        "Clips": counts,
        "Frames": f"{data.frames} {data.sampling}, stride {stride}",
        "Pixels": f"{data.size[0]}x{data.size[1]}, {cut}" + ", half mirrored" * bool(data.flip),
        "Evaluation": f"{data.views_clips or 'all'} clips x {data.views_crops} crops",
        "Balance": data.balance,
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in told.items())
    return f'<dl class="facts">{rows}</dl>'


def _card(parts: Sequence[sources.Source], shown: Sequence[Shown]) -> str:
    """One clip: what it is, a whole frame with the windows, a strip of frames of each example."""
    first = shown[0]
    records = parts[first.view.source].records
    row = records.clips[records.meta["clip"][first.view.record]]
    name = records.classes[row["label"]]
    batch = "no label" if first.label < 0 else f"label {first.label}"
    said = f"{row['frames']} frames of {row['height']}x{row['width']}, {row['fps']:g} a second"
    told = f"{row['id']} · group {row['group']} · {_part(records, row)} · {said}"
    strips = []
    for number, one in enumerate(shown[:VIEWS]):
        at = pictures.spread(len(one.video))
        strip = pictures.strip_html(
            pictures.beside_flow(one.video[at]), f"{one.where}: clip {row['id']}"
        )
        strips.append(f'<p class="row w{number % 2}">{_choice(one, at)}</p>{strip}')
    if len(shown) > VIEWS:
        strips.append(f'<p class="row">and {len(shown) - VIEWS} views more</p>')
    whole = _whole_frame(records, first.view.record, shown)
    return (
        f'<figure class="clip"><figcaption><b>{escape(name)}</b> ({batch})<br>'
        f'<span class="note">{escape(told)}</span></figcaption>'
        f'<div class="both">{whole}<div>{"".join(strips)}</div></div></figure>'
    )


def _part(records: Records, row: dict[str, Any]) -> str:
    parts = [f"{n}: {p or 'none'}" for n, p in
             zip(records.protocols, row.get("assigned", ()), strict=True)]  # fmt: skip
    fold = f", fold {row['fold']}" if row["fold"] > 0 else ""
    return f"split {', '.join(parts) or row['split']}{fold}"


def _choice(one: Shown, at: np.ndarray) -> str:
    """Where an example was in its batch, and what of its clip it is."""
    window = one.view.window
    frames = ", ".join(str(one.view.frames[k]) for k in at)
    of = f" ({len(at)} of {len(one.view.frames)})" if len(at) < len(one.view.frames) else ""
    resized = "" if one.video.shape[1:3] == (window.height, window.width) else (
        f" resized to {one.video.shape[1]}x{one.video.shape[2]}"
    )  # fmt: skip
    return (
        f"<b>■</b> {one.where}: frames {frames}{of} · window "
        f"{window.height}x{window.width} at y {window.y}, x {window.x}{resized}"
        f"{', mirrored' if window.flip else ''}"
    )


def _whole_frame(records: Records, record: int, shown: Sequence[Shown]) -> str:
    """The clip's middle frame, with the window of each example drawn into it."""
    height, width = (int(records.meta[name][record]) for name in ("height", "width"))
    middle = records.read_frames(record, [int(records.meta["frames"][record]) // 2])
    boxes = []
    for number, one in enumerate(shown[:VIEWS]):
        y, x, h, w, _ = one.view.window
        place = (("left", x / width), ("top", y / height), ("width", w / width),
                 ("height", h / height))  # fmt: skip
        style = ";".join(f"{name}:{100 * share:.2f}%" for name, share in place)
        boxes.append(f'<i class="w{number % 2}" style="{style}"></i>')
    picture = pictures.strip_html(pictures.colour_frames(middle), "the middle frame")
    return (
        '<div><p class="row">what is seen of a frame</p>'
        f'<div class="frame">{picture}{"".join(boxes)}</div></div>'
    )


if __name__ == "__main__":
    program.run(main)
