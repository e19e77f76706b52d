"""How rich the rendered world is: what may be added to its rooms, cameras and sensors.

At its defaults nothing is added, and every clip is bit for bit that of a world without these
fields: what they draw comes from a stream of its own.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from darkjax.data.rendering import scene
from darkjax.data.rendering.camera import repeat_still_blocks

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
    """

    approach: float = 0.0
    near: float = 0.0
    static: float = 0.0
    blocks: float = 0.0
    lines: float = 0.0


PLAIN = World()


@dataclasses.dataclass(frozen=True)
class Shot:
    """What of its world a clip has; `rng` decides the rest of it."""

    approach: bool
    near: bool
    static: bool
    blocks: bool
    rng: np.random.Generator

    @classmethod
    def draw(cls, world: World, travels: bool, entropy: list[int]) -> Shot:
        """Of one clip; `travels` says whether somebody walks in it."""
        rng = np.random.default_rng([*entropy, 0x311C4])
        chance = rng.uniform(size=4)
        approach = travels and bool(chance[0] < world.approach)
        near = not approach and bool(chance[1] < world.near)
        static = bool(chance[2] < world.static)
        return cls(approach, near, static, bool(chance[3] < world.blocks), rng)


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
    nearest = rng.uniform(0.9, 2.2)  # heights from the camera
    distance = nearest + half
    scale = rng.uniform(0.55, 1.5) * height * nearest / distance
    eye = rng.uniform(0.75, 1.0)
    ground = rng.uniform(0.25, 0.42) * height + scale * eye
    centre = rng.uniform(0.38, 0.62) * width
    seen = dataclasses.replace(view, scale=scale, x=centre, ground=ground)
    return dataclasses.replace(seen, distance=distance, eye=eye), float(heading)


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
