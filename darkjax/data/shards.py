"""Writing one shard: what a worker process of the conversion does."""

import dataclasses
import errno
import glob
import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from darkjax import channels, files
from darkjax.data import card as card_file
from darkjax.data import example, index, sourcehash, tfrecord
from darkjax.data import window as windows
from darkjax.data.clip import Clip, printable
from darkjax.data.decode import Video
from darkjax.errors import UserError

OPTIONAL = ("fps", "window")  # not every dataset has them
LATER = (*OPTIONAL, "flow")  # a card of before has none of them
REPORT = {"file", "records", "bytes", "sha256", "settings", "clips", "rows", "bad"}
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Settings:
    """How clips are decoded and stored. The same for every shard of a dataset."""

    short_side: int | None = None
    max_frames: int | None = None
    encoding: str = "raw"
    jpeg_quality: int = 95
    fps: float | None = None
    window: str | None = None
    flow: Mapping[str, Any] | None = None  # `data.flow.Recipe.described`, of channels 3 to 5

    def __post_init__(self):
        if self.encoding not in example.ENCODINGS:
            raise UserError(
                f"expected encoding {' or '.join(example.ENCODINGS)}; found {self.encoding!r}"
            )
        if self.short_side is not None and self.short_side < 1:
            raise UserError(f"expected short_side of at least 1 pixel; found {self.short_side}")
        if self.max_frames is not None and self.max_frames < 2:
            raise UserError(f"expected max_frames of at least 2; found {self.max_frames}")
        if not 1 <= self.jpeg_quality <= 100:
            raise UserError(f"expected jpeg_quality from 1 to 100; found {self.jpeg_quality}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UserError(f"expected fps above 0; found {self.fps}")
        if self.window is not None:  # one spelling
            object.__setattr__(self, "window", str(windows.parse(self.window)))

    def described(self) -> dict[str, Any]:
        """What the card keeps. `LATER` ones only where given: a card of before has none of them,
        and data that are the same shall have the same digest."""
        every = dataclasses.asdict(self)
        return {k: v for k, v in every.items() if k not in LATER or v is not None}

    def loading(self) -> dict[str, Any]:
        """The options for a dataset's `load`."""
        sizes = {"short_side": self.short_side, "max_frames": self.max_frames}
        return sizes | {k: v for k, v in self.described().items() if k in OPTIONAL}


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard to write: its clips with their rows in the card."""

    dataset: Any
    root: pathlib.Path | None
    out: pathlib.Path
    split: str
    number: int
    count: int
    clips: tuple[tuple[int, Clip], ...]
    classes: tuple[str, ...]
    settings: Settings

    @property
    def shard(self) -> pathlib.Path:
        """The shard's file."""
        return self.out / card_file.shard_name(
            self.dataset.name, self.split, self.number, self.count
        )

    @property
    def report(self) -> pathlib.Path:
        """The small JSON that says the shard is finished, and what is in it."""
        return self.shard.with_suffix(".json")


def finished(job: Job) -> dict[str, Any] | None:
    """The report of a shard that was written before, or None when there is work to do.

    There is also when a file that was bad is now another one.

    Raises:
      UserError: it was written with other settings or of other clips.
    """
    if not job.report.is_file():
        return None
    report = read_report(job)
    wanted, found = job.settings.described(), report["settings"]
    if found != wanted:
        if not report["records"]:
            return None  # nothing of it is lost
        changed = [
            f"{name}={found.get(name)} (now {wanted.get(name)})"
            for name in {**wanted, **found}
            if found.get(name) != wanted.get(name)
        ]
        raise UserError(
            f"expected the settings that {job.out} was begun with; found {', '.join(changed)}: "
            "use the same settings or another --out"
        )
    if report["clips"] != _clips_digest(job):
        raise UserError(
            f"expected the clips that {job.shard.name} was written from; the dataset's list, "
            "labels, groups or options changed since: use another --out"
        )
    clips = dict(job.clips)
    for entry in report["bad"]:
        if entry.get("sha256", "") not in ("", _sha256_of_bad(job, clips[entry["clip"]])):
            return None
    written = job.shard.is_file() and job.shard.stat().st_size == report["bytes"]
    return report if written else None


def read_report(job: Job) -> dict[str, Any]:
    """The report beside a finished shard. UserError when it is damaged."""
    try:
        report = json.loads(job.report.read_text("utf-8"))
        if report["file"] != job.shard.name or not report.keys() >= REPORT:
            raise ValueError(f"found {', '.join(report)}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"expected the report of {job.shard.name} in {job.report}: {error}: delete that file "
            "and run the same command again"
        ) from error
    return report


def remove_parts(job: Job) -> None:
    """Remove what a run that was killed left half written of a shard, its index and its report."""
    for stale in job.out.glob(f"{glob.escape(job.shard.stem)}.*.part-*"):
        stale.unlink(missing_ok=True)


def write(job: Job, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Decode the clips of a job and write its shard, index and report, in that order.

    Everything is written under a temporary name, so an interruption leaves no half shard. A
    clip that cannot be decoded is reported, not raised.

    Args:
      job: the shard to write.
      tick: called after each clip.

    Returns:
      The report: file, records, bytes, sha256, settings, clips (digest), rows, bad.

    Raises:
      UserError: the disc is full or not writable.
    """
    remove_parts(job)
    try:
        with files.whole(job.shard) as part:
            report, entries = _write_records(job, part, tick)
        index.write(job.shard, entries)
        files.write_json(job.report, report)
    except OSError as error:
        raise not_written(job.shard, error) from error
    return report


def not_written(path: pathlib.Path, error: OSError) -> UserError:
    """What to say when something of the dataset could not be written."""
    full = "free some space and " if error.errno == errno.ENOSPC else ""
    return UserError(
        f"could not write {error.filename or path}: {error.strerror or error}: {full}run the same "
        "command again; finished shards are kept"
    )


def _write_records(
    job: Job, part: pathlib.Path, tick: Callable[[], None]
) -> tuple[dict[str, Any], list[tuple[int, ...]]]:
    entries: list[tuple[int, ...]] = []
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    sha, position = hashlib.sha256(), 0
    with part.open("wb") as file:
        for number, clip in job.clips:
            row = _row(number, clip)
            rows.append(row)
            try:
                video, row["source_sha256"] = _load(job, clip)
            except UserError as error:
                path, reason = printable(clip.path or clip.id), printable(str(error))
                entry = {"clip": number, "path": path, "reason": reason}
                bad.append(entry | {"sha256": _sha256_of_bad(job, clip)})
                tick()
                continue
            data = _record(number, clip, video, job.settings)
            _describe(row, video, job.number)
            entries.append(index.row(data, position + tfrecord.HEADER_BYTES))
            for piece in tfrecord.frame(data):
                file.write(piece)
                sha.update(piece)
                position += len(piece)
            tick()
    report = {
        "file": job.shard.name,
        "records": len(entries),
        "bytes": position,
        "sha256": sha.hexdigest(),
        "settings": job.settings.described(),
        "clips": _clips_digest(job),
        "rows": rows,
        "bad": bad,
    }
    return report, entries


def _load(job: Job, clip: Clip) -> tuple[Video, str | None]:
    """The frames and the sha256 of what they come from (None for rendered clips)."""
    video = job.dataset.load(clip, job.root, **job.settings.loading())
    if not clip.path or job.root is None:
        return video, getattr(job.dataset, "sha256", None)  # of computed clips: of the recipe
    path = job.root / clip.path
    try:
        return video, sourcehash.sha256(path)
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror}") from error


def _sha256_of_bad(job: Job, clip: Clip) -> str | None:
    """Of a file that could not be decoded; None when it cannot even be read, or is none."""
    if not clip.path or job.root is None:
        return None
    try:
        return sourcehash.sha256(job.root / clip.path)
    except OSError:
        return None


def _record(number: int, clip: Clip, video: Video, settings: Settings) -> bytes:
    fields = example.Fields(
        shape=video.frames.shape,
        label=clip.label,
        clip=number,
        clip_id=clip.id,
        group=clip.group,
        fps=video.fps,
        domain=clip.domain,
        encoding=settings.encoding,
    )
    return example.encode(video.frames, fields, settings.jpeg_quality)


def _row(number: int, clip: Clip) -> dict[str, Any]:
    """A clip's row of the card, as it is before decoding: in no shard."""
    names = ("id", "path", "label", "group", "split", "domain", "fold")
    row = {"clip": number} | {name: getattr(clip, name) for name in names}
    row["path"] = printable(clip.path)
    row |= {name: list(clip.assigned) for name in ("assigned",) if clip.assigned}
    cut = {"start": clip.start, "end": clip.end}
    row |= {name: seconds for name, seconds in cut.items() if seconds is not None}
    empty = {"frames": 0, "height": 0, "width": 0, "fps": 0.0, "mean_luma": 0.0}
    return row | empty | {"shard": -1, "source_sha256": None}


def _describe(row: dict[str, Any], video: Video, shard: int) -> None:
    frames, height, width, _ = video.frames.shape
    # Summing whole lines first is some ten times faster than over pixels of three channels.
    lines = video.frames.reshape(frames * height, -1).sum(0, dtype=np.uint64)
    mean = lines.reshape(width, -1).sum(0) / (frames * height * width)
    mean = mean[: channels.COLOURS] if len(mean) == channels.WITH_FLOW else mean
    luma = float(mean @ LUMA) if len(mean) == 3 else float(mean.mean())
    row.update(frames=frames, height=height, width=width, fps=round(video.fps, 3))
    row.update(mean_luma=round(luma, 2), shard=shard)


def _clips_digest(job: Job) -> str:
    """Changes when the catalogue lists something else for this shard."""
    described: Sequence[Any] = [[n, _fields(clip)] for n, clip in job.clips]
    content = [repr(job.dataset), list(job.classes), described]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# Fields that a clip did not have at first: left out where they say nothing, so that shards that
# were written before are still taken up.
_LATER = {"assigned": (), "start": None, "end": None}


def _fields(clip: Clip) -> dict[str, Any]:
    fields = dataclasses.asdict(clip)
    return {k: v for k, v in fields.items() if k not in _LATER or v != _LATER[k]}
