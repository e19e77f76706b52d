"""The conversion as an Apache Beam pipeline, for collections beyond one machine.

    python -m darkjax.data.convert … --runner=DirectRunner -- --direct_num_workers=4

A shard is one element. Workers read `--raw` and write `--out` as files, by the very code of a
plain conversion, so the bytes are the same, and so is what is done about a run that was stopped.
Both folders must be the same ones on this machine and on all workers, which have darkjax installed.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from typing import Any

from darkjax.data import shards, stopping
from darkjax.data.shards import Job
from darkjax.errors import UserError

AGAIN = "run the same command again; finished shards are kept"


def run(jobs: Sequence[Job], runner: str, flags: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Write the shards by a Beam pipeline, and wait for its end.

    Args:
      jobs: the shards to write.
      runner: Beam's name of it: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner, ….
      flags: more flags of Beam and of the runner.

    Returns:
      The report of each job, by the name of its shard.

    Raises:
      UserError: Beam is not installed, the pipeline failed, or what a job raised.
      stopping.Stopped: a signal.
    """
    beam, options = _beam(runner, flags)
    if not jobs:
        return {}
    jobs = [_anywhere(job) for job in jobs]
    try:
        pipeline = beam.Pipeline(options=options)
        # Reshuffled, so that no two jobs are fused into one that a single worker does.
        _ = pipeline | beam.Create(jobs) | beam.Reshuffle() | "write" >> beam.Map(write)
        state = pipeline.run().wait_until_finish()
    except Exception as error:  # every runner has errors of its own
        if stop := re.search(r"stopping\.Stopped: (\d+)", str(error)):  # it took it for an error
            raise stopping.Stopped(int(stop[1])) from error
        raise UserError(_told(error, runner)) from error
    if state != beam.runners.runner.PipelineState.DONE:
        raise UserError(f"the pipeline of {runner} ended as {state}: {AGAIN}")
    return {job.shard.name: _report(job) for job in jobs}


def write(job: Job) -> str:
    """In a worker: write a shard, unless another worker that was given it too has done so."""
    from apache_beam.metrics import Metrics

    if job.root is not None and not job.root.exists():  # every clip would be listed as bad
        raise UserError(f"expected the folder --raw={job.root} on each worker; found none on one")
    if shards.finished(job) is None:
        shards.write(job, Metrics.counter("darkjax", "clips").inc)
    return job.shard.name


def _beam(runner: str, flags: Sequence[str]) -> tuple[Any, Any]:
    """The package, and the options of a pipeline."""
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            f"--runner={runner} needs Apache Beam: pip install 'darkjax[beam]' ({error})"
        ) from error
    # Its traceback of what a worker raises, which is told here in one line.
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    return apache_beam, PipelineOptions([f"--runner={runner}", *flags])


def _anywhere(job: Job) -> Job:
    """A job with paths that do not depend on where a worker is started."""
    root = None if job.root is None else job.root.absolute()
    return dataclasses.replace(job, root=root, out=job.out.absolute())


def _told(error: Exception, runner: str) -> str:
    """What a job raised, out of what a runner makes of it; or else the runner's own last line."""
    text = re.sub(r" \[while running [^\]]*\]", "", re.sub(r"\\+n", "\n", str(error)))
    ours = re.findall(r"UserError: (.+)$", text, flags=re.MULTILINE)
    if isinstance(error, UserError) or ours:
        return ours[-1] if ours else text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    what = lines[-1] if lines else type(error).__name__
    return f"the pipeline of {runner} failed: {what[:300]}: {AGAIN}"


def _report(job: Job) -> dict[str, Any]:
    report = shards.finished(job)
    if report is None:
        raise UserError(
            f"expected {job.shard.name} in {job.out}, as a worker wrote it; found none: --out must "
            "be one folder that this machine and all workers share"
        )
    return report
