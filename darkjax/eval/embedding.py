"""Features of clips as points of a plane: coloured by class, marked by domain."""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

from darkjax.errors import UserError

PLANES = ("pca", "tsne")
SIDE, MARGIN, LINE = 360, 16, 18  # pixels: of a panel, around it, of a line of text


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture: its title, points `[N, 2]`, int `[N]` of their classes and domains."""

    title: str
    points: np.ndarray
    label: np.ndarray
    domain: np.ndarray


def plane(codes: np.ndarray, by: str = "pca", seed: int = 0) -> np.ndarray:
    """Features `[N, E]` as points `[N, 2]`, float64.

    Args:
      codes: one row a clip, at least two.
      by: "pca", the two directions of largest variance, each begun where its largest weight is
        positive; or "tsne" of scikit-learn, perplexity 30 (a third of the clips where that is
        less), begun from PCA.
      seed: of t-SNE.

    Raises:
      UserError: another name, or t-SNE without scikit-learn.
    """
    if by not in PLANES:
        raise UserError(f"a plane by {by!r}: expected one of {', '.join(PLANES)}")
    codes = np.asarray(codes, np.float64)
    centred = codes - codes.mean(0)
    if by == "pca":
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        axes = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(1)])[:, None]
        return centred @ axes.T
    try:
        from sklearn.manifold import TSNE
    except ImportError as e:
        raise UserError(
            "t-SNE is scikit-learn's, which is not installed: pip install 'darkjax[embed]', or "
            "take the plane 'pca'"
        ) from e
    near = min(30.0, (len(codes) - 1) / 3)
    return np.asarray(TSNE(perplexity=near, init="pca", random_state=seed).fit_transform(centred))


def picture(panels: Sequence[Panel], classes: Sequence[str], domains: Sequence[str]) -> str:
    """Panels side by side as one SVG: a colour a class, a disc for the first domain, a ring for
    the others."""
    columns = max(1, len(panels) * SIDE // 110)
    rows = -(-len(classes) // columns)
    width = len(panels) * (SIDE + MARGIN) + MARGIN
    height = SIDE + 2 * MARGIN + (rows + 3) * LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        left, top = MARGIN + number * (SIDE + MARGIN), MARGIN + LINE
        parts.append(f'<text x="{left}" y="{MARGIN + 6}">{escape(panel.title)}</text>')
        parts.append(
            f'<rect x="{left}" y="{top}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#ccc"/>'
        )
        low, high = panel.points.min(0), panel.points.max(0)
        scale = (SIDE - 16) / max(float((high - low).max()), 1e-12)
        middle = (low + high) / 2
        for (x, y), label, domain in zip(panel.points, panel.label, panel.domain, strict=True):
            at = left + SIDE / 2 + (x - middle[0]) * scale, top + SIDE / 2 - (y - middle[1]) * scale
            parts.append(_mark(*at, _colour(int(label), len(classes)), int(domain)))
    base = SIDE + MARGIN + 2 * LINE + 6
    for k, name in enumerate(classes):
        x, y = MARGIN + k % columns * 110, base + k // columns * LINE
        parts.append(_mark(x + 4, y - 4, _colour(k, len(classes)), 0))
        parts.append(f'<text x="{x + 14}" y="{y}">{escape(name)}</text>')
    for k, name in enumerate(domains):
        x, y = MARGIN + k * 220, base + rows * LINE
        parts.append(_mark(x + 4, y - 4, "#333", k))
        parts.append(f'<text x="{x + 14}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _mark(x: float, y: float, colour: str, domain: int) -> str:
    look = f'fill="{colour}"' if not domain else f'fill="none" stroke="{colour}" stroke-width="1.4"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" {look}/>'


def _colour(label: int, classes: int) -> str:
    """Hues as far apart as they can be, every second darker."""
    red, green, blue = colorsys.hls_to_rgb(label / classes, 0.5 - 0.14 * (label % 2), 0.75)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
