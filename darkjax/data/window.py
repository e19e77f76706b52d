"""Grey of more than 8 bits as 8 bits: which counts become black, which white."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from darkjax.errors import UserError


class Window(NamedTuple):
    """Counts up to `low` become 0, from `high` on 255; `percent`: percentiles of each clip."""

    low: float
    high: float
    percent: bool = False

    def __str__(self) -> str:
        sign = "%" if self.percent else ""
        return f"{self.low:.10g}{sign}:{self.high:.10g}{sign}"


def parse(text: str) -> Window:
    """`7000:9000` in counts, or `1%:99%` of the clip's pixels.

    Raises:
      UserError: it is neither, or its ends are not in order.
    """
    parts = text.split(":")
    percent = {part.strip().endswith("%") for part in parts}
    try:
        low, high = (float(part.strip().removesuffix("%")) for part in parts)
        if len(percent) > 1 or not 0 <= low < high < np.inf or (percent == {True} and high > 100):
            raise ValueError
    except ValueError:
        raise UserError(
            f"expected window LOW:HIGH in counts (7000:9000) or percentiles (1%:99%), LOW below "
            f"HIGH; found {text!r}"
        ) from None
    return Window(low, high, percent == {True})


def applied(counts: np.ndarray, window: str | None, where: object) -> np.ndarray:
    """Counts uint16 [T, H, W] as grey in three equal channels, uint8 [T, H, W, 3].

    Raises:
      UserError: there is no window; how warm a count is, only the camera's maker can say.
    """
    if window is None:
        raise UserError(
            "grey of more than 8 bits: expected --window=LOW:HIGH in counts, or --window=1%:99% "
            f"for percentiles of each clip (no absolute brightness then); found counts from "
            f"{counts.min()} to {counts.max()} in {where}"
        )
    low, high, percent = parse(window)
    if percent:
        low, high = _percentiles(counts, low, high)
    # A table of every count: no float copy of the clip is made.
    table = (np.arange(2**16) - low) / max(high - low, 1e-9)
    grey = np.rint(np.clip(table, 0, 1) * 255).astype(np.uint8)[counts]
    return np.repeat(grey[..., None], 3, -1)


def _percentiles(counts: np.ndarray, *percents: float) -> list[float]:
    """For each p the lowest count that p % of the pixels do not exceed."""
    below = np.cumsum(sum(np.bincount(frame.ravel(), minlength=2**16) for frame in counts))
    return [float(np.searchsorted(below, max(p / 100 * below[-1], 1))) for p in percents]
