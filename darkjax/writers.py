"""Where numbers go while a run lasts: the terminal, `metrics.jsonl`, and what `log_to` names.

Only process 0 writes; on every other process the same calls do nothing, so the loop
needs no condition. `Progress` is the line a person watches, `Writer` keeps the record,
`history` reads it back.
"""

import collections
import contextlib
import io
import json
import math
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from darkjax import files, loggers
from darkjax.closing import Closing
from darkjax.errors import UserError

ROWS = "metrics.jsonl"
ERASE = "\r\x1b[K"  # back to the margin, then clear the line a Progress may have left there

Clock = Callable[[], float]


class Writer:
    """Scalars by step: one printed line, one row of `metrics.jsonl`, points of `loggers`.

    Args:
      workdir: the run's folder, local or mounted, made when missing.
      process_index: `jax.process_index()`; every process but 0 writes nothing.
      log_to: names of `loggers.PACKAGES`, which get the same scalars.
      about: what those say of the run.
      resume_step: the first step that will be written again: rows from it on, left by a run
        that went further than its last checkpoint, are dropped. None keeps every row.
      stream: where lines are printed; standard output by default.

    Raises:
      UserError: a workdir that is no folder or cannot be made, a metrics.jsonl that is none, or
        a logger that is not installed or does not begin.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        process_index: int,
        log_to: Sequence[str] = ("tensorboard",),
        about: loggers.About | None = None,
        resume_step: int | None = None,
        stream: TextIO | io.StringIO | None = None,
    ) -> None:
        self._on = process_index == 0
        self._stream = stream
        self._loggers: list[loggers.Logger] = []
        folder = _folder(workdir)
        if not self._on:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise UserError(
                f"workdir: expected a folder that can be made, found {workdir} ({e.strerror}); "
                "give another --workdir"
            ) from e
        path = folder / ROWS
        files.write_text(path, "".join(_kept(path, resume_step)))
        about = about or loggers.About(stage=folder.name)
        self._loggers = loggers.opened(log_to, folder, about, resume_step, self._print)
        self._rows = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, step: int, values: Mapping[str, Any], *, echo: bool = True) -> None:
        """Record `values` (numbers or scalar arrays) as of `step`; `echo=False` prints nothing.

        NaN and infinities are written to the file as the strings "nan", "inf" and "-inf",
        so that every row is valid JSON.
        """
        if not self._on:
            return
        taken = {"step", "time"} & values.keys()
        if taken:
            raise UserError(f"metrics: expected other names than step and time, found {taken}")
        now = time.time()
        numbers = {name: float(value) for name, value in values.items()}
        row = {"step": int(step), "time": now} | {k: _to_json(v) for k, v in numbers.items()}
        self._rows.write(json.dumps(row, allow_nan=False) + "\n")
        self._rows.flush()
        for logger in self._loggers:
            logger.log(int(step), numbers, now)
        if echo:
            self._print(f"step {step} | {_terms(numbers)}")

    def close(self, failed: bool = False) -> None:
        """Write out what is buffered; writing afterwards is an error."""
        if self._on:
            self._rows.close()
            for logger in self._loggers:
                logger.close(failed)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(failed=kind is not None)

    def _print(self, line: str) -> None:
        stream = self._stream or sys.stdout
        print((ERASE if stream.isatty() else "") + line, file=stream, flush=True)


def history(workdir: str | os.PathLike[str]) -> list[dict[str, float]]:
    """The rows of `workdir/metrics.jsonl`, in writing order, non-finite numbers restored.

    Each has "step", "time" (seconds since 1970) and what was written. A last line that was
    cut short by a crash is ignored; no file is no rows.

    Raises:
      UserError: any other line that is not such a row.
    """
    rows = [json.loads(line) for line in _kept(_folder(workdir) / ROWS, None)]
    return [{k: float(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows]


class Progress(Closing):
    """The line that says how far, how fast, how much waiting for data, and until when.

    `step 120/1000 12% | loss 1.031 | 3.2 steps/s | 25.6 clips/s | data wait 4% | eta 4m35s`

    On a terminal it is redrawn in place twice a second; elsewhere one line every `interval`
    seconds. Rates are taken over the last 30 lines and from the first `update` on, so
    compilation does not count.

    Args:
      total_steps: where the run ends.
      batch_size: clips in one step, over all processes.
      process_index: every process but 0 shows nothing.
      interval: seconds between lines when not on a terminal.
      stream: standard output by default.
      clock: seconds, monotonic; tests give their own.
    """

    def __init__(
        self,
        total_steps: int,
        batch_size: int,
        *,
        process_index: int = 0,
        interval: float = 10.0,
        stream: TextIO | io.StringIO | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.total_steps, self.batch_size = total_steps, batch_size
        self._on = process_index == 0
        self._stream = stream or sys.stdout
        self._tty = self._stream.isatty()
        self._interval = 0.5 if self._tty else interval
        self._clock = clock
        self._waited = self._paused = 0.0
        self._marks: collections.deque[tuple[float, int, float]] = collections.deque(maxlen=30)
        self._drawn = False  # an unfinished line is on the terminal

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the call that fetches a batch: its time is the data wait."""
        start = self._clock()
        try:
            yield
        finally:
            self._waited += self._clock() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Around evaluation and checkpoints: their time is in no rate."""
        self._break_line()
        start = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - start

    def update(self, step: int, losses: Mapping[str, Any]) -> None:
        """Say that `step` steps are done; shows a line when one is due or it was the last.

        `losses` are read only for a line that is shown, so device arrays cost no waiting
        in between.
        """
        if not self._on:
            return
        now = self._clock() - self._paused
        due = not self._marks or now - self._marks[-1][0] >= self._interval
        if due or step >= self.total_steps:
            self._show(self.line(step, losses))
            self._marks.append((now, step, self._waited))

    def line(self, step: int, losses: Mapping[str, Any]) -> str:
        """The progress line as of now."""
        share = step / self.total_steps if self.total_steps else 1.0
        parts = [f"step {step}/{self.total_steps} {share:.0%}", _terms(losses)]
        now = self._clock() - self._paused
        if self._marks and now > self._marks[0][0] and step > self._marks[0][1]:
            then, first, waited = self._marks[0]
            rate = (step - first) / (now - then)
            parts += [
                f"{_number(rate)} steps/s",
                f"{_number(rate * self.batch_size)} clips/s",
                f"data wait {(self._waited - waited) / (now - then):.0%}",
                f"eta {duration((self.total_steps - step) / rate)}",
            ]
        return " | ".join(p for p in parts if p)

    def close(self) -> None:
        """Leave the last line on the terminal."""
        self._break_line()

    def _show(self, line: str) -> None:
        if self._tty:
            width = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be redrawn
            self._stream.write(ERASE + line[:width])
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
        self._drawn = self._tty

    def _break_line(self) -> None:
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn = False


def duration(seconds: float) -> str:
    """`42s`, `4m05s`, `3h07m`, `2d05h`."""
    s = max(0, round(seconds))
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86400}d{s % 86400 // 3600:02d}h"


# ---------------------------------------------------------------- the rows' file


def _folder(workdir: str | os.PathLike[str]) -> pathlib.Path:
    if "://" in str(workdir):
        raise UserError(
            f"workdir: expected a local or mounted folder, found {workdir}; mount the bucket "
            "and give the path of the mount"
        )
    return pathlib.Path(workdir)


def _kept(path: pathlib.Path, resume_step: int | None) -> list[str]:
    """The file's whole rows below resume_step, each with its line end."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    # What follows the last line end was torn by a crash, even where it happens to parse.
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    kept = []
    for number, line in enumerate(lines, start=1):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError) as e:
            raise UserError(
                f"{path}, line {number}: expected a JSON row with a step, found "
                f"{line.strip()[:60]!r}; remove the line or give another --workdir"
            ) from e
        if resume_step is None or step < resume_step:
            kept.append(line)
    return kept


def _to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _terms(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {_number(float(value))}" for name, value in values.items())


def _number(value: float) -> str:
    """Four digits, and no exponent where a person would not write one."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
