"""Trained and judged stages as they lie on disc, and the clips that several of them judged.

Nothing here reads weights or touches a device.
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from darkjax import config as configs
from darkjax.data import card as card_file
from darkjax.errors import UserError
from darkjax.eval import streams

RESULTS = "results.json"


class Judged(NamedTuple):
    """One judged stage.

    Attributes:
      name: as it was given.
      folder: of its `results.json`.
      log: of its `metrics.jsonl`: the stage's own folder.
      config: of the run, resolved; {} where no `config.json` says it.
      start: conditions of the last start of its training (`provenance`); {} likewise.
      results: its `results.json`.
      clips: what was answered; None where nothing was classified.
      names: of those clips, by the card of the records; None where that is not there any more.
    """

    name: str
    folder: pathlib.Path
    log: pathlib.Path
    config: Mapping[str, Any]
    start: Mapping[str, Any]
    results: Mapping[str, Any]
    clips: streams.Clips | None
    names: tuple[str, ...] | None

    @property
    def stage(self) -> str:
        return self.log.name

    @property
    def classes(self) -> list[str]:
        return list(self.results.get("classes", ()))

    @property
    def digest(self) -> str:
        return streams.judged_records(self.results)

    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """(number of the likeliest class, its probability) of every clip."""
        assert self.clips is not None
        probabilities = self.clips.take(streams.PROBABILITIES)
        return probabilities.argmax(1), probabilities.max(1)

    def right(self) -> np.ndarray:
        """bool [M], clip by clip."""
        assert self.clips is not None
        return self.answers()[0] == self.clips.label


def read(given: str | os.PathLike[str]) -> Judged:
    """A run's last judged stage, or RUN/STAGE, or RUN/STAGE/eval-NAME.

    Raises:
      UserError: nothing was judged there, or a file is damaged.
    """
    folder = _folder(pathlib.Path(given))
    elsewhere = folder.name.startswith("eval-")
    log = folder.parent if elsewhere else folder
    results = _json(folder / RESULTS, "numbers")
    kept = log.parent / "config.json"
    conditions = _json(kept, "config") if kept.is_file() else {"config": {}}
    start = (conditions.get("starts") or [{}])[-1]
    clips = names = None
    if (folder / streams.NPZ).is_file():
        clips = streams.read(folder).judged
        found = {} if elsewhere else start.get("data", {}).get(log.name, {})
        names = _names(clips, found, bool(conditions["config"].get("data", {}).get("sources")))
    given = os.fspath(given)
    return Judged(given, folder, log, conditions["config"], start, results, clips, names)


def _folder(path: pathlib.Path) -> pathlib.Path:
    """Where the `results.json` is that is meant."""
    if (path / RESULTS).is_file():
        return path
    there = {found.parent.name: found.parent for found in sorted(path.glob(f"*/{RESULTS}"))}
    if not there:
        raise UserError(
            f"expected a run, or RUN/STAGE, with {RESULTS} in {path}; found none: judge it first "
            "(python -m darkjax.main --mode=evaluate)"
        )
    kept = path / "config.json"
    order = _json(kept, "config")["config"].get("stages", ()) if kept.is_file() else ()
    stages = [there[name] for name in order if name in there] or list(there.values())
    return stages[-1]


def _json(path: pathlib.Path, field: str) -> dict[str, Any]:
    """A JSON object of a run that has this field."""
    try:
        found = configs.read_json(path)
    except (OSError, ValueError) as e:
        raise UserError(f"{path} cannot be read ({e}): judge or train the run again") from e
    if not isinstance(found, dict) or field not in found:
        raise UserError(f"expected {field!r} in {path}: it is not of a run, or damaged")
    return found


def _names(clips: streams.Clips, data: Mapping[str, Any], several: bool) -> tuple[str, ...] | None:
    """The clips' names by the card of the folder they came from, if it is still the same."""
    digest, ids = _card(str(data.get("dir", "")))
    same = several or digest == data.get("digest")
    if not same or not len(ids) or int(clips.clip[-1]) >= len(ids):
        return None
    return tuple(ids[row] for row in clips.clip)


