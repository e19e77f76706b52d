"""How fast and in how much memory videos become records, and how a million records open.

    python benchmarks/convert.py --clips=1000
    python benchmarks/convert.py --records=1000000

The first writes small H.264 files (a few different ones under many names, 320x240, 40 frames) and
converts them to raw frames of a short side of 120. Beside it, on the same files and as many
processes: decoding alone by PyAV, and decoding with the same conversion to small RGB frames, whose
results are thrown away. CPU time is that of all processes, start-up included, and says what a busy
machine's wall clock does not; memory is that of the largest process, for a tenth of the clips and
for all.

The second writes sparse shards: indices and a card of a million clips, whose frames are holes in
files (16x112x112, some 600 GB by their length, nothing on the disc). So what is measured is the
index, the card and the copying of frames, not a disc. Processes of their own open them, the first
from the card alone, the second with the columns that the first has kept; each reads whole clips at
random, twice: when they are new the system has yet to make their pages.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import functools
import json
import multiprocessing
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from darkjax import files
from darkjax.data import card as card_file
from darkjax.data import index
from darkjax.data.decode import read_video, write_video

DIFFERENT = 20  # videos; the others are links to them
FRAMES, HEIGHT, WIDTH, SHORT_SIDE = 40, 240, 320, 120
SHAPE = (16, 112, 112, 3)  # of the sparse records
SHARDS = 256

OPEN = """
import json, resource, sys, time
import numpy as np
from darkjax.data.records import Records

wall, cpu = time.perf_counter(), time.process_time()
records = Records(sys.argv[1])
opened = time.perf_counter() - wall, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
now = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")]
numbers = np.random.default_rng(0).permutation(len(records))[:int(sys.argv[2])]
rates = []
for turn in ("pages are made", "pages are there"):
    wall, cpu = time.perf_counter(), time.process_time()
    for record in numbers:
        records.read_frames(int(record), range(16))
    rates.append(len(numbers) / (time.perf_counter() - wall))
    rates.append(len(numbers) / (time.process_time() - cpu))
cpu = time.process_time()
rows = records.select("train", holdout=1)
selected = time.process_time() - cpu
print(json.dumps([*opened, peak, now[0] / 1024, *rates, selected]))
"""


def make_videos(folder: pathlib.Path, clips: int) -> list[pathlib.Path]:
    """`clips` names of DIFFERENT dark videos with moving shapes and noise.

    To be called in a process of its own: the memory of a process that starts another counts as the
    other's until that has begun.
    """
    (folder / "class").mkdir(parents=True)
    paths = [folder / "class" / f"clip{n:06d}.mp4" for n in range(clips)]
    t, y, x = np.ogrid[:FRAMES, :HEIGHT, :WIDTH]
    for n, path in enumerate(paths):
        if n >= DIFFERENT:
            os.link(paths[n % DIFFERENT], path)
            continue
        rng = np.random.default_rng(n)
        shape = 60 * (np.hypot(y - 120 - n, x - 40 - 5 * t) < 30)
        frames = shape[..., None] + rng.normal(20, 6, (FRAMES, HEIGHT, WIDTH, 3))
        write_video(path, frames.clip(0, 255).astype(np.uint8), 30)
    return paths


def decode(path: pathlib.Path) -> None:
    """What any reader has to do."""
    import av

    with av.open(os.fspath(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for _ in container.decode(stream):
            pass


def decode_small(path: pathlib.Path) -> None:
    """The same, to small RGB frames."""
    read_video(path, SHORT_SIDE)


def pooled(work: Callable, paths: list[pathlib.Path], workers: int) -> None:
    """Do `work` on every path in processes."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        for _ in pool.map(work, paths, chunksize=16):
            pass


def converted(raw: pathlib.Path, out: pathlib.Path, workers: int) -> float:
    """Convert by the command; MB of the largest process."""
    command = [sys.executable, "-m", "darkjax.data.convert", "--dataset=folder", f"--raw={raw}"]
    command += [f"--out={out}", f"--short_side={SHORT_SIDE}", f"--workers={workers}"]
    with open(os.devnull, "w") as quiet:
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    return usage.ru_maxrss / 1024


