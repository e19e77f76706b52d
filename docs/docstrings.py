"""What our docstrings write shorter than the site reads: `a, b: what both are` is two parameters of
one description, and a list may follow a line of text."""

import re
from typing import Any

import griffe

SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)", re.MULTILINE)

LIST = re.compile(r"^((?!- )\S.*\n)(?=- )", re.MULTILINE)


def split(text: str) -> str:
    """Each name on a line of its own, the description repeated."""
    return SHARED.sub(
        lambda found: "\n".join(f"{found[1]}{name}: {found[3]}" for name in found[2].split(", ")),
        text,
    )


class SharedDescriptions(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = LIST.sub(r"\1\n", split(obj.docstring.value))
