"""A trained run as a file that needs this library no more: `python -m darkjax.tools.export --help`.

    python -m darkjax.tools.export --run=runs/lift --output=lift.zip
    python -m darkjax.tools.export --run=runs/lift --output=camera.zip --frames=48,480,640
    python -m darkjax.tools.export --run=box --output=box-tf --format=saved_model

--format=stablehlo (default) writes one file with the program (StableHLO, any number of clips, for
CPU, CUDA and TPU), the weights, a card and `run.py`, 20 lines that use it with jax and flatbuffers
alone: `unzip lift.zip run.py; python run.py lift.zip video.npy`. Whatever the network is given
besides (gamma, an enhancer, flow, normalisation) is inside; the video is uint8. Without --frames
it is the views that `darkjax.load(RUN).preprocess` gives, [clips, views, T, h, w, C]; with it,
whole videos [clips, T, H, W, 3] at the run's frame rate: frames are chosen, resized and cropped
inside (a pixel half-way between two levels may be rounded to the other one).

--format=saved_model writes a folder for TensorFlow (which must be installed); --format=onnx one
file (needs jax2onnx), of one view at a time. What either cannot convert is refused by name.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from darkjax import program
from darkjax.errors import UserError

FORMATS = ("stablehlo", "saved_model", "onnx")
MIB = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Write it, and say what it takes."""
    parser = program.Parser("darkjax.tools.export", __doc__)
    parser.add_argument("--run", default="box", help="a run's folder, RUN/STAGE, or box (default)")
    parser.add_argument("--output", required=True, help="a file, or a folder for saved_model")
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="(default: %(default)s)"
    )
    parser.add_argument("--frames", default="", metavar="T,H,W", help="size of whole videos")
    args = parser.parse_args(argv)
    frames = sizes(args.frames)
    output = target(args.output, args.format)

    import darkjax
    from darkjax import exported, process

    process.quiet()
    model = darkjax.load(args.run)
    if args.format == "stablehlo":
        size, weights, code = exported.write(model, output, frames)
        what = f"{size / MIB:.2f} MiB: weights {weights / MIB:.2f}, program {code / MIB:.2f}"
    else:
        from darkjax import exported_others

        size = exported_others.WRITERS[args.format](model, output, frames)
        what = f"{size / MIB:.2f} MiB"
    shape = ", ".join(map(str, exported.program(model, frames).shape))
    print(f"{output}: {what}; uint8 [{shape}] to {len(model.classes)} probabilities")
    if args.format == "stablehlo":
        print(f"use it: unzip {output} {exported.RUNS}; python {exported.RUNS} {output} VIDEO.npy")
    return 0


def sizes(text: str) -> tuple[int, int, int] | None:
    """`--frames`: (T, H, W), or None.

    Raises:
      UserError: it is not three numbers of 1 or more.
    """
    if not text:
        return None
    words = text.split(",")
    if len(words) != 3 or not all(w.strip().isdigit() and int(w) for w in words):
        raise UserError(f"--frames={text}: expected frames, height and width, such as 48,480,640")
    count, height, width = map(int, words)
    return count, height, width


def target(output: str, kind: str) -> pathlib.Path:
    """Where it is written to.

    Raises:
      UserError: the folder around it is missing, or it is one where a file is written.
    """
    path = pathlib.Path(output)
    if not path.absolute().parent.is_dir():
        raise UserError(f"--output={output}: there is no folder {path.absolute().parent}: make it")
    if kind == "saved_model":
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise UserError(f"--output={output} is there already: give a new folder's name")
    elif path.is_dir():
        suffix = "zip" if kind == "stablehlo" else kind
        raise UserError(f"--output={output} is a folder: give a file in it, such as model.{suffix}")
    return path


if __name__ == "__main__":
    program.run(main)
