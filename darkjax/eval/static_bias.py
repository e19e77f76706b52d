"""How much of an answer comes from what stands still: other backgrounds, and a stilled figure.

Li et al. 2023 ("StillMix", arXiv 2211.12883) judge a network on two kinds of made clips. SCUBA: the
figure's pixels over a background that says nothing of the action; who looks at the action stays
right. SCUFO: one frame of such a clip, repeated; nothing moves any more, and who is still right
knows it from what the figure looks like. Their contrasted accuracy is the share of the clips that
are right as SCUBA and not right as the SCUFO made of it.

Where this differs from the paper:
  - their backgrounds are Place365, generated pictures and sinusoidal stripes; ours are the place of
    another clip of the same records (of another class and group where there is one), such stripes,
    and noise that does not move. Stripes and noise are given the mean and the deviation of the
    place that they replace: dark clips stay dark.
  - their masks are annotated; ours are the renderer's, or `motion_mask`, which finds what moves
    before a camera that does not: clips whose mask is next to nothing or most of the picture are
    left out, and counted.
  - the frame that SCUFO repeats is drawn by the seed, as theirs, from those that show the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from darkjax.data.resize import resize_clip
from darkjax.errors import UserError

PICTURES = ("other", "stripes", "noise")
USABLE = (0.002, 0.6)  # share of the pixels that a mask may cover
HIDDEN = 0.4  # share of the frames in which a figure hides a place

Judge = Callable[[Sequence[np.ndarray], float], np.ndarray]


class Shot(NamedTuple):
    """Frames uint8 [T, H, W, C], the figure's pixels bool [T, H, W], frames a second."""

    frames: np.ndarray
    mask: np.ndarray
    fps: float


class Entry(NamedTuple):
    """A clip that is read when it is needed; `label` counts the classes of the judge."""

    name: str
    label: int
    group: str
    read: Callable[[], Shot]


class Made(NamedTuple):
    """The clips that one background gives."""

    scuba: np.ndarray
    scufo: np.ndarray


class Answers(NamedTuple):
    """What was answered for one clip, class numbers; `made` by background: (SCUBA, SCUFO)."""

    name: str
    label: int
    original: int
    made: dict[str, tuple[int, int]]


class Found(NamedTuple):
    """Answers of the clips with a usable mask, and the names of the others."""

    answers: list[Answers]
    left_out: list[str]


