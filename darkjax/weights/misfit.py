"""What is said of a state dict that does not fit its model: four lists, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from darkjax.errors import UserError
from darkjax.weights import names, zoo

MOST = 6  # patterns that a suggested --skip may join


def lists(fit: names.Fit) -> list[str]:
    """The four lists, each as one line: how many and the first few."""
    other = [
        f"{path} (file {times(theirs)}, model {times(ours)})"
        for path, theirs, ours in fit.other_shape
    ]
    rows = (
        ("matched", fit.matched),
        ("missing", fit.missing),
        ("extra", fit.extra),
        ("other shape", other),
    )
    return [f"  {what:<12}{len(row):>5}  {_first(row)}".rstrip() for what, row in rows]


def check(name: str, fit: names.Fit, file: str, wanted: int) -> None:
    """Refuse what does not fit, and say what would make it."""
    wrong = [*fit.missing, *fit.extra, *(path for path, *_ in fit.other_shape)]
    if not wrong:
        return
    counts = (
        f"{len(fit.missing)} missing, {len(fit.extra)} extra, "
        f"{len(fit.other_shape)} of another shape"
    )
    flat = [path for path, theirs, ours in fit.other_shape if len(theirs) == 4 and len(ours) == 5]
    regex = _regex(wrong, fit.matched)
    if flat:
        advice = f"2-D kernels ({flat[0]}) go into a 3-D network with --inflate=centre or average"
    elif len(fit.matched) < 0.8 * wanted or len(regex) > MOST:
        advice = f"is it another architecture{published(file)}, or a part of a checkpoint?"
    else:
        advice = (
            f"is it another architecture{published(file)}? if not, leave out what differs: "
            f'--skip="{"|".join(regex)}"'
        )
    raise UserError(
        f"{file} does not fit {name}: {len(fit.matched)} of {wanted} arrays match, {counts} "
        f"(first: {wrong[0]}); {advice}"
    )


def published(file: str) -> str:
    """The architectures that a file of this name is published for."""
    known = [a for a in (*zoo.NAMES, *zoo.ENHANCERS) if file in zoo.get(a).files]
    return f" ({file} is published for {' and '.join(known)})" if known else ""


def _regex(wrong: Iterable[str], good: Sequence[str]) -> list[str]:
    """Short patterns that match all of `wrong` and none of `good`, any number for a number."""
    found: dict[str, None] = {}  # in order, each once
    for path in wrong:
        parts = re.split(r"(?<=[/.])", path)
        patterns = []
        for n in range(1, len(parts) + 1):
            begin = re.escape("".join(parts[:n])) + (".*" if n < len(parts) else "")
            patterns += [re.sub(r"\d+", r"\\d+", begin), begin]
        free = (p for p in patterns if not any(re.fullmatch(p, other) for other in good))
        found[next(free, begin)] = None
    return list(found)


def _first(row: Sequence[str], count: int = 4) -> str:
    return ", ".join(row[:count]) + (", …" if row[count:] else "")


def times(shape: Sequence[int]) -> str:
    """A shape as it is written in messages: 64x112x112."""
    return "x".join(map(str, shape)) or "()"
