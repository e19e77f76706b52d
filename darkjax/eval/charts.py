"""Charts of the report as inline SVG: curves over steps and the confusion matrix.

Colours are CSS variables of `page.py`, so that a chart follows the light or dark scheme.
"""

import dataclasses
import math
from collections.abc import Sequence
from html import escape

import numpy as np

# A curve of thousands of points is drawn as the means of this many bins: the file stays
# small and the course is easier to see through the noise of single batches.
MAX_POINTS = 300
_MARKED = 40  # up to this many points, each gets a dot
_COLOURS = 6  # --s0 .. --s5 in the page's style

# Cells carry their numbers up to this many classes, and names stand at the axes up to that many.
TEXT_CLASSES = 25
NAME_CLASSES = 60


@dataclasses.dataclass(frozen=True)
class Series:
    """One curve: a name, steps and values of the same length; NaN leaves a gap."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray


def line_chart(
    title: str, series: Sequence[Series], *, percent: bool = False, across: str = "step"
) -> str:
    """A figure with axes, ticks, grid and legend; values over training steps, or another number.

    Args:
        title: what is drawn, also the text for those who cannot see it.
        series: at least one; curves without a finite value are listed in the legend only.
        percent: values are shares in [0, 1] and the axis shows per cent from 0.
        across: what the values are over.
    """
    binned = [_binned(s) for s in series]
    points = np.concatenate([np.stack(s, axis=1) for s in binned])
    points = points[np.isfinite(points).all(axis=1)]
    legend = "".join(
        f'<li class="s{i % _COLOURS}"><span class="key"></span>{escape(s.name)}</li>'
        for i, s in enumerate(series)
    )
    head = f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
    if not len(points):
        return f'{head}<ul class="legend">{legend}</ul><p>No finite value was logged.</p></figure>'

    frame = _Frame(points, percent, across)
    curves = "".join(_curve(i, x, y, frame) for i, (x, y) in enumerate(binned))
    return (
        f'{head}<ul class="legend">{legend}</ul>'
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(_spoken(title, series, across))}">'
        f"{frame.axes()}{curves}</svg></figure>"
    )


def _spoken(title: str, series: Sequence[Series], across: str) -> str:
    """The chart in one sentence: first and last value of every curve."""
    parts = []
    for s in series:
        finite = [(x, y) for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
        if finite:
            (x0, y0), (x1, y1) = finite[0], finite[-1]
            ends = f"from {y0:.4g} at {across} {x0:g} to {y1:.4g} at {across} {x1:g}"
            parts.append(f"{s.name} {ends}")
    return f"{title}: " + "; ".join(parts)


def _binned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values as float arrays of at most `MAX_POINTS`; NaNs count for nothing."""
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    if len(x) <= MAX_POINTS:
        return x, y
    bins = np.array_split(np.arange(len(x)), MAX_POINTS)
    keep = [b[np.isfinite(y[b])] for b in bins]
    mean = [y[b].mean() if len(b) else math.nan for b in keep]
    return np.asarray([x[b].mean() for b in bins]), np.asarray(mean)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten) that lie in [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / raw)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class _Frame:
    """The plotting area: scales from data to picture, axes and grid."""

    width, height = 420, 240
    left, right, top, bottom = 52, 12, 8, 36

    def __init__(self, points: np.ndarray, percent: bool, across: str) -> None:
        self.percent, self.across = percent, escape(across)
        self.x0, self.x1 = _widened(points[:, 0].min(), points[:, 0].max())
        low, high = points[:, 1].min(), points[:, 1].max()
        if percent:
            self.y0, self.y1 = 0.0, min(1.0, max(float(high) * 1.05, 0.05))
        else:
            # Losses and rates are read against zero unless that would flatten the curve.
            self.y0, self.y1 = _widened(0.0 if 0 <= low < 0.5 * high else low, high)

    def x(self, value: float) -> float:
        share = (value - self.x0) / (self.x1 - self.x0)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        share = (value - self.y0) / (self.y1 - self.y0)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def axes(self) -> str:
        end, floor = self.width - self.right, self.height - self.bottom
        parts = []
        for value in ticks(self.y0, self.y1):
            y = self.y(value)
            label = f"{100 * value:g} %" if self.percent else f"{value:g}"
            parts.append(
                f'<line class="grid" x1="{self.left}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(
                f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
            )
        for value in ticks(self.x0, self.x1):
            x = self.x(value)
            parts.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>'
            )
            parts.append(
                f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{_short(value)}</text>'
            )
        parts.append(f'<path class="axis" d="M{self.left} {self.top}V{floor}H{end}"/>')
        middle = (self.left + end) / 2
        at = f'x="{middle}" y="{self.height - 4}" text-anchor="middle"'
        parts.append(f"<text {at}>{self.across}</text>")
        return "".join(parts)


