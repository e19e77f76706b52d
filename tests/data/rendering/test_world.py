"""The richer world: perspective, near, static, far and following cameras, blocks that stay, lines
on walls, other ways to do the same."""

import hashlib

import numpy as np
import pytest

from darkjax.data.rendering import background, motions, scene
from darkjax.data.rendering import world as worlds
from darkjax.data.rendering.dataset import Synthetic
from darkjax.data.rendering.synthetic import render
from darkjax.errors import UserError

SMALL = {"frames": 10, "height": 40, "width": 48, "fps": 8.0}
ALL = {"approach": 1.0, "near": 1.0, "static": 1.0, "blocks": 1.0, "lines": 1.0}
FILMED = {"follow": 1.0, "far": 1.0, "other": 1.0}  # later than the records drawn with ALL
LATER = {**FILMED, "natural": 1.0}  # and later than those with FILMED too
PLAIN = {  # of the world before it could be richer
    ("dark", "Walk"): "29e021ec2681b217",
    ("dark", "Run"): "7daa44a5ec108d93",
    ("dark", "Sit"): "a05f7dc8d805ccbd",
    ("dark", "push"): "77d0739dcf4ddd28",
    ("thermal", "Walk"): "66d4f313d66db6a0",
}
RICH = {  # of the world of ALL, before it could be richer still
    ("dark", "Walk"): "55529890c885e453",
    ("dark", "Jump"): "05085a35ccd4eaf6",
    ("thermal", "Stand"): "a28fc0374226f1d1",
}
AS_FILMED = {  # of the world of ALL and FILMED, before anybody was natural
    ("dark", "Walk"): "d87574da9fe057e0",
    ("dark", "Jump"): "a3da75f1ce63e85c",
    ("dark", "Sit"): "2dc2854ce796fc6c",
    ("thermal", "Stand"): "6d618e2d900849ae",
}


def clip(action, seed=0, group=0, **shares):
    given = SMALL | {"domain": shares.pop("domain", "dark")}
    return render(action, seed=seed, group=group, world=worlds.World(**shares), **given)


def heights(mask):
    """Rows that the figure covers, of each frame."""
    return mask.any(2).sum(1)


@pytest.mark.parametrize(
    ("shares", "domain", "action", "digest"),
    [({}, *clip, digest) for clip, digest in PLAIN.items()]
    + [(ALL, *clip, digest) for clip, digest in RICH.items()]
    + [(ALL | FILMED, *clip, digest) for clip, digest in AS_FILMED.items()],
)
def test_what_is_not_asked_for_leaves_every_bit(shares, domain, action, digest):
    size = {"frames": 6, "height": 32, "width": 40, "fps": 8.0}
    world = worlds.World(**shares)
    found = render(action, seed=3, group=2, domain=domain, world=world, **size)
    pixels = found.video.tobytes() + found.flow.tobytes()
    assert hashlib.sha256(pixels).hexdigest()[:16] == digest


def test_shards_of_before_are_taken_up_and_richer_ones_are_others():
    text = hashlib.sha256(repr(Synthetic()).encode()).hexdigest()
    assert text == "17aa207f26699b44229e2bfde889db0b27b7c7f73b3a773f6dc50304a4e1ad35"
    text = hashlib.sha256(repr(Synthetic(**ALL)).encode()).hexdigest()
    assert text == "d46ce017dabc670d5c21c70775a68fd01dda565a30a380ae9098d036b002690a"
    of_all = "bf1a38ca5f1153c4b43ea96ae2c046efe295e6a78e33e2deaf8d1660aadd5fe2"
    assert Synthetic(**ALL).sha256 == of_all
    filmed = "8a67ca10591b0ffce5084ddc0bcd0b31a74affbd777d82ceef5aa00693b77218"
    assert Synthetic(**ALL, **FILMED).sha256 == filmed
    assert len({of_all, *(Synthetic(**ALL, **{k: 0.5}).sha256 for k in LATER)}) == 5
    rich = Synthetic(near=0.5)
    assert "near=0.5" in repr(rich) and "blocks" not in repr(rich)
    assert Synthetic().sha256 is None and rich.sha256 != Synthetic(near=0.6).sha256


