"""One line that says how far, how fast and how long still."""

import io
import sys
import time
from typing import TextIO


class Progress:
    """A progress line on a terminal, redrawn in place; elsewhere a new line every five seconds."""

    def __init__(
        self,
        total: int,
        unit: str,
        stream: TextIO | io.StringIO | None = None,
        before: int = 0,
    ):
        """`before` of `total` were done by an earlier run: they say nothing of the rate."""
        self.total, self.unit, self.before = total, unit, before
        self.stream = sys.stderr if stream is None else stream
        self.tty = self.stream.isatty()
        self.began = self.drawn = time.monotonic()

    def update(self, done: int, more: str = "") -> None:
        """Say that `done` more are done, if it is time to say so again."""
        now = time.monotonic()
        if now - self.drawn < (0.2 if self.tty else 5.0):
            return
        self.drawn = now
        self.stream.write(("\r" if self.tty else "") + self.line(done, more))
        self.stream.write("\x1b[K" if self.tty else "\n")
        self.stream.flush()

    def line(self, done: int, more: str = "") -> str:
        """The line: how many of how many, the rate, the time left."""
        rate = done / max(time.monotonic() - self.began, 1e-9)
        done += self.before
        eta = f"{_duration((self.total - done) / rate)} left" if rate else "unknown time left"
        return f"{done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, {eta}{more}"

    def close(self) -> None:
        """Wipe the line off a terminal."""
        if self.tty:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
