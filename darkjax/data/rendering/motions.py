"""How each action moves a figure: one function per action, from time to poses and props.

Times are seconds, lengths standing heights, angles radians. Every function takes the frame
times ``t`` [T], and a generator for its speed, phase, amplitude and handedness.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from darkjax.data.rendering.figure import Pose

Vec = np.ndarray
Rng = np.random.Generator


@dataclasses.dataclass
class Prop:
    """A thing in the scene: held by a hand of figure 0 (``hand`` 0 or 1) or standing free."""

    kind: str  # held: cup, jug, parcel; free: chair, stool, crate
    hand: int | None = None
    at: Vec | None = None  # [T, 3] or [3] in the world, before the scene is turned
    tilt: Vec | None = None  # [T] from the vertical
    yaw: float = 0.0
    size: float = 1.0


@dataclasses.dataclass
class Act:
    """Poses of one or two figures, their props, and how the scene may be seen."""

    poses: list[Pose]
    props: list[Prop] = dataclasses.field(default_factory=list)
    travels: bool = False  # the first figure walks: the camera may follow
    beside: bool = True  # other furniture may stand about
    frontal: bool = False  # what the hands do shows only from the front
    framed: bool = False  # a camera that is near shows who sits, and may cut the head of who stands


Make = Callable[..., Act]  # of times and a generator


def ease(t: Vec, start: float, end: float) -> Vec:
    """0 before start, 1 after end, smooth between (3u² - 2u³)."""
    u = np.clip((t - start) / max(end - start, 1e-6), 0, 1)
    return u * u * (3 - 2 * u)


def span(t: Vec, rng: Rng, slow: float = 1.7) -> tuple[float, float]:
    """When an action that happens once starts and ends; it lies inside the clip."""
    total = float(t[-1]) if len(t) > 1 else 1.0
    length = min(total * rng.uniform(0.7, 0.98), rng.uniform(0.65, 1.0) * slow)
    start = rng.uniform(0, max(total - length, 0))
    return start, start + length


def beats(t: Vec, rng: Rng, low: float, high: float) -> Vec:
    """Phase in cycles at a random rate (Hz), fast enough that the clip shows one cycle."""
    total = float(t[-1]) if len(t) > 1 else 1.0
    return max(rng.uniform(low, high), 1.1 / total) * t + rng.uniform()


def pulse(u: Vec, sharp: float = 1.0) -> Vec:
    """A bump per cycle: 0 at whole phases, 1 at half ones; sharper than a sine if asked."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * u)) ** sharp


def jump(t: Vec, rng: Rng) -> Act:
    """Crouch, leave the floor, land, again."""
    pose = Pose.standing(len(t), rng)
    u = beats(t, rng, 1.0, 1.5) % 1.0
    flight = np.clip((u - 0.4) / 0.42, 0, 1)
    air = 4 * flight * (1 - flight)  # the parabola of a free fall
    crouch = pulse(np.clip(u / 0.42, 0, 1)) + 0.5 * pulse(np.clip((u - 0.8) / 0.2, 0, 1))
    pose.root[:, 1] = rng.uniform(0.12, 0.22) * air
    pose.hip -= rng.uniform(0.1, 0.17) * crouch
    pose.hip_z -= 0.05 * crouch
    pose.lean += rng.uniform(0.35, 0.6) * crouch
    raise_to = rng.uniform(-0.05, 0.25)
    pose.hand[..., 2] += (0.28 * air - 0.18 * crouch)[:, None]
    pose.hand[..., 1] += ((0.29 + raise_to) * air + 0.06 * crouch)[:, None]
    pose.foot[..., 1] += 0.06 * air[:, None] * rng.uniform(0.3, 1.5)
    return Act([pose])


