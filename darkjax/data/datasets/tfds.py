"""Video datasets that TensorFlow Datasets has prepared: `--dataset=tfds:NAME`, as `tfds:ucf101`.

No TensorFlow program runs: an example is read as bytes by its number in its split (array_record
files by `as_data_source`, TFRecord files by our own index of them) and decoded by the dataset's
features with numpy. But TFDS 4.9 makes a `Video` feature by TensorFlow alone, which must then be
installed; a sequence of images needs none.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import mmap
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from darkjax.data import tfrecord
from darkjax.data.clip import Clip, Count, Root, deal_folds, printable
from darkjax.data.decode import Video
from darkjax.data.resize import shrunk
from darkjax.errors import UserError

PREFIX = "tfds:"
FILE_NAMES = ("filename", "file_name", "video_filename", "video_name")
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Tfds:
    """A prepared TFDS dataset with one video and one class for each example.

    Splits are those of TFDS. A group is the file name that an example carries; without one the
    groups are unknown: each example is its own, and the log says so. `train` is dealt into
    five folds by group. Frame rates are unknown. The folder (`--raw`) is TFDS's `data_dir`; None is
    its default.

    Attributes:
      builder: as for `tfds.builder`: `ucf101`, `ucf101/ucf101_1`, `ucf101/ucf101_1:2.0.0`.
      domain: of every clip.
      video, label, group: names of the features; "" finds them.
    """

    builder: str
    domain: str = "visible"
    video: str = ""
    label: str = ""
    group: str = ""

    @property
    def name(self) -> str:
        """The builder's name, as far as a file may be called so."""
        return "".join(c if c.isalnum() or c in "._" else "_" for c in self.builder)

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The names of the class label, or its numbers where it has none."""
        label = self._prepared(root).label
        return tuple(printable(label.int2str(n)) for n in range(label.num_classes))

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every example with a label, by split and number; videos are not decoded for it."""
        prepared = self._prepared(root)
        found, unlabelled = [], 0
        for split in sorted(prepared.sources):
            for number in range(len(prepared.sources[split])):
                label, file = prepared.described(split, number)
                unlabelled += label < 0
                if label >= 0:
                    name = f"{prepared.full_name}/{split}/{number:06d}"
                    group = printable(file) or name
                    found.append(Clip(name, "", label, group, split, self.domain, seed=number))
        if unlabelled:
            log.warning("%s: %d examples without a label left out", self.builder, unlabelled)
        if not prepared.file:
            log.warning(
                "%s: no example says which file it was cut from, so groups are unknown: each clip "
                "is its own, and folds or random splits may leak", self.builder,
            )  # fmt: skip
        return deal_folds(found)

    def load(
        self, clip: Clip, root: Root = None, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """Decode the video of one example."""
        frames = self._prepared(root).frames(clip.split, clip.seed)[:max_frames]
        if len(frames) < 2:
            raise UserError(f"expected at least 2 frames, found {len(frames)} in {clip.id}")
        return Video(shrunk(frames, short_side), 0.0)

    def _prepared(self, root: pathlib.Path | None) -> _Prepared:
        return _prepared(self, None if root is None else str(root))


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """What one process keeps of an open dataset."""

    full_name: str
    label: Any
    file: str  # name of the feature with the file name, or ""
    sources: dict[str, Any]  # split: its examples as bytes, by number
    describe: Callable[[bytes], dict[str, Any]]
    decode: Callable[[bytes], dict[str, Any]]

    def described(self, split: str, number: int) -> tuple[int, str]:
        """The label and the file name of an example."""
        label, *file = self.describe(self.sources[split][number]).values()
        return int(label), _text(file[0]) if file else ""

    def frames(self, split: str, number: int) -> np.ndarray:
        """The frames uint8 [T, H, W, C] of an example. UserError when they are not."""
        where = f"{self.full_name}/{split}/{number:06d}"
        try:
            (video,) = self.decode(self.sources[split][number]).values()
            frames = np.stack(list(video))
        except Exception as error:  # TFDS and its codecs have many errors of their own
            raise UserError(f"{where} cannot be decoded: {' '.join(str(error).split())}") from error
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] not in (1, 3):
            found = f"{frames.dtype} {list(frames.shape)}"
            raise UserError(f"expected frames uint8 [T, H, W, 1 or 3]; found {found} in {where}")
        return frames


