"""Optical flow of a video or an array: `python -m darkjax.tools.flow --help`.

    python -m darkjax.tools.flow --input=walk.mp4 --output=walk_flow.mp4
    python -m darkjax.tools.flow --input=x.npy --output=y.npy --method=tvl1 --enhance=gic

`--input` is a video or an .npy of frames, uint8 or float in [0, 1], `[T, H, W]` or `[T, H, W, C]`.
`--output` as .npy is float32 `[T-1, H, W, 2]`: pixels from each frame to the next, x then y. As
.mp4 it is a picture of it: colours say where to (red: right, then clockwise yellow, green, blue),
paler is slower, and `--bound` pixels or more (by default all but the fastest 1 %) have the full
colour; `--quiver` draws arrows on the frames.

A line at the end: frames, mean and largest motion in pixels. The exit status is 2 on a user's
error, and nothing is written then.
"""

from __future__ import annotations

import argparse
import fractions
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from darkjax import program
from darkjax.data import stream
from darkjax.data.progress import Progress
from darkjax.errors import UserError
from darkjax.files import whole

CHUNK = 16  # pairs of frames in one program: the shape it is compiled for
FULL = 0.99  # of all motion, what is below the default bound


def main(argv: Sequence[str] | None = None) -> int:
    """Write the flow; 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.flow", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--input", required=True, help="a video, or .npy of frames")
    parser.add_argument("--output", required=True, help=".npy of the flow, or .mp4 to look at")
    parser.add_argument("--method", default="brox", help="brox or tvl1 (default: brox)")
    parser.add_argument("--enhance", help="brighten the frames before: gic, he, lime, ...")
    parser.add_argument("--quiver", action="store_true", help="arrows instead of colours")
    parser.add_argument("--bound", type=float, help="mp4: pixels of the full colour")
    args = parser.parse_args(argv)
    try:
        from darkjax import compilation, process

        process.quiet()
        compilation.use_compilation_cache()
        print(run(args))
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


def run(args: argparse.Namespace) -> str:
    """Do what the flags say; what to say of it.

    Raises:
      UserError: flags, a file or frames that do not fit; nothing is written then.
    """
    source, target = pathlib.Path(args.input), pathlib.Path(args.output)
    suffix = target.suffix.lower()
    if suffix not in (".npy", ".mp4"):
        raise UserError(f"--output={target}: expected a name that ends in .npy or .mp4")
    if suffix == ".npy" and (args.quiver or args.bound is not None):
        raise UserError("--quiver and --bound are of pictures: give an --output that ends in .mp4")
    if args.bound is not None and not args.bound > 0:
        raise UserError(f"--bound={args.bound}: expected pixels above 0")
    if not source.is_file():
        raise UserError(f"--input={source}: no such file")
    if target.exists() and target.samefile(source):
        raise UserError(f"--output={target} would overwrite its own source")
    frames, fps = read(source)
    found = flow_of(frames, args.method, args.enhance)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".npy":
            with whole(target, keep_suffix=True) as part:
                np.save(part, found)
        else:
            with stream.writer(target) as writer:
                for picture in pictures(frames, found, args.quiver, args.bound):
                    writer.write(picture[None], fps)
    except OSError as e:
        raise UserError(f"{target} cannot be written: {e.strerror or e}") from e
    length = np.linalg.norm(found, axis=-1)
    return (
        f"{source.name}: {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}, motion "
        f"{length.mean():.2f} pixels in the mean, {length.max():.2f} at most"
    )


def read(path: pathlib.Path) -> tuple[np.ndarray, fractions.Fraction]:
    """Frames [T, H, W, C], at least two, and how many there are in a second (25 for arrays)."""
    if path.suffix.lower() != ".npy":
        with stream.Reader(path) as reader:
            frames, fps = list(reader.frames()), reader.fps
        if len(frames) < 2:
            raise UserError(f"expected at least 2 frames, found {len(frames)} in {path}")
        return np.stack(frames), fps
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError) as e:
        raise UserError(f"not an array, or only its beginning: {e} in {path}") from e
    kinds = array.dtype == np.uint8 or array.dtype.kind == "f"
    if array.ndim not in (3, 4) or not kinds or min(array.shape) < 1 or len(array) < 2:
        raise UserError(
            f"expected frames [T, H, W] or [T, H, W, C] with T of at least 2, uint8 or float in "
            f"[0, 1]; found {array.dtype} {list(array.shape)} in {path}"
        )
    if array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= 1):
        raise UserError(
            f"expected float frames in [0, 1], found {array.min():g} to {array.max():g} in {path}: "
            "scale them"
        )
    return (array if array.ndim == 4 else array[..., None]), fractions.Fraction(25)


def flow_of(frames: np.ndarray, method: str, enhance: str | None = None) -> np.ndarray:
    """The flow of frames [T, H, W, C], float32 [T-1, H, W, 2], a few pairs at a time."""
    import jax.numpy as jnp

    from darkjax.ops.flow import flow

    pairs = len(frames) - 1
    size = min(CHUNK, pairs)
    found = np.empty((pairs, *frames.shape[1:3], 2), np.float32)
    progress = Progress(pairs, "pairs")
    # The last few are done together with some before them: one shape, one program.
    for start in (min(i, pairs - size) for i in range(0, pairs, size)):
        part = np.asarray(frames[start : start + size + 1])
        if part.dtype != np.uint8:
            part = part.astype(np.float32)
        found[start : start + size] = flow(jnp.asarray(part), method, enhance=enhance)
        progress.update(start + size)
    progress.close()
    return found


def pictures(
    frames: np.ndarray, found: np.ndarray, quiver: bool, bound: float | None
) -> Iterator[np.ndarray]:
    """uint8 pictures [h, w, 3] of a flow [T-1, H, W, 2]: colours, or arrows on the frames."""
    from darkjax.ops import flow_image

    if bound is None:
        bound = max(float(np.quantile(np.linalg.norm(found, axis=-1), FULL)), 1e-3)
    for frame, flow in zip(frames[:-1], found, strict=True):
        if not quiver:
            yield flow_image.wheel(flow, bound)
            continue
        pixels = frame if frame.dtype == np.uint8 else np.rint(np.float32(frame) * 255)
        if pixels.shape[-1] != 3:
            pixels = np.repeat(pixels.mean(-1, keepdims=True), 3, axis=-1)
        times = max(1, round(480 / pixels.shape[1]))
        every = max(4, pixels.shape[1] // 24)
        yield flow_image.arrows(pixels.astype(np.uint8), flow, every=every, times=times)


if __name__ == "__main__":
    program.run(main)
