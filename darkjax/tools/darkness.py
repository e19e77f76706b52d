"""How dark videos are, and the dark ones as a dataset: made as Dark-48 was.

    python -m darkjax.tools.darkness --raw=videos
    python -m darkjax.tools.darkness --raw=videos --out=dark --min_clips=100

Prints one line of CSV per video: path, class, group, frames, score, dark. With --out it also
writes

    scores.csv                            the same lines
    bad.csv                               path and reason of the files that cannot be read
    classInd.txt                          label<TAB>class, of the classes that are kept
    train_split1.txt, test_split1.txt, …  path label

where a class is kept if it has --min_clips dark clips, and each split puts a fifth of each
class's clips into its test set. Clips of one group (recording session, performer, source video)
are always on the same side; splits differ by chance, which --seed fixes.

By the paper's rule the frames that are looked at are random too; they depend on --seed and the
clip's name only.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import csv
import dataclasses
import hashlib
import io
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from darkjax import files, program
from darkjax.data.catalog import DATASETS, Clip, Dataset, get_dataset
from darkjax.data.progress import Progress
from darkjax.errors import UserError, worker_died
from darkjax.ops import darkness

COLUMNS = ("path", "class", "group", "frames", "score", "dark")
TEST_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Look:
    """How a video is looked at. The same for all of them."""

    rule: darkness.Rule = "paper"
    threshold: float = darkness.THRESHOLD
    segments: int = darkness.SEGMENTS
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Seen:
    """What was found in one video; `reason` says why it could not be read, else ""."""

    frames: int = 0
    score: float = float("nan")
    dark: bool = False
    reason: str = ""


def look_at(dataset: Dataset, root: pathlib.Path | None, clip: Clip, look: Look) -> Seen:
    """Decode one clip and judge it."""
    try:
        frames = dataset.load(clip, root).frames
    except UserError as error:
        return Seen(reason=str(error))
    if look.rule == "code":
        chosen = darkness.middle_frames(len(frames), look.segments)
    else:
        name = hashlib.sha256(clip.id.encode()).digest()[:8]
        rng = np.random.default_rng([look.seed, int.from_bytes(name, "little")])
        chosen = darkness.random_frames(len(frames), rng, look.segments)
    luma = darkness.mean_luma(frames[chosen])
    score, dark = darkness.judge(luma, look.rule, look.threshold)
    return Seen(len(frames), float(score), bool(dark))


def look_at_all(
    dataset: Dataset,
    root: pathlib.Path | None,
    clips: Sequence[Clip],
    look: Look,
    workers: int,
) -> list[Seen]:
    """Judge clips in this process (0 workers) or in others, with a progress line; in order."""
    progress = Progress(len(clips), "videos")
    found: list[Seen | None] = [None] * len(clips)
    bad = 0
    try:
        for done, (number, seen) in enumerate(_each(dataset, root, clips, look, workers), 1):
            found[number] = seen
            bad += bool(seen.reason)
            progress.update(done, f", {bad} bad" if bad else "")
    finally:
        progress.close()
    return [seen for seen in found if seen is not None]


def _each(
    dataset: Dataset, root: pathlib.Path | None, clips: Sequence[Clip], look: Look, workers: int
) -> Iterator[tuple[int, Seen]]:
    """(number of the clip, what was seen), as they are done."""
    if workers < 1 or len(clips) < 2:
        for number, clip in enumerate(clips):
            yield number, look_at(dataset, root, clip, look)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(workers, len(clips)), context) as pool:
        futures = {
            pool.submit(look_at, dataset, root, clip, look): number
            for number, clip in enumerate(clips)
        }
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise worker_died() from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def kept_classes(labels: Sequence[int], min_clips: int) -> list[int]:
    """The labels that occur at least `min_clips` times, sorted."""
    counts = collections.Counter(labels)
    return sorted(label for label, n in counts.items() if n >= min_clips)


def deal_split(clips: Sequence[Clip], rng: np.random.Generator) -> list[bool]:
    """Which clips are test clips: about a fifth of each class, whole groups together.

    Groups are taken in random order; one goes into the test set if that brings the classes'
    counts nearer to their fifths, summed over its classes. A class that is still without a test
    clip, as its groups are large, gives its smallest group if it has another.
    """
    groups: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for clip in clips:
        groups[clip.group][clip.label] += 1
    per_class = collections.Counter(clip.label for clip in clips)
    wanted = {label: round(TEST_SHARE * n) for label, n in per_class.items()}
    names = sorted(groups)
    test: set[str] = set()
    for n in rng.permutation(len(names)):
        counts = groups[names[n]]
        before = sum(abs(wanted[label]) for label in counts)
        after = sum(abs(wanted[label] - n) for label, n in counts.items())
        if after < before:
            test.add(names[n])
            for label, n in counts.items():
                wanted[label] -= n
    for label in sorted(per_class):
        mine = sorted(
            (name for name in names if label in groups[name]),
            key=lambda name: (groups[name].total(), name),
        )
        if not test.intersection(mine):
            test.update(_spared(mine, groups, test)[:1])
    return [clip.group in test for clip in clips]


def _spared(
    names: Sequence[str], groups: Mapping[str, collections.Counter[int]], test: set[str]
) -> list[str]:
    """Those of the groups without which each of their classes still has training clips."""
    left = collections.Counter(
        label for name, counts in groups.items() if name not in test for label in counts
    )
    return [name for name in names if all(left[label] > 1 for label in groups[name])]


def write_lists(
    out: pathlib.Path,
    clips: Sequence[Clip],
    classes: Sequence[str],
    min_clips: int,
    splits: int,
    seed: int,
) -> list[str]:
    """Write classInd.txt and the splits of dark clips.

    Returns:
      Lines that say what was written.

    Raises:
      UserError: no class has enough clips.
    """
    kept = kept_classes([clip.label for clip in clips], min_clips)
    if not kept:
        counts = collections.Counter(clip.label for clip in clips)
        most = "no clip is dark"
        if counts:
            label, count = counts.most_common(1)[0]
            most = f"{classes[label]!r} has most, {count}"
        raise UserError(
            f"expected a class of at least {min_clips} dark clips; {most}: "
            "lower --min_clips or --threshold"
        )
    new_label = {label: n for n, label in enumerate(kept)}
    clips = [clip for clip in clips if clip.label in new_label]
    names = "".join(f"{new_label[label]}\t{classes[label]}\n" for label in kept)
    _write(out / "classInd.txt", names)
    said = [f"{len(clips)} dark clips of {len(kept)} classes with {min_clips} or more"]
    for split in range(1, splits + 1):
        is_test = deal_split(clips, np.random.default_rng([seed, split]))
        for side, wanted in (("train", False), ("test", True)):
            lines = [
                f"{clip.path or clip.id} {new_label[clip.label]}\n"
                for clip, test in zip(clips, is_test, strict=True)
                if test == wanted
            ]
            _write(out / f"{side}_split{split}.txt", "".join(lines))
        said.append(f"split {split}: {len(clips) - sum(is_test)} train, {sum(is_test)} test")
        said += _one_sided(clips, is_test, classes)
    return said


def _one_sided(clips: Sequence[Clip], is_test: Sequence[bool], classes: Sequence[str]) -> list[str]:
    """A warning for each class whose clips are all on one side."""
    sides: dict[int, set[bool]] = collections.defaultdict(set)
    for clip, test in zip(clips, is_test, strict=True):
        sides[clip.label].add(test)
    return [
        f"  warning: all clips of {classes[label]!r} are in {'test' if True in seen else 'train'}: "
        "its groups are too large to be split"
        for label, seen in sorted(sides.items())
        if len(seen) == 1
    ]


def _write(path: pathlib.Path, text: str) -> None:
    try:
        files.write_text(path, text)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror or error}: see --out") from error


def _rows(clips: Sequence[Clip], seen: Sequence[Seen], classes: Sequence[str]) -> list[list[Any]]:
    return [
        [c.path or c.id, classes[c.label], c.group, s.frames, f"{s.score:.4f}", int(s.dark)]
        for c, s in zip(clips, seen, strict=True)
        if not s.reason
    ]


def _csv(rows: Sequence[Sequence[Any]], columns: Sequence[str], file: Any) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def _csv_file(path: pathlib.Path, rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    text = io.StringIO()
    _csv(rows, columns, text)
    _write(path, text.getvalue())


def _parser() -> program.Parser:
    parser = program.Parser("darkjax.tools.darkness", __doc__)
    add = parser.add_argument
    add("--dataset", default="folder", help=f"{', '.join(sorted(DATASETS))} (default: folder)")
    add("--raw", metavar="DIR", help="the dataset's files")
    add("--out", metavar="DIR", help="where the scores and lists go (default: scores printed only)")
    add("--rule", choices=darkness.RULES, default="paper", help="of darkness (default: paper)")
    add("--threshold", type=float, default=darkness.THRESHOLD, help="tau (default: 0.877)")
    add("--segments", type=int, default=darkness.SEGMENTS, help="frames looked at (default: 8)")
    add("--min_clips", type=int, default=100, help="dark clips of a kept class (default: 100)")
    add("--splits", type=int, default=3, help="train and test lists (default: 3)")
    add("--seed", type=int, default=0, help="of the frames and the splits (default: 0)")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 good, 2 a user's error."""
    flags = _parser().parse_args(argv)
    try:
        _run(flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _run(flags: argparse.Namespace) -> None:
    _check(vars(flags))
    dataset = get_dataset(flags.dataset)
    root = None if flags.raw is None else pathlib.Path(flags.raw)
    clips, classes = dataset.clips(root), dataset.class_names(root)
    look = Look(flags.rule, flags.threshold, flags.segments, flags.seed)
    seen = look_at_all(dataset, root, clips, look, flags.workers)
    rows = _rows(clips, seen, classes)
    _csv(rows, COLUMNS, sys.stdout)
    bad = [[c.path or c.id, s.reason] for c, s in zip(clips, seen, strict=True) if s.reason]
    for path, reason in bad:
        print(f"bad: {path}: {reason}", file=sys.stderr)
    if len(bad) == len(clips):
        raise UserError(f"expected at least one video that can be read; all {len(bad)} failed")
    dark = [clip for clip, s in zip(clips, seen, strict=True) if s.dark]
    print(
        f"{len(dark)} of {len(rows)} videos are dark by the {flags.rule}'s rule, {len(bad)} bad",
        file=sys.stderr,
    )
    if flags.out is None:
        return
    out = pathlib.Path(flags.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"could not make the folder {out}: {error.strerror}: see --out") from error
    _csv_file(out / "scores.csv", rows, COLUMNS)
    _csv_file(out / "bad.csv", bad, ("path", "reason"))
    for line in write_lists(out, dark, classes, flags.min_clips, flags.splits, flags.seed):
        print(line, file=sys.stderr)


def _check(flags: Mapping[str, Any]) -> None:
    for name, least in (("segments", 1), ("min_clips", 1), ("splits", 1), ("seed", 0)):
        if flags[name] < least:
            raise UserError(f"expected --{name} of at least {least}; found {flags[name]}")
    if not 0 <= flags["threshold"] <= 1:
        raise UserError(f"expected --threshold from 0 to 1; found {flags['threshold']}")


if __name__ == "__main__":
    program.run(main)
