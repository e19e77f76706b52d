"""The name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def alike(name: object, known: Iterable[str], count: int, cutoff: float) -> list[str]:
    """Up to `count` of the known names, the most alike first; `cutoff` 0 takes any, 1 the same."""
    return difflib.get_close_matches(str(name), list(known), count, cutoff)


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most alike of the known names; None where none is alike by `cutoff`."""
    return next(iter(alike(name, known, 1, cutoff)), None)


def did_you_mean(
    name: object,
    known: Iterable[str],
    *,
    lead: str = "",
    otherwise: str = "",
    cutoff: float = 0.6,
) -> str:
    """`did you mean 'x'?` of the nearest name, after `lead`; `otherwise` where none is near."""
    found = nearest(name, known, cutoff)
    return otherwise if found is None else f"{lead}did you mean {found!r}?"
