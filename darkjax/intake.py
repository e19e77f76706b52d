"""How any video becomes what a stage was trained on: kept with its checkpoints, read back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import methods, spec
from darkjax.data import split
from darkjax.data.records import Records


@dataclasses.dataclass(frozen=True)
class Intake:
    """Of the clips that a stage was trained on.

    Attributes:
      short_side: pixels of a frame's shorter side, the median of the clips.
      fps: frames a second, the median of the clips; 0 is unknown.
      channels: of a frame: 1, 3, or 6 with flow.
      window: of 16-bit grey (`data.window`), "" for none.
      flow: how flow was computed (the card's `decode.flow`), or None.
      domains, spread, sources: of the method's `Spec`.
    """

    short_side: int
    fps: float
    channels: int
    window: str = ""
    flow: dict[str, Any] | None = None
    domains: tuple[str, ...] = ()
    spread: tuple[float, ...] = ()
    sources: tuple[methods.Part, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For `of_json`."""
        return dataclasses.asdict(self) | {"sources": [list(part) for part in self.sources]}


def of(config: Any, name: str, records: Records) -> Intake:
    """That of stage `name` of a resolved config, trained on these records."""
    data = configs.data_of(config, name)
    rows = split.train_rows(records, data)
    clips = [records.clips[c] for c in records.meta["clip"][rows]]
    decode, made = records.card["decode"], spec.of(config, name, records)
    sides = np.minimum(records.meta["height"][rows], records.meta["width"][rows])
    return Intake(
        round(float(np.median(sides))),
        float(np.median([clip.get("fps") or 0.0 for clip in clips])),
        int(records.meta["channels"][rows[0]]),
        decode.get("window") or "",
        decode.get("flow"),
        made.domains,
        made.spread,
        made.sources,
    )


def of_json(found: dict[str, Any]) -> Intake:
    """What `as_json` gave."""
    parts = tuple(methods.Part(n, known, tuple(names)) for n, known, names in found["sources"])
    given = found | {"sources": parts}
    return Intake(**given | {k: tuple(found[k]) for k in ("domains", "spread")})
