"""Files that are there whole or not at all: written beside under another name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Path = str | os.PathLike[str]


@contextlib.contextmanager
def whole(path: Path, *, keep_suffix: bool = False) -> Iterator[pathlib.Path]:
    """A path beside `path` to write to: it takes the place of `path` if the block ends well.

    If not, it is removed, and `path` stays as it was. Only a killed process leaves one behind.

    Args:
      path: where to; its folder exists.
      keep_suffix: end as `path` does, for writers that choose the format by it; the name then
        begins with a dot, so that nobody takes it for one of the folder's files. Otherwise it is
        the name of `path` and `.part-…`.
    """
    path = pathlib.Path(path)
    own = f"part-{uuid.uuid4().hex[:8]}-{os.getpid()}"  # process ids repeat between machines
    name = f".{path.stem}.{own}{path.suffix}" if keep_suffix else f"{path.name}.{own}"
    part = path.with_name(name)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of these bytes."""
    with whole(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented by one."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays as numpy's npz, under exactly this name."""
    with whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
