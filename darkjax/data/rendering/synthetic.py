"""Rendered clips of people acting in dark rooms: the data that needs no download.

Everything is a function of (action, seed, group, size, rate, domain). ``group`` plays the
recording session: it fixes the subjects, their clothes, the room and the camera's place; ``seed``
fixes how the action is done and how it is filmed. Non-repeating actions (sit, drink, hug, …) fit
themselves into the clip; repeating ones keep real time, so ``frames / fps`` should be at least a
second, better two.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from darkjax.data.class_names import ARID11, INFAR12
from darkjax.data.rendering import background, camera, gaits, motions, raster, scene, two_person
from darkjax.data.rendering import world as worlds
from darkjax.data.rendering.figure import shadow_radius
from darkjax.errors import UserError
from darkjax.nearest import did_you_mean, nearest

Vec = np.ndarray

DOMAINS = ("dark", "day", "thermal")

# by the catalogue's names in lower case; Push and push differ in what is pushed
_ACTS: dict[str, motions.Make] = {
    "drink": motions.drink,
    "jump": motions.jump,
    "pick": motions.pick,
    "pour": motions.pour,
    "Push": motions.push_box,
    "run": gaits.run,
    "sit": motions.sit,
    "stand": motions.stand,
    "turn": motions.turn,
    "walk": gaits.walk,
    "wave": motions.wave,
    "fight": two_person.fight,
    "handclapping": motions.clap,
    "handshake": two_person.handshake,
    "hug": two_person.hug,
    "jog": gaits.jog,
    "punch": two_person.punch,
    "push": two_person.push,
    "skip": gaits.skip,
    "wave1": motions.wave,
    "wave2": motions.wave_two,
}


@dataclasses.dataclass(frozen=True)
class Rendered:
    """One clip and the truth about it.

    ``bright`` is always the visible-light, well-lit, noise-free picture of the same scene, also
    for the thermal domain. ``flow[t, y, x]`` is where the surface point seen at (x, y) in frame t
    is in frame t + 1, minus (x, y): pixels, x then y, camera shake included; occlusion is not
    marked.
    """

    video: Vec  # uint8 [T, H, W, 3]
    bright: Vec  # uint8 [T, H, W, 3]
    flow: Vec  # float32 [T-1, H, W, 2]; [0, H, W, 2] if not asked for
    fps: float
    group: int
    mask: Vec  # bool [T, H, W]: people and things before the room, which is all else


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One clip to render, and its place in a dataset."""

    id: str
    action: str
    label: int
    group: str  # such as train_03
    group_index: int
    split: str
    seed: int


def _act_of(action: str) -> motions.Make:
    names = (*ARID11, *INFAR12)
    if action not in names:
        lower = {n.lower(): n for n in reversed(names)}
        near = lower[nearest(str(action).lower(), lower, 0) or names[0].lower()]
        raise UserError(
            f"expected an action to render, found {action!r}: did you mean {near!r}? "
            f"Known: {', '.join(names)}"
        )
    return _ACTS.get(action) or _ACTS[action.lower()]


def check(
    domain: str, *, seed: int, group: int, frames: int, height: int, width: int, fps: float
) -> None:
    """Refuse what cannot be rendered.

    Raises:
      UserError: an unknown domain, or a number below its least.
    """
    least = {
        "seed": (seed, 0), "group": (group, 0), "frames": (frames, 1), "height": (height, 16),
        "width": (width, 16), "fps": (fps, 0.1),
    }  # fmt: skip
    if domain not in DOMAINS:
        hint = did_you_mean(domain, DOMAINS, cutoff=0)
        raise UserError(f"expected domain {', '.join(DOMAINS)}, found {domain!r}: {hint}")
    for name, (value, low) in least.items():
        if not value >= low:
            raise UserError(f"expected {name} of at least {low:g} to render, found {value}")


def _heading(act: motions.Act, rng: np.random.Generator) -> float:
    """Which way the first figure looks; 0 is at the camera, ±π/2 along the image."""
    side = float(rng.choice([-1.0, 1.0]))
    if len(act.poses) == 2:  # a pair is seen from the side, or one hides the other
        return side * rng.uniform(0.33, 0.67) * np.pi
    return side * rng.uniform(0.0, 0.33 if act.frontal else 0.6) * np.pi


def _travel(act: motions.Act, path: float, room_x: float, rng: np.random.Generator) -> float:
    """How a walker is filmed; sets the path's length in place, returns the camera's share of it.

    On the spot, crossing the frame, or followed: the background moves instead of the figure.
    """
    mode = rng.choice(["spot", "cross", "follow"], p=[0.3, 0.35, 0.35])
    if mode == "spot":
        act.poses[0].root[:, 2] = 0
        return 0.0
    if mode == "follow":
        return float(rng.uniform(0.85, 1.0))
    return max(0.0, 1 - room_x / max(path, 1e-6))


