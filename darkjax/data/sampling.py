"""Which frames and which window of a clip are seen: plain functions of a random generator.

Nothing here touches pixels, so a whole batch of choices costs microseconds and only what was
chosen is ever read.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Of `corner_crop`, in quarters of the room that a window has in height and width.
PLACES = (
    *((y, x) for y in (0, 2, 4) for x in (0, 2, 4)),
    *((y, x) for y in (1, 3) for x in (1, 3)),
)


class Window(NamedTuple):
    """A rectangle of the frames and whether it is mirrored, the same for the whole clip."""

    y: int
    x: int
    height: int
    width: int
    flip: bool = False


# Frames -------------------------------------------------------------------------------------


def span(frames: int, stride: int) -> int:
    """How many frames a dense clip of `frames` at `stride` covers, first to last."""
    return (frames - 1) * stride + 1


def dense_clip(start: int, num_frames: int, frames: int, stride: int) -> np.ndarray:
    """Every `stride`-th frame from `start`; a short clip starts again from its beginning.

    Args:
      start: first frame, in 0 … max(0, num_frames - span).
      num_frames: frames in the clip.
      frames: how many to take.
      stride: distance between them.

    Returns:
      int64 [frames], each in 0 … num_frames - 1.
    """
    return (start + np.arange(frames) * stride) % num_frames


def random_clip(num_frames: int, frames: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """A dense clip at a uniformly random start; a clip shorter than the span starts at 0.

    A short clip is not begun in its middle: looped there, "sit" would begin with standing up.
    """
    slack = num_frames - span(frames, stride)
    start = int(rng.integers(slack + 1)) if slack > 0 else 0
    return dense_clip(start, num_frames, frames, stride)


def spaced_clips(num_frames: int, frames: int, stride: int, count: int) -> np.ndarray:
    """`count` dense clips at evenly spaced starts, first and last at the clip's ends.

    One clip is the centre clip. Returns int64 [count, frames].
    """
    slack = max(0, num_frames - span(frames, stride))
    ends = np.linspace(0, slack, count) if count > 1 else np.array([slack / 2])
    return np.stack([dense_clip(int(s + 0.5), num_frames, frames, stride) for s in ends])


def held_deltas(num_frames: int, frames: int, deltas: Sequence[int]) -> list[int]:
    """The distances between frames whose span the clip holds; the smallest where none is."""
    held = [delta for delta in deltas if span(frames, delta) <= num_frames]
    return held or [min(deltas)]


def random_delta(
    num_frames: int, frames: int, deltas: Sequence[int], rng: np.random.Generator
) -> int:
    """One of `held_deltas`.

    "Delta-sampling" (Hira et al., arXiv:2107.05202) of several distances; its rule is not known.
    """
    held = held_deltas(num_frames, frames, deltas)
    return int(held[rng.integers(len(held))])


def spaced_deltas(num_frames: int, frames: int, deltas: Sequence[int], count: int) -> np.ndarray:
    """`count` dense clips that take the `held_deltas` in turn: int64 [count, frames].

    Those of one distance are the `spaced_clips` of it: `count` as many as there are distances is
    the centre clip at each.
    """
    held = held_deltas(num_frames, frames, deltas)
    found = np.empty((count, frames), np.int64)
    for turn, delta in enumerate(held[:count]):
        rows = found[turn :: len(held)]
        rows[:] = spaced_clips(num_frames, frames, delta, len(rows))
    return found


def tiled_clips(num_frames: int, frames: int, stride: int) -> np.ndarray:
    """As many dense clips as there are without overlap, from the first frame on: int64 [n, frames].

    Each takes `frames * stride` frames; what is left at the end is not seen. A clip shorter than
    one of them has the one of `spaced_clips`.
    """
    count = num_frames // (frames * stride)
    if not count:
        return spaced_clips(num_frames, frames, stride, 1)
    starts = np.arange(count) * frames * stride
    return np.stack([dense_clip(int(s), num_frames, frames, stride) for s in starts])


def random_segments(num_frames: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """One random frame out of each of `frames` equal segments (TSN, arXiv:1608.00859, §3.1).

    Returns int64 [frames], never falling; frames repeat when the clip is short.
    """
    return _segments(num_frames, frames, rng.random(frames))


def spaced_segments(num_frames: int, frames: int, count: int) -> np.ndarray:
    """`count` segment samplings, each at one offset within its segments; one is their centres.

    Returns int64 [count, frames].
    """
    offsets = (np.arange(count) + 0.5) / count
    return np.stack([_segments(num_frames, frames, np.full(frames, o)) for o in offsets])


def _segments(num_frames: int, frames: int, offset: np.ndarray) -> np.ndarray:
    """The frame at `offset` in [0, 1) of each of `frames` equal parts of the clip."""
    numbers = np.floor((np.arange(frames) + offset) * (num_frames / frames)).astype(np.int64)
    return np.minimum(numbers, num_frames - 1)  # rounding must not step over the end


# Windows ------------------------------------------------------------------------------------


def random_crop(height: int, width: int, size: tuple[int, int], rng: np.random.Generator) -> Window:
    """A window of `size` (h, w) at a uniformly random place. Frames must be at least as large."""
    y = int(rng.integers(height - size[0] + 1))
    x = int(rng.integers(width - size[1] + 1))
    return Window(y, x, *size)


def random_resized_crop(
    height: int,
    width: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.25, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Window:
    """A window of random area and aspect, to be resized to `size` (GoogLeNet, arXiv:1409.4842, §6).

    Args:
      height, width: of the frames, in pixels.
      size: (h, w) it will be resized to; an aspect ratio of one keeps this one's.
      rng: the generator.
      scale: smallest and largest share of the frame's area, uniform.
      ratio: narrowest and widest stretch, log-uniform. A side longer than the frame is cut.
    """
    area = height * width * rng.uniform(*scale)
    aspect = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1]))) * size[1] / size[0]
    h = int(np.clip(round(float(np.sqrt(area / aspect))), 1, height))
    w = int(np.clip(round(float(np.sqrt(area * aspect))), 1, width))
    return random_crop(height, width, (h, w), rng)


def corner_crop(
    height: int,
    width: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
    distort: int = 1,
) -> Window:
    """A window of a few sizes at one of 13 places, to be resized to `size`: TSN's multi-scale crop.

    Its height and width are `scales` of those of the largest window of that aspect, at most
    `distort` of them apart. The places are the corners, the middles of the sides, the centre, and
    the four between it and the corners. DarkLight and R(2+1)D-BERT train on such windows; their
    code computes the places from `size`, so that some windows are cut at the border, here none is.
    """
    pairs = [
        (a, b) for i, a in enumerate(scales) for j, b in enumerate(scales) if abs(i - j) <= distort
    ]
    share, (y, x) = pairs[rng.integers(len(pairs))], PLACES[rng.integers(len(PLACES))]
    whole = largest_window(height, width, size)
    h, w = (max(1, round(n * s)) for n, s in zip(whole, share, strict=True))
    return Window((height - h) * y // 4, (width - w) * x // 4, h, w)


def spaced_crops(height: int, width: int, size: tuple[int, int], count: int) -> list[Window]:
    """The windows that evaluation looks through.

    1: centre. 3: the two ends and the centre along the longer side. 5: the corners and the
    centre. 10: those five and their mirror images. Frames must be at least as large as `size`.

    Raises:
      ValueError: another `count`.
    """
    bottom, right = height - size[0], width - size[1]
    y, x = bottom // 2, right // 2
    if count == 1:
        places = [(y, x)]
    elif count == 3 and width >= height:
        places = [(y, 0), (y, x), (y, right)]
    elif count == 3:
        places = [(0, x), (y, x), (bottom, x)]
    elif count in (5, 10):
        places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (y, x)]
    else:
        raise ValueError(f"expected 1, 3, 5 or 10 crops; found {count}")
    crops = [Window(*place, *size) for place in places]
    return crops + [crop._replace(flip=True) for crop in crops] if count == 10 else crops


def largest_window(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the largest window of the aspect of `size` that the frames hold."""
    scale = min(height / size[0], width / size[1])
    return min(height, round(size[0] * scale)), min(width, round(size[1] * scale))
