"""Arrays in numpy's own layout, read only when the file holds what its header declares."""

from __future__ import annotations

import io
import math
from typing import IO

import numpy as np


def read(file: IO[bytes] | io.BufferedIOBase, size: int, kinds: str = "fiub") -> np.ndarray:
    """The array of an open `.npy`; memory is allocated only for bytes that are there.

    `numpy.load` allocates the memory first, so a header of a hundred bytes can ask for terabytes.

    Args:
      file: at the beginning of the array.
      size: bytes there are from here on.
      kinds: the dtype kinds that are accepted; objects ("O") never are.

    Returns:
      The array, in this machine's byte order.

    Raises:
      ValueError: no array, an array of another kind, or one that is longer than the file.
    """
    start = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, kind = header(file)
    except (TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"its header does not parse: {error}") from error
    if kind.hasobject or kind.kind not in kinds:
        raise ValueError(f"holds {kind} instead of numbers")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"has no plain shape: {shape}")
    expected = math.prod(shape) * kind.itemsize
    if expected > size - (file.tell() - start):
        raise ValueError(f"is shorter than its shape {shape}")
    data = file.read(expected)
    if len(data) != expected:
        raise ValueError(f"is shorter than its shape {shape}")
    flat = np.frombuffer(data, kind).astype(kind.newbyteorder("="))
    return flat.reshape(shape, order="F" if fortran else "C")
