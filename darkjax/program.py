"""What every program of the project shares: how it ends, and the list of what can be run."""

from __future__ import annotations

import argparse
import os
import pathlib
import pkgutil
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

from darkjax import heap
from darkjax.errors import Stopped, UserError
from darkjax.nearest import nearest

MODES = ("all", "train", "evaluate", "report")  # of a run

DOCSTRING = re.compile(r'"""(.*?)("""|$)', re.MULTILINE)  # parsing all files takes seconds
GUARD = re.compile(r'^if __name__ == "__main__":$', re.MULTILINE)


def run(main: Callable[[], int | None], closed: str = "") -> NoReturn:
    """End the process with the status of `main`, and never with a traceback for a user's error.

    Args:
      main: a program; returns its exit status, None is 0.
      closed: what to say (on standard error) when whoever read the output is gone, as in `| head`;
        by default nothing, as other programs do.

    A `UserError` is one line and status 2, a training that a signal ended one line and 128 plus the
    signal's number, Ctrl-C one line and 130, a closed output 141 (what a
    shell reports of a program that SIGPIPE ended).
    """
    status: int | None
    heap.keep()
    try:
        try:
            status = main()
        finally:
            sys.stdout.flush()  # a closed output is found out here, not while Python shuts down
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        status = 2
    except Stopped as e:
        print(f"{e}: the same command goes on from there", file=sys.stderr)
        status = 128 + e.signal
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # Python flushes once more at its end: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if closed:
            print(closed, file=sys.stderr)
        status = 141
    sys.exit(status)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line; abbreviated options are not taken."""

    def __init__(self, module: str, doc: str, example: str | None = None):
        """`module` as in `python -m module`; `doc` is its docstring, of which the first line begins
        the help and `example` ends it, or else the rest of it."""
        first, _, rest = doc.partition("\n")
        super().__init__(
            prog=f"python -m {module}",
            description=first,
            epilog=rest if example is None else example,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """One line and status 2."""
        print(f"error: {message}: see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def counted(number: int, what: str) -> str:
    """`1 fault`, `2 faults`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def chosen(flag: str, text: str, known: Collection[str]) -> list[str]:
    """The names, joined by commas, that a flag asks for.

    Raises:
      UserError: one of them is not known.
    """
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--{flag}={','.join(unknown)}: expected some of {', '.join(known)}")
    return names


def commands(package: str) -> dict[str, str]:
    """The modules at or below a package that can be run, and the first lines of their docstrings.

    Found by their `if __name__ == "__main__":`, without importing them.
    """
    return {name: line for name, line, runs in _modules(package, deep=True) if runs}


def overview(package: str, argv: Sequence[str] | None = None) -> int:
    """`python -m package`: print its commands and its parts; 2 for arguments it does not take."""
    words = list(sys.argv[1:] if argv is None else argv)
    found = commands(package)
    asked = [w for w in words if w not in ("-h", "--help")]
    if asked:
        known = {name.removeprefix(f"{package}."): name for name in found}
        near = nearest(asked[0], known) or next(iter(known), None)
        hint = f": did you mean python -m {known[near]}?" if near else ""
        raise UserError(f"python -m {package} takes no arguments, found {asked[0]!r}{hint}")
    root = _folder(package)
    title = _first_line(root / "__init__.py").removeprefix(f"{package}: ")
    print(f"{package}: {title}\n")
    parts = [(n, line) for n, line, runs in _modules(package, deep=False) if not runs]
    if found:
        print("Commands (each explains itself with --help):")
        for name, line in found.items():
            print(f"  python -m {name:<{max(map(len, found))}}  {line}")
    else:
        print("Nothing here is run by itself: python -m darkjax lists what is.")
    if parts:
        print("\nParts, for notebooks and scripts:")
    for name, line in parts:
        print(f"  {name:<{max(len(n) for n, _ in parts)}}  {line}")
    return 0


def _modules(package: str, deep: bool) -> list[tuple[str, str, bool]]:
    """(name, first line, can be run) of the modules below a package, sorted by name."""
    found = []
    for module in pkgutil.iter_modules([str(_folder(package))]):
        name = f"{package}.{module.name}"
        if module.name == "__main__":
            continue
        if module.ispkg:
            found.append((name, _first_line(_folder(name) / "__init__.py"), False))
            found += _modules(name, deep) if deep else []
        else:
            file = _folder(package) / f"{module.name}.py"
            runs = GUARD.search(file.read_text(encoding="utf-8")) is not None
            found.append((name, _first_line(file), runs))
    return found


def _folder(package: str) -> pathlib.Path:
    return pathlib.Path(__file__).resolve().parent.joinpath(*package.split(".")[1:])


def _first_line(file: pathlib.Path) -> str:
    """The first line of a file's docstring, without how it is called."""
    found = DOCSTRING.match(file.read_text(encoding="utf-8"))
    return re.sub(r":? `python -m [^`]*`[.;]?$", "", found[1]) if found else ""
