"""Optical flow: errors against the rendered world's true flow, and speed, beside other libraries.

    python benchmarks/flow.py [--pairs=12] [--size=128x171] [--domains=day,dark,thermal]
    python benchmarks/flow.py --speed [--sizes=64x85,128x171] [--at_once=1,4] [--methods=brox]
    python benchmarks/flow.py --step [--stages=teacher,student] [--methods=brox]

The first command renders pairs of frames of the 11 classes of ARID (12 frames a second), and prints
for each domain and method: mean end-point error in pixels, of all pixels, of those that are still
seen in the second frame and of those that are not; mean angular error in degrees; and seconds of
CPU time for a pair, of all cores together, without compiling. `+gic` and others are the flow of the
brightened frames. The second command prints CPU time for a pair by size and by how many pairs are
worked on at once. The third prints CPU time of a training step (loss and gradient, without the
optimiser) of both stages of `configs/lift_arid.py:demo,flow`: with flow computed in it, with flow
of records, and with gamma correction instead.

What is compared with is asked for where it is installed, and named where it is not:

    pip install opencv-contrib-python-headless scikit-image
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from darkjax.data.rendering.synthetic import ARID11, render
from darkjax.ops import flow as flows

try:
    import cv2
except ImportError:
    cv2 = None
try:
    import skimage.registration as skimage
except ImportError:
    skimage = None

Flow = Callable[[np.ndarray], np.ndarray]  # uint8 [N, 2, H, W, 3] to [N, H, W, 2]
ENHANCERS = {"day": (), "dark": ("gic", "he", "lime"), "thermal": ("he",)}
clock = time.process_time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12, help="of frames, for each domain")
    parser.add_argument("--size", default="128x171")
    parser.add_argument("--domains", default=",".join(("day", "dark", "thermal")))
    parser.add_argument("--methods", help="some of the rows, joined by commas")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--stages", default="teacher,student")
    parser.add_argument("--sizes", default="64x85,128x171")
    parser.add_argument("--at_once", default="1,4")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{datetime.date.today()}, {platform.machine()}, {cores} cores, {jax.devices()[0]}")
    wanted = args.methods.split(",") if args.methods else None
    if args.step:
        step(args.stages.split(","), wanted)
        return
    for name, found in (("cv2 (opencv-contrib)", cv2), ("scikit-image", skimage)):
        if found is None:
            print(f"{name} is not installed: left out")
    if args.speed:
        speed(_sizes(args.sizes), [int(n) for n in args.at_once.split(",")], wanted)
        return
    for domain in args.domains.split(","):
        print(f"\n| {domain} | end-point error | seen | hidden | angle | CPU s / pair |")
        print("|---|---|---|---|---|---|")
        frames, true = pairs(domain, args.pairs, _sizes(args.size)[0])
        hidden = np.stack([occluded(flow) for flow in true])
        for name, method in methods(domain).items():
            if wanted is None or name in wanted:
                row(name, method, frames, true, hidden)


def pairs(domain: str, count: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of frames uint8 [N, 2, H, W, 3] and their true flow [N, H, W, 2], two of a clip."""
    frames, true = [], []
    for i in range((count + 1) // 2):
        made = render(
            ARID11[i % len(ARID11)],
            seed=i,
            group=i,
            frames=8,
            height=size[0],
            width=size[1],
            fps=12.0,
            domain=domain,
        )
        for t in (1, 5):
            frames.append(made.video[t : t + 2])
            true.append(made.flow[t])
    return np.stack(frames)[:count], np.stack(true)[:count]


def occluded(flow: np.ndarray) -> np.ndarray:
    """bool [H, W]: the pixel's point leaves the picture or goes behind something.

    The background moves as one and is behind everything: a point of it is hidden where a figure's
    point lands on its target. Where points of figures with motions more than a pixel apart land on
    one pixel, all of them count as hidden: the flow does not tell which is in front.
    """
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    x, y = np.rint(x + flow[..., 0]).astype(int), np.rint(y + flow[..., 1]).astype(int)
    hidden = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    values, counts = np.unique(flow.reshape(-1, 2).round(3), axis=0, return_counts=True)
    figure = np.abs(flow - values[counts.argmax()]).max(-1) > 2e-3
    low, high = np.full((height, width, 2), np.inf), np.full((height, width, 2), -np.inf)
    lands = figure & ~hidden
    np.minimum.at(low, (y[lands], x[lands]), flow[lands])
    np.maximum.at(high, (y[lands], x[lands]), flow[lands])
    ty, tx = y.clip(0, height - 1), x.clip(0, width - 1)
    behind = ~figure & np.isfinite(low[..., 0])[ty, tx]
    crowded = figure & ((high - low) > 1).any(-1)[ty, tx]
    return hidden | behind | crowded


def methods(domain: str) -> dict[str, Flow]:
    """The rows of a table."""
    found: dict[str, Flow] = {"(zero)": lambda frames: np.zeros((*frames.shape[:1], 1, 1, 2))}
    for name in flows.METHODS:
        for enhance in (None, *ENHANCERS[domain]):
            label = f"{name}+{enhance}" if enhance else name
            found[label] = lambda frames, name=name, enhance=enhance: ours(frames, name, enhance)
    found["brox gamma=20"] = lambda frames: ours(frames, flows.Brox(gamma=20.0))
    if cv2 is not None:
        cv2.setNumThreads(1)
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        if hasattr(cv2, "optflow"):
            tvl1 = cv2.optflow.DualTVL1OpticalFlow_create()
            found["OpenCV DualTVL1"] = lambda frames: _each(
                frames, lambda a, b: tvl1.calc(a, b, None)
            )
        found["OpenCV DIS"] = lambda frames: _each(frames, lambda a, b: dis.calc(a, b, None))
        found["OpenCV Farneback"] = lambda frames: _each(
            frames,
            lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0),
        )
    if skimage is not None:
        found["scikit-image TV-L1"] = lambda frames: _each(
            frames,
            lambda a, b: np.stack(skimage.optical_flow_tvl1(a / 255.0, b / 255.0)[::-1], -1),
        )
    return found


