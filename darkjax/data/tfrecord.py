"""TFRecord framing: the container format of TensorFlow's record files.

A file is records one after the other, each
`uint64 length | uint32 masked crc32c of length | data | uint32 masked crc32c of data`,
little endian (https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format
details"). Neither TensorFlow nor JAX is needed.
"""

import struct
from collections.abc import Iterator
from typing import Any

import google_crc32c

from darkjax.errors import UserError

HEADER_BYTES = 12  # length and its checksum
FOOTER_BYTES = 4  # the data's checksum
CONVERT_AGAIN = (
    "run `python -m darkjax.data.convert --verify DIR` to see what is damaged, "
    "or delete that file and convert it again"
)


def masked_crc(data: Any) -> int:
    """The CRC-32C of `data`, rotated right by 15 bits plus a constant, as the format wants."""
    crc = google_crc32c.value(data if isinstance(data, bytes) else bytes(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, data and footer of one record, to be written one after the other."""
    length = struct.pack("<Q", len(data))
    header = length + struct.pack("<I", masked_crc(length))
    return header, data, struct.pack("<I", masked_crc(data))


def scan(view: Any, name: str, check_crc: bool = False) -> Iterator[tuple[int, int]]:
    """Walk over the records of a whole file by seeking from header to header.

    Args:
      view: the file's bytes (`bytes`, or a memory map of which only the headers are touched).
      name: the file's name, for errors.
      check_crc: also check the data's checksum. The header's is always checked, since a wrong
        length would lead anywhere.

    Yields:
      Offset and length of each record's data, in bytes.

    Raises:
      UserError: the file ends inside a record, or a checksum does not match.
    """
    position, size, number = 0, len(view), 0
    while position < size:
        where = f"{name}, record {number}, byte {position}"
        if position + HEADER_BYTES > size:
            raise UserError(f"truncated shard: the file ends inside {where}: {CONVERT_AGAIN}")
        length, crc = struct.unpack_from("<QI", view, position)
        if masked_crc(view[position : position + 8]) != crc:
            raise UserError(f"damaged shard: wrong checksum of the length in {where}: "
                            f"{CONVERT_AGAIN}")  # fmt: skip
        start = position + HEADER_BYTES
        if start + length + FOOTER_BYTES > size:
            raise UserError(
                f"truncated shard: expected {start + length + FOOTER_BYTES - size} more bytes "
                f"after the file's {size} in {where}: {CONVERT_AGAIN}"
            )
        if check_crc and not data_matches(view, start, length):
            raise UserError(f"damaged shard: wrong checksum of the data in {where}: "
                            f"{CONVERT_AGAIN}")  # fmt: skip
        yield start, length
        position, number = start + length + FOOTER_BYTES, number + 1


def data_matches(view: Any, start: int, length: int) -> bool:
    """Whether the data of the record at `start` has the checksum that follows it."""
    (crc,) = struct.unpack_from("<I", view, start + length)
    return masked_crc(view[start : start + length]) == crc
