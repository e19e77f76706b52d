"""Sets of values: what a field of a config may be, in words and as a question (`ranges.TABLE`)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from darkjax.sharding import AXES


class Check(NamedTuple):
    """A set of values: in words, and as a function that asks whether a value is one of them."""

    text: str
    holds: Callable[[Any], bool]


def integer(low: int, high: int = 10**9) -> Check:
    """Whole numbers, `low` and `high` among them; a switch is no number."""
    text = f"an integer from {low} to {high}" if high != 10**9 else f"an integer of at least {low}"
    return Check(text, lambda v: type(v) is int and low <= v <= high)


def number(low: float, high: float = 1e6, *, above: bool = False, below: bool = False) -> Check:
    """Finite numbers from `low` (or `above` it) to `high` (or `below` it)."""
    left = f"above {low:g}" if above else f"of at least {low:g}"
    right = "" if high >= 1e6 else f" and {'below' if below else 'at most'} {high:g}"

    def holds(v: Any) -> bool:
        if type(v) not in (int, float) or not math.isfinite(v):
            return False
        return (low < v if above else low <= v) and (v < high if below else v <= high)

    return Check(f"a number {left}{right}", holds)


def word(*known: str) -> Check:
    """One of some words."""
    return Check(f"one of {', '.join(map(repr, known))}", lambda v: type(v) is str and v in known)


def each(part: Check, *lengths: int) -> Check:
    """Tuples whose parts are all in `part`; of these lengths, or any."""
    count = " or ".join(map(str, lengths)) if lengths else "any number"
    text = f"a tuple of {count} ({part.text} each)"
    return Check(
        text,
        lambda v: (
            type(v) in (tuple, list)
            and (not lengths or len(v) in lengths)
            and all(map(part.holds, v))
        ),
    )


def rule(text: str, *parts: Check) -> Check:
    """Tuples with one part for each check."""
    return Check(
        text,
        lambda v: (
            type(v) in (tuple, list)
            and len(v) == len(parts)
            and all(p.holds(x) for p, x in zip(parts, v, strict=True))
        ),
    )


def either(*checks: Check) -> Check:
    """Values of any of the checks."""
    return Check(" or ".join(c.text for c in checks), lambda v: any(c.holds(v) for c in checks))


def both(text: str, *checks: Check) -> Check:
    """Values of all of the checks."""
    return Check(text, lambda v: all(c.holds(v) for c in checks))


def choice(*values: int) -> Check:
    """One of some integers."""
    text = f"one of {', '.join(map(str, values))}"
    return Check(text, lambda v: type(v) is int and v in values)


def _compiles(pattern: Any, replacement: Any = "") -> bool:
    if type(pattern) is not str or type(replacement) is not str:
        return False
    try:
        re.compile(pattern)
        # The empty alternative matches, so that the replacement's groups are looked up.
        re.sub(f"{pattern}|", replacement, "")
    except (re.error, IndexError, RecursionError, OverflowError):
        return False
    return True


def _rising(v: Any) -> bool:
    return v[0] <= v[1]


def _renames(v: Any) -> bool:
    return _compiles(*v[1:])


FLAG = Check("True or False", lambda v: type(v) is bool)
TEXT = Check("text", lambda v: type(v) is str and "\0" not in v)
NAME = Check("a name", lambda v: type(v) is str and v.strip() != "" and "\0" not in v)
NONE = Check("None", lambda v: v is None)
PATTERN = Check("a regular expression", _compiles)
SOME = Check("some", lambda v: len(v) > 0)
SHARE = number(0, 1)
POSITIVE = number(0, above=True)
SIZE = integer(1, 16384)
PATTERNS = each(PATTERN)
SCALED = each(rule("(regular expression, factor of at least 0)", PATTERN, number(0)))
PLACED = rule(
    f"(regular expression, a tuple of {', '.join(AXES)} or None)",
    PATTERN,
    each(either(word(*AXES), NONE)),
)
TAKEN = both(
    "(stage or folder, regular expression, replacement)",
    rule("three texts", NAME, PATTERN, TEXT),
    Check("groups that are there", _renames),
)
LEVELS = either(word("weights"), each(number(-10, 10), 0, 1, 2, 3))
SPREADS = either(word("weights"), each(number(0, 10, above=True), 0, 1, 2, 3))
RISING = Check("rising", _rising)
SPAN = both("(smallest, largest), above 0", each(POSITIVE, 2), RISING)