def ours(
    frames: np.ndarray, method: Any, enhance: str | None = None, at_once: int = 1
) -> np.ndarray:
    # Grey before, so that one program serves every enhancement.
    grey = flows.grey(frames, enhance)[..., None]
    return np.asarray(flows.flow(grey, method, at_once=at_once))[:, 0]


def _each(frames: np.ndarray, flow: Callable[[np.ndarray, np.ndarray], Any]) -> np.ndarray:
    grey = np.rint(np.asarray(flows.grey(frames)) * 255).astype(np.uint8)
    return np.stack([np.asarray(flow(first, second)) for first, second in grey])


def row(name: str, method: Flow, frames: np.ndarray, true: np.ndarray, hidden: np.ndarray) -> None:
    method(frames)  # compiled, or warm
    began = clock()
    found = np.broadcast_to(method(frames), true.shape).astype(np.float64)
    seconds = (clock() - began) / len(frames)
    error = np.linalg.norm(found - true, axis=-1)
    dot = (found * true).sum(-1) + 1
    lengths = np.sqrt(((found**2).sum(-1) + 1) * ((true**2).sum(-1) + 1))
    angle = np.degrees(np.arccos(np.clip(dot / lengths, -1, 1)))
    numbers = f"{error.mean():.3f} | {error[~hidden].mean():.3f} | {error[hidden].mean():.2f}"
    print(f"| {name} | {numbers} | {angle.mean():.2f} | {seconds:.4f} |", flush=True)


