"""Setting the stage: props become capsules, a view is chosen, capsules are projected."""

from __future__ import annotations

import dataclasses

import numpy as np

from darkjax.data.rendering.figure import Body, Capsule, capsules, cloth, joints, rotate_y
from darkjax.data.rendering.motions import Act, Prop
from darkjax.data.rendering.raster import Strokes

Vec = np.ndarray


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a recording session fixes: subjects, furniture colours, where the camera stands."""

    bodies: tuple[Body, Body]
    wood: Vec
    object_colour: Vec
    pitch: float  # camera above the horizon, radians
    swing: float  # the camera's azimuth around the scene, radians
    size: tuple[float, float]  # standing height, share of the frame
    light: Vec  # direction to the lamp
    steady: float  # how far the hand-held camera shakes, share of the width

    @classmethod
    def draw(cls, group: int) -> Stage:
        """The stage of one group."""
        rng = np.random.default_rng([0x5CE7E, group])
        light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(0.2, 0.7), 0.7])
        low = rng.uniform(0.48, 0.64)
        return cls(
            bodies=(Body.draw(rng), Body.draw(rng)),
            wood=cloth(rng),
            object_colour=cloth(rng),
            pitch=rng.uniform(0.0, 0.22),
            swing=rng.uniform(-0.35, 0.35),
            size=(low, low + 0.14),
            light=light / np.linalg.norm(light),
            steady=rng.uniform(0.0, 0.012),
        )


@dataclasses.dataclass(frozen=True)
class View:
    """How the world falls on the image; shift [T, 2] is the camera's own motion in pixels."""

    scale: float  # pixels per standing height
    x: float
    ground: float  # image row of the floor under the first figure
    pitch: float
    shift: Vec
    distance: float = 0.0  # heights from the camera to the origin; 0: hardly any perspective
    eye: float = 0.0  # the camera's own height, where there is a distance


def _held(prop: Prop, hand: Vec, yaw: Vec, stage: Stage) -> list[Capsule]:
    """A cup, jug or parcel at a hand's positions [T, 3]; yaw [T] is the figure's."""
    zero = np.zeros(len(hand))
    tilt = zero if prop.tilt is None else prop.tilt
    colour = stage.object_colour
    if prop.kind == "parcel":
        taken = tilt > 0  # before that it lies where it will be taken
        spot = hand[int(np.argmax(taken))] if taken.any() else hand[-1]
        middle = np.where(taken[:, None], hand, spot) - np.array([0, 0.045, 0])
        half = rotate_y(np.stack([zero + 0.07, zero, zero], -1), yaw)
        return [Capsule(middle - half, middle + half, 0.055, 0.055, colour, heat=0.25, square=True)]
    side = -1.0 if prop.hand == 0 else 1.0
    if prop.kind == "cup":  # tips towards the face
        way = np.stack([zero, np.cos(tilt), -np.sin(tilt)], -1)
        low, high, radius = 0.03, 0.045, 0.028
    else:  # a jug tips inwards, over the other hand
        way = np.stack([side * np.sin(tilt), np.cos(tilt), zero], -1)
        low, high, radius = 0.07, 0.075, 0.042
    way = rotate_y(way, yaw)
    ends = hand - low * way, hand + high * way
    return [Capsule(*ends, radius, radius, colour, heat=0.45, square=True)]


def _chair(at: Vec, yaw: float, back: bool, stage: Stage, frames: int) -> list[Capsule]:
    """Seat, legs and perhaps a back; ``at`` [3] is the middle of the seat."""
    turn = np.full(frames, yaw)

    def place(*offset: float) -> Vec:
        return rotate_y(np.tile(np.array(offset), (frames, 1)), turn) + at

    def bar(p: tuple[float, ...], q: tuple[float, ...], r: float) -> Capsule:
        return Capsule(place(*p), place(*q), r, r, stage.wood, heat=0.25, square=True)

    h = float(at[1])
    parts = [bar((-0.1, 0, 0), (0.1, 0, 0), 0.02), bar((0, 0, -0.1), (0, 0, 0.1), 0.02)]
    parts += [
        bar((x, -0.01, z), (x, -h + 0.01, z), 0.011) for x in (-0.1, 0.1) for z in (-0.1, 0.1)
    ]
    if back:
        rest = bar((0, 0.02, -0.11), (0, 0.27, -0.11), 0.105)
        parts.append(dataclasses.replace(rest, flat=0.15, yaw=turn))
    return parts


def props(act: Act, found: list[dict[str, Vec]], stage: Stage) -> list[Capsule]:
    """Capsules of every prop of an act, in the world before the view turns it."""
    frames = len(act.poses[0].hip)
    out: list[Capsule] = []
    for prop in act.props:
        if prop.hand is not None:
            hand = found[0][f"finger{prop.hand}"]
            out += _held(prop, hand, act.poses[0].yaw, stage)
        elif prop.kind == "crate":
            at = np.broadcast_to(np.asarray(prop.at), (frames, 3))
            top = at + np.array([0, 0.6 * prop.size, 0])
            turn = np.full(frames, prop.yaw)
            colour = stage.object_colour
            out.append(
                Capsule(at, top, 0.17, 0.17, colour, heat=0.25, square=True, flat=0.8, yaw=turn)
            )
        else:
            out += _chair(np.asarray(prop.at), prop.yaw, prop.kind == "chair", stage, frames)
    return out


