"""The clips that could not be converted: `bad_files.csv`, and how many of them are too many."""

from __future__ import annotations

import csv
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from darkjax import files
from darkjax.errors import UserError

NAME = "bad_files.csv"
COLUMNS = ("clip", "path", "reason")
MOST = 0.05  # of all clips; a few broken files are usual in what people download


def write(out: pathlib.Path, bad: Sequence[Mapping[str, Any]]) -> None:
    """The table beside the card: row of the card, path, reason. Its header alone: none is bad."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(bad)
    files.write_text(out / NAME, text.getvalue())


def check(out: pathlib.Path, bad: Sequence[Mapping[str, Any]], clips: int, most: float) -> None:
    """Raises UserError when more than `most` of the clips are bad, or all of them."""
    if len(bad) <= most * clips and len(bad) < clips:
        return
    first = f"the first, {bad[0]['path']}, with: {bad[0]['reason']}; {out / NAME} lists them"
    again = "correct the files and run the same command again"
    if len(bad) == clips:
        raise UserError(f"expected at least one good clip; all {clips} failed, {first}: {again}")
    enough = math.ceil(1000 * len(bad) / clips) / 1000
    raise UserError(
        f"expected at most {most:g} of the clips to be bad; {len(bad)} of {clips} failed, {first}: "
        f"{again}, or go on without them by --max_bad_fraction={enough:g}; finished shards are kept"
    )
