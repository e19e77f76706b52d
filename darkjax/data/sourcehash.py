"""The sha256 of what a clip comes from: a file, or a folder of pictures."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib


def sha256(path: pathlib.Path) -> str:
    """Of a file, or of the names and contents of a folder's files. OSError."""
    if path.is_dir():
        sha = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name = os.fsencode(file.relative_to(path).as_posix())
            sha.update(name + b"\0" + sha256(file).encode())
        return sha.hexdigest()
    status = path.stat()
    return _of_file(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _of_file(path: pathlib.Path, size: int, changed: int) -> str:
    """Kept, because many clips may be cut out of one long video."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
