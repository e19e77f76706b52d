"""An articulated figure: a pose over time becomes joints, joints become shaded capsules.

Units are standing heights (a subject is 1 tall). Body frame: x to the subject's left, y up,
z forward. World frame: X right in the image, Y up, Z towards the camera; a subject with yaw 0
faces the camera, with yaw +90° it faces the image's right.
"""

from __future__ import annotations

import dataclasses

import numpy as np

Vec = np.ndarray

THIGH = SHIN = 0.245
UPPER_ARM, FOREARM = 0.170, 0.150
SPINE = 0.285
ANKLE = 0.04
HIP = THIGH + SHIN + ANKLE - 0.005  # standing pelvis height, knees all but straight
HIP_HALF, FOOT_HALF = 0.055, 0.065


@dataclasses.dataclass
class Pose:
    """What a motion decides, for T frames; index 0 of a pair is the subject's left."""

    root: Vec  # [T, 3] where the body stands in the world; y is the height of a hop
    yaw: Vec  # [T] heading
    hip: Vec  # [T] pelvis height above the floor
    hip_z: Vec  # [T] pelvis forward of the feet
    lean: Vec  # [T] torso forward, radians
    roll: Vec  # [T] torso to the left, radians
    twist: Vec  # [T] shoulders against the pelvis, radians
    nod: Vec  # [T] head forward against the torso, radians
    foot: Vec  # [T, 2, 3] ankle against its standing place; x outward
    hand: Vec  # [T, 2, 3] wrist against its shoulder, body frame; x outward

    @classmethod
    def standing(cls, frames: int, rng: np.random.Generator) -> Pose:
        """Arms hanging, with the small sway and slouch nobody is without."""
        t = np.arange(frames) / max(frames - 1, 1)
        sway = np.sin(2 * np.pi * (rng.uniform(0.4, 1.2) * t + rng.uniform()))
        zero = np.zeros(frames)
        hand = np.tile([0.035, -0.295, 0.03], (frames, 2, 1))
        hand += rng.normal(0, 0.012, (1, 2, 3))
        foot = np.zeros((frames, 2, 3)) + rng.uniform(-0.015, 0.03, (1, 2, 1)) * (1, 0, 0)
        return cls(
            root=np.zeros((frames, 3)),
            yaw=zero + 0.03 * sway,
            hip=zero + HIP - rng.uniform(0, 0.03),
            hip_z=0.006 * sway,
            lean=zero + rng.uniform(-0.02, 0.12),
            roll=0.02 * sway,
            twist=zero.copy(),
            nod=zero + rng.uniform(-0.1, 0.25),
            foot=foot,
            hand=hand,
        )


@dataclasses.dataclass(frozen=True)
class Body:
    """One subject: proportions and clothes (colours are display RGB in [0, 1])."""

    girth: float
    shoulders: float
    head: float
    arm: float
    skin: Vec
    hair: Vec
    shirt: Vec
    back: Vec
    mark: Vec
    trousers: Vec
    shoes: Vec
    sleeve: float  # share of the arm that is covered: 0.5 is a T-shirt
    shorts: bool
    stripes: float  # stripes on the shirt, 0 for none
    long_hair: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Body:
        """A random subject."""
        skin = np.array([0.86, 0.66, 0.54]) * rng.uniform(0.5, 1.1)
        shirt = cloth(rng)
        return cls(
            girth=rng.uniform(0.85, 1.25),
            shoulders=rng.uniform(0.098, 0.125),
            head=rng.uniform(0.92, 1.1),
            arm=rng.uniform(0.95, 1.06),
            skin=np.clip(skin, 0, 1),
            hair=np.array([0.16, 0.11, 0.08]) * rng.uniform(0.4, 3.0),
            shirt=shirt,
            back=np.clip(shirt * rng.uniform(0.55, 0.85), 0, 1),
            mark=np.clip(1.05 - shirt, 0.05, 1),
            trousers=cloth(rng),
            shoes=np.full(3, rng.choice([0.1, 0.25, 0.85])),
            sleeve=float(rng.choice([0.5, 0.55, 1.0])),
            shorts=bool(rng.uniform() < 0.25),
            stripes=float(rng.choice([0, 0, 3, 5])),
            long_hair=bool(rng.uniform() < 0.35),
        )


