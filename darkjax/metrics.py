"""Metrics as states that add up: what is measured in parts and merged equals the whole.

Every state is a NamedTuple of numpy arrays on the host (so also a pytree, and saveable
with `np.savez(file, **state._asdict())`), made by `from_logits` from one batch, combined
by `merge` and read by `compute`. Rows whose mask is 0 (the padding of a last batch)
never count. Shapes: N examples, K classes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from darkjax.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]


class TopK(NamedTuple):
    """How many examples had their true class at each rank.

    One histogram answers every k, so top-1 and top-5 need no two passes.
    """

    ranks: Array  # int64 [K]; ranks[r] = examples whose true class was r-th best, 0 = best

    @classmethod
    def from_logits(
        cls, logits: ArrayLike, labels: ArrayLike, mask: ArrayLike | None = None
    ) -> "TopK":
        """Count one batch: logits or probabilities [N, K], labels int [N], mask [N].

        Among equal logits the lower class index is the better one, as with argmax.
        """
        scores, truth = _rows(logits, labels, mask)
        own = scores[np.arange(len(truth)), truth][:, None]
        earlier = np.arange(scores.shape[1]) < truth[:, None]
        rank = np.sum((scores > own) | ((scores == own) & earlier), axis=1)
        return cls(np.bincount(rank, minlength=scores.shape[1]).astype(np.int64))

    def merge(self, other: "TopK") -> "TopK":
        """The state of both sets of examples."""
        _same_classes(self.ranks, other.ranks)
        return TopK(self.ranks + other.ranks)

    def compute(self, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
        """`{"top-1": …, "top-5": …}` in [0, 1]; a k beyond K is K, and is named so."""
        honest = [min(k, len(self.ranks)) for k in ks]
        return {f"top-{k}": _ratio(self.ranks[:k].sum(), self.ranks.sum()) for k in honest}


class ClassRow(NamedTuple):
    """One line of the per-class table; NaN where there is nothing to divide by."""

    name: str
    n: int  # examples of this class
    recall: float  # share of them that were found
    precision: float  # share of the answers "this class" that were right


class Confusion(NamedTuple):
    """Truth against answer."""

    counts: Array  # int64 [K, K]; counts[truth, answer]

    @classmethod
    def from_logits(
        cls, logits: ArrayLike, labels: ArrayLike, mask: ArrayLike | None = None
    ) -> "Confusion":
        """Count one batch: logits or probabilities [N, K], labels int [N], mask [N]."""
        scores, truth = _rows(logits, labels, mask)
        K = scores.shape[1]
        cells = np.bincount(truth * K + scores.argmax(axis=1), minlength=K * K)
        return cls(cells.reshape(K, K).astype(np.int64))

    def merge(self, other: "Confusion") -> "Confusion":
        """The state of both sets of examples."""
        _same_classes(self.counts, other.counts)
        return Confusion(self.counts + other.counts)

    def per_class(self, names: Sequence[str] | None = None) -> list[ClassRow]:
        """The per-class table, in class order; without names the index is the name."""
        K = len(self.counts)
        if names is None:
            names = [str(k) for k in range(K)]
        if len(names) != K:
            raise UserError(f"per-class table: expected {K} class names, found {len(names)}")
        n, answers, right = self.counts.sum(1), self.counts.sum(0), np.diagonal(self.counts)
        return [
            ClassRow(names[k], int(n[k]), _ratio(right[k], n[k]), _ratio(right[k], answers[k]))
            for k in range(K)
        ]

    def compute(self) -> dict[str, float]:
        """`{"mean-class": mean recall}`; classes absent from the truth are left out."""
        recalls = [row.recall for row in self.per_class() if row.n]
        return {"mean-class": float(np.mean(recalls)) if recalls else float("nan")}


class Classification(NamedTuple):
    """What every classifier is judged by: top-k, mean class accuracy, confusion."""

    top: TopK
    confusion: Confusion

    @classmethod
    def from_logits(
        cls, logits: ArrayLike, labels: ArrayLike, mask: ArrayLike | None = None
    ) -> "Classification":
        """Count one batch: logits or probabilities [N, K], labels int [N], mask [N].

        Raises:
          UserError: NaN logits, a label outside [0, K) or shapes that disagree; masked
            rows may hold anything.
        """
        return cls(
            TopK.from_logits(logits, labels, mask), Confusion.from_logits(logits, labels, mask)
        )

    def merge(self, other: "Classification") -> "Classification":
        """The state of both sets of examples."""
        return Classification(self.top.merge(other.top), self.confusion.merge(other.confusion))

    def compute(self) -> dict[str, float]:
        """`{"top-1", "top-5" (or "top-K" for K < 5), "mean-class", "n"}`; NaN without examples."""
        n = {"n": float(self.confusion.counts.sum())}
        return self.top.compute() | self.confusion.compute() | n


class AveragePrecision(NamedTuple):
    """Area under precision over recall, one class against the rest.

    `AP = sum_j (R_j - R_(j-1)) P_j` over the distinct scores in falling order, without
    interpolation; equal scores are one threshold, so the order of examples is irrelevant.
    The state keeps all scores: it grows with the examples. (The "AP" of the InfAR papers
    is another thing, the mean class accuracy: see `Confusion.compute`.)
    """

    scores: Array  # float64 [N, K]
    labels: Array  # int64 [N]

    @classmethod
    def from_logits(
        cls, logits: ArrayLike, labels: ArrayLike, mask: ArrayLike | None = None
    ) -> "AveragePrecision":
        """Keep one batch. Scores must compare across clips: give probabilities [N, K]."""
        return cls(*_rows(logits, labels, mask))

    def merge(self, other: "AveragePrecision") -> "AveragePrecision":
        """The state of both sets of examples."""
        _same_classes(self.scores[0:0].T, other.scores[0:0].T)
        return AveragePrecision(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.labels, other.labels]),
        )

    def per_class(self) -> Array:
        """Average precision of each class, float64 [K]; NaN for one absent from the truth."""
        return np.array(
            [
                _average_precision(self.scores[:, k], self.labels == k)
                for k in range(self.scores.shape[1])
            ]
        )

    def compute(self) -> dict[str, float]:
        """`{"mAP": mean over the classes present in the truth}`."""
        per_class = self.per_class()
        present = ~np.isnan(per_class)
        return {"mAP": float(per_class[present].mean()) if present.any() else float("nan")}


class Tercile(NamedTuple):
    """One of three equal groups of clips by brightness."""

    name: str
    low: float  # the group's least value
    high: float  # and its greatest
    n: int
    accuracy: float


def by_tercile(values: ArrayLike, correct: ArrayLike) -> list[Tercile]:
    """Accuracy among the darkest, the middle and the brightest third of the clips.

    Args:
      values: mean luma of each clip, [N].
      correct: whether each was recognised, bool or 0/1, [N].

    Returns:
      Three groups, darkest first, whose sizes differ by at most one; equal values keep
      their order. With fewer than three clips a group may be empty: n = 0 and NaN.
    """
    values, correct = np.asarray(values, np.float64), np.asarray(correct, np.float64)
    if values.ndim != 1 or values.shape != correct.shape:
        raise UserError(
            f"terciles: expected one value and one answer for each clip, found shapes "
            f"{values.shape} and {correct.shape}"
        )
    groups = np.array_split(np.argsort(values, kind="stable"), 3)
    table = []
    for name, rows in zip(("darkest", "middle", "brightest"), groups, strict=True):
        low, high = (values[rows[0]], values[rows[-1]]) if len(rows) else (np.nan, np.nan)
        accuracy = _ratio(correct[rows].sum(), len(rows))
        table.append(Tercile(name, float(low), float(high), len(rows), accuracy))
    return table


class Views(NamedTuple):
    """One row for each clip, by rising clip number; M clips."""

    clip: Array  # [M], distinct
    probabilities: Array  # float64 [M, K], mean over the clip's views
    views: Array  # int64 [M], how many there were
    first: Array  # int64 [M], a row of the input: `labels[first]` are the clips' labels


def average_views(
    probabilities: ArrayLike, clip: ArrayLike, mask: ArrayLike | None = None
) -> Views:
    """Mean probabilities over the views (temporal and spatial crops) of each clip.

    Args:
      probabilities: after the softmax, [N, K], one row for each view, in any order.
      clip: the clip each row belongs to, int [N].
      mask: 0 = padding, [N].
    """
    rows, clip = np.asarray(probabilities), np.asarray(clip)
    if rows.ndim != 2 or clip.shape != rows.shape[:1]:
        raise UserError(
            f"views: expected probabilities [N, K] and clips [N], found {rows.shape} "
            f"and {clip.shape}"
        )
    kept = np.flatnonzero(_keep(mask, len(clip)))
    clips, first, of, views = np.unique(
        clip[kept], return_index=True, return_inverse=True, return_counts=True
    )
    total = np.zeros((len(clips), rows.shape[1]))
    np.add.at(total, of, rows[kept].astype(np.float64))
    return Views(clips, total / views[:, None], views.astype(np.int64), kept[first])


# ---------------------------------------------------------------- shared by the above


def _keep(mask: ArrayLike | None, n: int) -> Array:
    """The rows that count, bool [n]."""
    keep = np.ones(n, bool) if mask is None else np.asarray(mask) > 0
    if keep.shape != (n,):
        raise UserError(f"metrics: expected a mask of shape ({n},), found {keep.shape}")
    return keep


def _rows(logits: ArrayLike, labels: ArrayLike, mask: ArrayLike | None) -> tuple[Array, Array]:
    """The rows that count as float64 [n, K] and int64 [n], checked."""
    scores, truth = np.asarray(logits), np.asarray(labels)
    if scores.ndim != 2 or scores.shape[1] == 0 or truth.shape != scores.shape[:1]:
        raise UserError(
            f"metrics: expected logits [N, K] and labels [N], found {scores.shape} "
            f"and {truth.shape}"
        )
    keep = _keep(mask, len(truth))
    scores, truth = scores[keep].astype(np.float64), truth[keep].astype(np.int64)
    bad = int(np.isnan(scores).any(axis=1).sum())
    if bad:
        raise UserError(
            f"metrics: expected finite logits, found NaN in {bad} of {len(scores)} examples; "
            "training diverged: go back to an earlier checkpoint or lower the learning rate"
        )
    K = scores.shape[1]
    outside = truth[(truth < 0) | (truth >= K)]
    if outside.size:
        raise UserError(
            f"metrics: expected labels in [0, {K}), found {outside[0]}; "
            "the model and the data set must have the same classes"
        )
    return scores, truth


def _same_classes(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise UserError(
            f"metrics: expected two states of the same classes, found {len(a)} and {len(b)}"
        )


def _ratio(part: Any, whole: Any) -> float:
    """part / whole, NaN when there is nothing to divide by."""
    return float(part) / float(whole) if whole else float("nan")


def _average_precision(score: Array, positive: Array) -> float:
    """Average precision of one class: scores float [N], truth bool [N]."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(positive[order])
    # The last row of each run of equal scores: where a threshold can lie.
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
