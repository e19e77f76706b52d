"""Running the conversion's jobs, in this process or in others."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import threading
from collections.abc import Sequence
from typing import Any

from darkjax.data import shards, stopping
from darkjax.data.progress import Progress
from darkjax.data.shards import Job
from darkjax.errors import worker_died


def run(jobs: Sequence[Job], workers: int, before: int = 0) -> dict[str, dict[str, Any]]:
    """Write the shards, in this process (0) or in `workers` others, with a progress line.

    Args:
      jobs: the shards.
      workers: processes.
      before: clips of shards that were finished earlier, for the progress line.

    Returns:
      The report of each job, by the name of its shard.

    Raises:
      UserError: what a job raised, or a worker process died.
    """
    clips = sum(len(job.clips) for job in jobs)
    progress = Progress(before + clips, "clips", before=before)
    try:
        if workers < 1 or not jobs:
            return _run_here(jobs, progress)
        return _run_in_pool(jobs, min(workers, len(jobs)), progress)
    except BaseException:
        for job in jobs:  # a worker that ends with its parent cannot tidy up
            shards.remove_parts(job)
        raise
    finally:
        progress.close()


def _run_here(jobs: Sequence[Job], progress: Progress) -> dict[str, dict[str, Any]]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress.update(done)

    return {job.shard.name: shards.write(job, tick) for job in jobs}


def _run_in_pool(
    jobs: Sequence[Job], workers: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    with stopping.delayed():  # it starts the process that looks after semaphores
        counter = context.Value("q", 0)
    # Nothing is ever sent. Only this process has the writing end, so that the workers see the
    # pipe's end when it is closed, or when this process ends in whatever way.
    watched, lifeline = context.Pipe(duplex=False)
    reports: dict[str, dict[str, Any]] = {}
    with (
        watched,
        lifeline,
        concurrent.futures.ProcessPoolExecutor(
            workers, context, initializer=_start_worker, initargs=(counter, watched)
        ) as pool,
    ):
        try:
            with stopping.delayed():
                futures = {pool.submit(_work, job): job for job in jobs}
            waiting = set(futures)
            while waiting:
                ready, waiting = concurrent.futures.wait(
                    waiting, timeout=0.2, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ready:
                    future.result()
                    job = futures[future]
                    reports[job.shard.name] = shards.read_report(job)
                bad = sum(len(report["bad"]) for report in reports.values())
                # Without its lock: a worker may have been killed while it held it.
                progress.update(counter.get_obj().value, f", {bad} bad" if bad else "")
        except concurrent.futures.process.BrokenProcessPool as error:
            lifeline.close()
            raise worker_died("; finished shards are kept") from error
        except BaseException:
            lifeline.close()
            raise
    return reports


_counter: Any = None  # in a worker process: clips done by all of them


def _start_worker(counter: Any, watched: Any) -> None:
    global _counter
    _counter = counter
    stopping.worker()
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()


def _end_with_parent(watched: Any) -> None:
    """Wait for the pipe's end, then leave at once; what is half written has a temporary name."""
    with contextlib.suppress(OSError, EOFError):
        watched.recv_bytes()
    os._exit(1)


def _work(job: Job) -> None:
    """Write a shard. The parent reads the report from disc: a long answer through the pool's pipe
    could be cut in two by a worker that is killed, and the parent would wait for the rest."""
    shards.write(job, _tick)


def _tick() -> None:
    with _counter.get_lock():
        _counter.value += 1
