"""Actions of two people; the first figure stands at the origin, the second faces it."""

from __future__ import annotations

import numpy as np

from darkjax.data.rendering.figure import Pose
from darkjax.data.rendering.motions import Act, Rng, Vec, beats, ease, pulse, shove, span


def _facing(t: Vec, rng: Rng, gap: Vec | float) -> tuple[Pose, Pose]:
    """Two standing figures, ``gap`` apart along the first one's heading, face to face."""
    a, b = Pose.standing(len(t), rng), Pose.standing(len(t), rng)
    _opposite(b, gap)
    return a, b


def _opposite(b: Pose, gap: Vec | float) -> None:
    b.yaw = b.yaw + np.pi
    b.root[:, 2] += gap


def push(t: Vec, rng: Rng) -> Act:
    """One shoves the other, who stumbles back with the arms coming up."""
    a, thrust = shove(t, rng)
    b = Pose.standing(len(t), rng)
    hit = np.clip(1.5 * thrust - 0.5, 0, 1)
    _opposite(b, 0.42 + rng.uniform(0.2, 0.35) * hit)
    bump = pulse(hit)
    b.lean -= 0.45 * bump + 0.12 * hit
    b.foot[:, 0, 2] -= 0.16 * hit
    b.foot[:, 0, 1] += 0.08 * bump
    b.hand[..., 1] += (0.2 * bump + 0.05 * hit)[:, None]
    b.hand[..., 2] += (0.2 * hit)[:, None]
    return Act([a, b], beside=False)


def punch(t: Vec, rng: Rng) -> Act:
    """One strikes at the other's head with a quick straight arm; the head goes back."""
    a, b = _facing(t, rng, rng.uniform(0.42, 0.5))
    blow = pulse(beats(t, rng, 0.8, 1.3), 3.0)
    h = int(rng.integers(2))
    guard, far = np.array([-0.02, -0.03, 0.13]), np.array([-0.08, 0.07, 0.33])
    a.hand[:, 1 - h] = guard
    a.hand[:, h] = guard + (far - guard) * blow[:, None]
    a.lean += 0.1 + 0.18 * blow
    a.twist = (1 if h else -1) * 0.5 * blow
    a.foot[:, 1 - h, 2] += 0.1
    a.foot[:, h, 2] -= 0.1
    late = np.concatenate([blow[:1], blow[:-1]])
    b.lean -= 0.4 * late
    b.nod -= 0.5 * late
    b.root[:, 2] += 0.05 * late
    b.hand[..., 1] += 0.12 * late[:, None]
    return Act([a, b], beside=False)


def fight(t: Vec, rng: Rng) -> Act:
    """Both strike and kick in turn, stepping about, each recoiling from the other's blows."""
    a, b = _facing(t, rng, 0.46 + 0.05 * np.sin(2 * np.pi * beats(t, rng, 0.7, 1.2)))
    first = beats(t, rng, 1.0, 1.5)
    blows = [pulse(first, 3.0), pulse(first + 0.5, 3.0)]
    for pose, mine, theirs in ((a, blows[0], blows[1]), (b, blows[1], blows[0])):
        guard, far = np.array([-0.02, 0.0, 0.13]), np.array([-0.07, 0.06, 0.33])
        arm = int(rng.integers(2))
        pose.hand[:] = guard
        pose.hand[:, arm] += (far - guard) * mine[:, None]
        if rng.uniform() < 0.5:
            leg = 1 - arm
            pose.foot[:, leg] += np.stack([0 * t, 0.28 * mine, 0.3 * mine], -1)
        pose.lean += 0.12 + 0.12 * mine - 0.35 * theirs
        pose.nod -= 0.3 * theirs
        pose.twist = rng.choice([-1.0, 1.0]) * 0.4 * (mine - theirs)
        step = np.sin(2 * np.pi * beats(t, rng, 1.0, 2.0))
        pose.root[:, 0] += 0.04 * step
        pose.foot[:, 0, 1] += 0.04 * np.maximum(step, 0)
        pose.hip -= 0.03
    return Act([a, b], beside=False)


def handshake(t: Vec, rng: Rng) -> Act:
    """The right hands meet half way and go up and down together."""
    start, end = span(t, rng, 2.5)
    a, b = _facing(t, rng, 0.52)
    reach = ease(t, start, start + 0.3 * (end - start))
    shake = 0.055 * np.sin(2 * np.pi * beats(t, rng, 1.8, 2.6)) * reach * rng.uniform(0.8, 1.3)
    for pose in (a, b):
        rest = pose.hand[:, 1].copy()
        met = np.stack([-0.1 + 0 * t, -0.13 + shake, 0.235 + 0 * t], -1)
        pose.hand[:, 1] = rest + (met - rest) * reach[:, None]
        pose.lean += 0.1 * reach
    return Act([a, b], beside=False)


def hug(t: Vec, rng: Rng) -> Act:
    """Two step together and close their arms around each other."""
    start, end = span(t, rng, 2.2)
    near = ease(t, start, start + 0.6 * (end - start))
    a, b = _facing(t, rng, 0.75 - 0.55 * near)
    close = ease(t, start + 0.3 * (end - start), end)
    rise = ease(t, start, start + 0.5 * (end - start))
    level = rng.uniform(-0.08, 0.02)
    for k, pose in enumerate((a, b)):
        rest = pose.hand.copy()
        height = level if k else -level - 0.1
        wide, around = np.array([0.12, height, 0.22]), np.array([-0.09, height, 0.25])
        pose.hand = rest + (wide - rest) * rise[:, None, None]
        pose.hand += (around - wide) * close[:, None, None]
        moving = pulse(near)
        pose.foot[:, 0, 2] += 0.1 * np.sin(2 * np.pi * 1.5 * near)
        pose.foot[:, 0, 1] += 0.03 * moving
        pose.lean += 0.08 * close
        pose.roll += (0.12 if k else 0.1) * close
    return Act([a, b], beside=False)
