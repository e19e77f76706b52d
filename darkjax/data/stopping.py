"""Being stopped: by Ctrl-C, by a scheduler's SIGTERM, by a terminal that closes (SIGHUP)."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """Raised where the program was when it was told to stop; `name` is the signal's."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number, self.name = number, signal.Signals(number).name


def said(stop: Stopped) -> int:
    """Say on standard error that a conversion was stopped; the program's exit status."""
    how = "the same command goes on; finished shards are kept"
    print(f"stopped by {stop.name}: {how}", file=sys.stderr)
    return 128 + stop.number


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Inside, a signal that stops the program raises `Stopped`; a second one ends it at once.

    A signal that somebody has dealt with already (`nohup` has SIGHUP ignored) is left alone, and
    so are all of them outside the main thread.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        usual = (signal.SIG_DFL, signal.default_int_handler)
        before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) in usual}

    def stop(number: int, _: object) -> None:
        if _held is not None:
            _held.append(number)
            return
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_held: list[int] | None = None  # signals that came inside `delayed`


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Inside, signals that stop the program wait: a process that is begun is begun wholly.

    They are also blocked, so that processes started here are born so, see `worker`. That alone
    would not do: another thread, of numpy's for one, may take a signal in this one's place.
    """
    global _held
    _held = []
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if masks else set()
    try:
        yield
    finally:
        held, _held = _held, None
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if held:
            signal.raise_signal(held[0])


def worker() -> None:
    """In a worker process: Ctrl-C on a terminal goes to all processes, and the parent answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
