"""Every program by one word: `darkjax train`, `darkjax predict`, `darkjax convert`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from darkjax import program
from darkjax.errors import UserError
from darkjax.nearest import did_you_mean

FIRST = ("darkjax.main", "darkjax.tools", "darkjax.data", "darkjax.weights")  # of equal words


def verbs() -> dict[str, str]:
    """Module by word: its last name (`train` is `darkjax.main`). Where two have the same, the word
    is the one's in `FIRST` that comes first; the other is called by both names: `data.flow`."""
    found: dict[str, str] = {}
    known = program.commands("darkjax")
    for module in sorted(known, key=lambda m: (_place(m), m)):
        word = "train" if module == "darkjax.main" else module.rpartition(".")[2]
        if word in found:
            word = module.removeprefix("darkjax.")
        found[word] = module
    return found


def main(argv: Sequence[str] | None = None) -> int | None:
    """`darkjax VERB ...` is `python -m MODULE ...`; without a verb, what there is.

    Raises:
      UserError: no such verb.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    known = verbs()
    if not words or words[0] in ("-h", "--help"):
        print("usage: darkjax VERB [--help]\n")
        about = program.commands("darkjax")
        for word in sorted(known, key=lambda w: (w != "train", w)):
            print(f"  {word:<{max(map(len, known))}}  {about[known[word]]}")
        print("\ndarkjax VERB is python -m MODULE; python -m darkjax lists the modules.")
        return 0
    module = known.get(words[0])
    if module is None:
        hint = did_you_mean(words[0], known, lead=": ")
        raise UserError(f"darkjax has no verb {words[0]!r}{hint}; `darkjax` alone lists them")
    sys.argv = [f"darkjax {words[0]}", *words[1:]]  # what a run says was typed
    return importlib.import_module(module).main(words[1:])


def run() -> None:
    """The program `darkjax` of an installed package."""
    program.run(main)


def _place(module: str) -> int:
    return next((i for i, name in enumerate(FIRST) if module.startswith(name)), len(FIRST))
