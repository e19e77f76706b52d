"""Does the heat lie on what decides? A planted cue, over the zoo.

    python benchmarks/explain.py
    python benchmarks/explain.py --networks=resnet3d,vit --steps=200
    python benchmarks/explain.py --cue=figure --steps=300

Small networks of every kind are trained from nothing on clips made as they go. `--cue=square`: a
noisy dark clip in which a square drifts, red, green or blue, which is the class; where it is
differs from clip to clip. `--cue=figure`: rendered figures that jump, turn or walk, in rooms of
their own; the cue is the figure's true mask, and the networks see the clip less its temporal median
(`luminous_input="motion"`), as the box's does: of so few clips they would learn the rooms. A row
for each way of looking into a network, over `--test` other clips and their true class: top-1; the
pointing game, the share of clips whose largest heat is inside the cue; heat inside the cue over the
cue's share of the clip (1 is what even heat has), and the same for a class that is not there. The
last line is what chance has.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from darkjax import losses, methods, models, process, program
from darkjax.data.rendering import synthetic
from darkjax.data.resize import resize_clip
from darkjax.errors import UserError
from darkjax.eval import heat
from darkjax.methods import base
from darkjax.methods.supervised import Supervised

CLASSES = ("Jump", "Turn", "Walk")  # of figures; of squares red, green, blue
SIZE, FRAMES, SQUARE, BATCH = 64, 16, 14, 8
TRAINING = {"square": 255, "figure": 600}  # clips
SEEN = {"square": "dark", "figure": "motion"}
TOKENS = {"depth": 2, "width": 48, "heads": 4, "patch": 8}
NETWORKS: dict[str, dict[str, Any]] = {
    "c3d": {"name": "c3d_bn", "width": 8, "hidden": 32},
    "resnet3d": {"name": "resnet3d", "variant": "10", "width": 8},
    "r2plus1d": {"name": "r2plus1d", "variant": "10", "width": 8, "stem_mid": 8},
    "i3d": {"name": "i3d", "width": 0.25},
    "s3d": {"name": "s3d", "width": 0.25},
    "p3d": {"name": "p3d", "variant": "17", "width": 8},
    "mobilenet_v1": {"name": "mobilenet3d_v1", "width": 0.5},
    "mobilenet_v2": {"name": "mobilenet3d_v2", "width": 0.5},
    "shufflenet_v1": {"name": "shufflenet3d_v1", "width": 0.5},
    "shufflenet_v2": {"name": "shufflenet3d_v2", "width": 0.5},
    "squeezenet": {"name": "squeezenet3d"},
    "slowfast": {"name": "slowfast", "variant": "10", "width": 16, "zero_init": False},
    "tsn": {"name": "resnet_frames", "variant": "14", "width": 8},
    "tsm": {"name": "resnet_frames", "variant": "14", "width": 8, "temporal": "shift"},
    "vit": {"name": "vit", **TOKENS},
    "timesformer": {"name": "timesformer", **TOKENS},
    "swin3d": {"name": "swin3d", "variant": (16, (1, 1)), "head_dim": 8},
    "mvit": {"name": "mvit", "depth": 3, "splits": (1,), "width": 24},
    "r2plus1d_bert": {
        "name": "views_bert",
        "backbone": {"variant": "10", "width": 8, "stem_mid": 8},
        "heads": 4,
    },
}


class Row(NamedTuple):
    """Of a network and a way of looking."""

    name: str
    how: str
    grid: str
    top1: float
    pointed: float
    inside: float
    other: float
    share: float


def square(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip uint8 [T, H, W, 3] and where its square is, bool [T, H, W]."""
    video = rng.integers(0, 40, (FRAMES, SIZE, SIZE, 3)).astype(np.int32)
    mask = np.zeros(video.shape[:3], bool)
    begin, end = rng.integers(0, SIZE - SQUARE, (2, 2))
    end = np.clip(end, begin - 10, begin + 10)
    for t in range(FRAMES):
        y, x = np.rint(begin + (end - begin) * t / FRAMES).astype(int)
        video[t, y : y + SQUARE, x : x + SQUARE, label] += 90
        mask[t, y : y + SQUARE, x : x + SQUARE] = True
    return video.astype(np.uint8), mask


