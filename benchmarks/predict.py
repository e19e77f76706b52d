"""Memory and speed of `darkjax.tools.predict` over the length of a video.

    python benchmarks/predict.py --run=runs/mine --clips=VIDEOS
    python benchmarks/predict.py --run=runs/mine --minutes=1,10,60

Clips (every video below `--clips`; without it rendered ones) are joined, over and over, to a video
of one minute, and that to videos of `--minutes`, packet by packet, so that an hour is made in
seconds. Each is predicted by a process of its own. A row: the largest resident memory of that
process, its speed as a multiple of real time (wall, and CPU time of all threads), and the same of a
plain PyAV decode of the same file, frames thrown away. What a process takes to start and to compile
is in both, so the first rows are slower than a long video is.
"""

from __future__ import annotations

import argparse
import fractions
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from darkjax import program
from darkjax.data import folders, stream
from darkjax.data.catalog import get_dataset
from darkjax.data.resize import resize_clip
from darkjax.errors import UserError

RATE, SIZE = 25, (240, 320)
WATCH = """
import json, resource, subprocess, sys, time
began = time.monotonic()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, wall, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""
DECODE = "import av, sys\nfor frame in av.open(sys.argv[1]).decode(video=0): pass"


class Cost(NamedTuple):
    """Of a process: seconds on the clock and of CPU, the largest resident memory in GiB."""

    wall: float
    cpu: float
    memory: float


def frames_of(clips: pathlib.Path | None) -> Iterator[np.ndarray]:
    """Frames uint8 [*SIZE, 3] of clips, one clip after the other, without end."""
    if clips is None:
        dataset = get_dataset("synthetic", frames=3 * RATE, height=SIZE[0], width=SIZE[1], seed=0)
        drawn = [dataset.load(clip, None).frames for clip in dataset.clips(None)[:6]]
        yield from itertools.cycle(frame for clip in drawn for frame in clip)
    files = [f for f in sorted(clips.rglob("*")) if f.suffix.lower() in folders.VIDEO_SUFFIXES]
    if not files:
        raise UserError(f"--clips={clips}: no video below it")
    while True:
        for file in files:
            with stream.Reader(file) as reader:
                for frame in reader.frames():
                    yield resize_clip(frame[None], SIZE)[0]


def joined(clips: pathlib.Path | None, target: pathlib.Path, seconds: float) -> None:
    """An mp4 of so many seconds of the clips."""
    with stream.writer(target) as out:
        for frame in itertools.islice(frames_of(clips), round(seconds * RATE)):
            out.write(frame[None], fractions.Fraction(RATE))


def repeated(source: pathlib.Path, target: pathlib.Path, times: int) -> None:
    """The same video so many times, its packets copied."""
    import av

    with av.open(os.fspath(target), "w") as out:
        copy = None
        for number in range(times):
            with av.open(os.fspath(source)) as container:
                own = container.streams.video[0]
                copy = copy or out.add_stream_from_template(own)
                length = round(own.frames / RATE / own.time_base)
                for packet in container.demux(own):
                    if packet.dts is not None:
                        packet.pts += number * length
                        packet.dts += number * length
                        packet.stream = copy
                        out.mux(packet)


def cost(command: Sequence[str]) -> Cost:
    """What a command costs; UserError where it fails.

    A small process in between starts it: a child's largest memory begins, on Linux, with that of
    whoever starts it, and this program has drawn clips.
    """
    watched = [sys.executable, "-c", WATCH, *command]
    said = subprocess.run(watched, stdout=subprocess.PIPE, text=True, check=True).stdout
    status, wall, cpu, most = json.loads(said)
    if status:
        raise UserError(f"{' '.join(command)} ended with {status}")
    return Cost(wall, cpu, most / (2**30 if sys.platform == "darwin" else 2**20))


def rows(run: str, clips: pathlib.Path | None, minutes: Sequence[float]) -> Iterator[str]:
    """The table, a line as soon as it is known."""
    yield "| minutes | peak memory | predict, x real time (CPU) | decode (CPU) | predict / decode |"
    yield "|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        one = pathlib.Path(folder, "one.mp4")
        unit = min(*minutes, 1.0) if len(minutes) > 1 else min(minutes[0], 1.0)
        joined(clips, one, 60 * unit)
        for length in minutes:
            video = pathlib.Path(folder, "joined.mp4")
            repeated(one, video, round(length / unit))
            tool = [sys.executable, "-m", "darkjax.tools.predict", f"--run={run}", "--clip=0"]
            ours = cost([*tool, os.fspath(video)])
            plain = cost([sys.executable, "-c", DECODE, os.fspath(video)])
            seconds = 60 * unit * round(length / unit)
            said = [f"{seconds / c.wall:.1f} ({seconds / c.cpu:.1f})" for c in (ours, plain)]
            yield (
                f"| {seconds / 60:g} | {ours.memory:.2f} GiB | {said[0]} | {said[1]} | "
                f"{ours.cpu / plain.cpu:.1f} of CPU |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="RUN or RUN/STAGE")
    parser.add_argument("--clips", type=pathlib.Path, help="a folder of videos")
    parser.add_argument("--minutes", default="1,10,60", help="lengths, by commas")
    args = parser.parse_args()
    try:
        minutes = [float(m) for m in args.minutes.split(",")]
    except ValueError:
        raise UserError(f"--minutes={args.minutes}: expected numbers, such as 1,10,60") from None
    for line in rows(args.run, args.clips, minutes):
        print(line, flush=True)


if __name__ == "__main__":
    program.run(main)
