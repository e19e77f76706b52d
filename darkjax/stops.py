"""Being asked to stop: SIGTERM from a cluster, Ctrl-C from a person.

One process keeps a flag of its own. Several must stop at the same step: there JAX's preemption
service listens to SIGTERM (on any of them) and agrees on the step, and a Python handler in its
place would swallow the signal, so Ctrl-C is handed on to it as SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax

Asked = Callable[[int], bool]
CHECKPOINT = "stopping at the next step, with a checkpoint"
FOUND = "stopping, and writing what was found so far"


class Stop:
    """What came in: `number` of the first signal, None as long as nobody asks."""

    def __init__(self, agreed: Asked | None = None, saying: str = CHECKPOINT):
        self._agreed, self._saying = agreed, saying
        self.number: int | None = None

    def asked(self, step: int) -> bool:
        """Whether to stop after `step`; the same answer on every process. Ask at every step."""
        if self._agreed is None:
            return self.number is not None
        if not self._agreed(step):
            return False
        self.number = self.number or signal.SIGTERM  # perhaps it came to another process
        return True

    def interrupt(self, *_: object) -> None:
        """Ctrl-C: the first is noted, the second leaves at once."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = signal.SIGINT
        # Not print: the signal may have come in the middle of one.
        os.write(2, f"\n{self._saying}; Ctrl-C again: at once\n".encode())
        if self._agreed is not None:
            os.kill(os.getpid(), signal.SIGTERM)

    def terminate(self, *_: object) -> None:
        """SIGTERM to one process; a second one changes nothing: the checkpoint comes first."""
        self.number = self.number or signal.SIGTERM


@contextlib.contextmanager
def listening(agreed: Asked | None = None, saying: str = CHECKPOINT) -> Iterator[Stop]:
    """Handlers for the length of the block; the old ones are put back afterwards.

    `agreed(step)` asks the preemption service, where there are several processes; a program that
    is always one gives none. `saying` is what a first Ctrl-C is answered.
    """
    several = agreed is not None and jax.process_count() > 1
    stop = Stop(agreed if several else None, saying)
    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals reach the main thread alone
        return
    handlers = {signal.SIGINT: stop.interrupt}
    if not several:
        handlers[signal.SIGTERM] = stop.terminate
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