def _widened(low: float, high: float) -> tuple[float, float]:
    """An interval of more than no length."""
    low, high = float(low), float(high)
    if high > low:
        return low, high
    return low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2


def _short(value: float) -> str:
    """1500 -> 1.5k, 2000000 -> 2M."""
    for size, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def _curve(index: int, x: np.ndarray, y: np.ndarray, frame: _Frame) -> str:
    """One curve as a path broken at NaNs, with a dot per point where the points are few."""
    commands, dots, pen = [], [], "M"
    for a, b in zip(x, y, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            pen = "M"
            continue
        at = f"{frame.x(a):.1f} {frame.y(b):.1f}"
        commands.append(pen + at)
        pen = "L"
        if len(x) <= _MARKED:
            cx, cy = at.split()
            dots.append(f'<circle cx="{cx}" cy="{cy}" r="2.5"/>')
    path = f'<path d="{"".join(commands)}"/>'
    return f'<g class="curve s{index % _COLOURS}">{path}{"".join(dots)}</g>'


def confusion_matrix(classes: Sequence[str], confusion: np.ndarray) -> str:
    """The confusion matrix as a heat map: rows are the truth, shade is the share of the row.

    Up to 25 classes every cell shows its count and row percentage; up to 60 the class names
    stand at the axes, above that every tenth class number. Cells tell all on hovering.

    Args:
        classes: K names.
        confusion: integer [K, K].
    """
    count = len(classes)
    size = 46 if count <= 12 else 36 if count <= TEXT_CLASSES else max(5, min(14, 840 // count))
    named = count <= NAME_CLASSES
    names = [c if len(c) <= 24 else c[:23] + "…" for c in classes]
    margin = 12 + (7 * max(map(len, names)) if named else 34)
    side = margin + count * size + 4
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)

    extent = count * size
    area = f'<rect class="empty" x="{margin}" y="{margin}" width="{extent}" height="{extent}"/>'
    labels = _axis_labels(names, size, margin) if named else _axis_numbers(count, size, margin)
    cells = [
        _cell(classes, int(i), int(j), int(confusion[i, j]), float(shares[i, j]), size, margin)
        for i, j in np.argwhere(confusion > 0)
    ]
    right, total = int(np.trace(confusion)), int(confusion.sum())
    spoken = f"Confusion matrix of {count} classes: {right} of {total} clips on the diagonal"
    return (
        f'<div class="scroll"><svg class="confusion" width="{side}" height="{side}" '
        f'viewBox="0 0 {side} {side}" role="img" aria-label="{spoken}">'
        f"{area}{labels}{''.join(cells)}</svg></div>"
    )


def _cell(
    classes: Sequence[str], i: int, j: int, n: int, share: float, size: int, margin: int
) -> str:
    x, y = margin + j * size, margin + i * size
    hover = f"{classes[i]} taken for {classes[j]}: {n} ({100 * share:.1f} %)"
    rect = (
        f'<rect class="cell" x="{x}" y="{y}" width="{size}" height="{size}" '
        f'fill-opacity="{0.08 + 0.92 * share:.2f}"><title>{escape(hover)}</title></rect>'
    )
    if len(classes) > TEXT_CLASSES:
        return rect
    middle = x + size / 2
    kind = "full" if share > 0.7 else "light"
    upper, lower = y + 0.47 * size, y + 0.8 * size
    return (
        f'{rect}<text class="{kind}" x="{middle}" y="{upper:.1f}">{n}</text>'
        f'<text class="{kind} small" x="{middle}" y="{lower:.1f}">{100 * share:.0f}%</text>'
    )


def _axis_labels(names: Sequence[str], size: int, margin: int) -> str:
    def place(i: int, name: str) -> str:
        at = margin + (i + 0.5) * size
        return (
            f'<text class="name" x="{margin - 5}" y="{at + 4:.1f}" text-anchor="end">{name}</text>'
            f'<text class="name" transform="translate({at + 4:.1f} {margin - 5}) rotate(-90)">'
            f"{name}</text>"
        )

    return "".join(place(i, escape(n)) for i, n in enumerate(names))


def _axis_numbers(count: int, size: int, margin: int) -> str:
    def place(i: int) -> str:
        at = margin + (i + 0.5) * size
        return (
            f'<text class="name" x="{margin - 5}" y="{at + 4:.1f}" text-anchor="end">{i}</text>'
            f'<text class="name" x="{at:.1f}" y="{margin - 6}" text-anchor="middle">{i}</text>'
        )

    return "".join(place(i) for i in range(0, count, 10))
