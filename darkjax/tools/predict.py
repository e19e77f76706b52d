"""What is done in videos: `python -m darkjax.tools.predict --help`.

    python -m darkjax.tools.predict night.mp4
    python -m darkjax.tools.predict --run=runs/lift/student videos/ --output=found.jsonl
    python -m darkjax.tools.predict --run=runs/lift hour.mp4 --window=3 --output=found.mp4
    ffmpeg -i night.mkv -f matroska - | python -m darkjax.tools.predict --run=runs/lift -

Inputs are files, folders (every video below them), globs in quotes, `camera:0`, network streams
(`rtsp://…`, `udp://…`) and `-`, standard input. How a video is read is the run's own: frame rate,
size, views. A video of at most --clip seconds (default: three times what the network sees) is one
clip, judged as the evaluation judges clips; a longer one, and every stream, is a timeline: a window
of --window seconds every --stride seconds, and neighbours with the same answer are one segment. No
more than a window of frames is in memory.

--output=x.jsonl or x.csv: a line a clip or segment, written as it is found; x.mp4 (of one video):
the video with what is done written on it, what the network sees beside it, and where it looks. A
file that cannot be read is one line on stderr, the others are still done, and the exit status is 1;
it is 2 where nothing could be started. Ctrl-C and SIGTERM end it with what was found so far, and
130 or 143; an mp4 is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from darkjax import program
from darkjax.errors import UserError

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
COLUMNS = ("file", "start", "end", "label", "probability")


class Found(NamedTuple):
    """A clip, or a segment of a longer video, in seconds."""

    file: str
    start: float
    end: float
    top: list[tuple[str, float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the answers; 1 where a file failed."""
    parser = program.Parser("darkjax.tools.predict", __doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument("--run", default="box", help="a run's folder, RUN/STAGE, or box (default)")
    parser.add_argument("--top", type=int, default=3, help="classes of each answer")
    parser.add_argument("--window", type=float, default=0.0, help="seconds of a window")
    parser.add_argument("--stride", type=float, default=0.0, help="seconds between windows")
    parser.add_argument("--clip", type=float, help="seconds up to which a video is one clip")
    parser.add_argument("--output", default="", help="a file: .jsonl, .csv or .mp4")
    args = parser.parse_args(argv)
    for name in ("top", "window", "stride"):
        if getattr(args, name) < (name == "top"):
            raise UserError(f"--{name}={getattr(args, name)}: expected more than 0")
    inputs = listed(args.inputs)
    kind = pathlib.Path(args.output).suffix
    if args.output and kind not in (".jsonl", ".csv", ".mp4"):
        raise UserError(f"--output={args.output}: expected a file .jsonl, .csv or .mp4")
    check_folder(args.output)
    from darkjax.data import live

    if kind == ".mp4" and (len(inputs) != 1 or live.is_live(inputs[0])):
        raise UserError("--output=….mp4 takes one video file: other inputs want .jsonl or .csv")
    if kind == ".mp4" and pathlib.Path(args.output).resolve() == pathlib.Path(inputs[0]).resolve():
        raise UserError(f"--output={args.output} is the input: give another name")

    import darkjax
    from darkjax import process, stops

    process.quiet()
    model = darkjax.load(args.run)
    print(f"{model.where}: {len(model.classes)} classes: {', '.join(model.classes)}")
    failed, every = 0, list[Found]()
    how = (args.top, args.window, args.stride, args.clip)
    with (
        stops.listening(saying=stops.FOUND) as stop,
        _written(args.output if kind != ".mp4" else "") as write,
    ):
        for number, source in enumerate(inputs):
            try:
                for found in predict(model, source, *how, stop=lambda: stop.number is not None):
                    print(line(found), flush=True)
                    write(found)
                    every += [found] * (kind == ".mp4")
            except UserError as e:
                failed += 1
                print(f"error: {e}", file=sys.stderr)
            if stop.number is not None:
                print(f"stopped in {source}, input {number + 1} of {len(inputs)}", file=sys.stderr)
                break
    ended = stop.number
    if kind == ".mp4" and not failed:
        ended = ended or _annotated(inputs[0], args.output, every, model)
        if ended is not None:
            print(f"{args.output} is not written: it would lack its end", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(inputs)} inputs failed", file=sys.stderr)
    return int(failed > 0) if ended is None else 128 + ended


def check_folder(output: str) -> None:
    """Refuse, before anything is computed, a file that cannot be written for want of its folder."""
    if output and not pathlib.Path(output).parent.is_dir():
        raise UserError(f"--output={output}: there is no folder {pathlib.Path(output).parent}")


def listed(inputs: Sequence[str]) -> list[str]:
    """Files of folders and globs; cameras, streams and `-` as they are.

    Raises:
      UserError: a folder without videos, or a name that is no file.
    """
    from darkjax.data import live

    found: list[str] = []
    for name in inputs:
        path = pathlib.Path(name)
        if live.is_live(name) or path.is_file():
            found.append(name)
        elif path.is_dir():
            inner = [str(f) for f in sorted(path.rglob("*")) if f.suffix.lower() in VIDEOS]
            if not inner:
                raise UserError(f"{name}: no video below it ({', '.join(VIDEOS)})")
            found += inner
        elif matching := sorted(glob.glob(name, recursive=True)):
            found += matching
        else:
            raise UserError(f"{name}: no such file or folder, and nothing matches it")
    return found


def predict(
    model: Any,
    source: str,
    top: int = 3,
    window: float = 0.0,
    stride: float = 0.0,
    clip: float | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Found]:
    """What is done in one source: one `Found` of a short clip, segments of anything else.

    Args:
      model: of `darkjax.load`.
      source: a file, `camera:0`, a URL or `-`.
      top: classes of each.
      window, stride: seconds; 0: what the model sees of a clip, and half of it.
      clip: seconds up to which a video is one clip; None: three times what the model sees.
      stop: asked at every frame; True ends a timeline there, with what was found so far.

    Raises:
      UserError: it cannot be read, or breaks off: then after the segments that were there.
    """
    from darkjax import timeline
    from darkjax.data import live
    from darkjax.data.progress import Progress

    rate = model.fps or 25.0
    clip = 3 * model.span / rate if clip is None else clip
    frames = [round(seconds * rate) for seconds in (window, stride)]
    if any(n < 1 for n, seconds in zip(frames, (window, stride), strict=True) if seconds):
        raise UserError(f"--window and --stride: expected at least a frame, 1/{rate:g} s")
    side = model.intake.short_side
    with live.opened(source, short_side=side, fps=model.fps) as stream:
        if not live.is_live(source) and 0 < stream.seconds <= clip:
            answers = [(a.name, a.probability) for a in model.predict(source, top)]
            yield Found(source, 0.0, stream.seconds, answers)
            return
        whole = Progress(round(stream.seconds), "s of video") if stream.seconds else None

        broken: UserError | None = None

        def counted() -> Iterator[tuple[float, np.ndarray]]:
            nonlocal broken
            try:
                for time, frame in stream.frames:
                    if stop():
                        return
                    if whole is not None:
                        whole.update(int(time))
                    yield time, frame
            except UserError as e:
                broken = e

        shown = counted()
        first = next(shown, None)
        if first is not None:
            windows = timeline.windows(model, itertools.chain([first], shown), *frames)
            for segment in timeline.merged(windows):
                names = named(model, segment.probabilities, top)
                yield Found(source, segment.start, segment.end, names)
        if whole is not None:
            whole.close()
        if broken is not None:
            raise broken
        if first is None and not stop():
            raise UserError(f"expected frames, found none in {source}")


def named(model: Any, probabilities: np.ndarray, top: int) -> list[tuple[str, float]]:
    """The most probable classes and their probabilities, the first first."""
    best = np.argsort(-probabilities)[:top]
    return [(model.classes[k], float(probabilities[k])) for k in best]


def line(found: Found) -> str:
    """A row of the table."""
    shares = ", ".join(f"{name} {share:.3f}" for name, share in found.top)
    return f"{found.file}  {found.start:8.2f} to {found.end:8.2f} s  {shares}"


def _annotated(source: str, output: str, every: list[Found], model: Any) -> int | None:
    """Write the mp4; the number of the signal that kept it from that, or None."""
    from darkjax.data import stopping
    from darkjax.eval import annotate

    try:
        with stopping.raised():
            said = [(f.start, f.end, *f.top[0]) for f in every]
            annotate.video(source, output, said, model)
    except stopping.Stopped as e:
        return e.number
    return None


@contextlib.contextmanager
def _written(output: str) -> Iterator[Callable[[Found], None]]:
    """A function that adds a row to the file, which has it at once."""
    if not output:
        yield lambda found: None
        return
    with open(output, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if output.endswith(".csv"):
            table.writerow(COLUMNS)

        def write(found: Found) -> None:
            seconds = [round(found.start, 3), round(found.end, 3)]
            if output.endswith(".csv"):
                table.writerow([found.file, *seconds, found.top[0][0], round(found.top[0][1], 4)])
            else:
                row = dict(zip(COLUMNS, [found.file, *seconds, *found.top[0]], strict=True))
                file.write(json.dumps(row | {"top": [list(t) for t in found.top]}) + "\n")
            file.flush()

        yield write


if __name__ == "__main__":
    program.run(main)