def speed(
    sizes: list[tuple[int, int]], together: list[int], wanted: list[str] | None = None
) -> None:
    """CPU time for a pair by size and batch; `wanted` methods, or all."""
    print("\n| method | size | at once | compile, CPU s | CPU s / pair | pairs / core-second |")
    print("|---|---|---|---|---|---|")
    for size in sizes:
        frames, _ = pairs("day", max(4, *together), size)
        for name in [name for name in flows.METHODS if wanted is None or name in wanted]:
            for n in together:
                began = clock()
                ours(frames, name, at_once=n)
                first = clock() - began
                took = _time(lambda n=n, name=name, frames=frames: ours(frames, name, at_once=n))
                _print(name, size, n, f"{first - took:.1f}", took / len(frames))
        for name, method in methods("day").items():
            if "TV" in name and (wanted is None or name in wanted):
                _print(name, size, 1, "", _time(lambda m=method, f=frames: m(f)) / len(frames))


def step(stages: list[str], wanted: list[str] | None = None) -> None:
    """CPU time of a training step by where the flow comes from."""
    from darkjax import config as configs
    from darkjax import methods as training
    from darkjax.ops.flow_image import to_image

    c = configs.resolve(configs.load("configs/lift_arid.py:demo,flow"))
    data, count = c.data, c.teacher.batch_size
    height, width = data.size
    clips = [
        render(ARID11[i % 6], seed=i, group=i, frames=24, height=64, width=80, fps=12.0).video
        for i in range(count)
    ]
    seen = np.stack(clips)[:, :: data.stride][:, : data.frames, :height, :width]
    still = np.asarray(to_image(np.zeros((*seen.shape[:-1], 2), np.float32), 1.0))
    batches = {3: seen, 6: np.concatenate([seen, still], -1)}
    rows = [("gamma correction", 3, "gamma", ""), ("flow of records", 6, "flow", "")]
    rows += [(f"{n} in the step", 3, "flow", n) for n in flows.METHODS if n in (wanted or [n])]
    print(f"\n{count} clips of {data.frames} frames of {height}x{width}")
    print("\n| stage | luminous input | compile, CPU s | CPU s / step |\n|---|---|---|---|")
    for stage in stages:
        for name, channels, view, method in rows:
            section = c[stage].copy_and_resolve_references()
            section.luminous_input, section.flow_method = view, method or "brox"
            made = training.make(section, training.Spec.numbered(6))
            batch = {"video": batches[channels], "label": np.zeros(count, np.int32)}
            batch["mask"] = np.ones(count, np.float32)
            # Any values take as long, and to draw them would compile the flow once more.
            shapes = jax.eval_shape(made.init, jax.random.key(0), batch)
            variables = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype), shapes)
            update = _update(made)
            began = clock()
            jax.block_until_ready(update(variables, batch))
            first = clock() - began
            took = _time(lambda u=update, v=variables, b=batch: jax.block_until_ready(u(v, b)))
            print(f"| {stage} | {name} | {first - took:.0f} | {took:.2f} |", flush=True)


def _update(method: Any) -> Callable[[Any, Any], Any]:
    """Loss and gradient of a method, compiled."""

    def loss(params: Any, variables: Any, batch: Any) -> Any:
        given = variables | {"params": params}
        return method.loss(given, batch, jax.random.key(1), np.float32(0.5))[0]

    return jax.jit(lambda variables, batch: jax.grad(loss)(variables["params"], variables, batch))


def _time(call: Callable[[], Any]) -> float:
    began = clock()
    for _ in range(3):
        call()
    return (clock() - began) / 3


def _print(name: str, size: tuple[int, int], n: int, compiled: str, seconds: float) -> None:
    where = f"{size[0]}x{size[1]}"
    print(
        f"| {name} | {where} | {n} | {compiled} | {seconds:.4f} | {1 / seconds:.1f} |", flush=True
    )


def _sizes(text: str) -> list[tuple[int, int]]:
    found = [tuple(int(n) for n in part.split("x")) for part in text.split(",")]
    return [(height, width) for height, width in found]


if __name__ == "__main__":
    main()
