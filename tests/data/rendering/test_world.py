"""The richer world: perspective, near and static cameras, blocks that stay, lines on walls."""

import hashlib

import numpy as np
import pytest

from darkjax.data.rendering import background, scene
from darkjax.data.rendering import world as worlds
from darkjax.data.rendering.dataset import Synthetic
from darkjax.data.rendering.synthetic import render

SMALL = {"frames": 10, "height": 40, "width": 48, "fps": 8.0}
ALL = {"approach": 1.0, "near": 1.0, "static": 1.0, "blocks": 1.0, "lines": 1.0}
PLAIN = {  # of the world before it could be richer
    ("dark", "Walk"): "29e021ec2681b217",
    ("dark", "Run"): "7daa44a5ec108d93",
    ("dark", "Sit"): "a05f7dc8d805ccbd",
    ("dark", "push"): "77d0739dcf4ddd28",
    ("thermal", "Walk"): "66d4f313d66db6a0",
}


def clip(action, seed=0, group=0, **shares):
    given = SMALL | {"domain": shares.pop("domain", "dark")}
    return render(action, seed=seed, group=group, world=worlds.World(**shares), **given)


def heights(mask):
    """Rows that the figure covers, of each frame."""
    return mask.any(2).sum(1)


@pytest.mark.parametrize(("domain", "action"), PLAIN)
def test_a_plain_world_is_bit_for_bit_that_of_before(domain, action):
    size = {"frames": 6, "height": 32, "width": 40, "fps": 8.0}
    found = render(action, seed=3, group=2, domain=domain, **size)
    digest = hashlib.sha256(found.video.tobytes() + found.flow.tobytes()).hexdigest()
    assert digest[:16] == PLAIN[domain, action]


def test_shards_of_before_are_taken_up_and_richer_ones_are_others():
    text = hashlib.sha256(repr(Synthetic()).encode()).hexdigest()
    assert text == "17aa207f26699b44229e2bfde889db0b27b7c7f73b3a773f6dc50304a4e1ad35"
    rich = Synthetic(near=0.5)
    assert "near=0.5" in repr(rich) and "blocks" not in repr(rich)
    assert Synthetic().sha256 is None and rich.sha256 != Synthetic(near=0.6).sha256


@pytest.mark.parametrize("name", ALL)
def test_each_share_changes_clips_in_its_own_way_alone(name):
    action = "Run" if name == "approach" else "Turn"
    changed = clip(action, **{name: 1.0})
    assert np.mean(changed.video != clip(action).video) > 0.05
    again = clip(action, **{name: 1.0})
    np.testing.assert_array_equal(changed.video, again.video)
    if name == "approach":  # nobody comes who does not walk
        np.testing.assert_array_equal(clip("Turn", approach=1.0).video, clip("Turn").video)


def test_runners_grow_when_they_come_and_shrink_when_they_go(monkeypatch):
    monkeypatch.setattr(scene, "furniture", lambda *_: [])  # which the mask would have too
    came = went = 0
    grown: dict[float, list[float]] = {0.0: [], 1.0: []}
    for seed in range(8):
        for share, found in grown.items():  # areas: the feet of those who are near are not seen
            mask = clip("Run", seed, approach=share, static=1.0, domain="day").mask
            area = mask.sum((1, 2))
            found.append(np.quantile(area, 0.9) / max(np.quantile(area, 0.2), 1))
        came += np.argmax(area) > np.argmin(area)
        went += np.argmax(area) < np.argmin(area)
    assert np.median(grown[1.0]) > 2 > np.median(grown[0.0]), grown
    assert came and went


def test_whoever_comes_is_seen_in_perspective():
    """Twice as near is twice as large, and the horizon stays at the height of the eyes."""
    view = scene.View(20.0, 24.0, 30.0, 0.0, np.zeros((1, 2)), distance=4.0, eye=0.9)
    at = np.array([[[0.0, 0.9, 0.0], [0.0, 0.9, 2.0], [0.5, 0.0, 2.0]]])
    image, depth, scale = scene.project(at, view)
    np.testing.assert_allclose(scale, [[20, 40, 40]])
    np.testing.assert_allclose(image, [[[24, 12], [24, 12], [44, 48]]])
    np.testing.assert_allclose(depth, [[0, 2, 2]])


def test_a_near_camera_fills_the_frame_and_keeps_the_head():
    for seed in range(4):
        mask = clip("Turn", seed, near=1.0, static=1.0).mask
        plain = clip("Turn", seed, static=1.0).mask
        assert mask.mean() > 1.3 * plain.mean()
        top = np.argmax(mask.any((0, 2)))
        assert top < 0.3 * len(mask[0])


def test_a_static_camera_stands_still():
    for action in ("Turn", "Walk"):
        found = clip(action, 1, static=1.0, domain="day")
        place = ~found.mask.any(0)
        shadowless = place[:10]  # no figure throws a shadow on the wall
        np.testing.assert_array_equal(found.flow[:, :10][:, shadowless], 0)
        assert (clip(action, 1).flow[:, :10][:, shadowless] != 0).any()


def test_blocks_stay_for_several_frames_and_are_coloured():
    black = np.full((24, 32, 40, 3), 6, np.uint8)
    for seed in range(5):
        out = worlds.blocks(black, np.random.default_rng(seed))
        assert out.std() > 0.2
        held = (np.diff(out.astype(int), axis=0) == 0).all(-1).mean()
        assert held > 0.7, held  # fresh noise would leave next to nothing
        pattern = np.median(out[:4], 0) - np.median(out, (0, 1, 2))
        assert (np.median(out[:3], 0) == out[1]).mean() > 0.7 and np.abs(pattern).max() > 0
        assert np.abs(out[..., 0].astype(int) - out[..., 1]).max() > 0
    bright = np.full((6, 16, 16, 3), 200, np.uint8)
    assert np.abs(worlds.blocks(bright, np.random.default_rng(0)).astype(int) - 200).max() <= 1


def test_lines_are_vertical_and_on_walls():
    def edges(axis, lines):
        walls = [background.room(g, 40, 48, lines).canvas[:20, :, 1] for g in range(6)]
        return np.mean([np.abs(np.diff(wall, axis=axis)).mean() for wall in walls])

    assert edges(1, 1.0) > 1.5 * edges(1, 0.0)
    assert edges(0, 1.0) < 1.5 * edges(0, 0.0)


def test_the_mask_is_where_somebody_is():
    found = clip("Walk", 2, domain="day", static=1.0)
    assert found.mask.shape == found.video.shape[:3] and found.mask.dtype == bool
    assert 0.01 < found.mask.mean() < 0.6
    place = np.median(found.bright, 0)
    moved = np.abs(found.bright - place).max(-1) > 40
    assert (moved & found.mask).sum() > 0.9 * moved[:, :16].sum()


def test_the_dataset_draws_its_world():
    options = {"frames": 3, "height": 24, "width": 32, "groups": {"train": 1}}
    options["clips_per_class"] = {"train": 1}
    plain, rich = Synthetic(**options), Synthetic(**options, **ALL)
    assert rich.world == worlds.World(**ALL)
    one, other = (d.load(d.clips()[1]).frames for d in (plain, rich))
    assert one.shape == other.shape and (one != other).any()