def leap(t: Vec, rng: Rng, natural: bool = False) -> Act:
    """One jump: the arms go back in a crouch, forwards and up in the air, down in the landing;
    `natural`: out of a deep crouch, bent far over."""
    pose = Pose.standing(len(t), rng)
    start, end = span(t, rng, 2.0)
    off, land = (start + (end - start) * share for share in (rng.uniform(0.4, 0.55), 0.72))
    flight = np.clip((t - off) / (land - off), 0, 1)
    air = 4 * flight * (1 - flight)  # the parabola of a free fall
    before = ease(t, start, start + 0.6 * (off - start)) * (1 - ease(t, off - 0.12, off + 0.06))
    after = ease(t, land - 0.08, land + 0.1) * (1 - ease(t, land + 0.1, end))
    crouch = before + rng.uniform(0.6, 1.1) * after
    far = rng.uniform(0.3, 0.9) if rng.uniform() < 0.7 else 0.0
    pose.root[:, 1] = rng.uniform(0.1, 0.24) * air
    pose.root[:, 2] = far * (ease(t, off - 0.05, land + 0.05) - 0.5)
    pose.hip -= rng.uniform(0.1, 0.2) * crouch
    pose.hip_z -= 0.06 * crouch
    pose.lean += rng.uniform(*((0.6, 1.15) if natural else (0.4, 0.8))) * crouch + 0.15 * air
    back, up = rng.uniform(0.15, 0.3), rng.uniform(0.2, 0.55)
    swung = ease(t, off - 0.15, off + 0.1) * (1 - ease(t, land - 0.1, end))
    pose.hand[..., 2] += (0.28 * swung - back * before)[:, None]
    pose.hand[..., 1] += (up * swung + 0.08 * crouch)[:, None]
    pose.foot[..., 1] += 0.06 * air[:, None] * rng.uniform(0.3, 1.5)
    pose.foot[..., 2] += 0.1 * far * air[:, None]
    return Act([pose])


def _seated(t: Vec, rng: Rng, down: Vec, bow: Vec | None = None, low: bool = False) -> Act:
    """A share ``down`` [T] of the way from standing to sitting on the chair behind, or low: on a
    kerb or on the heels. ``bow`` [T]: how far bent over, of the most; left out: half way down."""
    pose = Pose.standing(len(t), rng)
    seat = rng.uniform(0.08, 0.2) if low else rng.uniform(0.24, 0.28)
    deep = (0.4, 0.7)
    if bow is None:
        bow = 4 * down * (1 - down)
    else:
        deep = (0.6, 1.1)
        pose.hip_z -= 0.05 * bow
    back = rng.uniform(0.17, 0.21)
    pose.hip = pose.hip * (1 - down) + (seat + 0.055) * down
    pose.hip_z -= back * down
    pose.lean += rng.uniform(*deep) * bow + rng.uniform(-0.05, 0.15) * down
    pose.hand[..., 2] += (rng.uniform(0.12, 0.2) * np.maximum(down, bow))[:, None]
    pose.hand[..., 1] += (rng.uniform(0.05, 0.1) * down)[:, None]
    if low:
        return Act([pose])
    chair = Prop(str(rng.choice(["chair", "stool"])), at=np.array([0, seat, -back - 0.01]))
    return Act([pose], [chair])


def sit(t: Vec, rng: Rng, low: bool = False, natural: bool = False) -> Act:
    """From standing down onto a chair; `natural`: bent over first, upright again last."""
    if natural:
        return _bowing(t, rng, low)
    start, end = span(t, rng)
    return _seated(t, rng, ease(t, start, end), low=low)


def stand(t: Vec, rng: Rng, low: bool = False, natural: bool = False) -> Act:
    """From a chair up: sit, backwards in time."""
    if natural:
        return _bowing(t, rng, low, up=True)
    start, end = span(t, rng)
    return _seated(t, rng, 1 - ease(t, start, end), low=low)


def _bowing(t: Vec, rng: Rng, low: bool, up: bool = False) -> Act:
    """Bend over, move the hips below a bent back, straighten up: down onto a seat, or `up`."""
    start, end = span(t, rng, 2.2)
    marks = [rng.uniform(0.1, 0.25), rng.uniform(0.45, 0.6), rng.uniform(0.6, 0.75)]
    if up:
        marks = [1 - mark for mark in reversed(marks)]
    leave, bent, arrive = (start + mark * (end - start) for mark in marks)
    down = ease(t, leave, arrive)
    bow = ease(t, start, bent) - ease(t, bent, end)
    act = _seated(t, rng, 1 - down if up else down, bow, low)
    if rng.uniform() < 0.6:
        aside = ease(t, arrive, float(t[-1]) + 0.5) if up else 1 - ease(t, -0.5, leave)
        _beside(act.poses[0], t, rng, aside)
    act.framed = True
    return act