def cloth(rng: np.random.Generator) -> Vec:
    """A dark or a light colour: rooms are in between, so a subject is seen. [3] in [0, 1]."""
    grey = rng.uniform(0.08, 0.22) if rng.uniform() < 0.5 else rng.uniform(0.72, 0.95)
    return np.clip(grey + rng.normal(0, 0.12 * min(1.0, 2 * grey), 3), 0.03, 0.98)


def rotate_y(p: Vec, yaw: Vec) -> Vec:
    """Turn points [T, ..., 3] about the vertical by yaw [T]."""
    c, s = (np.reshape(f(yaw), (-1,) + (1,) * (p.ndim - 2)) for f in (np.cos, np.sin))
    x, y, z = np.moveaxis(p, -1, 0)
    return np.stack([x * c + z * s, y, z * c - x * s], -1)


def two_bones(start: Vec, end: Vec, upper: float, lower: float, pole: Vec) -> tuple[Vec, Vec]:
    """Middle joint and reached end of a two-bone chain by the law of cosines. All [T, 3].

    The middle joint bends towards ``pole``; a target out of reach is approached, not reached.
    """
    line = end - start
    far = np.linalg.norm(line, axis=-1, keepdims=True)
    way = line / np.maximum(far, 1e-9)
    d = np.clip(far, abs(upper - lower) + 1e-3, (upper + lower) * 0.9995)
    along = (upper**2 - lower**2 + d**2) / (2 * d)
    side = pole - way * np.sum(pole * way, -1, keepdims=True)
    side = side / np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-6)
    bend = np.sqrt(np.maximum(upper**2 - along**2, 0))
    return start + way * along + side * bend, start + way * d


def joints(pose: Pose, body: Body) -> dict[str, Vec]:
    """World positions [T, 3] of every joint, by inverse kinematics from a pose."""
    zero = np.zeros_like(pose.hip)
    out: dict[str, Vec] = {"pelvis": np.stack([zero, pose.hip, pose.hip_z], -1)}
    cl, sl, sr = np.cos(pose.lean), np.sin(pose.lean), np.sin(pose.roll)
    up = np.stack([sr, cl * np.cos(pose.roll), sl], -1)  # the torso's own up
    out["neck"] = out["pelvis"] + SPINE * up
    head_pitch = pose.lean * 0.6 + pose.nod
    head_up = np.stack([sr, np.cos(head_pitch), np.sin(head_pitch)], -1)
    out["chin"] = out["neck"] + 0.055 * head_up
    out["crown"] = out["chin"] + 0.075 * body.head * head_up
    for i, side in enumerate((1.0, -1.0)):
        out_x = np.array([side, 1.0, 1.0])
        hip = out["pelvis"] + np.stack([zero + side * HIP_HALF, zero, zero], -1)
        ankle = np.array([side * FOOT_HALF, ANKLE, 0.0]) + pose.foot[:, i] * out_x
        knee, ankle = two_bones(hip, ankle, THIGH, SHIN, np.array([side * 0.15, 0.1, 1.0]))
        out[f"hip{i}"], out[f"knee{i}"], out[f"ankle{i}"] = hip, knee, ankle
        # the toes drop when the heel lifts behind the body
        droop = np.clip(pose.foot[:, i, 1] * 2.5, 0, 0.9)
        out[f"toe{i}"] = ankle + np.stack(
            [zero + side * 0.015, -0.02 - 0.06 * droop, 0.085 - 0.04 * droop], -1
        )
        across = side * body.shoulders
        shoulder = out["neck"] - 0.02 * up
        shoulder = shoulder + np.stack(
            [across * np.cos(pose.twist), -across * sr, -across * np.sin(pose.twist)], -1
        )
        wrist = shoulder + pose.hand[:, i] * out_x
        elbow_to = np.array([side * 0.55, -0.45, -0.75])
        elbow, wrist = two_bones(
            shoulder, wrist, UPPER_ARM * body.arm, FOREARM * body.arm, elbow_to
        )
        out[f"shoulder{i}"], out[f"elbow{i}"], out[f"wrist{i}"] = shoulder, elbow, wrist
        forearm = wrist - elbow
        out[f"finger{i}"] = wrist + 0.045 * forearm / (
            np.linalg.norm(forearm, axis=-1, keepdims=True) + 1e-9
        )
    return {k: rotate_y(v, pose.yaw) + pose.root for k, v in out.items()}


