"""Weight files as a flat state dict, whatever they are called, without running what they hold.

What a file is shows in its first bytes: torch's zip and legacy layouts, plain pickles of numpy
arrays (caffe2's `{"blobs": ...}`), npz (a flat archive, name -> array) and safetensors.
torch is not needed. See `pickles` for what a pickle may ask for.

In a checkpoint with more than weights (epoch, optimiser, ...) the state dict is found by its key,
the first of `CONTAINERS` that holds tensors, also one inside another; everything else is ignored.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from darkjax import npy
from darkjax.errors import UserError
from darkjax.weights.reading import pickles, standins, torchfile
from darkjax.weights.reading.standins import Array, Malformed, Tensor

CONTAINERS = (
    "state_dict",
    "model_state",
    "model_state_dict",
    "model",
    "net",
    "network",
    "params",
    "weights",
    "blobs",
    "state_dict_ema",
    "model_ema",
)
DEPTH = 3  # containers in containers
SAFETENSORS = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "bf16",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "b1",
}
FORMATS = "torch (.pth, .pt, .pyth, .tar), pickled numpy (.pkl), .npz or .safetensors"
AGAIN = "compare its size with the publisher's and download it again"
# Trained weights shrink to half at best; an archive of up to 64 MiB may hold what it likes.
MOST_RATIO, MOST_UNPACKED = 100, 64 * 2**20
# Files that are something else, by how they begin.
OTHERS = (
    (rb"version https://git-lfs", "a Git LFS pointer: run `git lfs pull` where it comes from"),
    (rb"\s*<(?i:!doctype|html|\?xml)", "a web page: the download failed, open its address again"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "compressed: unpack it first"),
    (rb"\x89HDF", "HDF5: save the arrays with numpy.savez, flat, by their state-dict names"),
)
# Pickles of protocol 0 and 1 look like text: a dict, a list or a named object.
OLD_PICKLE = re.compile(rb"[(}\]]|c[\w.]+\r?\n[\w.]+\r?\n")


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The state dict of a weight file: name -> array, in the file's order.

    bfloat16 becomes float32; other types stay.

    Raises:
      UserError: there is no such file, it is no weight file, it is damaged, it holds no named
        tensors, or it asks for something to be executed (nothing ever is).
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"expected a weight file at {path}; found {_instead(path)}")
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except UserError:
        raise
    except (ValueError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path}: expected a whole weight file, found a damaged one or another format "
            f"({error}): {AGAIN}, or give one of {FORMATS}"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _instead(path: pathlib.Path) -> str:
    if path.is_dir():
        return "a folder: give the file in it"
    return "nothing" if path.parent.is_dir() else f"no folder {path.parent}"


def _read(file: IO[bytes], path: pathlib.Path) -> dict[str, np.ndarray]:
    size = os.fstat(file.fileno()).st_size
    head = file.read(4096)
    if not head:
        raise UserError(f"{path} is empty: {AGAIN}")
    for begin, what in OTHERS:
        if re.match(begin, head):
            raise UserError(f"{path} is no weight file but {what}")
    if head[257:262] == b"ustar":
        raise UserError(
            f"{path} is a tar archive (torch before 0.1.10, or packed files): unpack it, or open "
            "it with torch and save its state_dict() again"
        )
    if head[:2] == b"PK":
        return _zip(path)
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 2**27:
        return _safetensors(file, size)
    if _is_text(head) and not OLD_PICKLE.match(head):
        raise UserError(
            f"{path} is a text file, expected weights: {FORMATS}; it begins {head[:40]!r}"
        )
    file.seek(0)
    found = pickles.load(file, str(path))
    if found == torchfile.LEGACY_MAGIC:
        found = torchfile.from_legacy(file, str(path), size)
    return _arrays(found, path)


def _is_text(head: bytes) -> bool:
    """Whether the first bytes are printable (a character may be cut at the end)."""
    text = head.decode("utf-8", errors="replace").rstrip("�")
    return all(c.isprintable() or c in "\t\r\n\f" for c in text) and "�" not in text


def _zip(path: pathlib.Path) -> dict[str, np.ndarray]:
    """torch's archive or numpy's."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive, path)
            names = archive.namelist()
            pickled = [n for n in names if re.fullmatch(r"(.*/)?data\.pkl", n)]
            if any(n.endswith("/constants.pkl") or "/code/" in n for n in names):
                raise UserError(
                    f"{path} is a TorchScript program: open it with torch.jit.load and save its "
                    "state_dict()"
                )
            if len(pickled) == 1:
                folder = pickled[0].removesuffix("data.pkl")
                return _arrays(torchfile.from_zip(archive, folder, str(path)), path)
            if names and all(n.endswith(".npy") for n in names):
                return _filled({n[:-4]: _npy(archive, n) for n in names}, path, "")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise Malformed(f"a zip archive that is cut off or damaged: {error}") from error
    some = ", ".join(names[:3]) or "nothing"
    raise UserError(
        f"{path} is a zip archive but no checkpoint: it holds {some}{', …' if names[3:] else ''}; "
        "unpack it and give the weight file"
    )


