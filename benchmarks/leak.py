"""What a split by chance pretends: the same classifier judged on clips and on recordings it has not
seen.

    python benchmarks/leak.py [--records=records/arid6] [--seed=0]

A ridge classifier on the mean frame of each clip: it knows the room, the light and what people
wear, and nothing of how they move. Prints its top-1 in five folds dealt by chance, clip by clip
within each class, and in five folds that keep the clips of a group (recording session, performer,
source video) together: the card's own folds where every clip has one, else dealt. Without
--records clips are rendered, each session of one action as in ARID (half a minute).
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import numpy as np
from synthetic import CLASSES, mean_frame, ridge_accuracy

from darkjax.data.clip import FOLDS, Clip, deal_folds
from darkjax.data.records import Records
from darkjax.data.rendering.synthetic import render
from darkjax.errors import UserError

FRAMES = 32  # of a clip, evenly spread, that make its mean frame
PENALTY = 1.0


class Clips(NamedTuple):
    """Mean frames [N, F], labels and groups [N], the folds of the groups from 1 [N], classes."""

    features: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    classes: int


def rendered(
    sessions: int = 5, per_session: int = 6, frames: int = 16, height: int = 64, seed: int = 0
) -> Clips:
    """Clips of six actions, each action in rooms and by people of its own."""
    drawn = [
        (label, label * sessions + session)
        for label in range(len(CLASSES))
        for session in range(sessions)
        for _ in range(per_session)
    ]
    size = {"frames": frames, "height": height, "width": height * 5 // 4, "fps": 12.0}
    features = [
        mean_frame(
            render(
                CLASSES[label],
                seed=seed * len(drawn) + number,
                group=group,
                want_flow=False,
                **size,
            ).video
        )
        for number, (label, group) in enumerate(drawn)
    ]
    labels, groups = np.array(drawn).T
    return Clips(np.stack(features), labels, groups, dealt(labels, groups), len(CLASSES))


def recorded(records: Records) -> Clips:
    """All clips of a records folder."""
    rows = [records.clips[row] for row in records.meta["clip"]]
    features = []
    for number in range(len(records)):
        count = int(records.meta["frames"][number])
        wanted = np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)
        video = records.read_frames(number, wanted)
        if video.shape[-1] == 1:
            video = np.repeat(video, 3, -1)
        features.append(mean_frame(video))
    labels = np.array([row["label"] for row in rows])
    groups = np.array([row["group"] for row in rows])
    folds = np.array([row["fold"] for row in rows])
    if (folds < 1).any():
        folds = dealt(labels, groups)
    return Clips(np.stack(features), labels, groups, folds, len(records.classes))


def dealt(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Folds that keep groups together, as the conversion deals them."""
    clips = [
        Clip(str(number), "", int(label), str(group), "train", "")
        for number, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    return np.array([clip.fold for clip in deal_folds(clips)])


def by_chance(labels: np.ndarray, seed: int) -> np.ndarray:
    """Folds by chance, each with as many clips of every class, or one more."""
    rng, folds = np.random.default_rng(seed), np.empty(len(labels), int)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        folds[rng.permutation(mine)] = 1 + np.arange(len(mine)) % FOLDS
    return folds


def accuracies(clips: Clips, folds: np.ndarray) -> list[float]:
    """Top-1 on each fold of the classifier fitted to the others."""
    found = []
    for fold in np.unique(folds):
        held = folds == fold
        train = clips.features[~held], clips.labels[~held]
        found.append(ridge_accuracy(train, (clips.features[held], clips.labels[held]), PENALTY))
    return found


def table(clips: Clips, seed: int = 0) -> tuple[str, float, float]:
    """What is printed, and the mean accuracies of the split by chance and of that by groups."""
    of_class = [len(set(clips.labels[clips.groups == g])) for g in np.unique(clips.groups)]
    if len(of_class) < 2 or len(np.unique(clips.folds)) < 2:
        raise UserError(f"expected clips of at least 2 groups in 2 folds; found {len(of_class)}")
    lines = [
        f"mean frame, ridge classifier: {len(clips.labels)} clips of {clips.classes} classes "
        f"(chance {1 / clips.classes:.3f})",
        f"{len(of_class)} groups, {of_class.count(1)} of them of one class alone",
        f"{'folds':<12}{'top-1: mean':>12}{'min':>8}{'max':>8}",
    ]
    means = []
    for name, folds in (("by chance", by_chance(clips.labels, seed)), ("by groups", clips.folds)):
        found = accuracies(clips, folds)
        means.append(float(np.mean(found)))
        lines.append(f"{name:<12}{means[-1]:>12.3f}{min(found):>8.3f}{max(found):>8.3f}")
    return "\n".join(lines), means[0], means[1]


def main(argv: list[str] | None = None) -> int:
    """Print the table; 2 on a user's error."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--records", help="a folder of records; default: clips are rendered")
    parser.add_argument("--seed", type=int, default=0, help="of the folds dealt by chance")
    args = parser.parse_args(argv)
    try:
        if args.records:
            with Records(args.records) as records:
                clips = recorded(records)
        else:
            clips = rendered(seed=args.seed)
        print(table(clips, args.seed)[0])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