def _film(
    act: motions.Act,
    t: Vec,
    stage: scene.Stage,
    height: int,
    width: int,
    rng: np.random.Generator,
    shot: worlds.Shot,
) -> tuple[scene.View, float]:
    """Choose scale, place, heading and the camera's motion. Returns the view and the heading."""
    path = act.poses[0].root.copy()  # `_travel` may take it away
    heading = _heading(act, rng)
    scale = rng.uniform(*stage.size) * height * (0.92 if len(act.poses) == 2 else 1.0)
    if shot.near:
        scale = shot.rng.uniform(0.8, 1.2 if act.travels else 1.8) * height
    shake = np.zeros((len(t), 2))
    for hz in (0.6, 1.3, 2.7):  # a hand's tremor: less amplitude at higher rates
        phase = rng.uniform(0, 2 * np.pi, 2)
        shake += np.sin(2 * np.pi * hz * t[:, None] + phase) * (stage.steady * width * 0.5 / hz)
    drift = rng.uniform(-1, 1) * 0.12 * width * (rng.uniform() < 0.5)
    shake[:, 0] += drift * (t - t.mean()) / max(np.ptp(t), 1e-6)
    if shot.static:
        shake[:] = 0
    steady = shake.copy()  # before anybody is followed
    centre = rng.uniform(0.4, 0.6) * width
    if act.travels:
        heading = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.7) * np.pi)
        across = np.abs(np.sin(heading + stage.swing)) * np.ptp(act.poses[0].root[:, 2])
        share = _travel(act, float(across), 0.75 * width / scale, rng)
        if shot.static or shot.approach or shot.follow:
            act.poses[0].root[:] = path
            share = max(0.0, 1 - 1.2 * width / scale / max(float(across), 1e-6))
        walked = act.poses[0].root[:, 2] * np.sin(heading + stage.swing)
        shake[:, 0] += 0 if shot.follow else share * scale * walked
    elif len(act.poses) == 2:
        between = 0.5 * act.poses[1].root[:, 2].mean() * np.sin(heading + stage.swing)
        centre -= scale * between
    ground = height * rng.uniform(0.47, 0.55) + scale * 0.5
    ground = min(ground, 0.97 * height)
    if shot.near:  # the head is in the frame, the feet are where they may be
        ground = scale + shot.rng.uniform(0.02, 0.2) * height
        if act.framed:
            ground -= shot.rng.uniform(0.3, 1.0) * scale * np.ptp(act.poses[0].hip)
    view = scene.View(scale, centre, ground, stage.pitch, shake)
    if shot.follow:
        seen = _middle(act, heading + stage.swing, view)
        moved = worlds.follow(seen, t, height, width, shot.rng)
        view = dataclasses.replace(view, shift=shake + moved)
    if shot.approach:
        still = dataclasses.replace(view, shift=shake * 0 if shot.static else steady)
        return worlds.approach(shot, path, height, width, still)
    return view, heading + stage.swing


def _middle(act: motions.Act, heading: float, view: scene.View) -> Vec:
    """Where the waist of the first figure is in the picture of a still camera, [T, 2] pixels."""
    pose = act.poses[0]
    at = pose.root + np.stack([0 * pose.hip, 1.2 * pose.hip, pose.hip_z], -1)
    at = scene.rotate_y(at, np.full(len(at), heading))
    still = dataclasses.replace(view, shift=np.zeros_like(view.shift))
    return scene.project(at[:, None], still)[0][:, 0]


def _drop_shadows(canvas: Vec, act: motions.Act, heading: float, view: scene.View) -> None:
    """Darken the floor under every figure, in place."""
    height, width = canvas.shape[1:3]
    y, x = np.ogrid[:height, :width]
    y, x = y.astype(np.float32), x.astype(np.float32)
    for pose in act.poses:
        on_floor = pose.root * np.array([1, 0, 1])
        spot = scene.rotate_y(on_floor, np.full(len(on_floor), heading))
        middle, _, scale = scene.project(spot[:, None], view)
        middle = middle[:, 0, :, None, None].astype(np.float32)
        half = (shadow_radius(pose) * scale[:, 0])[:, None, None].astype(np.float32)
        far = ((x - middle[:, 0]) / half) ** 2 + ((y - middle[:, 1]) / (0.3 * half)) ** 2
        canvas[..., :3] *= (1 - 0.45 * np.exp(-far))[..., None]


