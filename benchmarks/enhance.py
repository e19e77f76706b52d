"""Time of every enhancer on a clip, beside NumPy and OpenCV, and what sharing curves saves.

    python benchmarks/enhance.py [--frames=64] [--size=256] [--repeats=5]

First table: seconds for a clip of 64 frames of 256x256, 8 bits in and out where the method has that
form, and the same work by NumPy or OpenCV (`pip install opencv-python-headless`; a column is empty
without it). Networks have random weights: the time is the same. Second table: DTCM's light net with
curves shared by k frames beside plain Zero-DCE, time and the memory of the compiled program, and
both as shares of k = 1 (DTCM, Table IX: the cost falls as 1/k).
"""

from __future__ import annotations

import argparse
import datetime
import functools
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax import models
from darkjax.ops import enhance

try:
    import cv2
except ImportError:
    cv2 = None

NETWORKS = ("zero_dce", "zero_dce_light", "sci", "kind", "stable_llve")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shared_size", type=int, default=112, help="of the second table")
    parser.add_argument("--methods", default=",".join((*enhance.METHODS, *NETWORKS)))
    args = parser.parse_args()
    device = jax.devices()[0]
    other = f"opencv {cv2.__version__}" if cv2 else "no OpenCV"
    where = f"{device.device_kind} ({device.platform}, {platform.machine()})"
    print(f"{where}, jax {jax.__version__}, {other}, {datetime.date.today()}")
    clip = dark_clip(args.frames, args.size)
    print(f"\n{args.frames} frames of {args.size}x{args.size}")
    print("| method | s | ms a frame | NumPy, s | OpenCV, s |\n|---|---|---|---|---|")
    for method in filter(None, args.methods.split(",")):
        seconds = timed(*device_work(method, clip), args.repeats)
        others = [
            f"{timed(f, (clip,), args.repeats):.3f}" if f else ""
            for f in (numpy_work(method), opencv_work(method))
        ]
        frame = 1e3 * seconds / args.frames
        print(
            f"| {method} | {seconds:.3f} | {frame:.2f} | " + " | ".join(others) + " |", flush=True
        )
    print(f"\n{args.frames} frames of {args.shared_size}x{args.shared_size}")
    print("| enhancer | k | s | of k = 1 | temporary memory, MiB | of k = 1 |")
    print("|---|---|---|---|---|---|")
    first: dict[str, tuple[float, float]] = {}
    for name, k in (("zero_dce", 1), *(("zero_dce_light", k) for k in (1, 2, 4, 8, 16))):
        found = shared(name, k, args)
        base = first.setdefault(name, found)
        print(
            f"| {name} | {k} | {found[0]:.3f} | {found[0] / base[0]:.3f} | {found[1]:.0f} | "
            f"{found[1] / base[1]:.3f} |",
            flush=True,
        )


def dark_clip(frames: int, size: int) -> np.ndarray:
    """uint8 [T, H, W, 3]: smooth, dark, noisy."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size] / size
    picture = 30 + 25 * np.sin(6 * x)[..., None] * np.cos(4 * y)[..., None] * [1.0, 0.9, 0.7]
    noise = rng.normal(0, 3, (frames, size, size, 3))
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def device_work(method: str, clip: np.ndarray) -> tuple[Callable, tuple]:
    """A compiled function and its arguments."""
    if method in enhance.METHODS:
        run = jax.jit(functools.partial(enhance.enhance, method=method))
        return run, (jnp.asarray(clip),)
    model = models.build({"name": method}, None)
    video = jnp.asarray(clip, jnp.float32) / 255
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), video[:1])
    return jax.jit(lambda v, x: model.apply(v, x, train=False)[0]), (variables, video)


def numpy_work(method: str) -> Callable | None:
    """The same as an engineer writes it in NumPy, for GIC and HE."""
    if method == "gic":
        table = enhance.gamma_table(1.8)
        return lambda clip: table[clip]
    if method == "he":
        return lambda clip: np.stack([numpy_equalise(frame) for frame in clip])
    return None


def numpy_equalise(frame: np.ndarray) -> np.ndarray:
    """Equalise the luma of BT.601, add the change to each channel."""
    luma = np.rint(frame @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    counts = np.bincount(luma.ravel(), minlength=256)
    rising = np.cumsum(counts)
    low = rising[np.flatnonzero(counts)[0]]
    table = np.rint((rising - low) * 255 / max(luma.size - low, 1)).clip(0, 255)
    return np.clip(frame + (table[luma] - luma)[..., None], 0, 255).astype(np.uint8)


def opencv_work(method: str) -> Callable | None:
    """OpenCV's, frame by frame."""
    if cv2 is None:
        return None
    if method == "gic":
        table = enhance.gamma_table(1.8)
        return lambda clip: np.stack([cv2.LUT(frame, table) for frame in clip])
    if method == "he":

        def equalise(frame: np.ndarray) -> np.ndarray:
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)
            planes[..., 0] = cv2.equalizeHist(planes[..., 0])
            return cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB)

        return lambda clip: np.stack([equalise(frame) for frame in clip])
    return None


def shared(name: str, k: int, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds and MiB of temporaries of enhancing a clip with curves shared by k frames."""
    model = models.build({"name": name, "k": k}, None)
    video = jnp.asarray(dark_clip(args.frames, args.shared_size), jnp.float32)[None] / 255
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), video[:, :k])
    run = jax.jit(lambda v, x: model.apply(v, x, train=False)[0]).lower(variables, video).compile()
    memory = run.memory_analysis()
    return timed(run, (variables, video), args.repeats), memory.temp_size_in_bytes / 2**20


def timed(run: Callable, given: tuple[Any, ...], repeats: int) -> float:
    """Median seconds after a first call."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(run(*given))
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
