"""This process: one of several, alone in its folder, quiet, and how much memory it took."""

from __future__ import annotations

import contextlib
import json
import logging as std_logging
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging

from darkjax import lock
from darkjax.errors import UserError, storage


def join(address: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Become one process of several, before anything else touches a device.

    Without arguments JAX finds them out (TPU pods, Slurm, GKE).
    """
    if address is None:
        jax.distributed.initialize()
    else:  # everything is given: do not go and ask a cluster that may not be there
        jax.distributed.initialize(address, count, index, cluster_detection_method="deactivate")


def by_first(find: Callable[[], list[str]]) -> list[str]:
    """What process 0 finds, or the error it ends with, on every process; they wait for it."""
    if jax.process_count() == 1:
        return find()
    from jax.experimental import multihost_utils

    text, error = b"", None
    if jax.process_index() == 0:
        try:
            found: dict[str, Any] = {"lines": find()}
        except Exception as e:
            found, error = {"error": str(e) or type(e).__name__}, e
        text = json.dumps(found).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = np.frombuffer(text.ljust(size), np.uint8)
    found = json.loads(np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes())
    if error is not None:
        raise error
    if "error" in found:
        raise UserError(found["error"])
    return found["lines"]


@contextlib.contextmanager
def alone(workdir: str) -> Iterator[None]:
    """The workdir locked by process 0; when it cannot be had, every process hears of it."""
    with contextlib.ExitStack() as stack:

        def take() -> list[str]:
            stack.enter_context(lock.held(workdir))
            return []

        by_first(take)
        yield


def quiet() -> None:
    """Errors only from the libraries below: orbax tells of every file it writes.

    Of a full disk it tells with a traceback for each array; `run` says it in one line.
    """
    logging.set_verbosity(logging.ERROR)
    for logger in (logging.get_absl_logger(), std_logging.getLogger("asyncio")):
        logger.addFilter(lambda record: not (record.exc_info and storage(record.exc_info[1])))
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        # What is left of a write when another has failed: its callback finds nobody.
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def peak_gib() -> float:
    """The largest resident memory of this process so far, in GiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**30 if sys.platform == "darwin" else 2**20)
