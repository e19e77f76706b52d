"""One line that says how far, how fast and how long still."""

import sys
import time
from typing import TextIO


class Progress:
    """A progress line on a terminal, redrawn in place; elsewhere a new line every five seconds."""

    def __init__(self, total: int, unit: str, stream: TextIO | None = None):
        self.total, self.unit = total, unit
        self.stream = sys.stderr if stream is None else stream
        self.tty = self.stream.isatty()
        self.began = self.drawn = time.monotonic()

    def update(self, done: int, more: str = "") -> None:
        """Say that `done` of `total` are done, if it is time to say so again."""
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
        left = (self.total - done) / rate if rate else float("inf")
        eta = f"{left / 60:.1f} min left" if left < 1e6 else "unknown time left"
        return f"{done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, {eta}{more}"

    def close(self) -> None:
        """Wipe the line off a terminal."""
        if self.tty:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