@dataclasses.dataclass
class Capsule:
    """A tapered capsule that moves: ends a, b [T, 3] in the world, radii in heights.

    The cross-section is an ellipse: ``flat`` is depth over width; ``yaw`` [T] turns it, so a
    torso is narrow from the side and what is printed on its front turns away with it.
    ``tip`` colours the part past ``cut`` along the axis; ``front`` a window of the surface
    (half-width in radians of azimuth, from and to along the axis).
    """

    a: Vec
    b: Vec
    r0: float
    r1: float
    base: Vec
    tip: Vec | None = None
    cut: float = 2.0
    back: Vec | None = None
    front: Vec | None = None
    window: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stripes: float = 0.0
    flat: float = 1.0
    yaw: Vec | None = None
    square: bool = False  # flat ends, for furniture
    heat: float = 0.7
    tip_heat: float | None = None


def _leg(j: dict[str, Vec], i: int, body: Body) -> list[Capsule]:
    g = 0.6 + 0.4 * body.girth
    bare = body.shorts
    return [
        Capsule(j[f"ankle{i}"], j[f"toe{i}"], 0.026, 0.02, body.shoes, heat=0.42),
        Capsule(
            j[f"knee{i}"],
            j[f"ankle{i}"],
            0.042 * g,
            0.027 * g,
            body.skin if bare else body.trousers,
            tip=body.shoes,
            cut=0.97,
            heat=0.8 if bare else 0.62,
        ),
        Capsule(j[f"hip{i}"], j[f"knee{i}"], 0.063 * g, 0.045 * g, body.trousers, heat=0.66),
    ]


def _arm(j: dict[str, Vec], i: int, body: Body) -> list[Capsule]:
    g = 0.6 + 0.4 * body.girth
    long = body.sleeve > 0.9
    return [
        Capsule(j[f"wrist{i}"], j[f"finger{i}"], 0.024, 0.02, body.skin, heat=0.9),
        Capsule(
            j[f"elbow{i}"],
            j[f"wrist{i}"],
            0.031 * g,
            0.023 * g,
            body.shirt if long else body.skin,
            tip=body.skin,
            cut=0.9,
            heat=0.68 if long else 0.9,
        ),
        Capsule(
            j[f"shoulder{i}"],
            j[f"elbow{i}"],
            0.038 * g,
            0.032 * g,
            body.shirt,
            tip=body.skin,
            cut=2.0 if long else 0.75,
            heat=0.7,
            tip_heat=0.88,
        ),
    ]


def capsules(j: dict[str, Vec], yaw: Vec, twist: Vec, body: Body) -> list[Capsule]:
    """The figure as 17 capsules, from its joints; yaw and twist [T] in radians."""
    trunk = j["neck"] - j["pelvis"]
    chest = yaw + 0.7 * twist
    head_axis = j["crown"] - j["chin"]
    parts = [p for i in (0, 1) for p in _leg(j, i, body) + _arm(j, i, body)]
    return [
        *parts,
        Capsule(j["hip0"], j["hip1"], 0.06 * body.girth, 0.06 * body.girth, body.trousers),
        Capsule(
            j["shoulder0"],
            j["shoulder1"],
            0.036,
            0.036,
            body.shirt,
            heat=0.72,
        ),
        Capsule(
            j["pelvis"] + 0.1 * trunk,
            j["pelvis"] + 0.76 * trunk,
            0.083 * body.girth,
            0.094 * body.girth,
            body.shirt,
            back=body.back,
            front=body.mark,
            window=(0.5, 0.45, 0.85),
            stripes=body.stripes,
            flat=0.7,
            yaw=chest,
            heat=0.74,
        ),
        Capsule(j["neck"], j["chin"], 0.03, 0.03, body.skin, heat=0.95),
        Capsule(
            j["chin"] - (0.5 if body.long_hair else 0.0) * 0.05 * head_axis,
            j["crown"] - 0.3 * head_axis,
            0.049 * body.head,
            0.06 * body.head,
            body.skin,
            tip=body.hair,
            cut=0.98,
            back=body.hair,
            front=body.hair,  # eyes and brows: a dark band
            window=(0.75, 0.42, 0.7),
            flat=1.15,
            yaw=yaw + 0.3 * twist,
            heat=1.0,
            tip_heat=0.75,
        ),
    ]


def shadow_radius(pose: Pose) -> Vec:
    """Half-width [T] of the blot under the feet; it shrinks as the body leaves the floor."""
    return 0.2 * np.exp(-2.5 * np.maximum(pose.root[:, 1], 0))