@functools.lru_cache(maxsize=64)
def _card(folder: str) -> tuple[str, tuple[str, ...]]:
    """(digest, the clips' ids by row) of a dataset folder; empty where there is none."""
    try:
        card = card_file.read(folder) if folder else None
    except (UserError, OSError):
        card = None
    if card is None:
        return "", ()
    return card_file.digest(card), tuple(str(row["id"]) for row in card["clips"])


class Common(NamedTuple):
    """Clips that several stages judged.

    Attributes:
      names: of the N clips, sorted.
      keys: what tells a clip from every other, also of other stages that were matched.
      truth: the name of the class of each.
      rows: for each stage int64 [N], where the clips stand in its arrays.
      alone: for each stage the names of clips that not all of them judged.
      otherwise: names of clips to which they give different classes.
    """

    names: list[str]
    keys: list[Hashable]
    truth: list[str]
    rows: list[np.ndarray]
    alone: list[list[str]]
    otherwise: list[str]


def match(stages: Sequence[Judged]) -> Common:
    """The clips that all of `stages` judged, and what does not match.

    Clips of the same records are the same by their number, those of different records by their
    name; the truth by the class's name.

    Raises:
      UserError: a stage classified nothing, or there is nothing in common.
    """
    unsaid = next((stage for stage in stages if stage.clips is None), None)
    if unsaid is not None:
        raise UserError(f"expected {streams.NPZ} in {unsaid.folder}: nothing was classified there")
    keys = _keys(stages)
    shown: dict[Hashable, str] = {}
    for stage, own in zip(stages, keys, strict=True):
        for key, name in zip(own, stage.names or map(_numbered, own), strict=True):
            if stage.names or key not in shown:
                shown[key] = name
    places = [{key: row for row, key in enumerate(own)} for own in keys]
    shared = set(places[0]).intersection(*places[1:])
    truths = [_truth(stage) for stage in stages]
    agreed = {
        key for key in shared if len({t[p[key]] for t, p in zip(truths, places, strict=True)}) == 1
    }
    if not agreed:
        what = " and ".join(f"{s.name} ({_split(s)})" for s in stages)
        reason = "the same classes for them" if shared else "clips"
        raise UserError(f"{what} have no {reason} in common: judge them on one set of clips")
    order = sorted(agreed, key=lambda key: (shown[key], str(key)))
    return Common(
        [shown[key] for key in order],
        order,
        [truths[0][places[0][key]] for key in order],
        [np.array([place[key] for key in order], np.int64) for place in places],
        [sorted(shown[key] for key in place if key not in shared) for place in places],
        sorted(shown[key] for key in shared - agreed),
    )


def _keys(stages: Sequence[Judged]) -> list[list[Hashable]]:
    """What tells the clips apart: (digest, number) of the same records, else the name."""
    if len({stage.digest for stage in stages}) == 1 and stages[0].digest:
        return [[(s.digest, int(row)) for row in s.clips.clip] for s in stages if s.clips]
    nameless = next((stage for stage in stages if stage.names is None), None)
    if nameless is not None:
        raise UserError(
            f"clips of different records are matched by name, and the records of {nameless.name} "
            f"({nameless.start.get('data', {}).get(nameless.stage, {}).get('dir', 'unknown')}) are "
            "not there any more, or others: give them back their place, or judge all on the same"
        )
    return [list(stage.names or ()) for stage in stages]


def _numbered(key: Any) -> str:
    return f"clip {key[1]}"


def _truth(stage: Judged) -> list[str]:
    assert stage.clips is not None
    return [stage.classes[label] for label in stage.clips.label]


def _split(stage: Judged) -> str:
    return str(stage.results.get("name", "")).partition(" ")[2] or "of an unnamed split"