def render(
    action: str,
    *,
    seed: int,
    group: int = 0,
    frames: int = 32,
    height: int = 96,
    width: int = 128,
    fps: float = 30.0,
    domain: str = "dark",
    want_flow: bool = True,
    world: worlds.World = worlds.PLAIN,
) -> Rendered:
    """Render one clip; the same arguments give the same bytes.

    Args:
      action: a class name of ARID or InFAR (Walk and walk are the same motion).
      seed: decides speed, phase, amplitude, handedness, place, heading, exposure and noise.
      group: decides subjects, clothes, room, light and the camera's place.
      frames, height, width: the clip's size; fps: frames per second.
      domain: ``dark`` (ARID-like), ``day``, or ``thermal`` (InFAR-like).
      want_flow: False skips the optical flow, which then is empty.
      world: what is added to a plain one.

    Raises:
      UserError: unknown action or domain, negative seed or group, a size under 16 pixels.
    """
    make = _act_of(action)
    check(domain, seed=seed, group=group, frames=frames, height=height, width=width, fps=fps)
    # the scene and the sensor have their own streams: all domains film the same performance
    word = zlib.crc32(make.__name__.encode())
    rng = np.random.default_rng([int(seed), int(group), word])
    sensor = np.random.default_rng([int(seed), int(group), word, DOMAINS.index(domain)])
    stage = scene.Stage.draw(int(group))
    room = background.room(int(group), height, width, world.lines)

    t = np.arange(frames) / fps
    act = motions.way(make, *worlds.way(world, [int(seed), int(group)]))(t, rng)
    shot = worlds.Shot.draw(world, act.travels, [int(seed), int(group), word])
    view, heading = _film(act, t, stage, height, width, rng, shot)
    act.props += scene.furniture(act, heading, rng)
    start = np.array([rng.uniform(0, room.period), rng.uniform(-0.06, 0.06) * height])
    canvas = background.look(room.canvas, view.shift + start, room, height, width)
    _drop_shadows(canvas, act, heading, view)
    flow = np.zeros((0, height, width, 2), np.float32)
    if want_flow and frames > 1:
        still = -np.diff(view.shift, axis=0).astype(np.float32)[:, None, None]
        flow = np.broadcast_to(still, (frames - 1, height, width, 2)).copy()
    parts = scene.strokes(scene.cast(act, stage, heading), view)
    mask = raster.paint(canvas, parts, stage.light, flow if len(flow) else None)

    bright = camera.to_bytes(canvas[..., :3])
    if domain == "dark":
        light = background.look(room.light, view.shift + start, room, height, width)
        video = camera.dark(bright, light, canvas[..., 3:4], sensor)
        video = worlds.blocks(video, shot.rng) if shot.blocks else video
    elif domain == "day":
        video = camera.day(bright, sensor)
    else:
        video = camera.thermal(canvas[..., 4:5], sensor)
    return Rendered(video, bright, flow, float(fps), int(group), mask)


def recipes(
    classes: Sequence[str],
    *,
    clips_per_class: dict[str, int],
    groups: dict[str, int],
    seed: int,
) -> list[Recipe]:
    """A dataset's clips: splits of disjoint groups, every class spread evenly over its groups.

    Args:
      classes: action names; a clip's label is its action's place in this list.
      clips_per_class: for each split, such as ``{"train": 80, "test": 20}``.
      groups: for each split the number of groups, such as ``{"train": 12, "test": 4}``.
      seed: decides every clip's own seed.

    Raises:
      UserError: unknown class, splits that differ, or a count under one.
    """
    for name in classes:
        _act_of(name)
    if set(clips_per_class) != set(groups):
        raise UserError(
            f"expected clips_per_class and groups to name the same splits, found "
            f"{sorted(clips_per_class)} and {sorted(groups)}"
        )
    for split in groups:
        if clips_per_class[split] < 1 or groups[split] < 1:
            raise UserError(
                f"expected at least one clip per class and one group in split {split!r}, found "
                f"{clips_per_class[split]} and {groups[split]}"
            )
    out: list[Recipe] = []
    first = 0
    for split, count in groups.items():
        for label, action in enumerate(classes):
            entropy = [int(seed), zlib.crc32(split.encode()), label]
            seeds = np.random.SeedSequence(entropy).generate_state(clips_per_class[split])
            for k, own in enumerate(seeds):
                # each class starts at another group, so that remainders spread out too
                index = (k + label * clips_per_class[split]) % count
                out.append(
                    Recipe(
                        id=f"{split}/{action}/{k:04d}",
                        action=action,
                        label=label,
                        group=f"{split}_{index:02d}",
                        group_index=first + index,
                        split=split,
                        seed=int(own),
                    )
                )
        first += count
    return out
