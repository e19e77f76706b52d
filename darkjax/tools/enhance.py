"""Brighten images and videos: `python -m darkjax.tools.enhance --help`.

    python -m darkjax.tools.enhance --method=zero_dce --weights=Epoch99.pth --input=DIR --output=OUT

`--input` is a file or a folder (with its subfolders), images and videos. Images come out as PNG,
videos as mp4 (a constant frame rate, no sound), under their own names; `before_after.png` shows
what changed, a row for each of the first 24 files. `--weights` is a published file or a folder of
`darkjax.weights.convert`; for KinD also a folder with the .npz of its nets. `--float` also writes
the unrounded result as float32 .npy (`[H, W, 3]`, videos `[T, H, W, 3]`).

A line for each file: mean brightness before -> after in [0, 1], and for videos the
spatio-temporal inconsistency (DTCM Eq. 4; lower is steadier). Greyscale is made RGB, an alpha
channel dropped, 16 bits scaled, each said so. A file that cannot be read is one line on stderr,
the rest goes on, and the exit status is 1; 2 where nothing could be begun.
"""

from __future__ import annotations

import argparse
import difflib
import fractions
import inspect
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from darkjax.data import images
from darkjax.data.progress import Progress
from darkjax.errors import UserError

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
LEARNED = ("zero_dce", "zero_dce_light", "sci", "kind", "stable_llve")
SHEET = "before_after.png"
SHEET_ROWS = 24
CELL = 160  # pixels, height of a picture of the sheet
CHUNK = 2**22  # pixels that go through a method together, where frames are smaller than that

Enhancer = Callable[[np.ndarray], np.ndarray]  # float32 [T, H, W, 3] in [0, 1], both


def main(argv: Sequence[str] | None = None) -> int:
    """Enhance; 1 where a file failed, 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.enhance", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--method", required=True, help=", ".join(methods()))
    parser.add_argument("--weights", help=f"of {', '.join(LEARNED)}")
    parser.add_argument("--input", required=True, help="an image, a video or a folder of them")
    parser.add_argument("--output", required=True, help="folder to write in")
    parser.add_argument("--gamma", type=float, help="of gic and other methods that have one")
    parser.add_argument("--k", type=int, help="frames that share curves (zero_dce, DTCM Eq. 10)")
    parser.add_argument("--float", action="store_true", help="also the unrounded result, .npy")
    args = parser.parse_args(argv)
    try:
        from darkjax import experiment

        experiment.quiet()
        jobs = plan(args.input, args.output)
        enhance = enhancer(args.method, args.weights, gamma=args.gamma, k=args.k)
        failed = run(jobs, enhance, pathlib.Path(args.output), args.k or 1, args.float)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    if failed:
        print(f"{failed} of {len(jobs)} files failed", file=sys.stderr)
    return 1 if failed else 0


def methods() -> list[str]:
    """Every name that `--method` takes."""
    from darkjax.ops import enhance

    return [*enhance.METHODS, *LEARNED]


def enhancer(
    method: str,
    weights: str | os.PathLike[str] | None = None,
    *,
    gamma: float | None = None,
    k: int | None = None,
) -> Enhancer:
    """A function from frames float32 [T, H, W, 3], RGB in [0, 1], to frames like them.

    It is compiled anew for each shape. The result is not clipped: StableLLVE's may be a little
    outside [0, 1].

    Args:
      method: one of `methods`.
      weights: of a learned one: a published file, or what `darkjax.weights.convert` wrote.
      gamma: of a method that takes one.
      k: how many frames share curves (Zero-DCE).

    Raises:
      UserError: an unknown method, weights that are missing or of something else, an option that
        the method does not have.
    """
    import jax
    import jax.numpy as jnp

    known = methods()
    if method not in known:
        near = difflib.get_close_matches(method, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise UserError(f"--method={method!r} is not an enhancer; {hint}")
    if gamma is not None and not gamma > 0:
        raise UserError(f"--gamma={gamma}: expected a number above 0, 1 changes nothing")
    if k is not None and not (method.startswith("zero_dce") and k >= 1):
        raise UserError(f"--k={k}: a count of frames from 1, for zero_dce and zero_dce_light")
    if method in LEARNED:
        if gamma is not None:
            raise UserError(f"--gamma: {method} has none")
        variables, function = _learned(method, weights, k)
    else:
        variables, function = {}, _free(method, weights, gamma)
    apply = jax.jit(function)  # variables are an argument: as constants they would be compiled in

    def enhance(frames: np.ndarray) -> np.ndarray:
        try:
            with jax.default_matmul_precision("highest"):  # no TF32: the originals' numbers
                return np.asarray(apply(variables, jnp.asarray(frames, jnp.float32)))
        except ValueError as e:
            height, width = frames.shape[1:3]
            raise UserError(f"{method} cannot take {width}x{height}: {_first_line(e)}") from e

    return enhance


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]


def _free(method: str, weights: Any, gamma: float | None) -> Callable[[Any, Any], Any]:
    """A method without parameters, called like one that has some."""
    from darkjax.ops import enhance

    function = enhance.METHODS[method]
    if weights is not None:
        raise UserError(f"--weights: {method} has none")
    field = inspect.signature(function).parameters.get("gamma")
    if gamma is None:
        if field is not None and field.default is field.empty:
            raise UserError(f"--method={method} needs --gamma, above 1 to brighten")
    elif field is None:
        raise UserError(f"--gamma: {method} has none")
    options = {} if gamma is None else {"gamma": gamma}
    return lambda _, frames: function(frames, **options)


def _learned(
    method: str, weights: str | os.PathLike[str] | None, k: int | None
) -> tuple[Any, Callable[[Any, Any], Any]]:
    """The weights of a network and the network, for RGB whatever order they were trained on."""
    from darkjax import models
    from darkjax.weights import card as cards
    from darkjax.weights import fitting, load, reader, zoo

    if weights is None:
        files = ", ".join(zoo.get(method).files)
        published = f" (published: {files})" if files else ""
        raise UserError(f"--method={method} needs --weights=FILE{published}")
    path = pathlib.Path(weights)
    found: load.Weights | fitting.Fitted
    if cards.is_weights(path):
        found = load.load(path)
        if found.arch != method:
            raise UserError(f"{path} holds weights of {found.arch}, not of {method}")
    else:
        state = _kind(path) if method == "kind" and path.is_dir() else reader.read(path)
        quiet = lambda line: None  # noqa: E731
        found = fitting.fitted(method, zoo.get(method), state, file=path.name, say=quiet)
    model = models.build({**found.config, **({} if k is None else {"k": k})}, None)
    bgr = found.preprocess.order == "BGR"

    def apply(variables: Any, frames: Any) -> Any:
        if bgr:
            frames = frames[..., ::-1]
        frames, _ = model.apply(variables, frames, train=False)
        return frames[..., ::-1] if bgr else frames

    return found.variables, apply


def _kind(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """KinD's nets, each a file; their names are below scopes of their own."""
    from darkjax.weights import reader

    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError(f"expected KinD's .npz files or converted weights in {folder}; found none")
    return {name: value for file in files for name, value in reader.read(file).items()}