def _npy(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an npz; its size is checked before memory is taken for it."""
    with archive.open(name) as file:
        try:
            return npy.read(file, archive.getinfo(name).file_size)
        except ValueError as error:
            raise Malformed(f"{name} {error}") from error


def _refuse_bomb(archive: zipfile.ZipFile, path: pathlib.Path) -> None:
    """An archive that unpacks to far more than it is; zip's compression reaches 1000 to 1."""
    size, unpacked = path.stat().st_size, sum(info.file_size for info in archive.infolist())
    if unpacked > max(MOST_UNPACKED, MOST_RATIO * size):
        raise UserError(
            f"{path}: expected weights, found an archive of {size:,} bytes that unpacks to "
            f"{unpacked:,}; weights never shrink so far, nothing was unpacked: {AGAIN}, or save "
            "the arrays again with numpy.savez if they are yours"
        )


def _safetensors(file: IO[bytes], size: int) -> dict[str, np.ndarray]:
    """An 8-byte length, a JSON header of types, shapes and byte ranges, and the bytes."""
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    start = 8 + length
    if start > size:
        raise Malformed(f"its header ends at byte {start:,}, the file at {size:,}")
    try:
        header = json.loads(file.read(length))
        rows = [
            (name, row["dtype"], tuple(row["shape"]), *row["data_offsets"])
            for name, row in header.items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(f"its safetensors header does not parse: {error}") from error
    found = {}
    for name, kind, shape, begin, end in rows:
        if kind not in SAFETENSORS:
            raise Malformed(f"{name} is of type {kind!r}")
        code = SAFETENSORS[kind]
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise Malformed(f"{name} has no plain shape")
        if end - begin != math.prod(shape) * standins.ITEM_BYTES[code] or start + end > size:
            raise Malformed(f"{name} {shape} ends at byte {start + end:,}, the file at {size:,}")
        file.seek(start + begin)
        found[name] = standins.decode(file.read(end - begin), code).reshape(shape)
    return _filled(found, pathlib.Path(file.name), "")


def _arrays(found: Any, path: pathlib.Path) -> dict[str, np.ndarray]:
    """The state dict inside what was unpickled, its tensors read."""
    if isinstance(found, Tensor | Array):
        raise UserError(f"{path} holds one tensor without a name, expected a state dict")
    wanted = {
        name: value
        for name, value in _state_dict(found).items()
        if isinstance(name, str) and isinstance(value, Tensor | Array)
    }
    keys = list(map(str, found)) if isinstance(found, Mapping) else [type(found).__name__]
    return _filled({k: v.array() for k, v in wanted.items()}, path, f" ({', '.join(keys[:8])})")


def _state_dict(found: Any) -> Mapping:
    """The innermost container that holds tensors by name."""
    for _ in range(DEPTH):  # a pickle's dict may hold itself
        if not isinstance(found, Mapping):
            return {}
        inside = next((k for k in CONTAINERS if _holds_tensors(found.get(k), DEPTH)), None)
        if inside is None:
            break
        found = found[inside]
    return found


def _holds_tensors(value: Any, depth: int) -> bool:
    """Whether it is a dict with tensors, or with a container of them."""
    if not isinstance(value, Mapping) or not depth:
        return False
    if any(isinstance(v, Tensor | Array) for v in value.values()):
        return True
    return any(_holds_tensors(value.get(k), depth - 1) for k in CONTAINERS)


def _filled(state: dict[str, np.ndarray], path: pathlib.Path, found: str) -> dict[str, np.ndarray]:
    if not state:
        raise UserError(
            f"{path} holds no tensors by name{found}; expected a state dict, or one under one of "
            f"{', '.join(CONTAINERS)}"
        )
    return state
