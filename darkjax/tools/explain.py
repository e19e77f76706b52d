"""Where a network looks in a video, and why: `python -m darkjax.tools.explain --help`.

    python -m darkjax.tools.explain night.mp4 --output=why.png
    python -m darkjax.tools.explain --run=runs/mine night.mp4 --class=Walk --output=walk.png
    python -m darkjax.tools.explain --run=runs/mine night.mp4 --output=why.mp4
    python -m darkjax.tools.explain --run=runs/dtcm night.mp4 --how=curves --output=curves.png

x.png or x.jpg: frames of the middle view of the video as the network saw them, and under them where
it looked for the class that the video is taken for, or for --class. x.mp4: the whole video, as many
frames at a time as the network sees, each explained for its own answer or for --class.

--how: gradcam (every network with a map of places; tokens of a transformer are one), rollout
(attention of ViT and TimeSformer, each weighted by the slope of the class's score), attention (the
same unweighted, whatever the class), curves (of Zero-DCE, and of the enhancer of DTCM: the
parameters of each iteration). Default: rollout where that is defined, curves where no classes are
named, else gradcam.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax import program
from darkjax.data.progress import Progress
from darkjax.errors import UserError

KINDS = (".png", ".jpg", ".jpeg", ".mp4")
HOW = ("gradcam", "rollout", "attention", "curves")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture or the video, print what was found."""
    parser = program.Parser("darkjax.tools.explain", __doc__)
    parser.add_argument("input", metavar="FILE")
    parser.add_argument("--run", default="box", help="a run's folder, RUN/STAGE, or box (default)")
    parser.add_argument("--class", dest="name", help="whose evidence; default: the answer's")
    parser.add_argument("--how", default="", help=", ".join(HOW))
    parser.add_argument("--output", required=True, help="a file: .png, .jpg or .mp4")
    args = parser.parse_args(argv)
    source, target = pathlib.Path(args.input), pathlib.Path(args.output)
    if target.suffix.lower() not in KINDS:
        raise UserError(f"--output={args.output}: expected a file {', '.join(KINDS)}")
    if args.how and args.how not in HOW:
        raise UserError(f"--how={args.how}: expected one of {', '.join(HOW)}")
    if not source.is_file():
        raise UserError(f"{source}: no such file: expected a video")
    if target.resolve() == source.resolve():
        raise UserError(f"--output={args.output} is the input: give another name")
    if not target.absolute().parent.is_dir():
        raise UserError(f"--output={args.output}: no folder {target.parent}")

    import darkjax
    from darkjax import process
    from darkjax.eval import annotate
    from darkjax.eval import explain_sheet as sheets

    process.quiet()
    model = darkjax.load(args.run)
    how = args.how or ("" if model.method.judge == "classes" else "curves")
    if how in ("curves", "attention") and args.name is not None:
        raise UserError(f"--how={how} is the same for every class: leave out --class or --how")
    if target.suffix.lower() == ".mp4":
        progress, total = _progress(source, model)
        asked = sheets.Asked(model, args.name, how, lambda n: progress.update(min(n, total)))
        annotate.video(str(source), str(target), asked.said, asked)
        progress.close()
        for start, end, name, share in asked.said:
            print(f"{source}  {start:8.2f} to {end:8.2f} s  {name} {share:.3f}")
    else:
        heading, rows = _sheet(model, source, args.name, how)
        sheets.write(target, rows, heading)
        print("\n".join([heading, *rows]))
    print(f"wrote {target}")
    return 0


def _sheet(
    model: Any, source: pathlib.Path, name: str | None, how: str
) -> tuple[str, dict[str, np.ndarray]]:
    """The heading and the rows of a sheet."""
    from darkjax.eval import explain
    from darkjax.eval import explain_sheet as sheets

    frames = model.read(source)
    if how == "curves":
        found = explain.curves(model, frames)
        return f"{source.name}: curves of {model.where}", sheets.curve_rows(found)
    said = ""
    if model.method.judge == "classes":
        best = model.predict(frames, top=3)
        said = ": " + ", ".join(f"{a.name} {a.probability:.2f}" for a in best)
        name = best[0].name if name is None else name
    return f"{source.name}{said}", sheets.looked_rows(explain.explain(model, frames, name, how))


def _progress(source: pathlib.Path, model: Any) -> tuple[Progress, int]:
    """A line of windows done, and how many there are."""
    from darkjax.data import stream

    with stream.Reader(source) as reader:
        rate = float(reader.fps)
        length = max(2, round(model.span * rate / (model.fps or rate)))
        total = max(math.ceil(reader.declared / length), 1)
    return Progress(total, "windows"), total


if __name__ == "__main__":
    program.run(main)