def motion_mask(frames: np.ndarray, strength: float = 2.0) -> np.ndarray:
    """What moves before a still camera: bool [T, H, W] of frames uint8 [T, H, W, C].

    A pixel's distance from its median over time, averaged over a window of a twentieth of the
    shorter side, beyond `strength` times what is usual there: its median over time, the same way
    averaged, and no less than half a level. What never leaves a pixel is background.
    """
    grey = frames.astype(np.float32).mean(-1)
    away = np.abs(grey - np.median(grey, 0))
    usual = np.median(away, 0)
    # Where a figure moves on the spot the usual distance is its own: no more than the picture's.
    usual = np.minimum(usual, 2 * np.median(usual) + 0.5)
    side = max(3, min(grey.shape[1:]) // 20 | 1)
    found = _box(away, side) > strength * np.maximum(_box(usual[None], side), 0.5)
    return _box(found.astype(np.float32), side) > 0.7


def place(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The background of a clip, float32 [H, W, C]: the median over time; where a figure mostly
    stands, its neighbours in the row."""
    still = np.median(frames, 0).astype(np.float32)
    hidden = mask.mean(0) > HIDDEN
    for y in np.flatnonzero(hidden.any(1) & ~hidden.all(1)):
        gone, known = np.flatnonzero(hidden[y]), np.flatnonzero(~hidden[y])
        for band in still[y].T:  # a view: [W]
            band[gone] = np.interp(gone, known, band[known])
    return still


def stripes(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Waves of a colour on its opposite, at any angle: float32 [H, W, C] in [0, 1]."""
    height, width, colours = shape
    y, x = np.mgrid[:height, :width] / min(height, width)
    angle, bend, per, at = rng.uniform([0, 0, 0.5, 0], [2 * np.pi, 0.15, 3.0, 1])
    along, across = (
        np.cos(angle) * x + np.sin(angle) * y,
        np.cos(angle) * y - np.sin(angle) * x,
    )
    wave = across + bend * np.sin(2 * np.pi * per * along)
    on = (wave / rng.uniform(0.1, 0.3) + at) % 1 < 0.5
    colour = rng.uniform(0, 1, colours)
    return np.where(on[..., None], colour, 1 - colour).astype(np.float32)


def levelled(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A picture with the mean and the deviation of another, float32, within a byte."""
    spread = (picture - picture.mean()) / max(float(picture.std()), 1e-6)
    return np.clip(spread * like.std() + like.mean(), 0, 255).astype(np.float32)


def background(
    name: str, own: np.ndarray, other: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The picture that replaces a place, float32 [H, W, C].

    Args:
      name: one of `PICTURES`.
      own: the place, float32 [H, W, C].
      other: that of another clip, float32 [h, w, C], of any size.
      rng: what is drawn is drawn from it.
    """
    if name == "other":
        whole = np.rint(other).astype(np.uint8)[None]
        return resize_clip(whole, own.shape[:2])[0].astype(np.float32)
    drawn = stripes(own.shape, rng) if name == "stripes" else rng.uniform(0, 1, own.shape)
    return levelled(drawn.astype(np.float32), own)


def scuba(shot: Shot, picture: np.ndarray) -> np.ndarray:
    """The figure over a picture float32 [H, W, C]: uint8 [T, H, W, C]."""
    return np.where(shot.mask[..., None], shot.frames, np.rint(picture).astype(np.uint8))


def scufo(clip: np.ndarray, frame: int) -> np.ndarray:
    """One frame of a SCUBA clip, as often as the clip has frames."""
    return np.repeat(clip[frame : frame + 1], len(clip), 0)


def usable(mask: np.ndarray) -> bool:
    """Whether a mask shows a figure: not next to nothing, not most of the picture."""
    return bool(USABLE[0] <= mask.mean() <= USABLE[1])


def make(
    shot: Shot, other: np.ndarray, names: Sequence[str], rng: np.random.Generator
) -> dict[str, Made]:
    """SCUBA and SCUFO of a clip, by background; `other` is the place of another clip."""
    own = place(shot.frames, shot.mask)
    frame = int(rng.choice(np.flatnonzero(shot.mask.any((1, 2)))))
    clips = {name: scuba(shot, background(name, own, other, rng)) for name in names}
    return {name: Made(clip, scufo(clip, frame)) for name, clip in clips.items()}


def partner(entries: Sequence[Entry], number: int, rng: np.random.Generator) -> int:
    """Another clip whose place replaces that of clip `number`: of another class and another group
    where there is one."""
    own = entries[number]
    apart = [
        (e.label != own.label) + (e.group != own.group) + 1 if k != number else 0
        for k, e in enumerate(entries)
    ]
    return int(rng.choice(np.flatnonzero(np.array(apart) == max(apart))))


def measure(
    judge: Judge,
    entries: Sequence[Entry],
    names: Sequence[str] = PICTURES,
    seed: int = 0,
    seen: Callable[[Entry, Shot, dict[str, Made]], Any] | None = None,
) -> Found:
    """Ask a judge about clips as they are and as they are made.

    Args:
      judge: of clips of one size, uint8 [T, H, W, C] each, and their frames a second: class
        probabilities [N, K].
      entries: two clips or more.
      names: backgrounds, of `PICTURES`.
      seed: of what is drawn.
      seen: is called after each clip.

    Raises:
      UserError: fewer than two clips, or no clip with a usable mask.
    """
    if len(entries) < 2:
        raise UserError(f"expected two clips or more to exchange places; found {len(entries)}")
    found = Found([], [])
    places: dict[int, np.ndarray] = {}
    for number, entry in enumerate(entries):
        rng = np.random.default_rng([seed, number])
        shot = entry.read()
        if not usable(shot.mask):
            found.left_out.append(entry.name)
            continue
        other = partner(entries, number, rng)
        if other not in places:
            there = entries[other].read()
            places[other] = place(there.frames, there.mask)
        made = make(shot, places[other], names, rng)
        every = [shot.frames, *(clip for two in made.values() for clip in two)]
        said = [int(k) for k in np.argmax(judge(every, shot.fps), -1)]
        pairs = zip(said[1::2], said[2::2], strict=True)
        answers = dict(zip(made, pairs, strict=True))
        found.answers.append(Answers(entry.name, entry.label, said[0], answers))
        if seen is not None:
            seen(entry, shot, made)
    if not found.answers:
        raise UserError(
            f"none of {len(entries)} clips has a mask between {USABLE[0]:g} and {USABLE[1]:g} of "
            "its pixels: nothing moves in them, or the camera does"
        )
    return found


def figures(answers: Sequence[Answers], name: str) -> dict[str, float]:
    """Accuracies of one background: of the clips as they are, SCUBA, SCUFO, contrasted."""
    label, original = (np.array([getattr(a, k) for a in answers]) for k in ("label", "original"))
    right = np.array([a.made[name] for a in answers]) == label[:, None]
    return {
        "clips": len(answers),
        "original": float(np.mean(original == label)),
        "scuba": float(np.mean(right[:, 0])),
        "scufo": float(np.mean(right[:, 1])),
        "contrasted": float(np.mean(right[:, 0] & ~right[:, 1])),
    }


def _box(values: np.ndarray, side: int) -> np.ndarray:
    """Mean over a square of an odd side, the border repeated: float32 [N, H, W]."""
    for axis in (1, 2):
        edge = [(0, 0)] * 3
        edge[axis] = (side // 2 + 1, side // 2)
        total = np.cumsum(np.pad(values, edge, mode="edge"), axis, dtype=np.float64)
        ahead, behind = (
            np.take(total, np.arange(start, start + values.shape[axis]), axis)
            for start in (side, 0)
        )
        values = ((ahead - behind) / side).astype(np.float32)
    return values
