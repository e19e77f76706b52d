"""Records to batches, with grain.

A batch is a pure function of (seed, step): there is no iterator state to save, and a run may
be continued on another number of processes, threads or workers with the very same batches.
grain runs that function ahead of the training loop, on threads or in processes.

What is seen of a clip (`views.py`) is chosen clip by clip, with a random generator keyed by the
clip's place in the global order; then a whole batch is read straight into one array, so that
pixels are copied once.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from darkjax.data.records import Records
from darkjax.data.views import EvalViews, ReadBatch, TrainViews, ViewConfig
from darkjax.errors import UserError

BUFFERED_BATCHES = 4  # grain's default of 500 elements would be gigabytes of batches


class Batches(Iterator[dict[str, np.ndarray]]):
    """An iterator over batches that lets go of threads and processes when it is closed.

    Use it in a `with` block, or call `close`.
    """

    def __init__(self, iterator: Any):
        self._iterator = iterator

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._iterator)

    def close(self) -> None:
        """Stop reading ahead; may be called twice."""
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def train_batches(
    records: Records,
    rows: Sequence[int] | np.ndarray,
    *,
    cfg: Any,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    workers: int = 0,
) -> Batches:
    """Endless training batches of this process, beginning with the one of `start_step`.

    Each epoch is a new shuffle of `rows`, cut to whole batches (what is left out differs from
    epoch to epoch). Process p of P gets the p-th of P contiguous parts of every global batch, so
    that the parts laid side by side are the batch that one process would see.

    Args:
      records: the dataset.
      rows: record numbers to train on (`Records.select`).
      cfg: an object with the fields of `views.ViewConfig`.
      seed: of the shuffle and of every choice.
      batch_size: global; a multiple of `process_count`.
      start_step: how many steps were done before.
      process_index, process_count: which process this is, out of how many.
      num_threads: reading threads of each process; 0 reads in the caller.
      workers: reading processes, for heavy augmentation only: threads are faster at reading. A
        script that uses them needs the `if __name__ == "__main__"` guard.

    Returns:
      Batches with leading axis b = batch_size // process_count: `video` uint8 [b, T, h, w, C],
      `label`, `clip` (row of the card), `view` (0), `domain` (number in `records.domains`) int32
      [b], `mask` float32 [b] (1).

    Raises:
      UserError: fewer clips than a batch, frames smaller than the crop, or a field of `cfg`
        that does not fit.
    """
    import grain

    rows = np.asarray(rows)
    share = _share(batch_size, process_index, process_count)
    views_cfg = ViewConfig.of(cfg)
    views_cfg.check(records, rows)
    if not steps_per_epoch(rows, batch_size):
        raise UserError(
            f"expected at least {batch_size} clips for one batch; found {len(rows)}: "
            "use a smaller batch_size"
        )
    views = TrainViews(records.meta, views_cfg, rows, seed, batch_size)
    mine = slice(process_index * share, (process_index + 1) * share)
    steps = grain.MapDataset.source(range(start_step, 2**62))
    batches = steps.map(functools.partial(views.batch, part=mine))
    return _iterate(batches.map(_reader(records, rows, views_cfg)), num_threads, workers)


def eval_batches(
    records: Records,
    rows: Sequence[int] | np.ndarray,
    *,
    cfg: Any,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
) -> Batches:
    """Every view of every clip once, in a fixed order; the last batch is padded.

    A clip has `cfg.views_clips` × `cfg.views_crops` views: evenly spaced clips (or segment
    samplings) times 1, 3, 5 or 10 crops; `view` counts them, crops fastest. Crops are of
    `cfg.size`, or with `cfg.crop` "resized" the largest windows of that aspect, resized.
    Process p of P gets the p-th of P contiguous parts of every global batch, and so each has
    the same number of batches.

    Args:
      records, rows, batch_size, process_index, process_count, num_threads: as in
        `train_batches`; rows are visited in the order given.
      cfg: an object with the fields of `views.ViewConfig`.

    Returns:
      Batches as in `train_batches`. Padding has mask 0, black frames, label 0 and clip -1.

    Raises:
      UserError: no rows, frames smaller than the crop, or a field of `cfg` that does not fit.
    """
    import grain

    rows = np.asarray(rows)
    share = _share(batch_size, process_index, process_count)
    views_cfg = ViewConfig.of(cfg)
    views_cfg.check(records, rows)
    views = EvalViews(records.meta, views_cfg, rows)
    padded = -(-len(views) // batch_size) * batch_size
    parts = [range(k, k + share) for k in range(process_index * share, padded, batch_size)]
    batches = grain.MapDataset.source(parts).map(views.part)
    return _iterate(batches.map(_reader(records, rows, views_cfg)), num_threads, 0)


def steps_per_epoch(rows: Sequence[int] | np.ndarray, batch_size: int) -> int:
    """Training steps in which every clip is seen once, up to the remainder of a batch."""
    return len(rows) // batch_size


def _share(batch_size: int, process_index: int, process_count: int) -> int:
    """Examples of each batch that one process reads; UserError when it is not a whole number."""
    if not 0 <= process_index < process_count:
        raise UserError(
            f"expected 0 <= process_index < process_count; found {process_index}, {process_count}"
        )
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"expected a batch_size that {process_count} processes can share equally; "
            f"found {batch_size}"
        )
    return batch_size // process_count


def _reader(records: Records, rows: np.ndarray, cfg: ViewConfig) -> ReadBatch:
    return ReadBatch(records, cfg, int(records.meta["channels"][rows[0]]))


def _iterate(batches: Any, num_threads: int, workers: int) -> Batches:
    """A MapDataset of batches as an iterator that reads a few batches ahead."""
    import grain

    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=BUFFERED_BATCHES if num_threads else 0
    )
    dataset = batches.to_iter_dataset(options)
    if workers:
        _allow_workers()
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        )
    return Batches(iter(dataset))


def _allow_workers() -> None:
    """Let grain start workers outside `absl.app` (notebooks, tests).

    grain 0.2.18 reads an absl flag when it starts workers, and fails when flags were never
    parsed (google/grain issue 1355).
    """
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