def timed(work: Callable) -> tuple[float, float, float | None]:
    """Wall seconds, CPU seconds of children, result."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = work()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, result


def conversion(base: pathlib.Path, clips: int, workers: int) -> None:
    """The first table."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        paths = pool.submit(make_videos, base / "raw", clips).result()
    tenth = base / "tenth"
    (tenth / "class").mkdir(parents=True)
    for path in paths[: clips // 10]:
        os.link(path, tenth / "class" / path.name)
    few = converted(tenth, base / "few", workers)
    sides = {
        "PyAV, decoding alone": functools.partial(pooled, decode, paths, workers),
        "PyAV, to small RGB": functools.partial(pooled, decode_small, paths, workers),
        "darkjax.data.convert": functools.partial(converted, base / "raw", base / "out", workers),
    }
    print(f"{clips} clips of {FRAMES} frames, {WIDTH}x{HEIGHT} to a short side of {SHORT_SIDE}, "
          f"{workers} processes")  # fmt: skip
    print(f"{'':24}{'wall s':>8}{'CPU s':>8}{'clips/CPU s':>13}{'ratio':>7}{'MB':>7}")
    first = None
    for name, side in sides.items():
        wall, cpu, memory = timed(side)
        first = first or cpu
        shown = "" if memory is None else f"{memory:7.0f}"
        print(f"{name:24}{wall:8.1f}{cpu:8.1f}{clips / cpu:13.1f}{first / cpu:7.2f}{shown}")
    print(f"{f'convert, {clips // 10} clips':24}{'':36}{few:7.0f}")


def make_sparse(folder: pathlib.Path, records: int) -> None:
    """A dataset of which only the indices and the card are really there."""
    size, head, clip = int(np.prod(SHAPE)), 200, 0
    rng, rows, shards = np.random.default_rng(0), [], []
    for number in range(SHARDS):
        entries, position = [], 0
        for _ in range((number + 1) * records // SHARDS - clip):
            offset = position + 12
            begin = offset + head
            entries.append((offset, head + size, begin, begin + size, *SHAPE, clip % 50, clip))
            position = begin + size + 4
            name = f"class{clip % 50:02d}/video{clip:07d}.mp4"
            rows.append({
                "clip": clip, "id": name, "path": name, "label": clip % 50,
                "group": f"video{clip // 10:06d}", "split": "train", "domain": "visible",
                "fold": 1 + clip // 10 % 5, "frames": SHAPE[0], "height": SHAPE[1],
                "width": SHAPE[2], "fps": 30.0, "mean_luma": round(rng.uniform(0, 255), 2),
                "shard": number, "source_sha256": rng.bytes(32).hex(),
            })  # fmt: skip
            clip += 1
        path = folder / card_file.shard_name("sparse", "train", number, SHARDS)
        with path.open("wb") as file:
            file.truncate(position)
        index.write(path, entries)
        listed = {"file": path.name, "records": len(entries), "bytes": position}
        shards.append({**listed, "sha256": "0" * 64})
    classes = [f"class{n:02d}" for n in range(50)]
    decoded = {"short_side": 112, "max_frames": None, "encoding": "raw", "jpeg_quality": 95}
    card = card_file.build("sparse", classes, decoded, rows, [], {"train": shards})
    files.write_json(folder / card_file.NAME, card)


def opening(folder: pathlib.Path, records: int, reads: int) -> None:
    """The second table."""
    if not (folder / card_file.NAME).exists():
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        make_sparse(folder, records)
        print(f"written in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    sizes = [p.stat() for p in folder.iterdir()]
    print(f"{records} records of {'x'.join(map(str, SHAPE))} in {SHARDS} shards: "
          f"{sum(s.st_size for s in sizes) / 1e9:.0f} GB by their length, "
          f"{sum(s.st_blocks for s in sizes) * 512 / 1e6:.0f} MB on the disc, of which "
          f"{(folder / card_file.NAME).stat().st_size / 1e6:.0f} MB the card")  # fmt: skip
    heads = ("opened, s", "CPU s", "peak MB", "then MB")
    heads += ("new reads/s", "/CPU s", "again reads/s", "/CPU s", "select, CPU s")
    print(f"{'':10}" + "".join(f"{head:>15}" for head in heads))
    for turn in ("first", "again"):
        command = [sys.executable, "-c", OPEN, str(folder), str(reads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"{turn:10}" + "".join(f"{value:15.1f}" for value in json.loads(done.stdout)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, help="to convert; some 2 MB each on the disc")
    parser.add_argument("--records", type=int, help="to open")
    parser.add_argument("--reads", type=int, default=5000, help="whole clips read at random")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="to keep the sparse records in; default: a temporary one")
    args = parser.parse_args()
    print(f"{datetime.date.today()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as base:
        if args.clips:
            conversion(pathlib.Path(base), args.clips, args.workers)
        if args.records:
            opening(pathlib.Path(args.folder or f"{base}/sparse"), args.records, args.reads)


if __name__ == "__main__":
    main()