@functools.lru_cache(maxsize=4)
def _prepared(dataset: Tfds, data_dir: str | None) -> _Prepared:
    """Open a dataset. UserError says what is missing."""
    asked = f"--dataset={PREFIX}{dataset.builder}"
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"{asked} needs TensorFlow Datasets: pip install 'darkjax[tfds]' ({error})"
        ) from error
    try:
        builder = tfds.builder(dataset.builder, data_dir=data_dir)
        there = builder.data_path.exists() and bool(builder.info.splits)
    except ImportError as error:
        raise UserError(
            f"{asked}: a package is missing that TFDS needs for it: {error}: a Video feature wants "
            "TensorFlow (pip install tensorflow-cpu)"
        ) from error
    except Exception as error:  # an unknown name, a version that is not there
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{asked} cannot be opened in --raw={data_dir}: {first}") from error
    if not there:
        raise UserError(
            f"expected {dataset.builder} prepared in {builder.data_path}; found none: run "
            f"`tfds build {dataset.builder} --data_dir=DIR`, then give --raw=DIR"
        )
    features = builder.info.features
    label = _one(
        features, dataset.label, "label", lambda f: isinstance(f, tfds.features.ClassLabel)
    )
    video = _one(features, dataset.video, "video", lambda f: _is_video(f, tfds.features))
    named = [dataset.group] if dataset.group else [n for n in FILE_NAMES if n in features]
    file = _one(features, named[0], "group", lambda f: True) if named else ""

    def part(*names: str) -> Callable[[bytes], dict[str, Any]]:
        chosen = tfds.features.FeaturesDict({name: features[name] for name in names})

        def decoded(example: bytes) -> dict[str, Any]:
            values = chosen.deserialize_example_np(example)
            return {name: values[name] for name in names}

        return decoded

    return _Prepared(
        full_name=builder.info.full_name,
        label=features[label],
        file=file,
        sources={name: _source(builder, name, tfds) for name in builder.info.splits},
        describe=part(label, *([file] if file else [])),
        decode=part(video),
    )


def _one(features: Any, name: str, field: str, fits: Callable[[Any], bool]) -> str:
    """The name of the feature that fits, or the one given. UserError: none, or several."""
    known = [key for key in features if fits(features[key])]
    if name in known or (not name and len(known) == 1):
        return name or known[0]
    found = ", ".join(f"{key} ({type(features[key]).__name__})" for key in features)
    wanted = {"label": "one class label", "video": "one video"}.get(field, "that feature")
    what = f"no {name}" if name else f"{len(known) or 'none'}"
    raise UserError(
        f"expected {wanted} among the features {found}; found {what}: name it by the field {field} "
        "of darkjax.data.datasets.tfds.Tfds"
    )


def _is_video(feature: Any, kinds: Any) -> bool:
    if isinstance(feature, kinds.Sequence):  # a Video is one of Images, too
        return isinstance(feature.feature, kinds.Image)
    shape = getattr(feature, "shape", None) or ()
    return isinstance(feature, kinds.Tensor) and len(shape) == 4


def _source(builder: Any, split: str, tfds: Any) -> Any:
    """The examples of a split as bytes, by number."""
    kind = getattr(builder.info.file_format, "value", builder.info.file_format)
    files = [str(path) for path in builder.info.splits[split].filepaths]
    if kind == "tfrecord":
        return _Tfrecords(files)
    if kind != "array_record":
        raise UserError(
            f"expected {builder.info.full_name} as array_record or tfrecord files; found {kind}: "
            "prepare it with --file_format=array_record"
        )
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return builder.as_data_source(split, deserialize_method=raw)


class _Tfrecords:
    """The records of TFRecord files by number: TFDS itself reads these only in order."""

    def __init__(self, files: Sequence[str]):
        self._places: list[tuple[mmap.mmap, int, int]] = []
        for file in files:
            with open(file, "rb") as opened:
                if not opened.seek(0, 2):
                    continue
                mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            with memoryview(mapped) as view:
                self._places += [(mapped, *place) for place in tfrecord.scan(view, file)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> bytes:
        mapped, start, length = self._places[number]
        if not tfrecord.data_matches(mapped, start, length):
            raise UserError("wrong checksum of the example: prepare the dataset again")
        return mapped[start : start + length]


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
