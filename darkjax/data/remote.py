"""Records in object stores: byte ranges of `gs://…`, `s3://…`, any URL that fsspec knows.

fsspec finds the package that speaks a store's protocol (gcsfs, s3fs, adlfs, …), which the user
installs; credentials are that package's own. A request that fails is tried again, waiting longer
each time, since a training run reads for days; what waiting does not mend is said at once.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from darkjax.data import index
from darkjax.errors import UserError

TRIES, FIRST_WAIT = 6, 0.5  # seconds, doubled after each: 15 seconds in all
GAP = 1 << 16  # a request takes as long as reading so many bytes that nobody asked for
AT_ONCE = 16  # clips of a batch
PACKAGES = {
    "gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs", "az": "adlfs", "abfs": "adlfs",
}  # fmt: skip
log = logging.getLogger(__name__)
T = TypeVar("T")


def is_url(where: str | os.PathLike[str]) -> bool:
    """Whether it names a place in a store rather than a path of this machine."""
    return "://" in os.fspath(where)


def place(where: str | os.PathLike[str]) -> pathlib.Path | Url:
    """A folder or file on a disc, or in a store."""
    return Url(os.fspath(where).rstrip("/")) if is_url(where) else pathlib.Path(where)


def refuse(where: str | os.PathLike[str], field: str) -> None:
    """UserError when a URL is given where only a folder of this machine will do."""
    if is_url(where):
        raise UserError(
            f"expected a folder in {field}; found {where}: convert to (and verify) a folder of a "
            "disc, then copy it with the store's own program"
        )


@dataclasses.dataclass(frozen=True)
class Url:
    """A file or folder in a store, with as much of `pathlib.Path` as is used of a dataset's."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __fspath__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Url:
        """The folder of a file."""
        return Url(self.url.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> Url:
        """The file with another suffix."""
        return Url(self.url.rpartition(".")[0] + suffix)

    def is_file(self) -> bool:
        """Whether there is such a file."""
        try:
            return bool(_ask(self, lambda: _store(self).info(self.url)["type"] == "file"))
        except FileNotFoundError:
            return False

    def read_text(self, encoding: str) -> str:
        """The whole file."""
        return str(_ask(self, lambda: _store(self).cat_file(self.url)), encoding)


class Shards:
    """The shards of a dataset in a store.

    Attributes:
      paths: one per shard.
    """

    def __init__(self, paths: Sequence[Url]):
        self.paths = list(paths)
        self._kept: Any = None

    def bytes(self, shard: int, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end`."""
        return self.ranges(shard, [(begin, end)])[0]

    def ranges(self, shard: int, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each (begin, end) span; those that are near one another in one request.

        Raises:
          UserError: the store does not answer, or the shard ends before.
        """
        path, wide = self.paths[shard], _joined(spans)
        if not wide:
            return []
        begins, ends = [begin for begin, _ in wide], [end for _, end in wide]
        paths = [path.url] * len(wide)
        try:
            got = _ask(
                path, lambda: self._store().cat_ranges(paths, begins, ends, on_error="raise")
            )
        except FileNotFoundError as error:
            raise UserError(
                f"expected the shard {path}; it is there no more: copy it there again"
            ) from error
        content = dict(zip(wide, got, strict=True))
        if short := [end for (begin, end), data in content.items() if len(data) < end - begin]:
            raise UserError(f"truncated shard: expected {short[0]} bytes in {path}: copy it again")
        found = []
        for begin, end in spans:
            around = next(w for w in wide if w[0] <= begin and end <= w[1])
            found.append(content[around][begin - around[0] : end - around[0]])
        return found

    def indices(self) -> list[np.ndarray]:
        """The index of every shard (dtype `index.ROW`), all asked for at once.

        One that is missing or not to be trusted is built in memory from its shard, which is
        fetched whole for that; nothing is written to a store.

        Raises:
          UserError: the store does not answer; a shard is missing or truncated.
        """
        if not self.paths:
            return []
        folder = self.paths[0].parent
        listed = _ask(folder, lambda: self._store().ls(folder.url, detail=True))
        sizes = {entry["name"].rpartition("/")[2]: entry["size"] for entry in listed}
        for path in self.paths:
            if path.name not in sizes:
                raise UserError(f"expected the shard {path}; it is missing: copy it there again")
        urls = [index.index_path(path).url for path in self.paths]
        stored = _ask(folder, lambda: self._whole(urls))
        return [
            self._index(path, content, sizes[path.name])
            for path, content in zip(self.paths, stored, strict=True)
        ]

    def close(self) -> None:
        """Nothing is held open."""

    def _whole(self, urls: Sequence[str]) -> list[bytes | None]:
        """Files, None for those that are missing."""
        found = self._store().cat_ranges(list(urls), None, None, on_error="return")
        for content in found:
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
        return [None if isinstance(content, Exception) else content for content in found]

    def _index(self, path: Url, content: bytes | None, size: int) -> np.ndarray:
        try:
            if content is None:
                raise ValueError("missing")
            found = index.parse(content)
            if index.end(found) == size:
                return found
            what = "stale"
        except ValueError as error:
            what = str(error)
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder, path.name)
            _ask(path, lambda: self._store().get_file(path.url, str(copy)))
            try:
                rows = index.build(copy)
            except UserError as error:
                raise UserError(str(error).replace(str(copy), str(path))) from error
        log.warning(
            "index %s is %s; built in memory from all of its shard (%.1f MB): to save that at "
            "every start, copy the index there too",
            index.index_path(path), what, size / 1e6,
        )  # fmt: skip
        return np.array(rows, index.ROW)

    def _store(self) -> Any:
        """One connection for all threads: fsspec would make another in each."""
        if self._kept is None:
            self._kept = _store(self.paths[0])
        return self._kept


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, with those joined that overlap or are at most GAP apart."""
    wide: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if wide and begin <= wide[-1][1] + GAP:
            wide[-1] = (wide[-1][0], max(end, wide[-1][1]))
        else:
            wide.append((begin, end))
    return wide


def _store(where: Url) -> Any:
    """fsspec's file system of a URL. UserError when a package for it is missing."""
    try:
        import fsspec
    except ImportError as error:
        raise UserError(
            f"{where}: reading from a store needs fsspec: pip install 'darkjax[remote]'"
        ) from error
    try:
        return fsspec.core.url_to_fs(where.url)[0]
    except ImportError as error:
        package = PACKAGES.get(where.url.partition("://")[0], "")
        hint = f": pip install {package}" if package else ""
        raise UserError(f"{where}: a package is missing: {error}{hint}") from error
    except ValueError as error:
        raise UserError(f"{where}: expected a URL that fsspec knows: {error}") from error


def _ask(where: Url, request: Callable[[], T]) -> T:
    """The answer to a request, tried again when the store or the line to it fails.

    Raises:
      UserError: it failed so often, or is not allowed. One line that names the file.
      FileNotFoundError: there is no such file.
    """
    failed = 0
    while True:
        try:
            return request()
        except (FileNotFoundError, UserError):
            raise
        except PermissionError as error:
            raise UserError(
                f"{where} may not be read: {error}: give the store's package its credentials"
            ) from error
        except Exception as error:  # every store's package has errors of its own
            failed += 1
            what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
            if failed == TRIES:
                raise UserError(
                    f"{where} could not be read, {TRIES} times in a row ({what}): check the line "
                    "and the credentials; the same command goes on from what was saved"
                ) from error
            wait = FIRST_WAIT * 2 ** (failed - 1)
            log.warning("%s: %s; tried again in %.1f s", where, what, wait)
            time.sleep(wait)
