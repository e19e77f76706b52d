"""Video files to records: `python -m darkjax.data.convert --help`.

    python -m darkjax.data.convert --dataset=folder --raw=videos --out=records --short_side=128
    python -m darkjax.data.convert --dataset=synthetic --out=records --seed=1
    python -m darkjax.data.convert --verify=records

Clips are dealt to shards by a hash of their id and shards are written in parallel. A shard that
is finished is not written again, so a conversion that was stopped is continued by the same
command. On many machines give each `--shard_index=i --shard_count=n` and one shared (or later
merged) `--out`; whoever finds every shard finished writes the card.
"""

import argparse
import collections
import dataclasses
import hashlib
import inspect
import math
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from darkjax import program
from darkjax.data import badfiles, beam, remote, stopping
from darkjax.data import card as card_file
from darkjax.data import rows as rows_file
from darkjax.data import shards as shards_file
from darkjax.data.catalog import DATASETS, Clip, Dataset, get_dataset, protocols_of
from darkjax.data.example import ENCODINGS
from darkjax.data.jobs import run
from darkjax.data.rendering.world import World
from darkjax.data.shards import Job, Settings
from darkjax.errors import UserError

CLIPS_PER_SHARD = 64
MOST_SHARDS = 256  # per split: each open shard is an open file when training