def figure(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """A rendered clip and where its figure is."""
    seed, group = (int(n) for n in rng.integers(0, 2**31, 2))
    drawn = synthetic.render(
        CLASSES[label],
        seed=seed,
        group=group,
        frames=FRAMES,
        height=SIZE,
        width=SIZE,
        fps=10,
        want_flow=False,
    )
    return drawn.video, drawn.mask


@functools.cache
def clips(cue: str, seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(videos [N, T, H, W, 3], labels int32 [N], masks [N, T, H, W]), as many of every class."""
    rng, make = np.random.default_rng([seed, len(cue)]), {"square": square, "figure": figure}[cue]
    labels = np.arange(count, dtype=np.int32) % len(CLASSES)
    made = [make(rng, int(label)) for label in labels]
    return np.stack([m[0] for m in made]), labels, np.stack([m[1] for m in made])


def batch_of(videos: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """As the pipeline gives one."""
    none = np.zeros(len(videos), np.int32)
    return {"video": videos, "label": labels, "mask": np.ones(len(videos), np.float32)} | (
        dict.fromkeys(("clip", "view", "domain"), none)
    )


def method_of(fields: dict[str, Any], cue: str = "square") -> Supervised:
    """Each clip by its own mean and deviation."""
    config = ml_collections.ConfigDict(
        {"luminous_input": SEEN[cue], "gamma": 2.5, "mean": (), "std": ()}
        | {"freeze": (), "model": fields}
    )
    return Supervised(config, methods.Spec(CLASSES), models.build(fields, len(CLASSES)))


def trained(method: Supervised, cue: str, steps: int) -> Any:
    """Variables after so many steps of Adam."""
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, steps))
    videos, labels, _ = clips(cue, 1, min(steps * BATCH, TRAINING[cue]) // 3 * 3)
    first = batch_of(videos[:BATCH], labels[:BATCH])
    variables = jax.jit(method.init)(jax.random.key(0), first)
    params, stats = variables["params"], variables.get("batch_stats", {})

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params: Any, stats: Any, state: Any, batch: Any, key: Any) -> Any:
        def loss(params: Any) -> Any:
            video = method.views(base.to_float(batch["video"]))
            (logits, _), new = method.model.apply(
                {"params": params, "batch_stats": stats},
                *video,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            target = jax.nn.one_hot(batch["label"], len(CLASSES), dtype=jnp.float32)
            return losses.soft_cross_entropy(logits, target).mean(), new.get("batch_stats", {})

        grads, stats = jax.grad(loss, has_aux=True)(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), stats, state

    state, rng = tx.init(params), np.random.default_rng(0)
    for number in range(steps):
        rows = rng.choice(len(videos), BATCH, replace=False)
        key = jax.random.fold_in(jax.random.key(1), number)
        batch = batch_of(videos[rows], labels[rows])
        params, stats, state = step(params, stats, state, batch, key)
    return {"params": params, **({"batch_stats": stats} if stats else {})}


def judged(
    name: str, method: Supervised, variables: Any, how: str, test: tuple[np.ndarray, ...]
) -> Row:
    """The row of one network and one way of looking."""
    find, found = heat.finder(method, how), []
    grid = ""
    for video, label, mask in zip(*test, strict=True):
        batch = batch_of(video[None], label[None])
        scores, here, _ = find(variables, batch, np.int32(label))
        _, other, _ = find(variables, batch, np.int32((label + 1) % len(CLASSES)))
        grid = " x ".join(map(str, here.shape))
        top, ratio = pointing(np.asarray(here), mask)
        right = float(np.argmax(scores) == label)
        found.append((right, top, ratio, pointing(np.asarray(other), mask)[1], mask.mean()))
    return Row(name, how, grid, *(float(x) for x in np.mean(found, 0)))


def pointing(found: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """(whether the largest heat is inside, heat inside over the mask's share) of heat [t, u, v],
    enlarged to the mask's [T, H, W] as the pictures are; no heat at all has (0, 0)."""
    if found.max() <= 0:
        return 0.0, 0.0
    frames = found[np.arange(len(mask)) * len(found) // len(mask)]
    whole = resize_clip(np.rint(frames * 255).astype(np.uint8)[..., None], mask.shape[1:])[..., 0]
    whole = whole.astype(np.float64)
    top = mask.reshape(-1)[whole.reshape(-1).argmax()]
    return float(top), float(whole[mask].sum() / max(whole.sum(), 1e-9) / mask.mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS), help="joined by commas")
    parser.add_argument("--cue", choices=("square", "figure"), default="square")
    parser.add_argument("--steps", type=int, default=60, help="of training, batches of 8")
    parser.add_argument("--test", type=int, default=30, help="clips to look into")
    args = parser.parse_args(argv)
    process.quiet()
    names = args.networks.split(",")
    if unknown := sorted(set(names) - NETWORKS.keys()):
        raise UserError(f"--networks={','.join(unknown)}: expected {', '.join(NETWORKS)}")
    test = clips(args.cue, 2, args.test)
    print(
        "| network | heat | grid | top-1 | pointing game | heat inside | of another class | CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    share = float(test[2].mean())
    for name in names:
        began = time.process_time()
        method = method_of(NETWORKS[name], args.cue)
        variables = trained(method, args.cue, args.steps)
        tokens = name in ("vit", "timesformer")
        for how in heat.HOW if tokens else ("gradcam",):
            row = judged(name, method, variables, how, test)
            seconds = time.process_time() - began
            print(
                f"| {row.name} | {row.how} | {row.grid} | {row.top1:.2f} | {row.pointed:.2f} "
                f"| {row.inside:.1f} | {row.other:.1f} | {seconds:.0f} |",
                flush=True,
            )
    print(f"| chance | | | {1 / len(CLASSES):.2f} | {share:.2f} | 1.0 | 1.0 | |")


if __name__ == "__main__":
    program.run(main)
