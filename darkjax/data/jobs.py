"""Running the conversion's jobs, in this process or in others."""

import concurrent.futures
import multiprocessing
from collections.abc import Sequence
from typing import Any

from darkjax.data import shards
from darkjax.data.progress import Progress
from darkjax.data.shards import Job
from darkjax.errors import UserError


def run(jobs: Sequence[Job], workers: int) -> dict[str, dict[str, Any]]:
    """Write the shards, in this process (0) or in `workers` others, with a progress line.

    Returns:
      The report of each job, by the name of its shard.

    Raises:
      UserError: what a job raised, or a worker process died.
    """
    progress = Progress(sum(len(job.clips) for job in jobs), "clips")
    try:
        if workers < 1 or not jobs:
            return _run_here(jobs, progress)
        return _run_in_pool(jobs, min(workers, len(jobs)), progress)
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
    counter = context.Value("q", 0)
    reports: dict[str, dict[str, Any]] = {}
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(counter,)
    ) as pool:
        futures = {pool.submit(_work, job): job for job in jobs}
        waiting = set(futures)
        try:
            while waiting:
                ready, waiting = concurrent.futures.wait(
                    waiting, timeout=0.2, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ready:
                    reports[futures[future].shard.name] = future.result()
                bad = sum(len(report["bad"]) for report in reports.values())
                progress.update(counter.value, f", {bad} bad" if bad else "")
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                "a worker process died, perhaps for lack of memory: run the same command again, "
                "with fewer --workers; finished shards are kept"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return reports


_counter: Any = None  # in a worker process: clips done by all of them


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter


def _work(job: Job) -> dict[str, Any]:
    return shards.write(job, _tick)


def _tick() -> None:
    with _counter.get_lock():
        _counter.value += 1
