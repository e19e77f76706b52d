"""How fast clips are read: record shards against decoding the video files again.

    python benchmarks/input.py --records=DIR --raw=DIR

Both sides give 16 consecutive frames from a random start and a random 112×112 window, of the same
clips, with the same number of loader threads, one after the other in the same run. The decoding
side opens a file, decodes on one thread up to the last frame it needs and crops; the records
side is the training pipeline itself, batches and all. Prints a table of clips per second
(median and range over the repeats) and the ratio to decoding; each side is warmed up first, so
files are in the page cache for both. Takes about a minute on 150 clips of 160×120.
"""

import argparse
import concurrent.futures
import datetime
import importlib.metadata
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from darkjax.data import sampling
from darkjax.data.pipeline import train_batches
from darkjax.data.records import Records
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError


def records_clips(records: Records, cfg: ViewConfig, batch: int, threads: int, steps: int) -> float:
    """Clips per second of the training pipeline over `steps` batches."""
    rows = records.select()
    with train_batches(
        records, rows, cfg=cfg, seed=0, batch_size=batch, num_threads=threads
    ) as batches:
        for _ in range(8):  # fill the buffers, map the shards
            next(batches)
        began = time.perf_counter()
        for _ in range(steps):
            next(batches)
        return steps * batch / (time.perf_counter() - began)


def decode_clip(path: pathlib.Path, frames: int, cfg: ViewConfig, seed: int) -> np.ndarray:
    """What a loader without records does: open, decode to the last frame needed, crop."""
    import av

    rng = np.random.default_rng(seed)
    numbers = sampling.random_clip(frames, cfg.frames, cfg.stride, rng)
    wanted, last = set(numbers.tolist()), int(numbers.max())
    pictures = {}
    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                pictures[number] = frame.to_ndarray(format="rgb24")
            if number == last:
                break
    height, width = pictures[last].shape[:2]
    y, x, h, w, _ = sampling.random_crop(height, width, cfg.size, rng)
    return np.stack([pictures[n][y : y + h, x : x + w] for n in numbers.tolist()])


def decoded_clips(
    files: list[tuple[pathlib.Path, int]], cfg: ViewConfig, batch: int, threads: int
) -> float:
    """Clips per second of decoding every file once, in batches, on `threads` threads."""
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        clips = [
            pool.submit(decode_clip, path, frames, cfg, seed)
            for seed, (path, frames) in enumerate(files)
        ]
        for first in range(0, len(clips), batch):
            np.stack([clip.result() for clip in clips[first : first + batch]])
    return len(files) / (time.perf_counter() - began)


def measure(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Clips per second of every side, the sides taking turns."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name, side in sides.items():
            found[name].append(side())
            print(f"repeat {repeat + 1}/{repeats}: {name} {found[name][-1]:.0f}", file=sys.stderr)
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True, help="a converted dataset")
    parser.add_argument("--raw", required=True, help="the files it was converted from")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="batches read from records")
    parser.add_argument("--flip", action="store_true", help="records side only: mirror half")
    args = parser.parse_args()
    cfg = ViewConfig(frames=args.frames, size=(args.size, args.size), flip=args.flip)
    try:
        opened = {read: Records(args.records, read=read) for read in ("mmap", "pread")}
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [r for r in opened["mmap"].clips if r["shard"] >= 0]
    files = [(pathlib.Path(args.raw) / row["path"], row["frames"]) for row in rows]
    pipeline = (cfg, args.batch, args.threads, args.steps)
    decoding = f"PyAV, {len(files)} files"
    sides: dict[str, Callable[[], float]] = {
        decoding: lambda: decoded_clips(files, cfg, args.batch, args.threads),
        "records, mmap": lambda: records_clips(opened["mmap"], *pipeline),
        "records, pread": lambda: records_clips(opened["pread"], *pipeline),
    }
    decoded_clips(files, cfg, args.batch, args.threads)
    found = measure(sides, args.repeats)
    packages = ("jax", "grain", "numpy", "av")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"\n{datetime.date.today()}, {_processor()}, {os.cpu_count()} cores")
    print(f"python {platform.python_version()}, {versions}")
    print(f"{args.frames} frames, {args.size}×{args.size}, batch {args.batch}, "
          f"{args.threads} threads, flip {args.flip}, median of {args.repeats}")  # fmt: skip
    base = statistics.median(found[decoding])
    print(f"{'':24}{'clips/s':>10}{'lowest':>10}{'highest':>10}{'ratio':>8}")
    for name, rates in found.items():
        middle = statistics.median(rates)
        print(f"{name:24}{middle:10.0f}{min(rates):10.0f}{max(rates):10.0f}{middle / base:8.1f}")
    return 0


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if (
        info.is_file()) else []  # fmt: skip
    return names[0].partition(": ")[2] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