@pytest.mark.parametrize("name", [*ALL, *LATER])
def test_each_share_changes_clips_in_its_own_way_alone(name):
    action = {"approach": "Run", "far": "Run", "other": "Jump", "natural": "Sit"}.get(name, "Turn")
    given = {"approach": 1.0} if name == "far" else {}
    changed = clip(action, **given, **{name: 1.0})
    assert np.mean(changed.video != clip(action, **given).video) > 0.05
    again = clip(action, **given, **{name: 1.0})
    np.testing.assert_array_equal(changed.video, again.video)
    if action != "Turn":  # nobody comes who does not walk, far away or not, nor turns otherwise
        same = "Walk" if name == "natural" else "Turn"
        found = clip(same, **given, **{name: 1.0})
        np.testing.assert_array_equal(found.video, clip(same, **given).video)
    if name == "follow":  # nor is he followed who comes
        come, followed = (clip("Run", approach=1.0, **share) for share in ({}, {name: 1.0}))
        np.testing.assert_array_equal(come.video, followed.video)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("name", [*ALL, *LATER])
def test_a_share_is_a_share(name, share):
    with pytest.raises(UserError, match=f"{name}=.*: expected a share of the clips, 0 to 1"):
        Synthetic(**{name: share})


@pytest.mark.parametrize(
    "wrong",
    [{"frames": 0}, {"height": 15}, {"width": 0}, {"fps": 0.0}, {"seed": -1}, {"domain": "darkk"}],
    ids=str,
)
def test_what_cannot_be_rendered_is_said_before_any_clip_is(wrong):
    with pytest.raises(UserError, match=f"expected {next(iter(wrong))} "):
        Synthetic(**wrong)


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


def test_who_is_far_is_small_all_the_time(monkeypatch):
    monkeypatch.setattr(scene, "furniture", lambda *_: [])
    for seed in range(6):
        come, far = (
            clip("Walk", seed, approach=1.0, static=1.0, domain="day", **share).mask
            for share in ({}, {"far": 1.0})
        )
        assert heights(far).max() < 0.65 * SMALL["height"] and heights(far).min() > 0
        assert far.sum() < 0.6 * come.sum()


def test_a_camera_that_follows_keeps_its_man_in_the_picture(monkeypatch):
    """Of a walker the background moves, not he; of one who stands up the frame moves up too."""
    monkeypatch.setattr(scene, "furniture", lambda *_: [])
    wander: dict[str, list[float]] = {"still": [], "followed": []}
    moved = []
    for seed in range(6):
        for name, share in (("still", 0.0), ("followed", 1.0)):
            mask = clip("Walk", seed, follow=share, static=1.0, domain="day").mask
            wander[name].append(np.ptp([np.nonzero(m)[1].mean() for m in mask if m.any()]))
        for action in ("Walk", "Stand"):
            flow = clip(action, seed, follow=1.0, static=1.0, domain="day").flow
            moved.append(np.abs(flow[:, :4].sum(0)).max())
        long = SMALL | {"frames": 30, "domain": "day"}  # further than the picture is wide
        world = worlds.World(follow=1.0, static=1.0)
        mask = render("Run", seed=seed, group=0, world=world, **long).mask
        assert all(m.sum() > 30 for m in mask)
    assert np.median(wander["followed"]) < 0.6 * np.median(wander["still"]), wander
    assert np.median(moved) > 2