class Job(NamedTuple):
    """A file, its name for people, and where its result goes."""

    source: pathlib.Path
    name: str
    target: pathlib.Path


def plan(source: str | os.PathLike[str], output: str | os.PathLike[str]) -> list[Job]:
    """The files below `source` and their results; no two the same, none over its own source.

    Raises:
      UserError: nothing there that is an image or a video, or `output` is a file.
    """
    source, output = pathlib.Path(source), pathlib.Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output={output} is a file, expected a folder")
    known = (*images.SUFFIXES, *VIDEOS)
    if source.is_dir():
        files = [f for f in sorted(source.rglob("*")) if f.suffix.lower() in known and f.is_file()]
        if output.resolve() != source.resolve():  # results of an earlier run are no input
            files = [f for f in files if not f.resolve().is_relative_to(output.resolve())]
        if not files:
            raise UserError(f"--input={source}: no image or video below it ({' '.join(known)})")
        names = [f.relative_to(source) for f in files]
    else:
        if not source.is_file():
            raise UserError(f"--input={source}: no such file or folder")
        if source.suffix.lower() not in known:
            raise UserError(f"--input={source}: expected one of {' '.join(known)}")
        files, names = [source], [pathlib.Path(source.name)]
    jobs: list[Job] = []
    taken = {(output / SHEET).with_suffix("")}
    for file, name in zip(files, names, strict=True):
        suffix = ".mp4" if file.suffix.lower() in VIDEOS else ".png"
        target = output / name.with_suffix(suffix)
        if target.with_suffix("") in taken:  # a.png beside a.jpg
            target = output / name.with_name(name.name + suffix)
        taken.add(target.with_suffix(""))
        if target.exists() and target.samefile(file):
            raise UserError(f"--output={output}: {target} would overwrite its own source")
        jobs.append(Job(file, str(name), target))
    return jobs


