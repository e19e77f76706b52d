"""Saved predictions of several runs, read back and matched clip by clip.

An evaluation leaves `results.json` and `predictions.npz` in its stage's folder, and beside them
`predictions-train.npz`, the same of the training clips, where its method keeps that.
"""

from __future__ import annotations

import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from darkjax import config as configs
from darkjax.errors import UserError

NPZ, TRAINING = "predictions.npz", "predictions-train.npz"
PROBABILITIES = "probabilities"


class Clips(NamedTuple):
    """Arrays of the clips of one file, by rising clip number: `clip` and `label` int64 [M]; every
    other array [M, ...] by its name in the file."""

    path: pathlib.Path
    clip: np.ndarray
    label: np.ndarray
    arrays: dict[str, np.ndarray]

    def take(self, use: str) -> np.ndarray:
        """An array by its name; `knn` is short for `probabilities_knn`.

        Raises:
          UserError: the file has no such array, and what it has.
        """
        for name in (use, f"{PROBABILITIES}_{use}"):
            if name in self.arrays:
                return self.arrays[name]
        raise UserError(
            f"expected {use} in {self.path}; found {', '.join(self.arrays)}: judge the run again "
            "(--mode=evaluate) with a method that gives them, or take another by --use"
        )


def judged_records(results: Mapping[str, Any]) -> str:
    """The digest of the records whose clips were judged, "" where nobody wrote it down; of results
    from before it was, that of all that was trained on, which is the same without other sources."""
    return str(results.get("records") or results.get("judged_on", {}).get("digest", ""))


class Stream(NamedTuple):
    """What one run said of its clips: `results` is its results.json."""

    name: str
    results: Mapping[str, Any]
    judged: Clips

    @property
    def classes(self) -> list[str]:
        return list(self.results["classes"])

    @property
    def split(self) -> str:
        """Of the clips, as its numbers name it."""
        return str(self.results["name"]).partition(" ")[2]

    @property
    def digest(self) -> str:
        return judged_records(self.results)

    def training(self) -> Clips:
        """The same of the training clips.

        Raises:
          UserError: they were not kept, or the file is damaged.
        """
        path = self.judged.path.with_name(TRAINING)
        if not path.is_file():
            raise UserError(
                f"expected {path}, which a network learns from; found none: the run's method keeps "
                "no predictions of its training clips: take --how=late"
            )
        return clips_of(path, self.classes)


def read(given: str | os.PathLike[str]) -> Stream:
    """The stream of a stage's folder, of a run's folder with one such stage, or of a file.

    Raises:
      UserError: nothing there, several stages, no results.json beside it, or a damaged file.
    """
    path = pathlib.Path(given)
    if path.is_dir() and not (path / NPZ).is_file():
        found = sorted(path.glob(f"*/{NPZ}"))
        if len(found) != 1:
            names = ", ".join(str(p.parent) for p in found) or "none"
            raise UserError(
                f"expected one folder with {NPZ} in {path}; found {names}"
                + (": give one of them" if found else ": judge the run first (--mode=evaluate)")
            )
        path = found[0]
    elif path.is_dir():
        path = path / NPZ
    if not path.is_file():
        raise UserError(f"expected a run's stage or its {NPZ}; found no {path}")
    beside = path.with_name("results.json")
    if not beside.is_file():
        raise UserError(f"expected results.json with the classes beside {path}; found none")
    results = configs.read_json(beside)
    if not isinstance(results, dict) or not {"name", "classes"} <= results.keys():
        raise UserError(f"expected a classification's results, with its classes, in {beside}")
    return Stream(os.fspath(given), results, clips_of(path, results["classes"]))


def clips_of(path: pathlib.Path, classes: Sequence[str]) -> Clips:
    """The arrays of a file of predictions.

    Raises:
      UserError: it is damaged, or not of these classes.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        clip, label = arrays.pop("clip"), arrays.pop("label")
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as e:
        raise UserError(
            f"not a file of predictions, or a damaged one: {type(e).__name__}: {e} in {path}: "
            "judge the run again (--mode=evaluate)"
        ) from e
    found = {name: list(x.shape) for name, x in arrays.items()}
    rows = label.shape == clip.shape == (len(clip),) and len(clip) > 0
    if not rows or any(s[:1] != [len(clip)] or len(s) != 2 for s in found.values()):
        raise UserError(
            f"expected arrays with one row of each of the clips; found {found} in {path}"
        )
    for name, x in arrays.items():
        if name.startswith(PROBABILITIES) and x.shape[1] != len(classes):
            raise UserError(
                f"expected {name} of {len(classes)} classes; found {x.shape[1]} in {path}"
            )
        if not np.isfinite(x).all():
            raise UserError(f"expected finite numbers; found NaN or inf in {name} of {path}")
    if (np.diff(clip) <= 0).any() or label.min() < 0 or label.max() >= len(classes):
        raise UserError(
            f"expected rising clip numbers and labels of {len(classes)} classes in {path}"
        )
    return Clips(path, clip.astype(np.int64), label.astype(np.int64), arrays)


def check_same(streams: Sequence[Stream], other_records: bool = False) -> None:
    """Streams of the same clips and classes.

    Args:
      streams: at least one.
      other_records: the records may be others, as those of flow beside those they were made from:
        clips are then the same when their numbers and labels are.

    Raises:
      UserError: what differs first, and between which two.
    """
    first = streams[0]
    for other in streams[1:]:
        pair = f"{first.name} and {other.name}"
        if first.classes != other.classes:
            raise UserError(
                f"expected the same classes; {pair} have {_list(first.classes)} and "
                f"{_list(other.classes)}"
            )
        if first.digest != other.digest and not other_records:
            raise UserError(
                f"expected clips of the same records; {pair} have the digests {first.digest[:12]} "
                f"and {other.digest[:12]}: where one was made from the other (flow, enhanced), "
                "--other_records matches clips by their numbers and labels"
            )
        match(first.judged, other.judged, f" ({first.split} and {other.split})")


def match(one: Clips, other: Clips, where: str = "") -> None:
    """The same clips with the same labels.

    Raises:
      UserError: they are not; which file has what.
    """
    ours, theirs = set(one.clip.tolist()), set(other.clip.tolist())
    if ours != theirs:
        more, less = len(ours - theirs), len(theirs - ours)
        raise UserError(
            f"expected the same clips; {one.path} has {len(ours)}, {more} of them alone, and "
            f"{other.path} has {len(theirs)}, {less} of them alone{where}: judge both on one split"
        )
    wrong = np.flatnonzero(one.label != other.label)
    if len(wrong):
        k = wrong[0]
        raise UserError(
            f"expected the same labels; clip {one.clip[k]} has {one.label[k]} in {one.path} and "
            f"{other.label[k]} in {other.path}"
        )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, … ({len(names)})"
