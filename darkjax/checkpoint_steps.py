"""The checkpoints in a folder: which there are, which are whole, which one is taken.

A checkpoint is a folder named by its step. It is *whole* when its files are those of its
checksums, *unverified* when it was written before there were checksums and can be read, and
*damaged* otherwise. Nothing here needs a model.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorstore

from darkjax import checksums
from darkjax.errors import UserError

# In the `_CHECKPOINT_METADATA` of those with checksums, so that deleting the list is noticed.
MARK = {"checksums": "crc32c"}
# Where orbax moves what is kept no longer: a run killed while it deletes leaves no half step.
DELETED = ".deleted"
HALF = ".orbax-checkpoint-tmp"  # in the name of what orbax has not finished

WHOLE, UNVERIFIED, DAMAGED = "whole", "unverified", "damaged"


class Look(NamedTuple):
    """A step, its folder, WHOLE, UNVERIFIED or DAMAGED, and what is wrong with a damaged one."""

    step: int
    path: pathlib.Path
    state: str
    why: str


def steps(directory: str | os.PathLike[str]) -> list[int]:
    """Those there are, lowest first; one that is being written has a longer name."""
    path = pathlib.Path(directory)
    if not path.is_dir():
        return []
    return sorted(int(p.name) for p in path.iterdir() if is_step(p.name))


def is_step(name: str) -> bool:
    """Whether that is the name of a checkpoint: a number, and nothing before or after it."""
    return re.fullmatch(r"0|[1-9][0-9]*", name) is not None


def look(path: str | os.PathLike[str]) -> Look:
    """Read every file of one checkpoint and compare it with its checksum."""
    path = pathlib.Path(path)
    step = int(path.name)
    try:
        if not path.is_dir():
            raise checksums.Damaged("it is no folder")
        if not _has_checksums(path):
            _try_to_read(path)
            return Look(step, path, UNVERIFIED, "")
        checksums.check(path)
    except checksums.Damaged as e:
        return Look(step, path, DAMAGED, str(e))
    return Look(step, path, WHOLE, "")


def chosen(
    directory: str | os.PathLike[str], which: str, say: Callable[[str], Any] = lambda _: None
) -> pathlib.Path:
    """The folder of the "best" or the "latest" checkpoint, verified.

    Args:
      directory: the folder of a stage's checkpoints.
      which: "best" (the highest metric, else the latest) or "latest".
      say: gets a line when the latest is damaged and the one before it is taken, and when it
        could not be verified.

    Raises:
      UserError: there is none; none is whole; the best one is damaged: what was judged or built
        upon never becomes another checkpoint by itself.
    """
    path = pathlib.Path(directory).absolute()
    there = steps(path)
    if not there:
        raise UserError(
            f"{directory} holds no whole checkpoint: train that stage first, or name the folder "
            "'checkpoints' of a run"
        )
    if which == "best":
        found = look(path / str(_best(path, there)))
        if found.state == DAMAGED:
            raise _best_is_damaged(found, there)
        for gone in sorted(p.name for p in path.glob("*.damaged*")):
            number = gone.split(".")[0]
            if is_step(number) and int(number) not in there:
                say(f"{path / gone} was set aside: the best of the others is step {found.step}")
    else:
        damaged = []
        for step in reversed(there):
            found = look(path / str(step))
            if found.state != DAMAGED:
                break
            damaged.append(found)
        else:
            raise _none_is_whole(path, damaged)
        for bad in damaged:
            say(f"{_told(bad)}: step {found.step} is taken")
    if found.state == UNVERIFIED:
        say(_not_verified(found))
    return found.path


def set_aside(directory: str | os.PathLike[str]) -> list[str]:
    """Verify all checkpoints of a run that goes on, and rename the damaged ones.

    Returns:
      A line for each damaged one, and one when the newest of the others could not be verified.

    Raises:
      UserError: none is whole; they keep their names.
    """
    path = pathlib.Path(directory).absolute()
    remove_deleted(path)
    for half in path.glob(f"[0-9]*{HALF}*"):  # its process was killed
        shutil.rmtree(half, ignore_errors=True)
    found = [look(path / str(step)) for step in steps(path)]
    good = [f for f in found if f.state != DAMAGED]
    if found and not good:
        raise _none_is_whole(path, found)
    lines = []
    for bad in reversed([f for f in found if f.state == DAMAGED]):
        name = _free(path, f"{bad.step}.damaged")
        try:
            bad.path.rename(path / name)
        except OSError as e:
            raise UserError(
                f"{_told(bad)} and cannot be renamed to {name} ({e.strerror}): make the folder "
                "writable, or move it away yourself"
            ) from None
        lines.append(f"{_told(bad)}: set aside as {name}, step {good[-1].step} is taken")
    if good and good[-1].state == UNVERIFIED:
        lines.append(_not_verified(good[-1]))
    return lines


def remove_deleted(directory: str | os.PathLike[str]) -> None:
    """Free the space of checkpoints that are kept no longer."""
    shutil.rmtree(pathlib.Path(directory) / DELETED, ignore_errors=True)


def _told(found: Look) -> str:
    return f"the checkpoint {found.path} is damaged ({found.why})"


def _not_verified(found: Look) -> str:
    return f"the checkpoint {found.path} carries no checksums: it could not be verified"


def _none_is_whole(path: pathlib.Path, found: list[Look]) -> UserError:
    each = "; ".join(f"{f.step}: {f.why}" for f in found)
    return UserError(
        f"no checkpoint in {path} is whole ({each}): put back a copy of one, or delete the folder "
        "of that stage to train it from the beginning"
    )


def _best_is_damaged(found: Look, there: list[int]) -> UserError:
    others = ", ".join(str(s) for s in there if s != found.step)
    if not others:
        return _none_is_whole(found.path.parent, [found])
    return UserError(
        f"{_told(found)}, and it is the best of its stage: put back a copy of it, or rename it to "
        f"{found.step}.damaged to take the best of the others ({others})"
    )


def _best(path: pathlib.Path, there: list[int]) -> int:
    """The step whose saved metric is highest, ties to the later one; else the latest."""
    scored = [(score, step) for step in there if (score := _score(path / str(step))) is not None]
    return max(scored)[1] if scored else max(there)


def _score(path: pathlib.Path) -> float | None:
    """The metric of a checkpoint, None when it was saved without."""
    name = "metrics/metrics"
    try:
        if not path.is_dir():
            raise checksums.Damaged("it is no folder")
        if _has_checksums(path):
            checksums.check(path, only=(name,))
        if not (path / name).exists():
            return None
        values = _json(path, name)
        return max(float(v) for v in values.values()) if values else None
    except checksums.Damaged as e:
        why = str(e)
    raise UserError(
        f"{_told(Look(int(path.name), path, DAMAGED, why))}, so which one is the best cannot be "
        f"told: put back a copy of it, or rename it to {path.name}.damaged to leave it out"
    )


def _has_checksums(path: pathlib.Path) -> bool:
    """Whether a checkpoint has, or should have, a list of checksums."""
    return (path / checksums.NAME).exists() or (
        _json(path, "_CHECKPOINT_METADATA").get("custom_metadata") == MARK
    )


def _json(path: pathlib.Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((path / name).read_bytes())
    except FileNotFoundError:
        raise checksums.Damaged(f"{name} is missing") from None
    except OSError as e:
        raise checksums.Damaged(f"{name} cannot be read: {e.strerror}") from None
    except (ValueError, RecursionError):
        raise checksums.Damaged(f"{name} is no JSON") from None
    if not isinstance(found, dict):
        raise checksums.Damaged(f"{name} is no JSON object")
    return found


def _try_to_read(path: pathlib.Path) -> None:
    """Without checksums, what can be known is whether everything can be read."""
    _json(path, "meta/metadata")
    if (path / "metrics").exists():
        _json(path, "metrics/metrics")
    tree = _json(path, "state/_METADATA")
    store = {"driver": "ocdbt", "base": f"{(path / 'state').as_uri()}/"}
    try:
        expected = sum(
            not v["value_metadata"]["skip_deserialize"] for v in tree["tree_metadata"].values()
        )
        # Not by orbax: a read of its own that fails ends in noise from its event loop.
        names = [k.decode() for k in tensorstore.KvStore.open(store).result().list().result()]
        arrays = [n.removesuffix(".zarray") for n in names if n.endswith("/.zarray")]
        for name in arrays:
            spec = {"driver": "zarr", "kvstore": {**store, "path": name}}
            tensorstore.open(spec).result().read().result()
    except (AttributeError, LookupError, TypeError, ValueError, OSError) as e:
        raise checksums.Damaged(f"its arrays cannot be read: {type(e).__name__}") from None
    if len(arrays) != expected:
        raise checksums.Damaged(f"{len(arrays)} of its {expected} arrays are there")


def _free(path: pathlib.Path, name: str) -> str:
    """`name`, or with the first number that is not taken."""
    taken, number = name, 2
    while os.path.lexists(path / taken):
        taken, number = f"{name}-{number}", number + 1
    return taken
