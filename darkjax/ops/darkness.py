"""How dark a video is: DTCM's measure, and the rule of the code that made Dark-48.

The two differ in the frames they look at and in how they put them together:

    rule    frames                           score                             dark when
    paper   a random one of each segment     mean of (Y - 112) / 112           score < -threshold
    code    the middle one of each segment   share of frames whose             share >= threshold
                                             (Y - 112) / 112 < -threshold

with eight segments and a threshold of 0.877: by the code a video with one brighter frame of
eight (7/8 = 0.875) is not dark.

Works on numpy and jax arrays alike: processes that only decode videos use it too.

Deviations:
- "Pixel value" (Eq. 12) is read as the luma Y of 8-bit RGB, as in the code.
- A video shorter than the segments gives some frames twice (in the code: the first, eight times).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from darkjax.errors import UserError
from darkjax.ops.equalise import luma_uint8

Rule = Literal["paper", "code"]
RULES = ("paper", "code")
THRESHOLD = 0.877  # the mean darkness of ARID (DTCM, section IV-A)
BRIGHT = 112.0  # S_c: the mean intensity of a well-lit 8-bit picture
SEGMENTS = 8


def mean_luma(frames: Any) -> Any:
    """Eq. 12: the mean Y of each frame, uint8 [*B, H, W, C] to float [*B] in [0, 255].

    Y is rounded to whole levels pixel by pixel, as OpenCV's 8-bit `RGB2YCrCb` does; one channel
    is Y itself.
    """
    if frames.dtype != np.uint8:
        raise UserError(f"darkness: expected uint8 frames, found {frames.dtype}")
    luma = frames[..., 0] if frames.shape[-1] == 1 else luma_uint8(frames)
    return luma.mean((-2, -1))


def darkness(luma: Any) -> Any:
    """The bracket of Eq. 13: `(Y - 112) / 112`, -1 for black, 0 for a well-lit frame."""
    return (luma - BRIGHT) / BRIGHT


def middle_frames(count: int, segments: int = SEGMENTS) -> np.ndarray:
    """The code's frames: the middle of each of `segments` equal parts, a remainder left out."""
    length = count // segments
    return np.arange(segments) * length + length // 2


def random_frames(count: int, rng: np.random.Generator, segments: int = SEGMENTS) -> np.ndarray:
    """The paper's frames: one at random from each of `segments` parts, which cover the video."""
    edges = np.arange(segments + 1) * count // segments
    last = np.maximum(edges[1:], edges[:-1] + 1)  # an empty part takes the frame it begins at
    return rng.integers(edges[:-1], last)


def judge(luma: Any, rule: Rule = "paper", threshold: float = THRESHOLD) -> tuple[Any, Any]:
    """The score of each video and whether it is dark.

    Args:
      luma: `mean_luma` of the frames looked at, [*B, segments].
      rule: "paper" (Eq. 13 and 14) or "code".
      threshold: tau; by the code both of the frame and of the share.

    Returns:
      (score float [*B], dark bool [*B]). The paper's score falls as it gets darker, the code's
      rises.
    """
    if rule not in RULES:
        raise UserError(f"darkness: expected rule {' or '.join(RULES)}, found {rule!r}")
    each = darkness(luma)
    if rule == "paper":
        score = each.mean(-1)
        return score, score < -threshold
    score = (each < -threshold).mean(-1)
    return score, score >= threshold
