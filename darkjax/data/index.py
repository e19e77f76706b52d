"""The small index beside each shard: where every clip's frames are.

`NAME.tfrecord` has `NAME.idx.npy`, a structured array with one row per record, then `MARK` and
the CRC-32C of all bytes before it (`numpy.load` stops where the array ends). With it a clip is
read without walking or parsing the shard. It is only a cache: when it is missing, damaged, without
a checksum (as versions before 0.1 wrote it) or of another shard it is built again from the shard
itself.
"""

import io
import logging
import mmap
import pathlib
import struct
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np

from darkjax import files, npy
from darkjax.data import example, tfrecord
from darkjax.errors import UserError

ROW = np.dtype(
    [
        ("offset", "<i8"),  # of the record's data in the shard, bytes
        ("length", "<i8"),  # of the record's data
        ("begin", "<i8"),  # where the frame bytes begin in the shard
        ("end", "<i8"),  # and where they end
        ("frames", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("channels", "<i4"),
        ("label", "<i4"),
        ("clip", "<i4"),  # row in the card
    ]
)
MARK = b"crc32c  "
log = logging.getLogger(__name__)


def index_path(shard: Any) -> Any:
    """Where the index of a shard is: a path, or a URL as the shard's."""
    return shard.with_suffix(".idx.npy")


def row(data: bytes | memoryview, offset: int) -> tuple[int, ...]:
    """The index row (see `ROW`) of a record whose data is at `offset` in its shard."""
    fields, begin, end = example.split(data)
    place = (offset, len(data), offset + begin, offset + end)
    return (*place, *fields.shape, fields.label, fields.clip)


def write(shard: pathlib.Path, rows: Sequence[tuple[int, ...]] | np.ndarray) -> np.ndarray:
    """Write the index of a shard; returns it (dtype `ROW`)."""
    index = np.array(list(rows), ROW)
    path = index_path(shard)
    content = io.BytesIO()
    np.save(content, index)
    content.write(MARK)
    content.write(struct.pack("<I", google_crc32c.value(content.getvalue())))
    files.write_bytes(path, content.getvalue())
    return index


def build(shard: pathlib.Path) -> list[tuple[int, ...]]:
    """Index rows from the shard itself: seeks from header to header, touches no frame.

    Raises:
      UserError: the shard is truncated, or a record is not a clip.
    """
    if shard.stat().st_size == 0:
        return []
    rows = []
    with (
        shard.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        for offset, length in tfrecord.scan(view, str(shard)):
            try:
                with view[offset : offset + length] as data:
                    rows.append(row(data, offset))
            except UserError as error:
                raise UserError(
                    f"{error}: {shard}, record {len(rows)}, byte {offset}: {tfrecord.CONVERT_AGAIN}"
                ) from error
    return rows


def load(shard: pathlib.Path) -> np.ndarray:
    """The index of a shard (dtype `ROW`), built again when it is missing or not to be trusted.

    It is stale when its last record does not end where the shard ends. A rebuilt index is
    written beside the shard where the folder allows it, with one line in the log that says what
    was wrong with the old one.

    Raises:
      UserError: the shard is missing or truncated.
    """
    if not shard.is_file():
        raise UserError(f"expected the shard {shard}; it is missing: convert the dataset again")
    path = index_path(shard)
    try:
        index = read(shard)
        if end(index) == shard.stat().st_size:
            return index
        what = "stale"
    except ValueError as error:
        what = str(error)
    rows = build(shard)
    try:
        index = write(shard, rows)
        log.warning("index %s was %s: built again from the shard", path, what)
    except OSError as error:
        index = np.array(rows, ROW)
        log.warning("index %s is %s; built in memory (not written: %s)", path, what, error)
    return index


def read(shard: pathlib.Path) -> np.ndarray:
    """The index as it is beside the shard (dtype `ROW`).

    Raises:
      ValueError: it is "missing", "damaged", "without a checksum" or "of another kind".
    """
    try:
        content = index_path(shard).read_bytes()
    except OSError:
        raise ValueError("missing") from None
    return parse(content)


def parse(content: bytes) -> np.ndarray:
    """The index that a file holds; ValueError as `read`."""
    last = len(content) - 4
    if content[last - len(MARK) : last] != MARK:
        raise ValueError("without a checksum")
    if struct.unpack("<I", content[last:])[0] != google_crc32c.value(content[:last]):
        raise ValueError("damaged")
    try:
        index = npy.read(io.BytesIO(content), last - len(MARK), "V")
    except ValueError as error:
        raise ValueError("damaged") from error
    if index.dtype != ROW or index.ndim != 1:
        raise ValueError("of another kind")
    return index


def end(index: np.ndarray) -> int:
    """Size of the shard that an index describes, in bytes."""
    if not len(index):
        return 0
    return int(index[-1]["offset"] + index[-1]["length"]) + tfrecord.FOOTER_BYTES
