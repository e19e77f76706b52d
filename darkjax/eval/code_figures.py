"""Figures of codes: the matrix of the judged clips' codes by class, accuracy over k of k-NN.

Figures 4 and 6 (b) of Jiang et al. 2017 (arXiv:1705.06709), from what an evaluation saved.
"""

from __future__ import annotations

import base64
import io
import pathlib
from collections.abc import Sequence
from html import escape

import numpy as np

from darkjax import metrics
from darkjax.eval import charts, pictures, streams
from darkjax.eval.page import section
from darkjax.ops import neighbours

KS = (1, 3, 5, 7, 9, 15)
_ROWS = 360  # of the picture: neurons beyond are shown as means of neighbours
_WIDTH, _HEIGHT, _BAR = 720, 360, 14


def sections(workdir: str, stages: Sequence[str]) -> list[str]:
    """The report's sections about the codes of a run's stages; none where none has codes."""
    found = []
    for name in stages:
        folder = pathlib.Path(workdir, name)
        if not (folder / streams.NPZ).is_file():
            continue
        stream = streams.read(folder)
        if "codes" not in stream.judged.arrays:
            continue
        body = matrix(stream)
        if (folder / streams.TRAINING).is_file():
            body += over_neighbours(stream)
        if name != stages[-1]:  # that one's has a section of its own
            counts = metrics.Confusion.from_logits(
                stream.judged.take(streams.PROBABILITIES), stream.judged.label
            ).counts
            body += charts.confusion_matrix(stream.classes, counts)
        found.append(section(f"Codes of {name}", body))
    return found


def matrix(stream: streams.Stream) -> str:
    """The codes of the judged clips, clips to the right in the order of their classes.

    Codes that tell the classes apart make a block on the diagonal for each.
    """
    codes = stream.judged.take("codes")
    order = np.argsort(stream.judged.label, kind="stable")
    labels = stream.judged.label[order]
    image = _image(codes[order].T)
    clips, neurons = len(order), codes.shape[1]
    bars = []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        x, width = mine[0] / clips * _WIDTH, len(mine) / clips * _WIDTH
        name, colour = escape(stream.classes[label]), f"s{int(label) % 6}"
        bars.append(
            f'<rect class="{colour}" style="fill:var(--s)" x="{x:.1f}" y="{_HEIGHT + 3}" '
            f'width="{width:.1f}" height="{_BAR}"><title>{name}</title></rect>'
            f'<text text-anchor="end" transform="translate({x + width / 2 + 4:.1f} '
            f'{_HEIGHT + _BAR + 8}) rotate(-60)">{name}</text>'
        )
    longest = max(map(len, stream.classes))
    height = _HEIGHT + _BAR + 16 + 6 * longest
    spoken = f"Codes of {neurons} neurons (down) of {clips} clips (across, by class)"
    return (
        f'<p class="note">{spoken}: lighter is larger. Codes that tell classes apart are lighter '
        'in a block of their own for each.</p><div class="scroll"><svg '
        f'viewBox="-60 0 {_WIDTH + 60} {height}" width="{_WIDTH + 60}" height="{height}" '
        f'role="img" aria-label="{spoken}"><image x="0" y="0" width="{_WIDTH}" height="{_HEIGHT}" '
        'preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{image}"/>{"".join(bars)}</svg></div>'
    )


def by_neighbours(stream: streams.Stream, k: int, gamma: float = 0.05) -> np.ndarray:
    """Class probabilities of the judged clips by the `k` nearest training clips of each class."""
    known = stream.training()
    found = neighbours.knn_probabilities(
        stream.judged.take("codes"),
        known.take("codes"),
        known.label,
        len(stream.classes),
        k,
        gamma,
    )
    return np.asarray(found, np.float64)


def over_neighbours(stream: streams.Stream, ks: Sequence[int] = KS) -> str:
    """A chart of the mean over classes of recall, by k."""
    shares = []
    for k in ks:
        confusion = metrics.Confusion.from_logits(by_neighbours(stream, k), stream.judged.label)
        shares.append(confusion.compute()["mean-class"])
    series = [charts.Series("mean-class of k-NN", list(ks), shares)]
    chart = charts.line_chart("k-NN on codes, over k", series, percent=True, across="k")
    return f'<div style="max-width:480px">{chart}</div>'


def _image(codes: np.ndarray) -> str:
    """A picture of codes [N, M] as a base64 PNG; all but the largest and least 1 % have a colour of
    their own."""
    from PIL import Image

    rows = min(_ROWS, len(codes))
    edges = np.linspace(0, len(codes), rows + 1).astype(int)
    means = np.add.reduceat(codes.astype(np.float64), edges[:-1]) / np.diff(edges)[:, None]
    low, high = np.quantile(means, [0.01, 0.99])
    share = np.clip((means - low) / max(high - low, 1e-12), 0, 1)
    buffer = io.BytesIO()
    Image.fromarray(pictures.heat_colours()[np.rint(255 * share).astype(int)]).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()
