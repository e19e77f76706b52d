"""The error that users read, that of a stopped run, and what a full disk reports."""

import errno
import os
import sys

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class UserError(ValueError):
    """Something the user gave is not what was expected.

    The message is one line: what was expected, what was found, in which file,
    and what to do next. Programs print it without a traceback and exit with 2.
    """


class Stopped(Exception):
    """A signal ended the training early; the last checkpoint is whole.

    `signal` is its number. A program exits with 128 plus that number, as shells and clusters
    expect, so that a stopped run is not taken for a finished one.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.signal = number


def storage(error: BaseException | None) -> str | None:
    """What the file system refused, if that is behind an error: "No space left on device".

    Libraries below wrap it in errors of their own, so the whole chain is searched, and its texts.
    """
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, OSError) and error.errno in FULL:
            return os.strerror(error.errno)
        for number in FULL:
            if os.strerror(number) in str(error):
                return os.strerror(number)
        for inner in getattr(error, "exceptions", ()):
            if storage(inner):
                return storage(inner)
        error = error.__cause__ or error.__context__
    return None


def worker_died(kept: str = "") -> UserError:
    """Of a process of a pool that ended by itself; `kept` says what is not lost.

    Workers import the script that started them: one without a guard starts workers again in each.
    """
    message = "a worker process died, perhaps for lack of memory: run the same command again"
    message += " with fewer --workers"
    main = sys.modules.get("__main__")
    if getattr(main, "__spec__", None) is None and getattr(main, "__file__", None):
        message += '; in a script of your own, start it below `if __name__ == "__main__":`'
    return UserError(message + kept)
