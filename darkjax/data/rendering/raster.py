"""Painting moving capsules: all frames and all parts at once, far parts first, with true flow."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

Vec = np.ndarray
CHANNELS = 5  # red, green, blue, lamp (own light), heat


@dataclasses.dataclass
class Strokes:
    """P projected capsules over T frames, in pixels; y grows downwards.

    The visible half of a capsule is parametrised by s in [0, 1] along the axis and by the
    azimuth: a point v pixels across an axis of apparent radius r has sin(azimuth + delta) = v/r.
    """

    a: Vec  # [T, P, 2]
    b: Vec  # [T, P, 2]
    r0: Vec  # [T, P] apparent radius at a
    r1: Vec  # [T, P] at b
    depth: Vec  # [T, P] towards the camera
    delta: Vec  # [T, P] radians
    square: Vec  # [P] flat ends instead of round ones
    base: Vec  # [P, 5]
    tip: Vec  # [P, 5] past cut
    back: Vec  # [P, 5] on the far side of the azimuth
    front: Vec  # [P, 5] inside the window
    cut: Vec  # [P]
    window: Vec  # [P, 3] half-width in radians, from and to along s
    stripes: Vec  # [P]


@dataclasses.dataclass
class _Pixels:
    """Flat list of (capsule, frame, pixel) that are covered, far capsules first."""

    frame: Vec
    part: Vec
    rank: Vec
    where: Vec  # index into T·H·W
    x: Vec
    y: Vec
    s: Vec
    along: Vec  # beyond the ends of the axis, in radii; 0 between them
    across: Vec  # in radii, in [-1, 1]
    alpha: Vec


def _axis(st: Strokes) -> tuple[Vec, Vec]:
    """Unit direction [T, P, 2] and length [T, P] of every axis; up where there is none."""
    line = st.b - st.a
    length = np.hypot(line[..., 0], line[..., 1])
    unit = line / np.maximum(length, 1e-3)[..., None]
    return np.where(length[..., None] > 1e-3, unit, np.array([0, -1], np.float32)), length


def _cover(st: Strokes, height: int, width: int) -> _Pixels:
    """Every pixel whose distance to a capsule is under half a pixel (signed distance field)."""
    frames, parts = st.depth.shape
    order = np.argsort(st.depth, axis=1, kind="stable")
    part = order.T.ravel()  # rank-major: all farthest parts, then all next ones
    frame = np.tile(np.arange(frames), parts)
    a, b = st.a[frame, part], st.b[frame, part]
    r0, r1 = st.r0[frame, part], st.r1[frame, part]
    pad = np.maximum(r0, r1)[:, None] + 1
    size = np.array([width, height])
    low = np.clip(np.floor(np.minimum(a, b) - pad), 0, size).astype(np.int32)
    high = np.clip(np.ceil(np.maximum(a, b) + pad) + 1, 0, size).astype(np.int32)
    wide, tall = (high - low).T
    count = wide * tall
    item = np.repeat(np.arange(count.size), count)
    local = np.arange(item.size) - np.repeat(np.cumsum(count) - count, count)
    row = local // wide[item]
    x = (local - row * wide[item] + low[item, 0]).astype(np.int32)
    y = (row + low[item, 1]).astype(np.int32)

    unit, length = (q[frame, part] for q in _axis(st))
    table = np.stack([*a.T, *unit.T, length, r0, r1 - r0, st.square[part]], -1)
    ax, ay, ux, uy, ln, q0, dq, square = table.astype(np.float32).T
    px, py = x - ax[item], y - ay[item]
    ux, uy, ln = ux[item], uy[item], ln[item]
    along, across = px * ux + py * uy, py * ux - px * uy
    s = np.clip(along / np.maximum(ln, 1e-3), 0, 1)
    beyond = along - s * ln
    r = np.maximum(q0[item] + dq[item] * s, 0.05)
    round_ = np.hypot(beyond, across)
    flat = np.maximum(np.abs(across), r + np.abs(beyond))
    reach = np.where(square[item] > 0, np.where(beyond == 0, np.abs(across), flat), round_)
    alpha = np.clip(0.5 + r - reach, 0, 1)
    on = np.flatnonzero(alpha > 0.03)
    item, x, y = item[on], x[on], y[on]
    frame_on = frame[item]
    return _Pixels(
        frame=frame_on,
        part=part[item],
        rank=item // frames,
        where=(frame_on * height + y) * width + x,
        x=x,
        y=y,
        s=s[on],
        along=np.clip(beyond[on] / r[on], -1, 1),
        across=np.clip(across[on] / r[on], -1, 1),
        alpha=alpha[on],
    )


def _colours(st: Strokes, px: _Pixels, light: Vec) -> Vec:
    """Shaded colour [N, 5] of every covered pixel; light [3] points to the lamp (x, y, z)."""
    part = px.part
    unit, length = _axis(st)
    delta = st.delta[px.frame, part].astype(np.float32)
    azimuth = np.arcsin(px.across) - delta
    colour = st.base[part]
    pixels = length[px.frame, part]  # edges between colours are one pixel soft
    tip = np.clip((px.s - st.cut[part]) * pixels + 0.5, 0, 1)
    tip = np.where(st.cut[part] < 1, np.maximum(tip, px.along > 0.2), 0)
    _, w0, w1 = st.window[part].T
    facing = np.cos(azimuth)
    half = np.cos(st.window[part, 0])
    inside = (facing > half) & (px.s > w0) & (px.s < w1)
    behind = facing < 0
    colour = np.where(behind[:, None], st.back[part], colour)
    colour = np.where(inside[:, None], st.front[part], colour)
    colour = colour + (st.tip[part] - colour) * tip[:, None]
    bands = np.sin(2 * np.pi * st.stripes[part] * px.s) > 0
    flat = np.maximum(0.0, 1 - px.across**2 - px.along**2)
    ux, uy = unit[px.frame, part].T
    nx = px.along * ux - px.across * uy
    ny = px.along * uy + px.across * ux
    lit = np.maximum(nx * light[0] - ny * light[1] + np.sqrt(flat) * light[2], 0)
    shade = (0.5 + 0.6 * lit) * np.where(bands, 0.7, 1.0)
    out = colour.astype(np.float32)
    out[:, :3] *= shade[:, None]
    return out


def _motion(st: Strokes, px: _Pixels) -> Vec:
    """Displacement [N, 2] of the surface point under every pixel of frames 0 … T-2."""
    now, nxt, part = px.frame, px.frame + 1, px.part
    unit, length = _axis(st)
    radius = np.maximum(st.r0[nxt, part] + (st.r1 - st.r0)[nxt, part] * px.s, 0.05)
    here = np.maximum(st.r0[now, part] + (st.r1 - st.r0)[now, part] * px.s, 0.05)
    turn = (st.delta[nxt, part] - st.delta[now, part]).astype(np.float32)
    # capped ends keep the azimuth's meaning relative to the circle they lie on
    ring = np.sqrt(np.maximum(1 - px.along**2, 1e-6))
    across = ring * np.sin(np.arcsin(np.clip(px.across / ring, -1, 1)) + turn)
    ends = st.a[nxt, part] + px.s[:, None] * (st.b - st.a)[nxt, part]
    u1, u0 = unit[nxt, part], unit[now, part]
    # a limb that points at the camera has no direction in the image: then offsets do not turn
    seen = np.minimum(length[now, part], length[nxt, part]) > here
    u = np.where(seen[:, None], u1, u0)
    n = np.stack([-u[:, 1], u[:, 0]], -1)
    there = ends + radius[:, None] * (across[:, None] * n + px.along[:, None] * u)
    begin = st.a[now, part] + px.s[:, None] * (st.b - st.a)[now, part]
    n0 = np.stack([-u0[:, 1], u0[:, 0]], -1)
    back = begin + here[:, None] * (px.across[:, None] * n0 + px.along[:, None] * u0)
    return there - back


def paint(canvas: Vec, st: Strokes, light: Vec, flow: Vec | None = None) -> Vec:
    """Composite capsules over ``canvas`` float32 [T, H, W, 5] in place, far ones first.

    Returns where they are: bool [T, H, W], pixels of which they cover more than half.

    Args:
      canvas: red, green, blue, lamp, heat; changed in place.
      st: the projected capsules.
      light: [3] direction to the lamp: right, up, towards the camera.
      flow: float32 [T-1, H, W, 2] with the background's flow; the foremost capsule's motion
        replaces it where the capsule covers more than half the pixel.
    """
    frames, height, width, _ = canvas.shape
    px = _cover(st, height, width)
    colour = _colours(st, px, light)
    flat = canvas.reshape(-1, CHANNELS)
    starts = np.searchsorted(px.rank, np.arange(st.depth.shape[1] + 1))
    for lo, hi in itertools.pairwise(starts):
        where = px.where[lo:hi]
        under = flat[where]
        flat[where] = under + px.alpha[lo:hi, None] * (colour[lo:hi] - under)
    mask = np.zeros(frames * height * width, bool)
    mask[px.where[px.alpha > 0.5]] = True
    mask = mask.reshape(frames, height, width)
    if flow is None or frames < 2:
        return mask
    kept = np.flatnonzero((px.alpha > 0.5) & (px.frame < frames - 1))
    # of all capsules over a pixel the last one painted stays; only it needs its motion
    front = np.full(frames * height * width, -1, np.int64)
    front[px.where[kept]] = kept
    top = front[front >= 0]
    top_px = _Pixels(**{f.name: getattr(px, f.name)[top] for f in dataclasses.fields(px)})
    flow.reshape(-1, 2)[top_px.where] = _motion(st, top_px)
    return mask
