"""Latency and dropped frames of `darkjax.live` in front of cameras of several rates.

    python benchmarks/live.py --seconds=20

The camera is a file of rendered clips, played at its own speed. Networks: the one in the box, and
LIFT-Net at the size of its demo, randomly initialised: its answers mean nothing, its speed is that
of a trained one. Each is given frames at its own rate, chosen by their time stamps, and then (rows
"all") every frame, as if it had been trained at the camera's rate.

A row: labels a second, milliseconds from a frame's arrival to its first label (half and 95 of 100
frames take less), the share of frames that were in no window, and how many cores were busy.
"""

from __future__ import annotations

import argparse
import dataclasses
import fractions
import itertools
import os
import pathlib
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import predict

from darkjax import config as configs
from darkjax import live, loaded, methods, process, program, spec
from darkjax.data import stream
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError
from darkjax.intake import Intake

CONFIG = "lift_arid.py:demo"
HEAD = (
    "| network | camera, frames/s | judged of these | labels/s | p50, ms | p95, ms | dropped | "
    "cores |\n|---|---|---|---|---|---|---|---|"
)


def demo() -> loaded.Model:
    """LIFT-Net as its demo trains it, untrained."""
    file = pathlib.Path(__file__).resolve().parents[1] / "configs" / CONFIG
    config = configs.resolve(configs.load(str(file)))
    clips = config.data.synthetic
    classes = tuple(f"class {k}" for k in range(config.data.num_classes or 6))
    method = methods.make(config.student, spec.bare(config, "student", classes))
    batch = {k: jnp.zeros(v.shape, v.dtype) for k, v in method.spec.like(1).items()}
    variables = jax.jit(method.init)(jax.random.key(0), batch)
    intake = Intake(min(clips.height, clips.width), float(clips.fps), 3)
    views = ViewConfig.of(configs.data_of(config, "student"))
    return loaded.Model(
        "LIFT-Net, demo size, untrained/student", classes, config, method, variables, intake, views
    )


def camera(folder: pathlib.Path, rate: int, seconds: float) -> pathlib.Path:
    """A video of so many seconds and frames a second."""
    path = folder / f"{rate}.mp4"
    with stream.writer(path) as out:
        for frame in itertools.islice(predict.frames_of(None), round(seconds * rate)):
            out.write(frame[None], fractions.Fraction(rate))
    return path


def row(model: Any, video: pathlib.Path, rate: int) -> str:
    """A camera of one rate in front of one network."""
    tally, began = live.Tally(), (0.0, 0.0)

    def compiled(line: str) -> None:
        nonlocal began
        began = time.monotonic(), time.process_time()

    for label in live.labels(model, os.fspath(video), say=compiled):
        tally.add(label)
    wall, cpu = time.monotonic() - began[0], time.process_time() - began[1]
    found = tally.numbers()
    return (
        f"{rate} | {model.fps:g} | {found['labels'] / wall:.1f} | {1000 * found['p50']:.0f} | "
        f"{1000 * found['p95']:.0f} | {found['dropped'] / found['frames']:.1%} | {cpu / wall:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of every row")
    parser.add_argument("--rates", default="15,30", help="of cameras, by commas")
    parser.add_argument("--networks", default="box,demo", help="by commas, or runs' folders")
    args = parser.parse_args()
    if not args.rates.replace(",", "").isdigit() or args.seconds <= 0:
        raise UserError(f"--rates={args.rates} --seconds={args.seconds}: expected 15,30 and 20")
    process.quiet()
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rates = [int(rate) for rate in args.rates.split(",")]
        videos = {rate: camera(pathlib.Path(folder), rate, args.seconds) for rate in rates}
        for name in args.networks.split(","):
            own = demo() if name == "demo" else loaded.load(name)
            for rate, video in videos.items():
                every = dataclasses.replace(own.intake, fps=float(rate))
                given = [own] if own.fps == rate else [own, dataclasses.replace(own, intake=every)]
                for model in given:
                    called = pathlib.Path(own.where).parent.name
                    print(f"| {called} | {row(model, video, rate)}", flush=True)


if __name__ == "__main__":
    program.run(main)