def convert(
    dataset: str | Dataset,
    out: str | os.PathLike[str],
    *,
    raw: str | os.PathLike[str] | None = None,
    short_side: int | None = None,
    max_frames: int | None = None,
    encoding: str = "raw",
    jpeg_quality: int = 95,
    fps: float | None = None,
    window: str | None = None,
    flow: Mapping[str, Any] | None = None,
    max_bad_fraction: float = badfiles.MOST,
    shards: int | None = None,
    workers: int = 0,
    shard_index: int = 0,
    shard_count: int = 1,
    runner: str | None = None,
    beam_flags: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Convert a dataset to record shards, or continue a conversion that was stopped.

    Args:
      dataset: a name of `catalog.DATASETS`, or a dataset object.
      out: folder to write; made when absent.
      raw: the dataset's root folder; None for a rendered dataset.
      short_side: pixels of the shorter side; None keeps each file's size.
      max_frames: keep only the first so many frames of each clip.
      encoding: "raw" frame bytes, or one "jpeg" per frame.
      jpeg_quality: 1 to 100.
      fps: frames a second, taken by their time stamps; None keeps every frame.
      window: grey of more than 8 bits: counts "LOW:HIGH" or percentiles "LOW%:HIGH%" of each clip
        that become black and white.
      flow: how the flow in the clips was made (`data.flow`), for the card.
      max_bad_fraction: of the clips; with more bad ones there is no card.
      shards: per split; None is one per 64 clips, at most 256.
      workers: processes; 0 converts in this one. Each decodes on one thread.
      shard_index, shard_count: write every shard_count-th shard, beginning with shard_index.
      runner: of Apache Beam (`beam.py`), which then writes the shards, whatever `workers` says.
      beam_flags: more flags of it.

    Returns:
      The card (also written, last, as `card.json`), or None while shards of other machines are
      not there yet.

    Raises:
      UserError: nothing could be converted or too many clips are bad, the settings or the clips
        differ from what `out` was begun with, the disc is full, or an argument does not fit.
    """
    remote.refuse(out, "--out")
    dataset = get_dataset(dataset) if isinstance(dataset, str) else dataset
    if not 0 <= shard_index < shard_count:
        raise UserError(
            f"expected 0 <= shard_index < shard_count; found {shard_index} and {shard_count}"
        )
    if not 0 <= max_bad_fraction <= 1:
        raise UserError(f"expected max_bad_fraction from 0 to 1; found {max_bad_fraction}")
    settings = Settings(short_side, max_frames, encoding, jpeg_quality, fps, window, flow)
    _check_options(dataset, settings)
    root = None if raw is None else pathlib.Path(raw)
    clips = dataset.clips(root)
    if not clips:
        raise UserError(f"expected clips of dataset {dataset.name!r}; found none in {raw}")
    classes = dataset.class_names(root)
    jobs = _plan(dataset, root, pathlib.Path(out), clips, classes, settings, shards)
    out = pathlib.Path(out)
    _make_folder(out, alone=shard_count == 1)
    reports = {job.shard.name: shards_file.finished(job) for job in jobs}
    mine = [job for job in jobs[shard_index::shard_count] if reports[job.shard.name] is None]
    try:
        if mine:  # a card says that everything is there
            (out / card_file.NAME).unlink(missing_ok=True)
        before = sum(len(report["rows"]) for report in reports.values() if report)
        if runner:
            reports.update(beam.run(mine, runner, beam_flags))
        else:
            reports.update(run(mine, workers, before))
        if any(report is None for report in reports.values()):
            return None
        protocols = protocols_of(dataset, root)
        return _finish(dataset.name, classes, jobs, reports, protocols, max_bad_fraction)
    except OSError as error:
        raise shards_file.not_written(out, error) from error


def _check_options(dataset: Dataset, settings: Settings) -> None:
    known = inspect.signature(dataset.load).parameters.values()
    names = {parameter.name for parameter in known}
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in known):
        return
    if strange := sorted(settings.loading().keys() - names):
        raise UserError(f"dataset {dataset.name!r} has no --{strange[0]}: leave it out")


def _plan(
    dataset: Dataset,
    root: pathlib.Path | None,
    out: pathlib.Path,
    clips: Sequence[Clip],
    classes: Sequence[str],
    settings: Settings,
    shards: int | None,
) -> list[Job]:
    """The jobs of every split, sorted; a clip's shard is a hash of its id."""
    twice = [name for name, n in collections.Counter(c.id for c in clips).items() if n > 1]
    if twice:
        raise UserError(
            f"expected each clip once; found {twice[0]} more than once in {dataset.name!r} "
            f"({len(twice)} such): leave one of them out, or rename its file"
        )
    if shards is not None and shards < 1:
        raise UserError(f"expected at least 1 shard per split; found {shards}")
    jobs = []
    for split in sorted({clip.split for clip in clips}):
        members = [(number, clip) for number, clip in enumerate(clips) if clip.split == split]
        count = shards or min(MOST_SHARDS, math.ceil(len(members) / CLIPS_PER_SHARD))
        dealt: list[list[tuple[int, Clip]]] = [[] for _ in range(count)]
        for number, clip in members:
            dealt[_hash(clip.id) % count].append((number, clip))
        jobs += [
            Job(dataset, root, out, split, k, count, tuple(dealt[k]), tuple(classes), settings)
            for k in range(count)
        ]
    _check_leftovers(out, jobs)
    return jobs


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _check_leftovers(out: pathlib.Path, jobs: Sequence[Job]) -> None:
    """A folder begun with another dataset or number of shards is not written into."""
    expected = {job.shard.name for job in jobs}
    for path in sorted(out.glob("*.tfrecord")):
        if path.name not in expected:
            raise UserError(
                f"expected only shards of this conversion (as {min(expected)}) in {out}; found "
                f"{path.name}: use the same --shards or another --out"
            )


def _make_folder(out: pathlib.Path, alone: bool) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (card_file.NAME, badfiles.NAME, rows_file.NAME) if alone else ():
            for stale in out.glob(f"{name}.part-*"):
                stale.unlink(missing_ok=True)  # of a run that was killed
    except OSError as error:
        raise UserError(f"could not make the folder {out}: {error.strerror}: see --out") from error


def _finish(
    name: str,
    classes: Sequence[str],
    jobs: Sequence[Job],
    reports: Mapping[str, Any],
    protocols: Sequence[str],
    max_bad_fraction: float,
) -> dict[str, Any]:
    """Put the reports together, write the table of bad files and, if they are few, the card."""
    ordered = [reports[job.shard.name] for job in jobs]
    rows = sorted((row for r in ordered for row in r["rows"]), key=lambda row: row["clip"])
    bad = sorted((entry for r in ordered for entry in r["bad"]), key=lambda entry: entry["clip"])
    bad = [{column: entry[column] for column in badfiles.COLUMNS} for entry in bad]
    badfiles.write(jobs[0].out, bad)
    badfiles.check(jobs[0].out, bad, len(rows), max_bad_fraction)
    of_split: dict[str, list[dict[str, Any]]] = {}
    for job, report in zip(jobs, ordered, strict=True):
        entry = {key: report[key] for key in ("file", "records", "bytes", "sha256")}
        of_split.setdefault(job.split, []).append(entry)
    decode = ordered[0]["settings"]
    card = card_file.build(name, classes, decode, rows, bad, of_split, protocols)
    card_file.write(jobs[0].out, card)
    return card


def _counts(text: str) -> dict[str, int]:
    """`train:80,test:20` as a dict."""
    try:
        return {name: int(n) for name, n in (part.split(":") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected train:80,test:20; found {text!r}") from None


def _parser() -> program.Parser:
    parser = program.Parser("darkjax.data.convert", __doc__)
    add = parser.add_argument
    add("--verify", metavar="DIR", help="check a converted dataset and convert nothing")
    add("--dataset", help=f"one of {', '.join(sorted(DATASETS))}")
    add("--raw", metavar="DIR", help="the dataset's files")
    add("--out", metavar="DIR", help="where the records go")
    add("--short_side", type=int, help="resize to so many pixels (default: the files' own size)")
    add("--max_frames", type=int, help="keep the first so many frames (default: all)")
    add("--encoding", choices=ENCODINGS, default="raw", help="of the frames (default: raw)")
    add("--jpeg_quality", type=int, default=95, help="1 to 100 (default: 95)")
    add("--fps", type=float, help="frames a second, by time stamps (default: every frame)")
    add("--window", metavar="LOW:HIGH", help="of grey with more than 8 bits: counts, or 1%%:99%%")
    bad = "of the clips that may fail; with more there is no card (default: %(default)s)"
    add("--max_bad_fraction", type=float, default=badfiles.MOST, help=bad)
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    add("--shards", type=int, help="per split (default: one per 64 clips, at most 256)")
    add("--shard_index", type=int, default=0, help="which machine this is (default: 0)")
    add("--shard_count", type=int, default=1, help="how many machines there are (default: 1)")
    add("--runner", help="of Apache Beam, as DirectRunner, instead of --workers")
    add("beam_flags", nargs="*", metavar="-- FLAGS", help="more flags of Beam and of its runner")
    options = parser.add_argument_group("options of a dataset", argument_default=argparse.SUPPRESS)
    add = options.add_argument
    add("--domain", help="folder, synthetic: the light the clips are seen in")
    add("--classes", type=lambda text: tuple(text.split(",")), help="synthetic: Jump,Run,…")
    add("--clips_per_class", type=_counts, help="synthetic: train:80,test:20")
    add("--groups", type=_counts, help="synthetic: recording groups, train:8,test:4")
    for name in ("frames", "height", "width", "seed"):
        add(f"--{name}", type=int, help="synthetic: of the rendered clips")
    for name in WORLD:
        add(f"--{name}", type=float, help="synthetic: share of richer clips (docs/data.md)")
    add("--classes_file", metavar="FILE", help="class names in label order, one a line")
    add("--split_file", metavar="FILE", help="arid15, iitr_iar, infar, xd145: path,split[,group]")
    add("--table", metavar="FILE", help="csv: path,label[,start,end,group,split]")
    add("--fps_of_frames", type=float, help="frames: pictures a second")
    return parser


WORLD = tuple(field.name for field in dataclasses.fields(World))
DATASET_OPTIONS = (
    *WORLD,
    "domain", "classes", "clips_per_class", "groups", "frames", "height", "width", "seed",
    "classes_file", "split_file", "table", "fps_of_frames",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 good, 1 damage found, 2 a user's error."""
    flags = vars(_parser().parse_args(argv))
    options = {name: flags.pop(name) for name in DATASET_OPTIONS if name in flags}
    try:
        with stopping.raised():
            return _run(flags, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except stopping.Stopped as stop:
        return stopping.said(stop)


def _run(flags: dict[str, Any], options: Mapping[str, Any]) -> int:
    if (directory := flags.pop("verify")) is not None:
        from darkjax.data.verify import report

        return report(directory)
    if flags["beam_flags"] and not flags["runner"]:
        found = " ".join(flags["beam_flags"])
        raise UserError(f"expected options; found {found}, which is for Beam: give --runner too")
    for name in ("dataset", "out"):
        if flags[name] is None:
            raise UserError(f"expected --{name}; found none: see --help")
    dataset = get_dataset(flags.pop("dataset"), **options)
    card = convert(dataset, **flags)
    print_summary(card, flags["out"])
    return 0


def print_summary(card: Mapping[str, Any] | None, out: str) -> None:
    """What there is now, and a line for each bad clip."""
    if card is None:
        print(f"this machine's shards are in {out}; the card is written when all are there")
        return
    for entry in card["bad"]:
        print(f"bad: {entry['path']}: {entry['reason']}")
    good = len(card["clips"]) - len(card["bad"])
    counts = ", ".join(f"{name} {split['clips']}" for name, split in card["splits"].items())
    size = sum(s["bytes"] for split in card["splits"].values() for s in split["shards"])
    print(
        f"{good} clips converted ({counts}), {len(card['bad'])} bad, "
        f"{len(card['classes'])} classes, {size / 1e6:.1f} MB in {out}"
    )


if __name__ == "__main__":
    program.run(main)
