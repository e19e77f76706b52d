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

from darkjax.closing import Closing
from darkjax.data import balance as balances
from darkjax.data.records import Records
from darkjax.data.sources import Source
from darkjax.data.views import EvalViews, ReadBatch, TrainViews, ViewConfig
from darkjax.errors import UserError

BUFFERED_BATCHES = 4  # grain's default of 500 elements would be gigabytes of batches


class Batches(Closing, Iterator[dict[str, np.ndarray]]):
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


def shapes(cfg: Any, batch_size: int, channels: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """(shape, dtype) of everything in a batch, by name."""
    one = (batch_size,)
    return {
        "video": ((batch_size, cfg.frames, *cfg.size, channels), np.uint8),
        "label": (one, np.int32),
        "clip": (one, np.int32),
        "view": (one, np.int32),
        "domain": (one, np.int32),
        "mask": (one, np.float32),
    }


def train_batches(
    records: Records,
    rows: Sequence[int] | np.ndarray,
    *,
    batch_size: int,
    balance: str = "none",
    **options: Any,
) -> Batches:
    """Endless training batches of one dataset: `mixed_batches` of one labelled source.

    Args:
      records: the dataset.
      rows: record numbers to train on (`Records.select`).
      batch_size: global; a multiple of `process_count` and of `cfg.train_views`.
      balance: what takes turns, a name of `balance.BALANCES`.
      **options: of `mixed_batches`.

    Raises:
      UserError: fewer clips than a batch, and those of `mixed_batches`.
    """
    rows = np.asarray(rows)
    views = ViewConfig.of(options["cfg"]).train_views
    if batch_size % views:
        raise UserError(f"batch_size={batch_size} is not a multiple of train_views={views}")
    labels = np.arange(len(records.classes), dtype=np.int32)
    tree = balances.tree(records, rows, balances.levels(balance))
    return mixed_batches((Source(records, rows, batch_size // views, labels, tree),), **options)


def mixed_batches(
    sources: Sequence[Source],
    *,
    cfg: Any,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    workers: int = 0,
) -> Batches:
    """Endless training batches of this process, beginning with the one of `start_step`.

    Each epoch of a source is a new shuffle of its rows, cut to whole batches (what is left out
    differs from epoch to epoch); where a source has fewer clips than its part of a batch, it begins
    again within the batch. A source with a tree has turns instead (`balance.py`). Every batch is
    `cfg.train_views` blocks of the same clips, in each of which the sources follow each other.
    Process p of P gets the p-th of P contiguous parts of every global batch, so that the parts laid
    side by side are the batch that one process would see.

    Args:
      sources: of `sources.of`: the datasets and how many clips of every batch each gives.
      cfg: an object with the fields of `views.ViewConfig`.
      seed: of the shuffles and of every choice.
      start_step: how many steps were done before.
      process_index, process_count: which process this is, out of how many.
      num_threads: reading threads of each process; 0 reads in the caller.
      workers: reading processes, for heavy augmentation only: threads are faster at reading. A
        script that uses them needs the `if __name__ == "__main__"` guard.

    Returns:
      Batches with leading axis b, the process's share of all views: `video` uint8 [b, T, h, w, C],
      `label` (-1 in an unlabelled source), `clip` (row of its dataset's card), `view` (0 to
      train_views - 1), `domain` (number of the source; of one alone, the clip's in
      `records.domains`) int32 [b], `mask` float32 [b] (1).

    Raises:
      UserError: one source with fewer clips than a batch, frames smaller than the crop, different
        channels, or a field of `cfg` that does not fit.
    """
    import grain

    views_cfg = ViewConfig.of(cfg)
    read = reader(tuple(sources), views_cfg)
    views = TrainViews(tuple(sources), views_cfg, seed)
    share = _share(views.batch_size, process_index, process_count)
    if len(sources) == 1 and sources[0].clips > len(sources[0].rows):
        raise UserError(
            f"expected at least {sources[0].clips} clips for one batch; found "
            f"{len(sources[0].rows)}: use a smaller batch_size"
        )
    mine = slice(process_index * share, (process_index + 1) * share)
    steps = grain.MapDataset.source(range(start_step, 2**62))
    batches = steps.map(functools.partial(views.batch, part=mine))
    return _iterate(batches.map(read), num_threads, workers)


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
    labels = np.arange(len(records.classes), dtype=np.int32)
    (batches,) = ordered_batches(
        (Source(records, np.asarray(rows), batch_size, labels),),
        cfg=cfg,
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
        num_threads=num_threads,
    )
    return batches


def ordered_batches(
    sources: Sequence[Source],
    *,
    cfg: Any,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
) -> Iterator[Batches]:
    """`eval_batches` of each source in turn, with the labels and domains of `mixed_batches`."""
    import grain

    share = _share(batch_size, process_index, process_count)
    views_cfg = ViewConfig.of(cfg)
    read = reader(tuple(sources), views_cfg)
    for number, source in enumerate(sources):
        views = EvalViews(source.records.meta, views_cfg, source.rows, number)
        padded = -(-len(views) // batch_size) * batch_size
        parts = [range(k, k + share) for k in range(process_index * share, padded, batch_size)]
        batches = grain.MapDataset.source(parts).map(views.part)
        yield _iterate(batches.map(read), num_threads, 0)


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


def reader(sources: tuple[Source, ...], cfg: ViewConfig) -> ReadBatch:
    """What reads the chosen views of a batch. UserError: the sources cannot give such views."""
    for source in sources:
        cfg.check(source.records, source.rows)
    found = {int(s.records.meta["channels"][s.rows[0]]): s.records.directory for s in sources}
    if len(found) > 1:
        said = ", ".join(f"{where} has {count}" for count, where in found.items())
        raise UserError(f"expected sources of as many channels each; found: {said}")
    return ReadBatch(sources, cfg, next(iter(found)))


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
