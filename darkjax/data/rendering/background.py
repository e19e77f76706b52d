"""Rooms: a textured wall and floor, things on them, lamps, the fall-off of light, and heat."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from darkjax.data.rendering import world
from darkjax.data.rendering.raster import CHANNELS

Vec = np.ndarray


@dataclasses.dataclass(frozen=True)
class Room:
    """A picture wider than the frame; it repeats (mirrored) horizontally."""

    canvas: Vec  # float32 [Hb, Wb, 5]: red, green, blue, lamp, heat
    light: Vec  # float32 [Hb, Wb, 1]: how much of the weak light arrives
    margin: int  # rows above and below the frame
    period: int  # columns after which the picture repeats


def _paint(rng: np.random.Generator, saturation: float) -> Vec:
    """A colour of middle lightness. [3]"""
    return rng.uniform(0.3, 0.6) + rng.normal(0, saturation, 3)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> Vec:
    """Linearly interpolated white noise with ``cells`` cells along the height. [H, W] in [0, 1]."""
    across = max(2, round(cells * width / height))
    grid = rng.uniform(size=(cells + 2, across + 2))
    y, x = np.linspace(0, cells, height), np.linspace(0, across, width)
    iy, ix = y.astype(int), x.astype(int)
    fy, fx = (y - iy)[:, None], (x - ix)[None]
    rows = grid[iy] * (1 - fy) + grid[iy + 1] * fy
    return rows[:, ix] * (1 - fx) + rows[:, ix + 1] * fx


def _wall(rng: np.random.Generator, y: Vec, x: Vec) -> Vec:
    """A pattern [H, W] around 1: plain, corrugated, bricks, panels or broad stripes."""
    kind = rng.integers(5)
    size = rng.uniform(0.06, 0.2)
    u, v = x / size, y / size
    if kind == 0:
        return np.ones(np.broadcast_shapes(y.shape, x.shape))
    if kind == 1:
        return 1 + 0.18 * np.sin(2 * np.pi * u * 1.6) + 0 * v
    if kind == 2:
        shifted = u + 0.5 * (np.floor(v * 2) % 2)
        return 1 - 0.3 * (((shifted % 1) < 0.12) | ((v * 2) % 1 < 0.2))
    if kind == 3:
        return 1 - 0.3 * (((u / 2.2) % 1 < 0.07) | ((v / 3) % 1 < 0.06))
    return 1 + 0.15 * np.sign(np.sin(np.pi * u * 0.8)) + 0 * v


def _things(rng: np.random.Generator, canvas: Vec, y: Vec, x: Vec, floor: float) -> None:
    """Doors, pictures, cupboards (no light of their own), then windows and lamps, in place."""
    for _ in range(rng.integers(2, 6)):
        cx, half = rng.uniform(0, x.max()), rng.uniform(0.06, 0.22)
        tall = rng.uniform(0.1, 0.45)
        bottom = floor if rng.uniform() < 0.5 else rng.uniform(0.3, floor)
        box = (np.abs(x - cx) < half) & (y < bottom) & (y > bottom - tall)
        inner = (np.abs(x - cx) < half * 0.85) & (y < bottom - 0.03) & (y > bottom - tall + 0.03)
        colour = _paint(rng, 0.08)
        canvas[box, :3] = colour * 0.7
        canvas[inner, :3] = colour
        canvas[box, 4] += rng.normal(0, 0.04)
    if rng.uniform() < 0.7:
        for _ in range(rng.integers(1, 4)):
            cx, cy = rng.uniform(0, x.max()), rng.uniform(-0.1, 0.3)
            half, tall = rng.uniform(0.02, 0.12), rng.uniform(0.01, 0.05)
            box = (np.abs(x - cx) < half) & (np.abs(y - cy) < tall)
            tint = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.6, 1.0)])
            canvas[box, :3] = 0.95 * tint
            canvas[box, 3] = rng.uniform(0.3, 1.0)
            canvas[box, 4] += 0.15


@functools.lru_cache(maxsize=64)
def room(group: int, height: int, width: int, lines: float = 0.0) -> Room:
    """The room of one recording session, at one frame size; a pure function, remembered.

    `lines` is the share of rooms whose walls have strong vertical structures (`world.lined`).
    """
    rng = np.random.default_rng([0x0FF1CE, group])
    margin = int(np.ceil(0.2 * height))
    rows, columns = height + 2 * margin, int(np.ceil(1.1 * width))
    y = ((np.arange(rows) - margin) / height)[:, None]  # 0 and 1 are the frame's edges
    x = (np.arange(columns) / height)[None]
    floor = rng.uniform(0.52, 0.68)
    texture = np.zeros((rows, columns))
    for cells, gain in ((4, 0.35), (14, 0.2), (40, 0.2)):
        texture = texture + (smooth_noise(rng, rows, columns, cells) - 0.5) * gain
    canvas = np.zeros((rows, columns, CHANNELS), np.float32)
    canvas[..., :3] = _paint(rng, 0.04) * (_wall(rng, y, x) * (1 + texture))[..., None]
    heat = 0.18 + 0.14 * smooth_noise(rng, rows, columns, 3)
    canvas[..., 4] = heat
    world.lined(canvas, y, x, floor, group, lines)
    _things(rng, canvas, y, x, floor)
    below = np.broadcast_to(y > floor, (rows, columns))
    tile = rng.uniform(0.1, 0.3)
    depth = 1 / (y - floor + 0.3)
    lines = ((depth * 1.2 % 1) < 0.08) | (((x - x.max() / 2) * depth / tile % 1) < 0.06)
    tiles = 0.2 * lines * (rng.uniform() < 0.6)
    ground = _paint(rng, 0.04) * (1 + 1.3 * texture - tiles)[..., None]
    canvas[below, :3] = ground[below]
    canvas[below, 3] = 0
    canvas[below, 4] = heat[below] - 0.05
    canvas[..., :3] = np.clip(canvas[..., :3], 0.02, 1)

    near = (x - rng.uniform(0, x.max())) ** 2 + (y - rng.uniform(-0.2, 0.9)) ** 2
    reach = rng.uniform(0.4, 0.9)
    light = 0.06 + 1 / (1 + near / reach**2) ** 1.5  # a lamp's inverse square, softened
    light = (light * (1 - 0.25 * y)).astype(np.float32)[..., None]
    period = 2 * columns
    # mirrored, then one frame more: every window that starts inside the period is one slice
    wrap = np.arange(period + width + 1) % period
    wrap = np.minimum(wrap, period - 1 - wrap)
    canvas, light = canvas[:, wrap], np.maximum(light, np.float32(0.02))[:, wrap]
    for array in (canvas, light):
        array.setflags(write=False)
    return Room(canvas, light, margin, period)


def look(picture: Vec, shift: Vec, room: Room, height: int, width: int) -> Vec:
    """What a moving camera sees of a room's canvas or light: bilinear, repeating in x.

    Args:
      picture: float32 [Hb, Wb, C], one of the room's.
      shift: [T, 2] pixels, x then y: frame pixel (x, y) shows room pixel (x, y + margin) + shift;
        in y it is held inside the margin.

    Returns:
      float32 [T, height, width, C].
    """
    shift = shift + np.array([0, room.margin])
    shift[:, 1] = np.clip(shift[:, 1], 0, picture.shape[0] - height - 1.001)
    whole = np.floor(shift).astype(int)
    part = (shift - whole).astype(np.float32)
    out = np.empty((len(shift), height, width, picture.shape[2]), np.float32)
    for frame, (x, y), (fx, fy) in zip(out, whole, part, strict=True):
        x %= room.period
        seen = picture[y : y + height + 1, x : x + width + 1]
        seen = seen[:-1] + fy * (seen[1:] - seen[:-1])
        np.subtract(seen[:, 1:], seen[:, :-1], out=frame)
        frame *= fx
        frame += seen[:, :-1]
    return out
