"""The picture of docs/enhance.md: one rendered dark clip after every method.

    python benchmarks/enhance_sheet.py --out=docs/enhance.jpg [--zero_dce=FILE] [--sci=FILE]

A row for each method, in the order printed: two frames, each with its difference from the next,
six times enlarged (DTCM, Fig. 6).
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from darkjax.data.rendering import synthetic
from darkjax.eval import enhance as enhancement
from darkjax.eval import enhancers
from darkjax.ops import enhance


def main() -> None:
    """Render, enhance, draw, and print the rows' names and numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--zero_dce", help="published weights")
    parser.add_argument("--sci", help="published weights")
    parser.add_argument("--action", default="Walk")
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    drawn = synthetic.render(
        args.action, seed=args.seed, group=1, frames=24, height=120, width=160, fps=12
    )
    clip = np.asarray(drawn.video, np.float32) / 255
    methods: dict[str, str | None] = dict.fromkeys(enhance.METHODS)
    methods |= {n: f for n in ("zero_dce", "sci") if (f := getattr(args, n))}
    rows = {"raw": clip} | {n: enhancers.enhancer(n, file)(clip) for n, file in methods.items()}
    for name, after in rows.items():
        numbers = enhancement.numbers(clip, after)
        print(name, ", ".join(f"{key} {value:.4g}" for key, value in numbers.items()))
    Image.fromarray(enhancement.difference_sheet(list(rows.values()), 2)).save(args.out, quality=85)


if __name__ == "__main__":
    main()
