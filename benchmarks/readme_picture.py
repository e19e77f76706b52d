"""The picture of README.md: a dark clip, what the network in the box sees, where it looks, what it
says.

    python benchmarks/readme_picture.py --out=docs/picture.jpg

Where it looks is found by covering: each patch of the view is held still (its median over time),
and the map is by how much the probability of the answer falls. The clip is rendered, of a room and
a person that trained nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import darkjax
from darkjax import program
from darkjax.data.rendering import synthetic, world
from darkjax.errors import UserError
from darkjax.eval import pictures
from darkjax.ops import enhance

SIDE, GAP, TITLE = 260, 14, 30  # pixels
PATCH, STEP = 16, 4
MOST = 150_000  # bytes of the picture
WORLD = world.World(static=1.0, blocks=1.0, lines=0.5)  # a still camera that is not near


def main() -> None:
    """Draw the picture, and print what the network says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--action", default="Sit")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    model = darkjax.load("box")
    views = dataclasses.replace(model.views, views_clips=1, views_crops=1)
    model = dataclasses.replace(model, views=views)
    size = {"frames": 30, "height": 120, "width": 160, "fps": 15}
    clip = synthetic.render(
        args.action, seed=args.seed, group=9000 + args.seed, world=WORLD, **size
    ).video
    said = model.predict(clip, top=len(model.classes), fps=15)
    print(args.action, "->", ", ".join(f"{name} {p:.3f}" for name, p in said))
    view = model.preprocess(clip, fps=15)[0]
    seen, _ = model.look(clip, fps=15)
    heat = covered(model, view, model.classes.index(said[0].name))
    most = int(np.argmax(seen.std((1, 2, 3))))  # the frame with most of the motion
    first = (len(clip) - model.span) // 2  # of the view, which is the middle of the clip
    panels = {
        "the clip": clip[first + most * model.views.stride],
        "what the network sees": seen[most],
        "where it looks": pictures.overlay(enhance.enhance(view[most], "gic", gamma=2.5), heat),
    }
    write(args.out, panels, said)


def covered(model: Any, view: np.ndarray, answer: int) -> np.ndarray:
    """By how much the answer's probability falls when a patch stands still, float [h, w]."""
    still = np.median(view, 0).astype(np.uint8)
    height, width = view.shape[1:3]
    rows, columns = (range(0, n - PATCH + 1, STEP) for n in (height, width))
    clips = [view]
    for y in rows:
        for x in columns:
            clips.append(view.copy())
            clips[-1][:, y : y + PATCH, x : x + PATCH] = still[y : y + PATCH, x : x + PATCH]
    found = model.judged(np.stack(clips)[:, None])[:, answer]
    fall = np.maximum(found[0] - found[1:], 0).reshape(len(rows), len(columns))
    total, weight = np.zeros((height, width)), np.full((height, width), 1e-9)
    hill = np.outer(*2 * (np.bartlett(PATCH + 2)[1:-1],))  # a patch says most of its middle
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            total[y : y + PATCH, x : x + PATCH] += hill * fall[i, j]
            weight[y : y + PATCH, x : x + PATCH] += hill
    return total / weight


def write(out: str, panels: dict[str, np.ndarray], said: Any) -> None:
    """The panels side by side, the answers as bars beside them, as JPEG."""
    width = (len(panels) + 1) * (SIDE + GAP) + GAP
    picture = Image.new("RGB", (width, SIDE + TITLE + GAP), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=17)
    left = GAP
    for title, frame in panels.items():
        draw.text((left, 5), title, "black", font)
        side = min(frame.shape[:2])  # the middle square: a view has the same proportions
        top, start = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
        square = Image.fromarray(frame[top : top + side, start : start + side])
        picture.paste(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, TITLE))
        left += SIDE + GAP
    draw.text((left, 5), "what it says", "black", font)
    for row, (name, share) in enumerate(said):
        y = TITLE + row * SIDE // len(said)
        draw.text((left, y + 4), f"{name} {share:.2f}", "black", font)
        length = round((SIDE - GAP) * share)
        draw.rectangle((left, y + 26, left + max(length, 1), y + 34), (255, 140, 0))
    data = io.BytesIO()
    picture.save(data, "jpeg", quality=88)
    if data.tell() > MOST:
        raise UserError(f"{data.tell()} bytes: expected at most {MOST}; draw it smaller")
    with open(out, "wb") as file:
        file.write(data.getvalue())


if __name__ == "__main__":
    program.run(main)
