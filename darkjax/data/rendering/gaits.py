"""How somebody goes: cyclic steps from slow to fast, one function per action (see `motions`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from darkjax.data.rendering.figure import Pose
from darkjax.data.rendering.motions import Act, Rng, Vec


class Gait(NamedTuple):
    """Cyclic steps, before a figure makes them faster, slower, longer or shorter."""

    rate: tuple[float, float]  # cycles a second, from and to
    stride: float
    lift: float
    kick: float  # folds the swinging leg behind
    bounce: float
    lean: float
    arm: float
    bent: float  # folds the elbows


WALK = Gait(
    rate=(0.8, 1.1), stride=0.15, lift=0.05, kick=0.03, bounce=0.012, lean=0.04, arm=0.11, bent=0.1
)
RUN = Gait(
    rate=(1.5, 2.0), stride=0.23, lift=0.12, kick=0.16, bounce=0.06, lean=0.3, arm=0.2, bent=0.95
)
JOG = Gait(
    rate=(1.15, 1.4), stride=0.12, lift=0.07, kick=0.09, bounce=0.035, lean=0.1, arm=0.09, bent=0.85
)
SKIP = Gait(
    rate=(0.8, 1.05), stride=0.12, lift=0.24, kick=0.0, bounce=0.13, lean=0.05, arm=0.2, bent=0.3
)


def _steps(t: Vec, rng: Rng, gait: Gait) -> Act:
    """A figure that goes along its own heading."""
    pose = Pose.standing(len(t), rng)
    hz = rng.uniform(*gait.rate)
    phase = 2 * np.pi * (hz * t + rng.uniform())
    size = rng.uniform(0.85, 1.15)
    stride, arm = gait.stride * size, gait.arm * size * rng.uniform(0.8, 1.2)
    for i, shift in enumerate((0.0, np.pi)):
        swing = np.maximum(np.cos(phase + shift), 0)  # forward-moving half of the cycle
        late = np.maximum(np.cos(phase + shift + 0.9), 0)
        pose.foot[:, i, 2] = stride * np.sin(phase + shift) - 0.3 * gait.kick * late
        pose.foot[:, i, 1] = gait.lift * swing + gait.kick * late
        back = -arm * np.sin(phase + shift)
        straight = np.stack([0.04 + 0 * t, -0.29 + 0.6 * back**2, 0.03 + back], -1)
        folded = np.stack([0.01 + 0 * t, -0.18 + 0.5 * back, 0.09 + 0.7 * back], -1)
        pose.hand[:, i] = (1 - gait.bent) * straight + gait.bent * folded
    pose.hip -= 0.02 + 0.35 * stride**2
    pose.root[:, 1] = gait.bounce * (0.5 + 0.5 * np.cos(2 * phase))
    pose.lean += gait.lean * rng.uniform(0.8, 1.2)
    pose.twist = 0.9 * arm * np.sin(phase)
    pose.roll = 0.03 * np.sin(phase)
    speed = 4 * stride * hz
    pose.root[:, 2] = speed * (t - t.mean())  # along its own heading; the scene turns it
    return Act([pose], travels=True)


def walk(t: Vec, rng: Rng) -> Act:
    """Upright, straight arms, one foot always down."""
    return _steps(t, rng, WALK)


def run(t: Vec, rng: Rng) -> Act:
    """Fast, leaning, elbows folded, heels kicked up behind, both feet off the floor."""
    return _steps(t, rng, RUN)


def jog(t: Vec, rng: Rng) -> Act:
    """Between walking and running: short steps, folded elbows, little lean."""
    return _steps(t, rng, JOG)


def skip(t: Vec, rng: Rng) -> Act:
    """A step and a hop on the same foot: high knees, a hop per step, swinging arms."""
    act = _steps(t, rng, SKIP)
    act.poses[0].foot[:, :, 2] += 0.8 * act.poses[0].foot[:, :, 1]  # the knee comes up in front
    return act