def furniture(act: Act, heading: float, rng: np.random.Generator) -> list[Prop]:
    """Chairs and boxes that stand about, so that a chair in the picture tells nothing."""
    out: list[Prop] = []
    if not act.beside:
        return out
    if not act.props and rng.uniform() < 0.55:  # where a sitter's chair would be
        kind = str(rng.choice(["chair", "stool"]))
        out.append(Prop(kind, at=np.array([0, rng.uniform(0.24, 0.28), -0.2])))
    if rng.uniform() < 0.4:
        across = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 0.8)
        at = np.array([[across, 0.26, rng.uniform(-0.5, -0.2)]])
        at = rotate_y(at, np.array([-heading]))[0]
        kind = str(rng.choice(["chair", "stool", "crate"]))
        floor = at * np.array([1, 0, 1])
        out.append(
            Prop(
                kind,
                at=floor if kind == "crate" else at,
                yaw=rng.uniform(-np.pi, np.pi),
                size=rng.uniform(0.5, 0.8),
            )
        )
    return out


def cast(act: Act, stage: Stage, heading: float) -> list[Capsule]:
    """All capsules of an act with the whole scene turned by ``heading`` about the vertical."""
    found = [joints(p, b) for p, b in zip(act.poses, stage.bodies, strict=False)]
    parts = props(act, found, stage)
    for joint, pose, body in zip(found, act.poses, stage.bodies, strict=False):
        parts += capsules(joint, pose.yaw, pose.twist, body)
    turn = np.full(len(act.poses[0].hip), heading)
    for part in parts:
        part.a, part.b = rotate_y(part.a, turn), rotate_y(part.b, turn)
        part.yaw = None if part.yaw is None else part.yaw + heading
    return parts


def project(points: Vec, view: View) -> tuple[Vec, Vec, Vec]:
    """World points [T, P, 3] to pixels [T, P, 2], depth [T, P] and pixels per height [T, P]."""
    x, y, z = np.moveaxis(points, -1, 0)
    cp, sp = np.cos(view.pitch), np.sin(view.pitch)
    if view.distance:  # a pinhole that looks straight ahead
        scale = view.scale * view.distance / np.maximum(view.distance - z, 0.3)
        horizon = view.ground - view.scale * view.eye
        image = np.stack([view.x + scale * x, horizon + scale * (view.eye - y)], -1)
        return image - view.shift[:, None], z, scale
    scale = view.scale * np.clip(1 + 0.18 * z, 0.5, 1.6)  # nearer is larger
    image = np.stack([view.x + scale * x, view.ground - scale * (y * cp - z * sp)], -1)
    return image - view.shift[:, None], z * cp + y * sp, scale


def _paint_of(parts: list[Capsule], which: str, heat: str) -> Vec:
    """[P, 5] colours of one field of all capsules; where it is unset, the base colour."""
    rows = []
    for p in parts:
        colour = getattr(p, which)
        warm = getattr(p, heat)
        colour = p.base if colour is None else colour
        rows.append([*colour, 0.0, p.heat if warm is None else warm])
    return np.array(rows, np.float32)


def strokes(parts: list[Capsule], view: View) -> Strokes:
    """Project capsules to what the painter needs."""
    a, depth_a, scale_a = project(np.stack([p.a for p in parts], 1), view)
    b, depth_b, scale_b = project(np.stack([p.b for p in parts], 1), view)
    frames = a.shape[0]
    zero = np.zeros(frames)
    yaw = np.stack([zero if p.yaw is None else p.yaw for p in parts], 1)
    flat = np.array([p.flat for p in parts])
    # silhouette of the ellipse (sin, flat·cos) turned by yaw: radius · sin(azimuth + delta)
    radius = np.hypot(np.cos(yaw), flat * np.sin(yaw))
    delta = np.unwrap(np.arctan2(flat * np.sin(yaw), np.cos(yaw)), axis=0)
    return Strokes(
        a=a.astype(np.float32),
        b=b.astype(np.float32),
        r0=(scale_a * radius * [p.r0 for p in parts]).astype(np.float32),
        r1=(scale_b * radius * [p.r1 for p in parts]).astype(np.float32),
        depth=(depth_a + depth_b) / 2,
        delta=delta,
        square=np.array([p.square for p in parts]),
        base=_paint_of(parts, "base", "heat"),
        tip=_paint_of(parts, "tip", "tip_heat"),
        back=_paint_of(parts, "back", "heat"),
        front=_paint_of(parts, "front", "heat"),
        cut=np.array([p.cut for p in parts], np.float32),
        window=np.array([p.window for p in parts], np.float32),
        stripes=np.array([p.stripes for p in parts], np.float32),
    )
