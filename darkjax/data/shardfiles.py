"""Open shards: memory-mapped or by `pread`, shared by threads, left behind when pickled."""

import mmap
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax.data import index
from darkjax.errors import UserError


class ShardFiles:
    """The shards of a dataset, each opened when it is first read.

    Attributes:
      paths: one per shard.
      read: "mmap" or "pread".
    """

    def __init__(self, paths: Sequence[pathlib.Path], read: str):
        self.paths = list(paths)
        self.read = read
        self._forget()

    def mapped(self, shard: int) -> mmap.mmap:
        """The memory map of a shard."""
        mapped = self._maps.get(shard)
        if mapped is None:
            with self._lock, self._opened(shard) as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._maps[shard] = mapped
        return mapped

    def fd(self, shard: int) -> int:
        """The file descriptor of a shard."""
        fd = self._fds.get(shard)
        if fd is None:
            with self._lock, self._opened(shard) as file:
                if shard not in self._fds:
                    self._fds[shard] = os.dup(file.fileno())
                fd = self._fds[shard]
        return fd

    def bytes(self, shard: int, begin: int, end: int) -> bytes:
        """A copy of the bytes from `begin` to `end`."""
        if self.read == "mmap":
            return self.mapped(shard)[begin:end]
        return os.pread(self.fd(shard), end - begin, begin)

    def indices(self) -> list[np.ndarray]:
        """The index of every shard (`index.load`)."""
        return [index.load(path) for path in self.paths]

    def close(self) -> None:
        """Close everything. Reading afterwards opens the files again."""
        with self._lock:
            for fd in self._fds.values():
                os.close(fd)
            self._fds.clear()
            self._maps.clear()  # a map closes when the last array on it goes

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._fds: dict[int, int] = {}
        self._maps: dict[int, mmap.mmap] = {}

    def _opened(self, shard: int) -> Any:
        path = self.paths[shard]
        try:
            return path.open("rb")
        except OSError as error:
            raise UserError(
                f"expected to open the shard {path}: {error.strerror} (if too many files are open, "
                "raise `ulimit -n` or convert to fewer shards)"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "read": self.read}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __del__(self) -> None:
        if hasattr(self, "_fds"):  # not there when the constructor failed
            self.close()
