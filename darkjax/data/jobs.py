"""Running the conversion's jobs, in this process or in others."""

import concurrent.futures
import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

from darkjax.data import shards
from darkjax.data.progress import Progress
from darkjax.data.shards import Job


def run(jobs: Sequence[Job], workers: int) -> dict[str, dict[str, Any]]:
    """Write the shards, in this process or in `workers` others; reports by shard name."""
    total = sum(len(job.clips) for job in jobs)
    progress = Progress(total, "clips")
    reports = {}
    bad = 0
    try:
        for done, job, report in _reports(jobs, min(workers, len(jobs))):
            if report is not None:
                reports[job.shard.name] = report
                bad += len(report["bad"])
            progress.update(done, f", {bad} bad" if bad else "")
    finally:
        progress.close()
    return reports


def _reports(
    jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Job | None, dict[str, Any] | None]]:
    """Yields (clips done so far, job, its report); job and report are None between shards."""
    if workers == 0:
        done = 0
        for job in jobs:
            report = shards.write(job)
            done += len(job.clips)
            yield done, job, report
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
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
                yield counter.value, None, None
                for future in ready:
                    yield counter.value, futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_counter: Any = None  # of a worker process: clips done by all of them


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter


def _work(job: Job) -> dict[str, Any]:
    return shards.write(job, _tick)


def _tick() -> None:
    with _counter.get_lock():
        _counter.value += 1