def test_how_a_hand_follows():
    """Late, and never beyond what there is of a room above and below."""
    t = np.arange(40) / 10
    seen = np.stack([np.where(t < 1, 0.0, 30.0), np.where(t < 1, 0.0, -60.0)], -1)
    for seed in range(5):
        shift = worlds.follow(seen, t, 50, 90, np.random.default_rng(seed))
        assert shift.shape == (40, 2)
        assert np.abs(shift[:, 1]).max() <= worlds.TILT * 50 + 1e-9
        steps = np.diff(shift, axis=0)
        assert shift[-1, 0] - shift[0, 0] == pytest.approx(30, rel=0.3)  # it gets there
        assert steps[10:13, 0].sum() > 3 and steps[9, 0] < 22  # but not at once
        assert shift[-1, 1] < shift[0, 1]  # upwards
        little = worlds.follow(seen / 30, t, 50, 90, np.random.default_rng(seed))
        assert np.ptp(little[:, 1]) < 4  # of two pixels; beside them the tremor


def test_one_leap_instead_of_hops():
    """Off the floor once, forwards mostly, from a crouch; a clip of hops leaves it often."""
    t = np.arange(48) / 12
    forwards = 0
    for seed in range(16):
        pose = motions.leap(t, np.random.default_rng(seed)).poses[0]
        off = (pose.root[:, 1] > 0).astype(int)
        assert (np.diff(np.r_[0, off, 0]) == 1).sum() == 1
        taken_off = np.argmax(off)
        assert pose.hip[:taken_off].min() < pose.hip[0] - 0.08
        assert pose.hand[: taken_off - 1, 0, 2].min() < pose.hand[0, 0, 2] - 0.1  # arms go back
        assert pose.hand[:, 0, 1].max() > pose.hand[0, 0, 1] + 0.1  # and up
        forwards += pose.root[-1, 2] - pose.root[0, 2] > 0.25
        hops = motions.jump(t, np.random.default_rng(seed)).poses[0].root[:, 1] > 0
        assert (np.diff(np.r_[0, hops.astype(int), 0]) == 1).sum() > 2
    assert 8 <= forwards < 16


@pytest.mark.parametrize("seed", range(6))
def test_who_sits_low_has_no_chair_and_goes_further_down(seed):
    t = np.arange(24) / 12
    for usual, low in ((motions.sit, motions.crouch_down), (motions.stand, motions.rise)):
        act, chair = (make(t, np.random.default_rng(seed)) for make in (low, usual))
        assert not act.props and len(chair.props) == 1
        down = [one.poses[0].hip for one in (act, chair)]
        assert down[0].min() < down[1].min() - 0.03
        assert np.argmin(down[0]) == np.argmin(down[1])  # Sit ends down, Stand begins there
        assert (down[0][0] > down[0][-1]) == (usual is motions.sit)


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_who_bows_bends_before_the_hips_move_and_straightens_after(seed, low):
    t = np.arange(96) / 48
    for make, sits in ((motions.sit, True), (motions.stand, False)):
        found = make(t, np.random.default_rng(seed), low=low, natural=True)
        pose = found.poses[0]
        lean = pose.lean - np.interp(t, t[[0, -1]], pose.lean[[0, -1]])
        done = (pose.hip - pose.hip[0]) / (pose.hip[-1] - pose.hip[0])
        moving = np.flatnonzero((done > 0.02) & (done < 0.98))
        assert (pose.hip[0] > pose.hip[-1]) == sits and bool(found.props) != low
        assert (np.diff(done) > -1e-9).all()  # down or up once
        # already bent over when the hips leave, still bent over when they arrive
        assert lean[moving[0]] > 0.06 and lean[moving[-1]] > 0.06
        assert lean.max() > 0.55 and lean[[0, -1]] == pytest.approx(0, abs=0.02)
        bent = np.argmax(lean)
        assert (bent > moving.mean()) == sits  # deepest near the seat, both ways


def test_some_come_to_their_seat_and_leave_it_in_steps():
    t = np.arange(24) / 12
    for make, there, away in ((motions.sit, -1, 0), (motions.stand, 0, -1)):
        poses = [make(t, np.random.default_rng(s), natural=True).poses[0] for s in range(60)]
        far = np.array([np.hypot(*pose.root[away, [0, 2]]) for pose in poses])
        assert 0.4 < np.mean(far > 0.02) < 0.8 and far.max() < 0.7
        assert all(not pose.root[there].any() for pose in poses)
        turned = np.array([abs(pose.yaw[-1] - pose.yaw[0]) for pose in poses])
        assert (turned[far == 0] < 0.1).all() and turned.max() > 0.7


