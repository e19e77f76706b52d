"""How rich the rendered world is: what may be added to its rooms, cameras and sensors.

At its defaults nothing is added, and every clip is bit for bit that of a world without these
fields: what they draw comes from a stream of its own.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from darkjax.data.rendering import scene
from darkjax.data.rendering.camera import repeat_still_blocks
from darkjax.errors import UserError

Vec = np.ndarray


@dataclasses.dataclass(frozen=True)
class World:
    """Shares of clips (of rooms, for `lines`) in [0, 1] that have each of these.

    Attributes:
      approach: of walkers and runners: they come towards the camera or go away from it, and their
        size follows from perspective.
      near: of other clips: the camera stands so near that people fill the frame or are cut by it.
      static: the camera stands still; it pans only where somebody would run out of the picture.
      blocks: of dark clips: coloured blocks, as a sensor that clips to black and an encoder leave
        them, that stay for several frames.
      lines: strong vertical structures on the wall: ribs, posts, parapets.
      follow: a hand holds the camera and keeps whom it films in the picture: it pans along with
        those who walk and tilts with those who rise, a little late. Not of those who come or go.
      far: of those who come or go: they stay far from the camera.
      other: of jumps: one, from a crouch and mostly forwards, instead of hops on the spot; of those
        who sit down or stand up: low, on a kerb or on their heels, instead of a chair.
      natural: of those who sit down or stand up: bent over before their hips move and upright again
        after, often with a step and a turn to the seat or away, and shown whole where they sit by a
        camera that is near; of those who turn: by a quarter too, or somewhat less; of jumps: one,
        as `other`, out of a deep crouch.
    """

    approach: float = 0.0
    near: float = 0.0
    static: float = 0.0
    blocks: float = 0.0
    lines: float = 0.0
    follow: float = 0.0
    far: float = 0.0
    other: float = 0.0
    natural: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for name, share in dataclasses.asdict(self).items():
            if not 0 <= share <= 1:  # nan is none either
                raise UserError(f"{name}={share}: expected a share of the clips, 0 to 1")

    def __repr__(self) -> str:
        """Of what came later only what is asked for: richer worlds are known by this text."""
        own = dataclasses.asdict(self)
        shown = (f"{k}={v!r}" for k, v in own.items() if v or k not in LATER)
        return f"World({', '.join(shown)})"


LATER = ("follow", "far", "other", "natural")
ASIDE = 0.25  # share of the width: a hand that follows hurries before its man is out of the picture
TILT = 0.13  # share of the height that it tilts: rooms end a fifth above and below the frame
PLAIN = World()


@dataclasses.dataclass(frozen=True)
class Shot:
    """What of its world a clip has; `rng` decides the rest of it."""

    approach: bool
    near: bool
    static: bool
    blocks: bool
    follow: bool
    far: bool
    rng: np.random.Generator

    @classmethod
    def draw(cls, world: World, travels: bool, entropy: list[int]) -> Shot:
        """Of one clip; `travels` says whether somebody walks in it."""
        rng = np.random.default_rng([*entropy, 0x311C4])
        chance = rng.uniform(size=4)
        approach = travels and bool(chance[0] < world.approach)
        near = not approach and bool(chance[1] < world.near)
        static = bool(chance[2] < world.static)
        later = np.random.default_rng([*entropy, 0xF0110]).uniform(size=2)
        follow = not approach and bool(later[0] < world.follow)
        blocks, far = bool(chance[3] < world.blocks), bool(later[1] < world.far)
        return cls(approach, near, static, blocks, follow, far, rng)


def way(world: World, entropy: list[int]) -> tuple[bool, bool]:
    """Whether a clip does its action the other way, and naturally (`motions.way`)."""
    other, natural = np.random.default_rng([*entropy, 0x1EA9]).uniform(size=2)
    return bool(other < world.other), bool(natural < world.natural)


def approach(
    shot: Shot, root: Vec, height: int, width: int, view: scene.View
) -> tuple[scene.View, float]:
    """The view of somebody who comes or goes, and the heading.

    Args:
      shot: of the clip.
      root: [T, 3] where the walker stands, along his own heading, about 0.
      height, width: of the frame.
      view: whose pitch and shake are kept.
    """
    rng = shot.rng
    heading = rng.choice([0.0, np.pi]) + rng.uniform(-0.15, 0.15)
    half = 0.5 * np.ptp(root[:, 2])
    nearest = rng.uniform(*((2.5, 8.0) if shot.far else (0.9, 2.2)))  # heights from the camera
    distance = nearest + half
    tall = rng.uniform(*((0.25, 0.6) if shot.far else (0.55, 1.5)))
    scale = tall * height * nearest / distance
    eye = rng.uniform(0.75, 1.0)
    ground = rng.uniform(0.25, 0.42) * height + scale * eye
    centre = rng.uniform(0.38, 0.62) * width
    seen = dataclasses.replace(view, scale=scale, x=centre, ground=ground)
    return dataclasses.replace(seen, distance=distance, eye=eye), float(heading)


def follow(seen: Vec, t: Vec, height: int, width: int, rng: np.random.Generator) -> Vec:
    """How a hand moves the camera to keep somebody in the picture.

    Args:
      seen: [T, 2] pixels, x then y, where a camera that stands still has him.
      t: [T] seconds.
      height, width: of the frame.
      rng: decides how late, how far and how steadily.

    Returns:
      [T, 2] pixels, the camera's own motion (`scene.View.shift`).
    """
    late = rng.uniform(0.08, 0.4)  # seconds
    kept = 1 - np.exp(-np.diff(t, prepend=t[0]) / late)
    aim = seen * [rng.uniform(0.8, 1.05), rng.uniform(0.2, 0.9)]
    shift = aim.copy()
    for k in range(1, len(t)):
        shift[k] = shift[k - 1] + kept[k] * (aim[k] - shift[k - 1])
    shift -= shift.mean(0)
    for hz in (0.9, 2.1, 3.7):
        phase = rng.uniform(0, 2 * np.pi, 2)
        shift += np.sin(2 * np.pi * hz * t[:, None] + phase) * rng.uniform(0, 0.012) * height / hz
    left = seen[:, 0] - seen[:, 0].mean() - shift[:, 0]  # how far from the middle he is then
    shift[:, 0] += left - np.clip(left, -ASIDE * width, ASIDE * width)
    tilt = np.abs(shift[:, 1]).max()
    shift[:, 1] *= min(1.0, TILT * height / max(tilt, 1e-6))
    return shift


def blocks(video: Vec, rng: np.random.Generator) -> Vec:
    """Coloured blocks over what is dark, each shown again for several frames.

    Args:
      video: uint8 [T, H, W, 3].
      rng: decides their size, strength, tint and how long they stay.

    Returns:
      uint8 [T, H, W, 3].
    """
    frames, height, width, _ = video.shape
    size = int(rng.choice([4, 8]))
    hold = int(rng.integers(4, 13))
    down, right = -(-height // size), -(-width // size)
    turns = frames // hold + 2
    tint = np.array([1.0, rng.uniform(-0.5, 0.0), rng.uniform(0.7, 1.3)])  # purple, as clipped raw
    levels = rng.normal(0, rng.uniform(0.5, 2.2), (turns, down, right))
    grey = rng.normal(0, rng.uniform(0.3, 1.2), (turns, down, right))
    # not all blocks are sent at once: each has its own time within a turn
    turn = (np.arange(frames)[:, None, None] + rng.integers(0, hold, (down, right))) // hold
    index = np.indices((down, right))
    chosen = [x[turn, index[0], index[1]] for x in (levels, grey)]
    added = chosen[0][..., None] * tint + chosen[1][..., None]
    added = added.repeat(size, 1).repeat(size, 2)[:, :height, :width]
    still = np.median(video, axis=0).mean(-1, keepdims=True)  # of the place: no figure in it
    mixed = video + added * np.exp(-still / 30.0)
    out = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return repeat_still_blocks(out, rng.uniform(0.6, 1.6))


def lined(canvas: Vec, y: Vec, x: Vec, floor: float, group: int, share: float) -> None:
    """Ribs, posts or a parapet on the walls of some rooms, in place.

    Args:
      canvas: [Hb, Wb, 5], of the room.
      y, x: [Hb, 1] and [1, Wb], in frame heights.
      floor: where the wall ends.
      group: which room.
      share: of the rooms that get them.
    """
    rng = np.random.default_rng([0x11AE5, group])
    if rng.uniform() >= share:
        return
    wall = np.broadcast_to(y <= floor, canvas.shape[:2])
    period = rng.uniform(0.05, 0.14)
    wave = np.sin(2 * np.pi * (x / period + rng.uniform()))
    profile = np.sign(wave) if rng.uniform() < 0.4 else wave
    gain = 1 + rng.uniform(0.3, 0.55) * profile
    if rng.uniform() < 0.5:  # posts, far apart
        gap = rng.uniform(0.35, 0.9)
        post = ((x / gap + rng.uniform()) % 1) < rng.uniform(0.06, 0.16)
        gain = np.where(post, rng.uniform(0.25, 0.6), gain)
    gain = np.broadcast_to(gain, canvas.shape[:2])
    canvas[..., :3] = np.where(wall[..., None], canvas[..., :3] * gain[..., None], canvas[..., :3])
    if rng.uniform() < 0.4:  # a pale parapet before it
        band = np.broadcast_to((y > floor - rng.uniform(0.1, 0.25)) & (y <= floor), wall.shape)
        canvas[band, :3] = rng.uniform(0.5, 0.8)
