"""The card of converted weights: `card.json` beside them says what they are and what they expect.

```
kind, format   "darkjax weights" and the version of this layout
arch, paper    the architecture's name in the zoo, and where it comes from
model          the config of `darkjax.models.build`
num_classes    rows of the classifier; null: a backbone alone
in_channels    of the video          input   [T, H, W] of one clip
preprocess     what frames go through first (`arch.Preprocess`)
left_out       parameters of the model that are not here (--skip)
source         file name, bytes and sha256 of what was converted
licence        of the published weights, as far as known
darkjax        the version that converted
```
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any

from darkjax import files
from darkjax.errors import UserError
from darkjax.version import __version__
from darkjax.weights import zoo
from darkjax.weights.arch import Preprocess

NAME = "card.json"
KIND, FORMAT = "darkjax weights", 1


@dataclasses.dataclass(frozen=True)
class Card:
    """See the module."""

    arch: str
    paper: str
    model: dict[str, Any]
    num_classes: int | None
    in_channels: int
    input: tuple[int, int, int]
    preprocess: Preprocess
    left_out: tuple[str, ...]
    source: dict[str, Any]
    licence: str
    darkjax: str = __version__
    kind: str = KIND
    format: int = FORMAT


def write(directory: str | os.PathLike[str], card: Card) -> None:
    """Write the card."""
    files.write_json(pathlib.Path(directory, NAME), dataclasses.asdict(card))


def is_weights(directory: str | os.PathLike[str]) -> bool:
    """Whether a folder holds converted weights (a dataset's card has no such kind)."""
    try:
        content = json.loads(pathlib.Path(directory, NAME).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def read(directory: str | os.PathLike[str]) -> Card:
    """The card of converted weights.

    Raises:
      UserError: there is none, it is of another format, or a field is missing or unknown.
    """
    path = pathlib.Path(directory, NAME)
    if not is_weights(directory):
        raise UserError(
            f"expected converted weights with {NAME} in {directory}; found none: make them with "
            f"`{zoo.command(directory)}`"
        )
    content = json.loads(path.read_text())
    if content.get("format") != FORMAT:
        raise UserError(
            f"expected card format {FORMAT}, found {content.get('format')} in {path}: convert "
            "the weights again"
        )
    content = {key: _tuples(value) for key, value in content.items()}
    try:
        return Card(**{**content, "preprocess": Preprocess(**content["preprocess"])})
    except (TypeError, KeyError) as error:
        raise UserError(
            f"expected the fields of a weights' card in {path}: {error}: convert the weights again"
        ) from error


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples: a module's fields must be hashable."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