def test_natural_turns_are_a_quarter_too_and_others_more():
    t = np.arange(24) / 12
    for natural, least in ((True, 0.35), (False, 0.65)):
        poses = [motions.turn(t, np.random.default_rng(s), natural).poses[0] for s in range(80)]
        turned = np.array([abs(pose.yaw[-1] - pose.yaw[0]) for pose in poses]) / np.pi
        assert turned.min() == pytest.approx(least, abs=0.06) and 1.1 < turned.max() < 1.3


def test_a_near_camera_shows_who_sits():
    """Of the picture, what a seated figure covers; and the head of who stands may be cut."""
    seated = {}
    for natural in (0.0, 1.0):
        masks = [clip("Sit", s, near=1.0, static=1.0, natural=natural).mask for s in range(12)]
        seated[natural] = np.mean([mask[-1] > 0 for mask in masks])
    assert seated[1.0] > 1.25 * seated[0.0]


def test_the_other_way_and_the_natural_one_are_of_their_shares():
    assert motions.way(motions.jump, True, False) is motions.leap
    assert motions.way(motions.jump, False, False) is motions.jump
    assert motions.way(motions.drink, True, True) is motions.drink
    assert motions.way(motions.sit, True, False) is motions.crouch_down
    assert motions.way(motions.stand, True, False) is motions.rise
    assert motions.way(motions.stand, False, False) is motions.stand
    assert motions.way(motions.turn, True, False) is motions.turn
    t = np.arange(24) / 12
    for other in (False, True):  # who is natural does not hop
        deep = motions.way(motions.jump, other, True)(t, np.random.default_rng(0)).poses[0]
        leaps = motions.leap(t, np.random.default_rng(0)).poses[0]
        np.testing.assert_array_equal(deep.hip, leaps.hip)
        assert deep.lean.max() > 1.2 * leaps.lean.max()
    for make, low in ((motions.sit, motions.crouch_down), (motions.stand, motions.rise)):
        for other, usual in ((False, make), (True, low)):
            bowing = motions.way(make, other, True)(t, np.random.default_rng(0)).poses[0]
            asked = usual(t, np.random.default_rng(0), natural=True).poses[0]
            np.testing.assert_array_equal(bowing.lean, asked.lean)
            assert not np.array_equal(asked.lean, usual(t, np.random.default_rng(0)).poses[0].lean)
    found = [worlds.way(worlds.World(other=0.3, natural=0.8), [seed, 1]) for seed in range(400)]
    other, natural = np.mean(found, 0)
    assert 0.22 < other < 0.38 and 0.72 < natural < 0.88
    both = np.mean([a and b for a, b in found])
    assert both == pytest.approx(other * natural, abs=0.05)  # one does not decide the other


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


@pytest.mark.parametrize("action", ["Jump", "Walk", "Sit", "Stand", "push"])
def test_one_frame_of_a_world_that_has_all(action):
    one = {"frames": 1, "height": 24, "width": 32, "fps": 8.0}
    found = render(action, seed=1, world=worlds.World(**ALL, **LATER), **one)
    assert found.video.shape == (1, 24, 32, 3) and found.mask.any()


def test_the_dataset_draws_its_world():
    options = {"frames": 3, "height": 24, "width": 32, "groups": {"train": 1}}
    options["clips_per_class"] = {"train": 1}
    plain, rich = Synthetic(**options), Synthetic(**options, **ALL, **LATER)
    assert rich.world == worlds.World(**ALL, **LATER)
    one, other = (d.load(d.clips()[1]).frames for d in (plain, rich))
    assert one.shape == other.shape and (one != other).any()
