"""One run at a time in a folder: two would write over each other's checkpoints."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from darkjax.errors import UserError

NAME = ".lock"


@contextlib.contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Lock `folder` for this process; the system unlocks it, however the process ends.

    On a file system without locks (some network mounts) nothing is locked.

    Raises:
      UserError: another process has it, or nothing can be written there.
    """
    path = pathlib.Path(folder, NAME)
    ours = not path.parent.exists()
    file = _opened(path)
    with file:
        if not _locked(file.fileno()):
            file.seek(0)
            raise UserError(
                f"{folder} is in use by another run ({file.read().strip() or 'unknown'}): wait for "
                "it, stop it, or give another --workdir"
            )
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield
        finally:
            path.unlink(missing_ok=True)  # before the lock goes: what is refused leaves nothing
            if ours:
                with contextlib.suppress(OSError):  # not empty: something was done
                    path.parent.rmdir()


def _opened(path: pathlib.Path) -> IO[str]:
    """The lock's file, made when it is not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+", encoding="utf-8")
    except OSError as e:
        raise UserError(
            f"workdir: expected a folder that can be written, found {path.parent} ({e.strerror}): "
            "give another --workdir"
        ) from e


def _locked(descriptor: int) -> bool:
    """Whether this process has the lock, or the file system has no locks."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return os.fstat(descriptor).st_nlink > 0  # else its holder has just removed it