def run(jobs: Sequence[Job], enhance: Enhancer, output: pathlib.Path, k: int, floats: bool) -> int:
    """Do every job, write the sheet; how many failed."""
    failed = 0
    rows: list[list[np.ndarray]] = []
    progress = Progress(len(jobs), "files")
    for done, job in enumerate(jobs):
        progress.update(done, f", {job.name}")
        began = time.monotonic()

        def tick(frames: int, done: int = done, job: Job = job) -> None:
            progress.update(done, f", {job.name}: frame {frames}")

        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            if job.source.suffix.lower() in VIDEOS:
                words, cells = _video(job, enhance, k, floats, tick)
            else:
                words, cells = _image(job, enhance, floats)
        except OSError as e:
            raise UserError(f"{job.target} cannot be written: {e.strerror or e}") from e
        except UserError as e:
            progress.close()
            print(f"failed: {job.name}: {e}", file=sys.stderr)
            failed += 1
            continue
        progress.close()
        print(f"{job.name}: {words}, {time.monotonic() - began:.1f} s", flush=True)
        if len(rows) < SHEET_ROWS:
            rows.append(cells)
    if rows:
        images.write_image(output / SHEET, sheet(rows))
    return failed


def _image(job: Job, enhance: Enhancer, floats: bool) -> tuple[str, list[np.ndarray]]:
    """One image: what to say of it, and its cells of the sheet."""
    before, notes = images.read_image(job.source)
    after = enhance(before[None])[0]
    images.write_image(job.target, to_uint8(after))
    if floats:
        _save(job.target.with_suffix(".npy"), after)
    height, width = before.shape[:2]
    words = [f"{width}x{height}", _brightness(before.mean(), after.mean()), *notes]
    return ", ".join(words), [_cell(before), _cell(after)]


def _video(
    job: Job, enhance: Enhancer, k: int, floats: bool, tick: Callable[[int], None]
) -> tuple[str, list[np.ndarray]]:
    """One video, a few frames at a time."""
    sums, kept, cells = Sums(), [], Spread()
    with _Reader(job.source) as reader, _Writer(job.target) as writer:
        for clip in _clips(reader.frames(), k):
            before = clip.astype(np.float32) / np.float32(255)
            after = enhance(before)
            writer.write(to_uint8(after), reader.fps)
            sums.add(before, after)
            for pair in zip(before, after, strict=True):
                cells.add(pair)
            if floats:
                kept.append(after)
            tick(sums.frames)
        if not sums.frames:
            raise UserError(f"not a video: no frame could be decoded in {job.source}")
    if floats:
        _save(job.target.with_suffix(".npy"), np.concatenate(kept))
    width, height = reader.size
    words = [f"{width}x{height}", f"{sums.frames} frame{'s' if sums.frames > 1 else ''}"]
    if reader.declared > sums.frames + 2:
        words[-1] += f" of {reader.declared} declared"
    words.append(_brightness(sums.before / sums.frames, sums.after / sums.frames))
    inconsistency = sums.inconsistency()
    if inconsistency is not None:
        words.append(f"inconsistency {inconsistency:.6f}")
    if writer.padded:
        words.append("last row or column repeated (mp4 has even sizes)")
    return ", ".join(words), [_cell(x) for pair in cells.pairs() for x in pair]


