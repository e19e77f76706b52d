"""A view: the part of one clip that one example of a batch is. Choosing them, and reading them.

Everything here can be pickled, so that grain may run it in other processes.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax import channels
from darkjax.data import balance, remote, sampling
from darkjax.data.records import Records
from darkjax.data.resize import resize_clip
from darkjax.data.sampling import Window
from darkjax.data.sources import Source
from darkjax.errors import UserError

SAMPLINGS = ("dense", "segments")
CROPS = ("random", "resized", "corners", "centre")


@dataclasses.dataclass(frozen=True)
class ViewConfig:
    """How frames and windows are chosen; the fields of the experiment's config.

    Attributes:
      frames: frames of a view.
      stride: frames from one to the next ("dense").
      deltas: several distances instead of `stride` ("dense"): each training view has one of those
        that the clip is long enough for, the evaluation views of a clip have those in turn (so
        `views_clips` of as many sees each once).
      sampling: "dense" (evenly spaced from a random start) or "segments" (one of each part).
      size: (height, width) of a view, in pixels.
      crop: training windows: "random" or "centre" windows of `size`, "resized" ones of random area
        and aspect, or "corners", resized ones at 13 places of a few sizes.
      scale: smallest and largest share of the frame's area ("resized").
      corner_scales, corner_distort: `sampling.corner_crop` ("corners").
      centre: (height, width) of the middle of every frame outside which nothing is looked at, in
        training and evaluation (a fisheye's rim); () is the whole frame.
      flip: mirror half of the training views.
      train_views: views of each clip of a training batch, every one drawn for itself.
      views_clips, views_crops: evaluation views of a clip, in time and space. `views_clips` 0 is as
        many as the clip holds without overlap ("dense").
    """

    frames: int
    stride: int = 1
    deltas: tuple[int, ...] = ()
    sampling: str = "dense"
    size: tuple[int, int] = (112, 112)
    crop: str = "random"
    scale: tuple[float, float] = (0.25, 1.0)
    corner_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    corner_distort: int = 1
    centre: tuple[int, ...] = ()
    flip: bool = True
    train_views: int = 1
    views_clips: int = 1
    views_crops: int = 1

    def __post_init__(self):
        for name, known in (
            ("sampling", SAMPLINGS),
            ("crop", CROPS),
            ("views_crops", (1, 3, 5, 10)),
        ):
            if getattr(self, name) not in known:
                raise UserError(
                    f"expected {name} out of {', '.join(map(str, known))}; "
                    f"found {getattr(self, name)!r} in the config"
                )
        for name, least in (("frames", 1), ("stride", 1), ("train_views", 1), ("views_clips", 0)):
            if getattr(self, name) < least:
                found = getattr(self, name)
                raise UserError(f"expected {name} of at least {least}; found {found} in the config")
        if not self.views_clips and self.sampling != "dense":
            raise UserError(
                f"views_clips=0, clips without overlap, needs sampling='dense'; found "
                f"{self.sampling!r} in the config: give views_clips a number, or sampling 'dense'"
            )
        if self.deltas and (self.sampling != "dense" or not self.views_clips):
            raise UserError(
                f"deltas={self.deltas}, distances between frames, need sampling='dense' and "
                f"views_clips of at least 1; found {self.sampling!r} and {self.views_clips}: give "
                "deltas=() for stride alone"
            )
        if len(self.centre) not in (0, 2) or min(self.centre, default=1) < 1:
            raise UserError(f"expected centre (height, width) or (); found {self.centre}")
        narrow = any(c < n for c, n in zip(self.centre, self.size, strict=False))
        if narrow and self.crop != "resized":
            raise UserError(f"expected centre {self.centre} to hold the size {self.size}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"expected size (height, width); found {self.size} in the config")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"expected 0 < scale[0] <= scale[1] <= 1; found {self.scale}")

    @classmethod
    def of(cls, cfg: Any) -> "ViewConfig":
        """From any object with these attributes; absent ones keep their default.

        Raises:
          UserError: `frames` or `size` is absent, or a field does not fit.
        """
        found = {f.name: getattr(cfg, f.name, None) for f in dataclasses.fields(cls)}
        for name in ("frames", "size"):
            if found[name] is None:
                raise UserError(f"expected the field {name} in the data config; found none")
        given = {name: value for name, value in found.items() if value is not None}
        for name in ("size", "scale", "centre", "deltas", "corner_scales"):
            if name in given:
                given[name] = tuple(given[name])
        return cls(**given)

    def clips(self, num_frames: int) -> np.ndarray:
        """The evaluation views of so many frames, in time: int64 [n, frames]."""
        if self.sampling == "segments":
            return sampling.spaced_segments(num_frames, self.frames, self.views_clips)
        if not self.views_clips:
            return sampling.tiled_clips(num_frames, self.frames, self.stride)
        deltas = self.deltas or (self.stride,)
        return sampling.spaced_deltas(num_frames, self.frames, deltas, self.views_clips)

    def views(self, num_frames: np.ndarray) -> np.ndarray:
        """How many evaluation views a clip of so many frames has: int64, the shape given."""
        count = self.views_clips or np.maximum(num_frames // (self.frames * self.stride), 1)
        return np.broadcast_to(count * self.views_crops, num_frames.shape).astype(np.int64)

    def seen(self, height: int, width: int) -> tuple[int, int]:
        """The height and width of what is looked at in a frame."""
        if not self.centre:
            return height, width
        return min(height, self.centre[0]), min(width, self.centre[1])

    def placed(self, window: Window, height: int, width: int) -> Window:
        """A window of what is looked at as a window of the frame."""
        inner = self.seen(height, width)
        y, x = window.y + (height - inner[0]) // 2, window.x + (width - inner[1]) // 2
        return window._replace(y=y, x=x)

    def check(self, records: Records, rows: np.ndarray) -> None:
        """Whether every record can give such a view.

        Raises:
          UserError: no rows, frames smaller than the window, or mixed channels.
        """
        if not len(rows):
            raise UserError("expected some clips; found none selected")
        height, width = records.meta["height"][rows], records.meta["width"][rows]
        small = np.flatnonzero((height < self.size[0]) | (width < self.size[1]))
        if self.crop != "resized" and len(small):
            record = rows[small[0]]
            raise UserError(
                f"expected frames of at least {self.size[0]}×{self.size[1]} pixels to crop; found "
                f"{height[small[0]]}×{width[small[0]]} in clip "
                f"{records.clips[records.meta['clip'][record]]['id']} of {records.directory}: "
                "convert with a larger --short_side, use a smaller size, or crop='resized'"
            )
        channels = set(records.meta["channels"][rows].tolist())
        if len(channels) > 1:
            raise UserError(f"expected clips of as many channels each; found {sorted(channels)}")


def named(data: Any) -> str:
    """The views of an evaluation as its numbers name them: `3x1`, or `allx1` without overlap."""
    return f"{data.views_clips or 'all'}x{data.views_crops}"


@dataclasses.dataclass(frozen=True)
class View:
    """What is to be read of one record of a source. `record` is -1 for padding."""

    record: int
    frames: np.ndarray
    window: Window
    view: int = 0
    source: int = 0


@functools.lru_cache(maxsize=16)
def epoch_order(seed: int, epoch: int, count: int, source: int = 0) -> np.ndarray:
    """The shuffle of one epoch of a source: int64 [count].

    Not grain's own: its `index_shuffle` takes 0.7 ms an index on data sets of some hundred
    clips, more than reading the clip does.
    """
    key = [seed, epoch, source] if source else [seed, epoch]
    return np.random.default_rng(key).permutation(count)


@dataclasses.dataclass(frozen=True)
class TrainViews:
    """The random views of training, as a function of the step.

    A batch is `train_views` blocks of the same clips; in each block the sources follow each other.
    So positions are fixed, and a part that takes every n-th example has its share of all.
    """

    sources: tuple[Source, ...]
    cfg: ViewConfig
    seed: int

    @property
    def batch_size(self) -> int:
        """Examples of a whole batch."""
        return sum(source.clips for source in self.sources) * self.cfg.train_views

    def batch(self, step: int, part: slice = slice(None)) -> list[View]:
        """The views of one global batch, or of a part of it."""
        clips = [
            (number, int(record))
            for number, source in enumerate(self.sources)
            for record in self._clips(step, number, source)
        ]
        first = step * self.batch_size
        views = []
        for position in range(self.batch_size)[part]:
            view, clip = divmod(position, len(clips))
            # A counter-based generator: independent streams for different keys, and cheap.
            key = [self.seed, first + position]
            rng = np.random.Generator(np.random.Philox(key=key))
            number, record = clips[clip]
            chosen = self.view(record, rng, self.sources[number].records.meta)
            views.append(dataclasses.replace(chosen, view=view, source=number))
        return views

    def _clips(self, step: int, number: int, source: Source) -> np.ndarray:
        """The records of one step. An epoch of a source is cut to whole batches, unless the source
        has fewer clips than its part of one batch: then it begins again within the batch. Balanced
        turns just go on: they need no epochs."""
        count, rows = source.clips, source.rows
        if source.tree is not None:
            turns = range(step * count, (step + 1) * count)
            return np.array([balance.pick(source.tree, n, self.seed, number) for n in turns])
        if steps := len(rows) // count:
            epoch, position = divmod(step, steps)
            order = epoch_order(self.seed, epoch, len(rows), number)
            return rows[order[position * count : (position + 1) * count]]
        numbers = np.arange(step * count, (step + 1) * count)
        return np.array(
            [
                rows[epoch_order(self.seed, int(epoch), len(rows), number)[place]]
                for epoch, place in zip(*divmod(numbers, len(rows)), strict=True)
            ]
        )

    def view(self, record: int, rng: np.random.Generator, meta: dict[str, np.ndarray]) -> View:
        """A random view of one record."""
        cfg = self.cfg
        count, height, width = (int(meta[k][record]) for k in ("frames", "height", "width"))
        if cfg.sampling == "dense":
            stride = cfg.stride
            if cfg.deltas:
                stride = sampling.random_delta(count, cfg.frames, cfg.deltas, rng)
            frames = sampling.random_clip(count, cfg.frames, stride, rng)
        else:
            frames = sampling.random_segments(count, cfg.frames, rng)
        inner = cfg.seen(height, width)
        if cfg.crop == "random":
            window = sampling.random_crop(*inner, cfg.size, rng)
        elif cfg.crop == "resized":
            window = sampling.random_resized_crop(*inner, cfg.size, rng, cfg.scale)
        elif cfg.crop == "corners":
            scales = cfg.corner_scales
            window = sampling.corner_crop(*inner, cfg.size, rng, scales, cfg.corner_distort)
        else:
            (window,) = sampling.spaced_crops(*inner, cfg.size, 1)
        flip = cfg.flip and bool(rng.random() < 0.5)
        return View(record, frames, cfg.placed(window, height, width)._replace(flip=flip))


@dataclasses.dataclass(frozen=True)
class EvalViews:
    """The views of evaluation, numbered: those of the first row, those of the second, …."""

    meta: dict[str, np.ndarray]
    cfg: ViewConfig
    rows: np.ndarray
    source: int = 0

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """The number after the last view of each row, int64 [rows]."""
        return np.cumsum(self.cfg.views(self.meta["frames"][self.rows]))

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.rows) else 0

    def __getitem__(self, number: int) -> View:
        cfg = self.cfg
        if number >= len(self):
            return View(-1, np.zeros(cfg.frames, np.int64), Window(0, 0, *cfg.size))
        row = int(np.searchsorted(self.ends, number, "right"))
        view = number - (int(self.ends[row - 1]) if row else 0)
        record = int(self.rows[row])
        count, height, width = (int(self.meta[k][record]) for k in ("frames", "height", "width"))
        size, inner = cfg.size, cfg.seen(height, width)
        if cfg.crop == "resized":
            size = sampling.largest_window(*inner, cfg.size)
        clip, crop = divmod(view, cfg.views_crops)
        window = sampling.spaced_crops(*inner, size, cfg.views_crops)[crop]
        frames = cfg.clips(count)[clip]
        return View(record, frames, cfg.placed(window, height, width), view, self.source)

    def part(self, numbers: range) -> list[View]:
        """Several views; numbers past the end are padding."""
        return [self[number] for number in numbers]


@dataclasses.dataclass(frozen=True)
class ReadBatch:
    """Reads views into a batch: `list of View -> dict of arrays`."""

    sources: tuple[Source, ...]
    cfg: ViewConfig
    channels: int

    def __call__(self, views: Sequence[View]) -> dict[str, np.ndarray]:
        video = np.empty((len(views), self.cfg.frames, *self.cfg.size, self.channels), np.uint8)
        if any(source.records.remote for source in self.sources):  # each waits for its answer
            with concurrent.futures.ThreadPoolExecutor(remote.AT_ONCE) as pool:
                list(pool.map(self._read, views, video))
        else:
            list(map(self._read, views, video))
        return {
            "video": video,
            "label": np.array([self._label(view) for view in views], np.int32),
            "clip": np.array([self._number(view, "clip", -1) for view in views], np.int32),
            "view": np.array([view.view for view in views], np.int32),
            "domain": np.array([self._domain(view) for view in views], np.int32),
            "mask": np.array([view.record >= 0 for view in views], np.float32),
        }

    def _number(self, view: View, field: str, padding: int = 0) -> int:
        """A number that the dataset has of the view's record."""
        if view.record < 0:
            return padding
        return int(self.sources[view.source].records.meta[field][view.record])

    def _label(self, view: View) -> int:
        """Here the labels of unlabelled sources end."""
        own = self._number(view, "label")
        return int(self.sources[view.source].labels[own]) if view.record >= 0 else 0

    def _domain(self, view: View) -> int:
        return view.source if len(self.sources) > 1 else self._number(view, "domain")

    def _read(self, view: View, out: np.ndarray) -> None:
        """Copy one view into its place [T, h, w, C] of the batch; padding is black."""
        if view.record < 0:
            out[...] = 0
            return
        records = self.sources[view.source].records
        y, x, height, width, flip = view.window
        window = ((y, y + height), (x, x + width))
        if (height, width) != self.cfg.size:
            clip = records.read_frames(view.record, view.frames, *window)
            clip = resize_clip(clip, self.cfg.size)
            out[...] = clip[:, :, ::-1] if flip else clip
        elif flip:
            clip = records.read_frames(view.record, view.frames, *window)
            for channel in range(self.channels):  # 5 times faster than all channels at once
                out[..., channel] = clip[:, :, ::-1, channel]
        else:
            records.read_frames(view.record, view.frames, *window, out=out)
        if flip and self.channels == channels.WITH_FLOW:
            right = out[..., channels.FLOW_X]  # what went right goes left: 256 - x, as bytes wrap
            np.negative(right, out=right)
