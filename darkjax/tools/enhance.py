"""Brighten images and videos: `python -m darkjax.tools.enhance --help`.

    python -m darkjax.tools.enhance --method=zero_dce --weights=Epoch99.pth --input=DIR --output=OUT

`--input` is a file or a folder (with its subfolders), images and videos. Images come out as PNG,
videos as mp4 (a constant frame rate, no sound), under their own names; `before_after.png` shows
what changed, a row for each of the first 24 files, and `differences.png` for videos how frames
differ from the next, six times enlarged, before and after in turn (DTCM, Fig. 6). `--weights` is a
published file or a folder of `darkjax.weights.convert`; for KinD also a folder with the .npz of its
nets. What a run of `configs/zero_dce.py` or `configs/dtcm_arid.py` trained is taken by its stage's
folder, which says what it is, so `--method` need not be given:

    python -m darkjax.tools.enhance --weights=runs/zero_dce/enhancer --input=DIR --output=OUT

`--records=DIR` instead of `--input` enhances the clips of converted records into records, for
training and judging on them; stopped, the same command goes on:

    python -m darkjax.tools.enhance --method=lime --records=records --output=brighter

`--float` also writes the unrounded result as float32 .npy (`[H, W, 3]`, videos
`[T, H, W, 3]`).

A line for each file: mean brightness before -> after in [0, 1], and for videos the
spatio-temporal inconsistency (DTCM Eq. 4; lower is steadier). Greyscale is made RGB, an alpha
channel dropped, 16 bits are scaled, and each of these is said. A file that cannot be read gives one
line on stderr, the others are still done, and the exit status is 1. It is 2 where nothing could be
started.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from darkjax import channels, program
from darkjax.data import convert, images, stopping, stream
from darkjax.data.enhanced import Enhanced, rounded
from darkjax.data.progress import Progress
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import enhance as enhancement
from darkjax.eval import enhancers
from darkjax.files import whole

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
SHEET, DIFFERENCES = "before_after.png", "differences.png"
SHEET_ROWS = 24
CHUNK = 2**22  # pixels that go through a method together, where frames are smaller than that


def main(argv: Sequence[str] | None = None) -> int:
    """Enhance; 1 where a file failed, 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.enhance", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--method", help=", ".join(enhancers.methods()))
    parser.add_argument(
        "--weights", help=f"of {', '.join(enhancers.LEARNED)}: a file, a folder, or RUN/STAGE"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", help="an image, a video or a folder of them")
    source.add_argument("--records", help="a folder of darkjax.data.convert")
    parser.add_argument("--output", required=True, help="folder to write in")
    parser.add_argument("--gamma", type=float, help="of gic and other methods that have one")
    parser.add_argument("--k", type=int, help="frames that share curves (zero_dce, DTCM Eq. 10)")
    parser.add_argument("--float", action="store_true", help="also the unrounded result, .npy")
    args = parser.parse_args(argv)
    try:
        from darkjax import process

        process.quiet()
        if args.records is not None:
            if args.float:
                raise UserError("--float: records hold 8 bits; leave it out, or give --input")
            with stopping.raised():
                enhance = enhancers.enhancer(args.method, args.weights, gamma=args.gamma, k=args.k)
                return enhance_records(args.records, args.output, enhance)
        jobs = plan(args.input, args.output)
        enhance = enhancers.enhancer(args.method, args.weights, gamma=args.gamma, k=args.k)
        failed = run(jobs, enhance, pathlib.Path(args.output), enhance.k, args.float)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except stopping.Stopped as stop:
        return stopping.said(stop)
    if failed:
        print(f"{failed} of {len(jobs)} files failed", file=sys.stderr)
    return 1 if failed else 0


def enhance_records(source: str, output: str, enhance: enhancers.Loaded) -> int:
    """Records of enhanced clips: frames stored as in `source`, splits, groups and ids kept."""
    with Records(source) as records:
        if channels.WITH_FLOW in records.meta["channels"]:
            raise UserError(
                f"--records={source}: the clips have flow (6 channels): enhance the records that "
                "they were made of, and add flow to the result"
            )

        def pieces(frames: np.ndarray) -> np.ndarray:  # few lengths: each is compiled anew
            return np.concatenate([enhance(piece) for piece in _clips(iter(frames), enhance.k)])

        name = f"{records.card['name']}-{enhance.method}"
        described = json.dumps(enhance.identity, sort_keys=True)
        stored = {key: records.card["decode"][key] for key in ("encoding", "jpeg_quality")}
        card = convert.convert(
            Enhanced(name, records, rounded(pieces), described), output, **stored
        )
    convert.print_summary(card, output)
    return 0


class Job(NamedTuple):
    """A file, its name for people, and where its result goes."""

    source: pathlib.Path
    name: str
    target: pathlib.Path


def plan(source: str | os.PathLike[str], output: str | os.PathLike[str]) -> list[Job]:
    """The files below `source` and their results; no two the same, none over its own source.

    Raises:
      UserError: nothing there that is an image or a video, or `output` is a file.
    """
    source, output = pathlib.Path(source), pathlib.Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output={output} is a file, expected a folder")
    known = (*images.SUFFIXES, *VIDEOS)
    if source.is_dir():
        files = [f for f in sorted(source.rglob("*")) if f.suffix.lower() in known and f.is_file()]
        if output.resolve() != source.resolve():  # results of an earlier run are no input
            files = [f for f in files if not f.resolve().is_relative_to(output.resolve())]
        if not files:
            raise UserError(f"--input={source}: no image or video below it ({' '.join(known)})")
        names = [f.relative_to(source) for f in files]
    else:
        if not source.is_file():
            raise UserError(f"--input={source}: no such file or folder")
        if source.suffix.lower() not in known:
            raise UserError(f"--input={source}: expected one of {' '.join(known)}")
        files, names = [source], [pathlib.Path(source.name)]
    jobs: list[Job] = []
    taken = {(output / name).with_suffix("") for name in (SHEET, DIFFERENCES)}
    for file, name in zip(files, names, strict=True):
        suffix = ".mp4" if file.suffix.lower() in VIDEOS else ".png"
        target = output / name.with_suffix(suffix)
        if target.with_suffix("") in taken:  # a.png beside a.jpg
            target = output / name.with_name(name.name + suffix)
        taken.add(target.with_suffix(""))
        if target.exists() and target.samefile(file):
            raise UserError(f"--output={output}: {target} would overwrite its own source")
        jobs.append(Job(file, str(name), target))
    return jobs


def run(
    jobs: Sequence[Job], enhance: enhancers.Enhancer, output: pathlib.Path, k: int, floats: bool
) -> int:
    """Do every job, write the sheet; how many failed."""
    failed = 0
    rows: list[list[np.ndarray]] = []
    moving: list[list[np.ndarray]] = []
    progress = Progress(len(jobs), "files")
    for done, job in enumerate(jobs):
        progress.update(done, f", {job.name}")
        began = time.monotonic()

        def tick(frames: int, done: int = done, job: Job = job) -> None:
            progress.update(done, f", {job.name}: frame {frames}")

        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            if job.source.suffix.lower() in VIDEOS:
                words, cells, steps = _video(job, enhance, k, floats, tick)
                moving += steps if len(moving) < SHEET_ROWS else []
            else:
                words, cells = _image(job, enhance, floats)
        except OSError as e:
            raise UserError(f"{job.target} cannot be written: {e.strerror or e}") from e
        except UserError as e:
            progress.close()
            print(f"failed: {job.name}: {e}", file=sys.stderr)
            failed += 1
            continue
        progress.close()
        print(f"{job.name}: {words}, {time.monotonic() - began:.1f} s", flush=True)
        if len(rows) < SHEET_ROWS:
            rows.append(cells)
    if rows:
        images.write_image(output / SHEET, enhancement.sheet(rows))
    if moving:
        images.write_image(output / DIFFERENCES, enhancement.sheet(moving))
    return failed


def _image(job: Job, enhance: enhancers.Enhancer, floats: bool) -> tuple[str, list[np.ndarray]]:
    """One image: what to say of it, and its cells of the sheet."""
    before, notes = images.read_image(job.source)
    after = enhance(before[None])[0]
    images.write_image(job.target, enhancers.to_uint8(after))
    if floats:
        _save(job.target.with_suffix(".npy"), after)
    height, width = before.shape[:2]
    words = [f"{width}x{height}", _brightness(float(before.mean()), float(after.mean())), *notes]
    return ", ".join(words), [enhancement.cell(before), enhancement.cell(after)]


def _video(
    job: Job, enhance: enhancers.Enhancer, k: int, floats: bool, tick: Callable[[int], None]
) -> tuple[str, list[np.ndarray], list[list[np.ndarray]]]:
    """One video, a few frames at a time: words, cells of the sheet, rows of the differences."""
    sums, kept, cells = enhancement.Sums(), [], enhancement.Spread()
    steps, last = enhancement.Spread(), None
    with stream.Reader(job.source) as reader, stream.writer(job.target) as writer:
        for clip in _clips(reader.frames(), k):
            before = clip.astype(np.float32) / np.float32(255)
            after = enhance(before)
            writer.write(enhancers.to_uint8(after), reader.fps)
            sums.add(before, after)
            for pair in zip(before, after, strict=True):
                cells.add(pair)
                if last is not None:
                    steps.add((last, pair))
                last = pair
            if floats:
                kept.append(after)
            tick(sums.frames)
        if not sums.frames:
            raise UserError(f"not a video: no frame could be decoded in {job.source}")
    if floats:
        _save(job.target.with_suffix(".npy"), np.concatenate(kept))
    width, height = reader.size
    words = [f"{width}x{height}", f"{sums.frames} frame{'s' if sums.frames > 1 else ''}"]
    if reader.declared > sums.frames + 2:
        words[-1] += f" of {reader.declared} declared"
    words.append(_brightness(sums.before / sums.frames, sums.after / sums.frames))
    inconsistency = sums.inconsistency()
    if inconsistency is not None:
        words.append(f"inconsistency {inconsistency:.6f}")
    if writer.padded:
        words.append("last row or column repeated (mp4 has even sizes)")
    rows = [
        [x for one, two in steps.pairs() for x in enhancement.step(one[i], two[i])]
        for i in (0, 1)
        if steps.seen
    ]
    return ", ".join(words), [enhancement.cell(x) for pair in cells.pairs() for x in pair], rows


def _clips(frames: Iterator[np.ndarray], k: int) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] as clips of a multiple of `k`, the last one shorter."""
    gathered: list[np.ndarray] = []
    for frame in frames:
        pixels = frame.shape[0] * frame.shape[1]
        length = k * max(1, min(16, CHUNK // pixels) // k)
        gathered.append(frame)
        if len(gathered) == length:
            yield np.stack(gathered)
            gathered = []
    if gathered:
        yield np.stack(gathered)


def _brightness(before: float, after: float) -> str:
    return f"mean brightness {before:.4f} -> {after:.4f}"


def _save(path: pathlib.Path, pixels: np.ndarray) -> None:
    with whole(path, keep_suffix=True) as part:
        np.save(part, pixels)


if __name__ == "__main__":
    program.run(main)
