"""Random access to the clips of a converted dataset, copying only what was sampled."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from darkjax.closing import Closing
from darkjax.data import card as card_file
from darkjax.data import cardcheck, example, index, remote, tfrecord
from darkjax.data.rows import column
from darkjax.data.shardfiles import ShardFiles
from darkjax.errors import UserError

READ = ("mmap", "pread")


class Records(Closing):
    """The records of a dataset folder, in the order of its shards.

    `read="mmap"` maps the shards into memory: fastest on local discs. `read="pread"` reads by
    system calls, which release Python's lock: for network file systems, where a page fault of a
    memory map would hold it. Both copy only the frames and rows asked for. An object is safe to
    use from several threads and can be pickled (files are opened again on the other side).

    A folder may also be in a store, as `gs://bucket/folder` (`remote.py`): the card and the
    indices are fetched once, then the sampled rows of the sampled frames; of JPEGs, whole clips.

    Attributes:
      card: the dataset's card (`card.py`).
      classes: class names in label order.
      clips: the card's rows (of many, `rows.Rows`); `clips[meta["clip"][i]]` describes record i.
      domains: the names that `meta["domain"]` counts, sorted.
      meta: int32 arrays [len(self)]: label, clip, frames, height, width, channels, domain, fold.
      protocols: names of the official splits of the same clips, where there are several.
      digest: sha256 of what the dataset holds.
      remote: whether it is in a store.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        read: str = "mmap",
        check_crc: bool = False,
    ):
        """Open the card and the indices.

        Args:
          directory: the folder that the conversion wrote, or a URL of one.
          read: "mmap" or "pread"; of a URL neither.
          check_crc: check a record's checksum at every read (it touches the whole record).

        Raises:
          UserError: no dataset there, its card is damaged, or a shard is missing, truncated or
            of another dataset.
        """
        if read not in READ:
            raise UserError(f"expected read to be one of {', '.join(READ)}; found {read!r}")
        self.directory = remote.place(directory)
        self.read = read
        self.check_crc = check_crc
        self.card = card_file.read(directory)
        self.classes: tuple[str, ...] = tuple(self.card["classes"])
        self.clips: Sequence[dict[str, Any]] = self.card["clips"]
        self.domains: tuple[str, ...] = tuple(sorted(set(column(self.clips, "domain"))))
        self.protocols: tuple[str, ...] = tuple(self.card.get("protocols", ()))
        self.digest = card_file.digest(self.card)
        self._jpeg = self.card["decode"]["encoding"] == "jpeg"
        shards: list[Any] = [
            self.directory / shard["file"]
            for split in self.card["splits"].values()
            for shard in split["shards"]
        ]
        self.remote = isinstance(self.directory, remote.Url)
        self._files: Any = remote.Shards(shards) if self.remote else ShardFiles(shards, read)
        parts = self._files.indices()
        self._check(parts)
        self._index = np.concatenate(parts) if parts else np.empty(0, index.ROW)
        self._shard = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self.meta = self._meta()

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Records({self.directory}, {len(self)} clips, {len(self.classes)} classes)"

    def read_frames(
        self,
        record: int | np.integer,
        frames: Sequence[int] | np.ndarray,
        rows: tuple[int, int] | None = None,
        cols: tuple[int, int] | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Copy some frames of one clip, or a window of them.

        Args:
          record: which record.
          frames: t frame numbers in 0 … T-1, in any order, repeats allowed.
          rows: (first, end) of the window's rows; None is all of them.
          cols: the same for columns.
          out: uint8 [t, h, w, C] to write into; None makes a new array.

        Returns:
          uint8 [t, h, w, C].

        Raises:
          UserError: the record is damaged (with `check_crc`, or a damaged JPEG).
          IndexError: a frame or the window is outside the clip.
        """
        entry = self._index[record]
        names = ("frames", "height", "width", "channels")
        total, height, width, channels = (int(entry[name]) for name in names)
        y0, y1 = (0, height) if rows is None else rows
        x0, x1 = (0, width) if cols is None else cols
        numbers = [int(n) for n in frames]
        if numbers and not (min(numbers) >= 0 and max(numbers) < total):
            raise IndexError(f"frames {min(numbers)}…{max(numbers)} of a clip of {total}")
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise IndexError(f"window {(y0, y1)}, {(x0, x1)} of frames {height}×{width}")
        if out is None:
            out = np.empty((len(numbers), y1 - y0, x1 - x0, channels), np.uint8)
        if self.check_crc:
            self._check_crc(record)
        begin, end = int(entry["begin"]), int(entry["end"])
        if self._jpeg:
            self._read_jpeg(record, begin, end, numbers, (y0, y1, x0, x1), out)
        elif self.remote:
            line = width * channels
            starts = [begin + (number * height + y0) * line for number in numbers]
            spans = [(start, start + (y1 - y0) * line) for start in starts]
            for k, data in enumerate(self._files.ranges(int(self._shard[record]), spans)):
                band = np.frombuffer(data, np.uint8).reshape(y1 - y0, width, channels)
                out[k] = band[:, x0:x1]
        elif self.read == "mmap":
            mapped = self._files.mapped(int(self._shard[record]))
            clip = np.ndarray((total, height, width, channels), np.uint8, mapped, begin)
            _copy(clip[:, y0:y1, x0:x1], numbers, out)
        else:
            fd = self._files.fd(int(self._shard[record]))
            band = np.empty((y1 - y0, width, channels), np.uint8)
            for k, number in enumerate(numbers):
                at = begin + (number * height + y0) * width * channels
                if os.preadv(fd, [band.data], at) != band.nbytes:
                    raise UserError(f"truncated shard: {self._where(record)}")
                out[k] = band[:, x0:x1]
        return out

    def select(
        self,
        split: str | None = None,
        fold: int | None = None,
        holdout: int | None = None,
        clips: Iterable[int] | None = None,
        protocol: str = "",
    ) -> np.ndarray:
        """Numbers of the records that satisfy every condition given, sorted by clip row.

        To leave sessions out of training on fold k: train on `select("train", holdout=k)`,
        validate on `select("train", fold=k)`. The order does not depend on how the clips are
        spread over shards.

        Args:
          split: keep this split; where there are several protocols, this part of one of them.
          fold: keep this fold.
          holdout: leave this fold out.
          clips: keep these rows of the card.
          protocol: which of `protocols`; "" is the first.

        Returns:
          int64 [n].

        Raises:
          UserError: no such split or fold, or nothing is left.
        """
        keep = np.ones(len(self), bool)
        if split is not None:
            found = self._assigned(protocol)
            if split not in (known := {*self.parts(protocol), *self.card["splits"]}):
                raise UserError(
                    f"expected a split out of {', '.join(sorted(known))}; found {split!r} "
                    f"for {self.directory}"
                )
            if split in self.card["splits"]:
                found = column(self.clips, "split")
            keep &= (np.array(found, object) == split)[self.meta["clip"]]
        present = sorted(set(self.meta["fold"][keep].tolist()) - {-1})
        for number in (fold, holdout):
            if number is not None and number not in present:
                raise UserError(f"expected a fold out of {present}; found {number} "
                                f"for {self.directory}")  # fmt: skip
        if fold is not None:
            keep &= self.meta["fold"] == fold
        if holdout is not None:
            keep &= self.meta["fold"] != holdout
        if clips is not None:
            keep &= np.isin(self.meta["clip"], np.fromiter(clips, np.int64))
        chosen = np.flatnonzero(keep)
        if not len(chosen):
            raise UserError(
                f"expected some clips; found none with split={split}, fold={fold}, "
                f"holdout={holdout} in {self.directory}"
            )
        return chosen[np.argsort(self.meta["clip"][chosen], kind="stable")]

    def parts(self, protocol: str = "") -> tuple[str, ...]:
        """The names of the splits, of a protocol ("": the first) where there are several.

        Raises:
          UserError: no such protocol.
        """
        if not self.protocols and not protocol:
            return tuple(self.card["splits"])
        return tuple(sorted({part for part in self._assigned(protocol) if part}))

    def told(self, name: str) -> np.ndarray:
        """What the card's row of every record has under a name, as `group`: objects [len(self)]."""
        return np.array(column(self.clips, name), object)[self.meta["clip"]]

    def close(self) -> None:
        """Close the files. Reading afterwards opens them again."""
        self._files.close()

    def _check(self, parts: Sequence[np.ndarray]) -> None:
        """The card adds up, and the indices say the same as the card."""
        fault = next(iter(cardcheck.faults(self.card)), "")
        fault = fault or cardcheck.against_indices(self.card, parts)
        if fault:
            raise UserError(
                f"{self.directory}: {fault}: `python -m darkjax.data.convert --verify "
                f"{self.directory}` lists what is wrong; or convert again"
            )

    def _assigned(self, protocol: str) -> list[str]:
        """The split of every row of the card."""
        if not self.protocols and not protocol:
            return column(self.clips, "split")
        if protocol and protocol not in self.protocols:
            found = ", ".join(self.protocols) or "none"
            raise UserError(
                f"expected a protocol out of {found}; found {protocol!r} for {self.directory}"
            )
        number = self.protocols.index(protocol) if protocol else 0
        return [parts[number] for parts in column(self.clips, "assigned")]

    def _meta(self) -> dict[str, np.ndarray]:
        names = ("label", "clip", "frames", "height", "width", "channels")
        meta = {name: self._index[name].astype(np.int32) for name in names}
        number = {name: n for n, name in enumerate(self.domains)}
        domains = np.array([number[name] for name in column(self.clips, "domain")], np.int32)
        meta["domain"] = domains[meta["clip"]]
        meta["fold"] = np.asarray(column(self.clips, "fold"), np.int32)[meta["clip"]]
        return meta

    def _read_jpeg(
        self,
        record: int | np.integer,
        begin: int,
        end: int,
        numbers: list[int],
        window: tuple[int, int, int, int],
        out: np.ndarray,
    ) -> None:
        body = self._files.bytes(int(self._shard[record]), begin, end)
        y0, y1, x0, x1 = window
        pixels: dict[int, np.ndarray] = {}
        try:
            spans = example.jpeg_values(body, 0, len(body))
            for k, number in enumerate(numbers):
                if number not in pixels:
                    pixels[number] = example.decode_jpeg(body[slice(*spans[number])])
                out[k] = pixels[number][y0:y1, x0:x1]
        except (UserError, IndexError, ValueError) as error:
            raise UserError(f"damaged record: {error}: {self._where(record)}") from error

    def _check_crc(self, record: int | np.integer) -> None:
        entry = self._index[record]
        begin, length = int(entry["offset"]), int(entry["length"])
        data = self._files.bytes(
            int(self._shard[record]), begin, begin + length + tfrecord.FOOTER_BYTES
        )
        if not tfrecord.data_matches(data, 0, length):
            raise UserError(f"damaged record: wrong checksum: {self._where(record)}")

    def _where(self, record: int | np.integer) -> str:
        """File, record number, clip and byte of a record, and what to do."""
        shard = int(self._shard[record])
        first = int(np.searchsorted(self._shard, shard))
        entry = self._index[record]
        return (
            f"{self._files.paths[shard]}, record {record - first}, clip "
            f"{self.clips[entry['clip']]['id']}, byte {entry['offset']}: {tfrecord.CONVERT_AGAIN}"
        )


def _copy(clip: np.ndarray, numbers: list[int], out: np.ndarray) -> None:
    """out[k] = clip[numbers[k]], in one copy when the numbers are evenly spaced and rising."""
    if not numbers:
        return
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    if step > 0 and numbers == list(range(numbers[0], numbers[-1] + 1, step)):
        out[...] = clip[numbers[0] : numbers[-1] + 1 : step]
    else:
        for k, number in enumerate(numbers):
            out[k] = clip[number]
