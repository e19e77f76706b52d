"""Files as `torch.save` writes them, made without torch: pickles put together opcode by opcode."""

from __future__ import annotations

import math
import pickle
import struct
import sys
import zipfile
from typing import Any

import numpy as np

# Storage types by numpy dtype.
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Code(bytes):
    """Opcodes that leave one object on the stack."""


class Storage:
    """What tensors share: a flat array, and the type that the file gives it."""

    def __init__(self, key: str, values: np.ndarray, kind: str | None = None):
        self.key, self.values = key, values
        self.kind = kind or STORAGES[values.dtype.name]

    def code(self, view: Any = ()) -> Code:
        pid = ("storage", name("torch", self.kind), self.key, "cpu", self.values.size, *view)
        return Code(put(pid) + pickle.BINPERSID)


def put(value: Any) -> Code:
    """Opcodes of a plain value, or the ones it already is."""
    if isinstance(value, Code):
        return value
    if isinstance(value, Storage):
        return value.code()
    if isinstance(value, tuple):
        return Code(b"(" + b"".join(map(put, value)) + b"t")
    if isinstance(value, dict):
        rows = b"".join(put(k) + put(v) for k, v in value.items())
        return Code(b"}(" + rows + b"u")
    return Code(pickle.dumps(value, 2)[2:-1])  # without protocol and STOP


def name(module: str, attribute: str) -> Code:
    """GLOBAL."""
    return Code(f"c{module}\n{attribute}\n".encode())


def call(function: Code, *args: Any) -> Code:
    """REDUCE."""
    return Code(function + put(args) + b"R")


def tensor(
    storage: Storage, size: tuple, stride: tuple | None = None, offset: Any = 0, view: Any = ()
) -> Code:
    """A tensor on a storage; contiguous unless `stride` is given."""
    if stride is None:
        stride = tuple(math.prod(size[i + 1 :]) for i in range(len(size)))
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, storage.code(view), offset, size, stride, False, hooks)


def tensors(arrays: dict[str, np.ndarray]) -> tuple[dict[str, Code], list[Storage]]:
    """Each array as a tensor with a storage of its own."""
    storages = [Storage(str(i), np.ravel(a)) for i, a in enumerate(arrays.values())]
    codes = {k: tensor(s, a.shape) for (k, a), s in zip(arrays.items(), storages, strict=True)}
    return codes, storages


def program(value: Any) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + put(value) + b"."


def write_zip(
    path: Any,
    value: Any,
    storages: list[Storage],
    folder: str = "archive",
    big: bool = False,
    compression: int = zipfile.ZIP_STORED,
) -> None:
    """The layout since torch 1.6."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", program(value))
        archive.writestr(f"{folder}/byteorder", "big" if big else "little")
        for storage in storages:
            kind = storage.values.dtype.newbyteorder(">" if big else "<")
            archive.writestr(f"{folder}/data/{storage.key}", storage.values.astype(kind).tobytes())
        archive.writestr(f"{folder}/version", "3\n")


def write_legacy(path: Any, value: Any, storages: list[Storage]) -> None:
    """The layout before torch 1.6."""
    machine = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    assert sys.byteorder == "little"
    with open(path, "wb") as file:
        for part in (LEGACY_MAGIC, 1001, machine, value, [s.key for s in storages]):
            file.write(program(part))
        for storage in storages:
            file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())


WRITERS = {"zip": write_zip, "legacy": write_legacy}


def save(path: Any, arrays: dict[str, np.ndarray], layout: str = "zip", **around: Any) -> None:
    """A state dict, under `state_dict` beside `around` where that is given."""
    state, storages = tensors(arrays)
    WRITERS[layout](path, {**around, "state_dict": put(state)} if around else state, storages)