def _beside(pose: Pose, t: Vec, rng: Rng, aside: Vec) -> None:
    """A share ``aside`` [T] of the way from the seat to where one came from or goes, in steps."""
    pose.yaw += rng.uniform(0.2, 1.6) * rng.choice([-1.0, 1.0]) * aside
    pose.root[:, 0] += rng.uniform(-0.4, 0.4) * aside
    pose.root[:, 2] += rng.uniform(0.05, 0.5) * aside
    busy = 4 * aside * (1 - aside)
    u = rng.uniform(1.6, 2.2) * t
    for i in (0, 1):
        pose.foot[:, i, 1] += 0.05 * busy * pulse(u + 0.5 * i)


def crouch_down(t: Vec, rng: Rng, natural: bool = False) -> Act:
    """From standing down onto a kerb or the heels."""
    return sit(t, rng, low=True, natural=natural)


def rise(t: Vec, rng: Rng, natural: bool = False) -> Act:
    """From a kerb or the heels up."""
    return stand(t, rng, low=True, natural=natural)


def turn(t: Vec, rng: Rng, natural: bool = False) -> Act:
    """The body turns about the vertical, in small steps; `natural`: sometimes by a quarter."""
    pose = Pose.standing(len(t), rng)
    start, end = span(t, rng, 2.0)
    angle = rng.uniform(0.35 if natural else 0.65, 1.25) * np.pi * rng.choice([-1.0, 1.0])
    done = ease(t, start, end)
    pose.yaw += angle * done
    busy = 4 * done * (1 - done)
    for i in (0, 1):
        pose.foot[:, i, 1] += 0.035 * busy * pulse(3 * done + 0.5 * i)
    pose.twist = 0.35 * np.sign(angle) * busy
    pose.hand[..., 0] += rng.uniform(0, 0.1) * busy[:, None]
    return Act([pose])


# Another way to do the same.
OTHERWISE: dict[Make, Make] = {jump: leap, sit: crouch_down, stand: rise}
NATURAL: tuple[Make, ...] = (leap, sit, stand, crouch_down, rise, turn)  # which take `natural`


def way(make: Make, other: bool, natural: bool) -> Make:
    """How a clip does its action: the other way, where there is one; as people were seen to, who
    never hopped on the spot."""
    if other or (natural and make is jump):
        make = OTHERWISE.get(make, make)
    return functools.partial(make, natural=True) if natural and make in NATURAL else make


def pick(t: Vec, rng: Rng) -> Act:
    """Bend down, take a box from the floor, come up with it."""
    pose = Pose.standing(len(t), rng)
    start, end = span(t, rng, 2.2)
    mid = start + (end - start) * rng.uniform(0.45, 0.55)
    down = ease(t, start, mid) - ease(t, mid, end)
    h = int(rng.integers(2))
    pose.hip -= rng.uniform(0.1, 0.2) * down
    pose.hip_z -= 0.08 * down
    pose.lean += rng.uniform(1.1, 1.35) * down
    both = rng.uniform() < 0.5
    held = ease(t, mid, end)
    for i in (0, 1):
        if i == h or both:
            reach = np.stack([0 * t - 0.05, -0.29 + 0 * t, 0.04 + 0.05 * down], -1)
            carry = np.array([-0.03, -0.17, 0.24])
            w = held[:, None] * (t >= mid)[:, None]
            pose.hand[:, i] = reach * (1 - w) + carry * w
    return Act([pose], [Prop("parcel", hand=h, tilt=np.where(t < mid, -1.0, 1.0))])


def drink(t: Vec, rng: Rng) -> Act:
    """A cup goes to the mouth, tips, and goes down again."""
    pose = Pose.standing(len(t), rng)
    start, end = span(t, rng, 2.4)
    third = (end - start) / 3
    up = ease(t, start, start + third) - ease(t, end - third, end) * rng.uniform(0.7, 1.0)
    tip = ease(t, start + 0.8 * third, start + 1.5 * third) - ease(t, end - 1.2 * third, end)
    h = int(rng.integers(2))
    low, mouth = np.array([0.0, -0.2, 0.17]), np.array([-0.085, 0.055, 0.12])
    pose.hand[:, h] = low + (mouth - low) * up[:, None]
    pose.nod -= 0.35 * tip
    return Act([pose], [Prop("cup", hand=h, tilt=1.1 * tip)], frontal=True)


