"""What stands for the objects of a pickle: they keep shapes, bytes and plain numbers, no more.

`pickle_table` says which name of a file becomes which of them, `pickles` reads the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

# Elements by our code: "bf16" has no numpy type of its own, "raw" storages are bytes whose type
# the tensor gives.
NUMBERS = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")
ITEM_BYTES = {code: int(code[1]) for code in NUMBERS} | {"bf16": 2, "raw": 1}


class Malformed(ValueError):
    """Not a pickle, or not a whole one."""


class Inert:
    """Stands for an object that is no tensor: takes anything, keeps nothing."""

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        return object.__new__(cls)

    def _ignore(self, *args: object) -> None: ...

    __setitem__ = append = extend = add = update = _ignore


class Storage:
    """The bytes behind torch tensors, read when one of them is wanted."""

    def __init__(self, code: str, count: int, read: Callable[[], bytes], order: str = "<"):
        self.code, self.count, self._read, self._order = code, count, read, order
        self._raw: bytes | None = None

    def raw(self) -> bytes:
        """All of it; a file that holds another number of bytes is refused."""
        if self._raw is None:
            found, expected = self._read(), self.count * ITEM_BYTES[self.code]
            if len(found) != expected:
                raise Malformed(f"a storage of {expected} bytes has {len(found)}")
            self._raw = found
        return self._raw

    def values(self, code: str) -> np.ndarray:
        """Its elements, flat."""
        return decode(self.raw(), code, self._order)


class Tensor:
    """A torch tensor, not read yet."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple, code: str):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        self.code = code

    def array(self) -> np.ndarray:
        """A copy of its elements; bfloat16 becomes float32."""
        numbers = (self.offset, *self.size, *self.stride)
        plain = all(type(n) is int and n >= 0 for n in numbers)
        if not plain or len(self.size) != len(self.stride) or len(self.size) > 32:
            raise Malformed(f"a tensor of size {self.size}, stride {self.stride}")
        if self.code == "raw":
            raise Malformed("a tensor of an unknown dtype")
        flat = self.storage.values(self.code)
        count = math.prod(self.size)
        last = self.offset + sum(
            (n - 1) * s for n, s in zip(self.size, self.stride, strict=True) if n
        )
        if count and (last >= len(flat) or count > len(flat)):
            raise Malformed(f"a tensor of size {self.size} outside its storage of {len(flat)}")
        if not count:
            return np.zeros(self.size, flat.dtype)
        steps = tuple(s * flat.itemsize for s in self.stride)
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.size, steps, writeable=False
        )
        return np.array(view, order="C")


class Array:
    """A numpy array: made empty, then told its shape, type and bytes."""

    def __init__(self) -> None:
        self.found: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """What `numpy.ndarray.__setstate__` takes."""
        shape, kind, fortran, data = state[-4:]
        if not isinstance(kind, Dtype):
            raise Malformed(f"an array of {type(kind).__name__}")
        self.found = kind.decode(data, shape, "F" if fortran else "C")

    def array(self) -> np.ndarray:
        """The array."""
        if self.found is None:
            raise Malformed("an array without its values")
        return self.found


class Dtype:
    """A numpy dtype of plain numbers."""

    def __init__(self, code: Any, *_: Any):
        self.order = "<"
        self.code = text(code).lstrip("<>|=")
        if self.code == "?":
            self.code = "b1"

    def build(self, state: Any) -> None:
        """What `numpy.dtype.__setstate__` takes: a version, the byte order, parts of structures."""
        self.order = ">" if text(state[1]) == ">" else "<"

    def decode(self, data: Any, shape: Any, order: str) -> np.ndarray:
        """Bytes as an array; objects, structures and strings are refused."""
        if self.code not in NUMBERS:
            raise Malformed(f"a numpy array of {self.code!r} instead of numbers")
        if isinstance(data, str):  # Python 2's strings were bytes
            data = data.encode("latin1")
        shape = tuple(shape)
        if not isinstance(data, bytes | bytearray) or not all(type(n) is int for n in shape):
            raise Malformed("a numpy array without plain bytes")
        if math.prod(shape) * ITEM_BYTES[self.code] != len(data) or min(shape, default=0) < 0:
            raise Malformed(f"a numpy array of shape {shape} with {len(data)} bytes")
        return decode(data, self.code, self.order).reshape(shape, order=order)  # type: ignore[call-overload]


def decode(data: bytes | bytearray, code: str, order: str = "<") -> np.ndarray:
    """Bytes as a flat array in this machine's byte order."""
    if code == "bf16":  # the upper half of a float32
        return (np.frombuffer(data, f"{order}u2").astype(np.uint32) << 16).view(np.float32)
    kind = np.dtype(code)
    return np.frombuffer(data, kind.newbyteorder(order)).astype(kind)  # type: ignore[arg-type]


def text(value: Any) -> str:
    """A name; Python 2 wrote bytes."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise Malformed(f"a name of type {type(value).__name__}")
    return value
