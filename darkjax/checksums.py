"""Checksums of a folder's files, in a file `checksums.json` beside them.

CRC-32C finds every flipped bit of a file and every run of flipped bits up to 32 long. The list
carries its own.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Collection

import google_crc32c

from darkjax.files import write_text

NAME = "checksums.json"
_CHUNK = 1 << 20


class Damaged(Exception):
    """What is wrong, in a few words: which file, what was expected, what was found."""


def write(folder: str | os.PathLike[str]) -> None:
    """List every file below `folder`."""
    folder = pathlib.Path(folder)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    write_text(folder / NAME, _text({n: _of(folder / n) for n in names if n != NAME}))


def check(folder: str | os.PathLike[str], only: Collection[str] | None = None) -> None:
    """Compare the files of `folder`, or those named in `only`, with its list.

    Files that are not listed are not looked at.

    Raises:
      Damaged: the first file that is not as it was written.
    """
    folder = pathlib.Path(folder)
    for name, (size, crc) in _read(folder).items():
        if only is not None and name not in only:
            continue
        path = folder / name
        try:
            found = path.stat().st_size
            if found != size:
                raise Damaged(f"{name} has {found} bytes, {size} were written")
            if _of(path)[1] != crc:
                raise Damaged(f"{name} is not what was written: its checksum differs")
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None
        except OSError as e:
            raise Damaged(f"{name} cannot be read: {e.strerror}") from None


def _read(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
    """The list; its text must be exactly what `write` writes for it."""
    try:
        text = (folder / NAME).read_bytes().decode()
        files = {n: (int(size), str(crc)) for n, (size, crc) in json.loads(text)["files"].items()}
    except FileNotFoundError:
        raise Damaged(f"{NAME} is missing") from None
    except OSError as e:
        raise Damaged(f"{NAME} cannot be read: {e.strerror}") from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise Damaged(f"{NAME} is damaged itself") from None
    if text != _text(files):
        raise Damaged(f"{NAME} is damaged itself")
    return files


def _text(files: dict[str, tuple[int, str]]) -> str:
    listed = json.dumps(files, indent=1)
    crc = f"{google_crc32c.value(listed.encode()):08x}"
    return f'{{"crc32c": "{crc}",\n"files": {listed}}}\n'


def _of(path: pathlib.Path) -> tuple[int, str]:
    """Size in bytes and CRC-32C of a file."""
    size = crc = 0
    with open(path, "rb") as f:
        while chunk := f.read(_CHUNK):
            size += len(chunk)
            crc = google_crc32c.extend(crc, chunk)
    return size, f"{crc:08x}"