def pour(t: Vec, rng: Rng) -> Act:
    """A jug is raised and tipped over a cup in the other hand."""
    pose = Pose.standing(len(t), rng)
    start, end = span(t, rng, 2.4)
    third = (end - start) / 3
    up = ease(t, start, start + third) - 0.6 * ease(t, end - third, end)
    h = int(rng.integers(2))
    pose.hand[:, 1 - h] = np.array([-0.06, -0.2, 0.2])
    low, high = np.array([0.02, -0.2, 0.16]), np.array([0.0, 0.01, 0.22])
    pose.hand[:, h] = low + (high - low) * up[:, None]
    tilt = 1.7 * ease(t, start + 0.6 * third, start + 1.6 * third)
    tilt = tilt - 1.5 * ease(t, end - 0.8 * third, end)
    pose.nod += 0.25
    held = [Prop("jug", hand=h, tilt=tilt), Prop("cup", hand=1 - h, tilt=0 * t)]
    return Act([pose], held, frontal=True)


def wave(t: Vec, rng: Rng, hands: int = 1) -> Act:
    """A raised forearm swings from side to side."""
    pose = Pose.standing(len(t), rng)
    swing = np.sin(2 * np.pi * beats(t, rng, 1.2, 2.2)) * rng.uniform(0.8, 1.2)
    h = int(rng.integers(2))
    raise_by = rng.uniform(-0.02, 0.04)
    for i in (0, 1):
        if hands == 2 or i == h:
            pose.hand[:, i, 0] = 0.13 + 0.11 * swing
            pose.hand[:, i, 1] = 0.21 + raise_by - 0.05 * np.abs(swing)
            pose.hand[:, i, 2] = 0.08
    return Act([pose], frontal=True)


def wave_two(t: Vec, rng: Rng) -> Act:
    """Both arms wave, mirrored."""
    return wave(t, rng, hands=2)


def clap(t: Vec, rng: Rng) -> Act:
    """Both hands part and meet before the chest."""
    pose = Pose.standing(len(t), rng)
    apart = pulse(beats(t, rng, 1.8, 2.8)) * rng.uniform(0.85, 1.2)
    height = rng.uniform(-0.08, 0.02)
    pose.hand[..., 0] = (-0.095 + 0.17 * apart)[:, None]
    pose.hand[..., 1] = height
    pose.hand[..., 2] = 0.2
    return Act([pose], frontal=True)


def shove(t: Vec, rng: Rng) -> tuple[Pose, Vec]:
    """Hands go from the chest forward with a step; also the share done [T]."""
    pose = Pose.standing(len(t), rng)
    start, end = span(t, rng, 1.5)
    mid = start + 0.35 * (end - start)
    ready, thrust = ease(t, start, mid), ease(t, mid, end)
    near, far = np.array([-0.02, -0.06, 0.14]), np.array([-0.02, -0.02, 0.3])
    rest = pose.hand.copy()
    pose.hand = rest + (near - rest) * ready[:, None, None]
    pose.hand += (far - near) * thrust[:, None, None]
    pose.lean += 0.12 * ready + 0.3 * thrust
    pose.hip -= 0.04 * thrust
    pose.hip_z += 0.08 * thrust
    h = int(rng.integers(2))
    pose.foot[:, h, 2] += 0.22 * thrust - 0.06
    pose.foot[:, h, 1] += 0.04 * pulse(thrust)
    pose.foot[:, 1 - h, 2] -= 0.1 * ready
    return pose, thrust


def push_box(t: Vec, rng: Rng) -> Act:
    """A chest-high box is pushed away."""
    pose, thrust = shove(t, rng)
    pose.root[:, 2] += rng.uniform(0.1, 0.25) * thrust
    gap = 0.33 + (0.26 + rng.uniform(0.05, 0.2)) * thrust + pose.root[:, 2]
    at = np.stack([0 * t, 0 * t, gap], -1)
    return Act([pose], [Prop("crate", at=at, size=rng.uniform(0.9, 1.2))], beside=False)
