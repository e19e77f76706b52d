"""This process: one of several, alone in its folder, quiet, and how much memory it took."""

from __future__ import annotations

import contextlib
import logging as std_logging
import resource
import sys
from collections.abc import Iterator
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


@contextlib.contextmanager
def alone(workdir: str) -> Iterator[None]:
    """The workdir locked by process 0; when it cannot be had, every process hears of it."""
    if jax.process_count() == 1:
        with lock.held(workdir):
            yield
        return
    from jax.experimental import multihost_utils

    with contextlib.ExitStack() as stack:
        error = None
        if jax.process_index() == 0:
            try:
                stack.enter_context(lock.held(workdir))
            except UserError as e:
                error = e
        if multihost_utils.broadcast_one_to_all(np.asarray(error is not None)):
            raise error or UserError(f"{workdir}: process 0 could not have it, see its output")
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