def _clips(frames: Iterator[np.ndarray], k: int) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3] as clips of a multiple of `k`, the last one shorter."""
    gathered: list[np.ndarray] = []
    for frame in frames:
        pixels = frame.shape[0] * frame.shape[1]
        length = k * max(1, min(16, CHUNK // pixels) // k)
        gathered.append(frame)
        if len(gathered) == length:
            yield np.stack(gathered)
            gathered = []
    if gathered:
        yield np.stack(gathered)


class Sums:
    """Brightness and inconsistency of a video, clip by clip."""

    def __init__(self) -> None:
        self.frames = self.pairs = 0
        self.before = self.after = self.space = self.time = 0.0
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """The next frames [T, H, W, 3] and what became of them."""
        self.frames += len(before)
        from darkjax import enhance_losses

        self.before += float(before.mean((1, 2, 3)).sum())
        self.after += float(after.mean((1, 2, 3)).sum())
        if min(before.shape[1:3]) < 4:  # less than one region of Eq. 1
            return
        self.space += len(before) * _value(enhance_losses.spatial_consistency, before, after)
        if self.last is not None:
            before, after = (
                np.concatenate([last[None], x])
                for last, x in zip(self.last, (before, after), strict=True)
            )
        self.last = before[-1], after[-1]
        if len(before) > 1:
            self.pairs += len(before) - 1
            difference = _value(enhance_losses.temporal_consistency, before, after)
            self.time += (len(before) - 1) * difference

    def inconsistency(self) -> float | None:
        """DTCM Eq. 4: Eq. 2 over frames plus Eq. 3 over pairs (0 where there is no pair)."""
        if self.last is None:
            return None
        return self.space / self.frames + (self.time / self.pairs if self.pairs else 0.0)


def _value(loss: Callable, before: np.ndarray, after: np.ndarray) -> float:
    import jax

    return float(np.mean(jax.jit(loss)(after[None], before[None])))


class Spread:
    """A few frames spread over a video whose length is not known: keeps every n-th."""

    WANTED = 3

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.seen, self.every = 0, 1

    def add(self, item: Any) -> None:
        """The next one, in order."""
        if self.seen % self.every == 0:
            self.kept.append(item)
            if len(self.kept) == 4 * self.WANTED:
                self.kept, self.every = self.kept[::2], 2 * self.every
        self.seen += 1

    def pairs(self) -> list[Any]:
        """At most `WANTED`, from the first to about the last."""
        from darkjax.eval.pictures import spread

        return [self.kept[i] for i in spread(len(self.kept), self.WANTED)]


class _Reader:
    """Frames of a video's first stream, upright, one after the other."""

    def __init__(self, path: pathlib.Path):
        self.path, self.size = path, (0, 0)
        if path.stat().st_size == 0:
            raise UserError(f"empty file: expected a video, found 0 bytes in {path}")
        self.av = _av()
        try:
            self.container = self.av.open(os.fspath(path))
        except self.av.FFmpegError as e:
            raise UserError(f"not a video, or only its beginning: {e.strerror} in {path}") from e
        if not self.container.streams.video:
            self.container.close()
            raise UserError(f"not a video: no video stream in {path}")
        stream = self.container.streams.video[0]
        self.declared = stream.frames
        self.fps = fractions.Fraction(stream.average_rate or stream.guessed_rate or 25)

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3], all of one size."""
        try:
            for frame in self.container.decode(video=0):
                angle = getattr(frame, "rotation", 0)  # degrees, counter-clockwise
                turns = 0 if math.isnan(angle) else round(angle / 90) % 4
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
                size = pixels.shape[1], pixels.shape[0]
                if self.size not in ((0, 0), size):
                    raise UserError(f"expected frames of one size, found several in {self.path}")
                self.size = size
                yield pixels
        except self.av.FFmpegError as e:
            raise UserError(f"damaged: {e.strerror} in {self.path}") from e

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *error: Any) -> None:
        self.container.close()


class _Writer:
    """An mp4, written through a temporary name; it is there only if all went well."""

    def __init__(self, path: pathlib.Path):
        self.path, self.padded = path, False
        self.stream: Any = None
        self.part = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
        self.av = _av()
        self.container = self.av.open(os.fspath(self.part), "w")

    def write(self, frames: np.ndarray, fps: fractions.Fraction) -> None:
        """Frames uint8 [T, H, W, 3]; a row or column is repeated where their count is odd."""
        height, width = frames.shape[1:3]
        if height % 2 or width % 2:
            self.padded = True
            frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
        if self.stream is None:
            codec = "libx264" if "libx264" in self.av.codecs_available else "mpeg4"
            self.stream = self.container.add_stream(codec, fps.limit_denominator(1001))
            self.stream.height, self.stream.width = frames.shape[1:3]
            self.stream.pix_fmt = "yuv420p"
            if codec == "libx264":
                self.stream.options = {"crf": "17"}  # hardly to be told from lossless
            else:
                self.stream.bit_rate = int(2 * frames[0, ..., 0].size * fps)
        for frame in frames:
            picture = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            self.container.mux(self.stream.encode(picture))

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None and self.stream is not None:
                self.container.mux(self.stream.encode())
            self.container.close()
            if kind is None:
                os.replace(self.part, self.path)
        finally:
            self.part.unlink(missing_ok=True)


def _av() -> Any:
    try:
        import av
    except ImportError as e:
        raise UserError(
            "videos need PyAV, which is not installed: pip install 'darkjax[convert]'"
        ) from e
    return av


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """[0, 1] as 8 bits, rounded to nearest, clipped."""
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)


def _brightness(before: float, after: float) -> str:
    return f"mean brightness {before:.4f} -> {after:.4f}"


def _cell(pixels: np.ndarray) -> np.ndarray:
    """A small uint8 picture for the sheet."""
    from darkjax.data.resize import resize_clip

    height, width = pixels.shape[:2]
    size = CELL, max(1, round(width * CELL / height))
    return resize_clip(to_uint8(pixels)[None], size)[0]


def sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of cells uint8 [CELL, w, 3] (before, after, before, after, ...) as one picture."""
    gap = 4
    width = max(sum(cell.shape[1] + gap for cell in row) for row in rows) + gap
    picture = np.full((len(rows) * (CELL + gap) + gap, width, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        top, left = gap + i * (CELL + gap), gap
        for cell in row:
            picture[top : top + CELL, left : left + cell.shape[1]] = cell
            left += cell.shape[1] + gap
    return picture


def _save(path: pathlib.Path, pixels: np.ndarray) -> None:
    """A .npy through a temporary name."""
    part = path.with_name(f".{path.stem}.part-{os.getpid()}.npy")
    try:
        np.save(part, pixels)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
