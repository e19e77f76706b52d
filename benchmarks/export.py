"""An exported program beside the run that it was made of: parity, size and latency, every family.

    python benchmarks/export.py
    python benchmarks/export.py --networks=resnet3d,vit --runs=2
    python benchmarks/export.py --networks=r3d18,vit_b16 --frames=16 --size=112

Networks are those of `benchmarks/explain.py`, small ones of every kind on 16 frames of 64 x 64, or
any architecture of the zoo; weights are random, which changes neither sizes nor times. A row: the
parameters; the archive of `darkjax.tools.export` and the program in it; seconds until the first
answer (the run's includes its compilation, the program's that it is read from the file and
compiled); seconds of a clip, the least of `--runs`, taken in turns so that a busy machine slows
both; how many times as long the program takes; and the largest difference of a probability over
`--clips` clips of two views. Compiled programs are not kept from run to run.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import explain
import jax
import ml_collections
import numpy as np
from jax import export
from models import plausible

from darkjax import exported, loaded, process, program
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError
from darkjax.intake import Intake
from darkjax.weights import zoo

HEAD = (
    "| network | parameters | file, MiB | program, MiB | first answer, s: run | program | "
    "a clip, ms: run | program | times | parity |\n|" + "---|" * 10
)


def model_of(name: str, frames: int, size: int) -> loaded.Model:
    """An untrained stage of this network."""
    fields = explain.NETWORKS[name] if name in explain.NETWORKS else zoo.get(name).model
    method = explain.method_of(fields)
    clip = np.zeros((1, frames, size, size, 3), np.uint8)
    shapes = jax.eval_shape(method.init, jax.random.key(0), explain.batch_of(clip, [0]))
    variables = jax.tree.map(np.asarray, plausible(shapes))
    own = ml_collections.ConfigDict({"only": {**method.config, "method": "supervised"}})
    views = ViewConfig(frames=frames, size=(size, size))
    return loaded.Model(
        f"runs/{name}/only", explain.CLASSES, own, method, variables, Intake(size, 0.0, 3), views
    )


def opened(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """The archive's program, as its `run.py` uses it."""
    with zipfile.ZipFile(path) as file:
        code = export.deserialize(bytearray(file.read(exported.PROGRAM)))
        weights = dict(np.load(io.BytesIO(file.read(exported.WEIGHTS))))
    call, placed = jax.jit(code.call), jax.device_put(weights)
    return lambda video: np.asarray(call(placed, video))


def seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def row(model: loaded.Model, videos: np.ndarray, runs: int, folder: pathlib.Path) -> str:
    """Of one network; `videos` uint8 [clips, views, T, h, w, 3]."""
    path = folder / "model.zip"
    whole, _, code = exported.write(model, path)
    one, program_of = videos[:1, :1], []
    first = [
        seconds(lambda: model.judged(one)),
        seconds(lambda: program_of.append(opened(path)) or program_of[0](one)),
    ]
    there = program_of[0]
    turns = [(seconds(lambda: model.judged(one)), seconds(lambda: there(one))) for _ in range(runs)]
    ours, theirs = np.min(turns, 0)
    parity = np.abs(model.judged(videos) - there(videos)).max()
    name = pathlib.Path(model.where).parent.name
    count = sum(x.size for x in jax.tree.leaves(model.variables))
    return (
        f"| {name} | {count:,} | {whole / 2**20:.2f} | {code / 2**20:.2f} | {first[0]:.1f} | "
        f"{first[1]:.1f} | {1000 * ours:.1f} | {1000 * theirs:.1f} | {theirs / ours:.1f} | "
        f"{parity:.0e} |"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(explain.NETWORKS), help="joined by commas")
    parser.add_argument("--frames", type=int, default=explain.FRAMES)
    parser.add_argument("--size", type=int, default=explain.SIZE)
    parser.add_argument("--clips", type=int, default=4, help="of the parity, two views each")
    parser.add_argument("--runs", type=int, default=10, help="of a clip, in turns")
    args = parser.parse_args(argv)
    names = args.networks.split(",")
    known = (*explain.NETWORKS, *zoo.NAMES)
    if unknown := sorted(set(names) - set(known)):
        raise UserError(f"--networks={','.join(unknown)}: expected of {', '.join(known)}")
    process.quiet()
    jax.config.update("jax_enable_compilation_cache", False)
    shape = (args.clips, 2, args.frames, args.size, args.size, 3)
    videos = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            made = model_of(name, args.frames, args.size)
            print(row(made, videos, args.runs, pathlib.Path(folder)), flush=True)


if __name__ == "__main__":
    program.run(main)
