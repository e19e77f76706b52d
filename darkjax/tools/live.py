"""What is done in front of a camera, as it is done: `python -m darkjax.tools.live --help`.

    python -m darkjax.tools.live camera:0
    python -m darkjax.tools.live --run=runs/lift rtsp://camera.local/stream --output=seen.jsonl
    python -m darkjax.tools.live --run=runs/lift udp://0.0.0.0:5000 --reconnect=5
    python -m darkjax.tools.live --run=runs/lift night.mp4

The source is a camera, a network stream, `-` (standard input), or a file, which is played at its
own speed. The network judges the newest window of frames whenever it is free; frames that left the
window by then are dropped, so what is shown is never old and memory does not grow. Equal
neighbours are one segment, as in darkjax.tools.predict, and a line each.

One line (redrawn on a terminal, else every 5 s, on standard error) says what is done now, the
latency from a frame's arrival to its first label (half and 95 of 100 of the latest 10,000 frames
take less), and how many frames were used and dropped. --output=x.jsonl has a line for every
`label`, for every `segment`, and at last the `summary`. Ctrl-C and SIGTERM end it with all of
that written, and the exit status 130 or 143; a stream that breaks off with all of that and 1.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from darkjax import program
from darkjax.errors import UserError

Write = Callable[[str, dict[str, Any]], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Show labels until the source or the user ends it; 1 where the source broke off."""
    parser = program.Parser("darkjax.tools.live", __doc__)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--run", default="box", help="a run's folder, RUN/STAGE, or box (default)")
    parser.add_argument("--top", type=int, default=3, help="classes of each answer")
    parser.add_argument("--window", type=float, default=0.0, help="seconds of a window")
    parser.add_argument(
        "--stride", type=float, default=0.0, help="seconds between windows, at least"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="of a file: 2 is twice as fast")
    parser.add_argument("--seconds", type=float, default=0.0, help="of the source, then it ends")
    parser.add_argument("--reconnect", type=int, default=0, help="tries after a stream broke off")
    parser.add_argument("--output", default="", help="a file: .jsonl")
    args = parser.parse_args(argv)
    for name in ("top", "window", "stride", "speed", "seconds", "reconnect"):
        if getattr(args, name) < (name == "top") or (name == "speed" and not args.speed):
            raise UserError(f"--{name}={getattr(args, name)}: expected more than 0")
    if args.output and pathlib.Path(args.output).suffix != ".jsonl":
        raise UserError(f"--output={args.output}: expected a file .jsonl")
    from darkjax.data import live as sources
    from darkjax.tools.predict import Found, check_folder, line, named

    check_folder(args.output)
    if not sources.is_live(args.source) and not pathlib.Path(args.source).is_file():
        raise UserError(f"{args.source}: no such file; a camera is camera:0, a stream a URL")

    import darkjax
    from darkjax import live, process, stops, timeline

    process.quiet()
    model = darkjax.load(args.run)
    print(f"{model.where}: {len(model.classes)} classes: {', '.join(model.classes)}", flush=True)
    rate = model.fps or 25.0
    frames = {
        name: max(round(seconds * rate), least)
        for name, seconds, least in (("window", args.window, 0), ("stride", args.stride, 1))
    }
    tally, shown, ended, broken = live.Tally(), Line(), False, None

    with (
        stops.listening(saying=stops.FOUND) as stop,
        _written(args.output) as write,
        contextlib.closing(
            live.labels(
                model,
                args.source,
                **frames,
                speed=args.speed,
                reconnect=args.reconnect,
                stop=lambda: ended or stop.number is not None,
                say=shown.say,
            )
        ) as labels,
    ):

        def windows() -> Iterator[timeline.Segment]:
            nonlocal ended, broken
            try:
                for label in labels:
                    tally.add(label)
                    top = named(model, label.segment.probabilities, args.top)
                    latency = {"latency": round(label.latency, 4)}
                    counts = {"frames": label.arrived, "used": label.used}
                    write("label", _row(label.segment, top) | latency | counts)
                    if shown.due():
                        shown.draw(now(label.segment.end, top[0], tally))
                    yield label.segment
                    ended = 0 < args.seconds <= label.segment.end
            except UserError as e:
                broken = e

        for segment in timeline.merged(windows()):
            top = named(model, segment.probabilities, args.top)
            shown.wipe()
            print(line(Found(args.source, segment.start, segment.end, top)), flush=True)
            write("segment", _row(segment, top))
        numbers = tally.numbers()
        write("summary", {k: round(v, 4) for k, v in numbers.items()})
    shown.wipe()
    if broken is not None and not tally.labels:
        raise broken
    print(summary(numbers))
    if broken is not None:
        print(f"error: {broken}", file=sys.stderr)
    return 128 + stop.number if stop.number is not None else int(broken is not None)


def now(seconds: float, first: tuple[str, float], tally: Any) -> str:
    """The line that is redrawn."""
    return f"{seconds:.1f} s  {first[0]} {first[1]:.2f}  {summary(tally.numbers())}"


def summary(numbers: dict[str, float]) -> str:
    """Counts and latencies in one line."""
    return (
        f"{numbers['labels']:.0f} labels, latency p50 {1000 * numbers['p50']:.0f} ms, "
        f"p95 {1000 * numbers['p95']:.0f} ms, frames: {numbers['used']:.0f} used, "
        f"{numbers['dropped']:.0f} dropped"
    )


class Line:
    """One line on standard error, redrawn five times a second; not on a terminal a new line every
    five seconds."""

    def __init__(self) -> None:
        self._tty, self._drawn = sys.stderr.isatty(), -float("inf")

    def due(self) -> bool:
        """Whether it is time to draw."""
        return time.monotonic() - self._drawn >= (0.2 if self._tty else 5.0)

    def draw(self, text: str) -> None:
        """In the place of what was drawn before."""
        self._drawn = time.monotonic()
        width = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be redrawn
        sys.stderr.write(f"\r\x1b[K{text[:width]}" if self._tty else f"{text}\n")
        sys.stderr.flush()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.wipe()
        print(line, file=sys.stderr, flush=True)

    def wipe(self) -> None:
        """Make room for another line on the terminal."""
        if self._tty:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _row(segment: Any, top: list[tuple[str, float]]) -> dict[str, Any]:
    return {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "label": top[0][0],
        "probability": round(top[0][1], 4),
        "top": [[name, round(share, 4)] for name, share in top],
    }


@contextlib.contextmanager
def _written(output: str) -> Iterator[Write]:
    """A function that adds a row of a kind to the file, which has it at once."""
    if not output:
        yield lambda kind, row: None
        return
    with open(output, "w", encoding="utf-8") as file:

        def write(kind: str, row: dict[str, Any]) -> None:
            file.write(json.dumps({"kind": kind, **row}) + "\n")
            file.flush()

        yield write


if __name__ == "__main__":
    program.run(main)
