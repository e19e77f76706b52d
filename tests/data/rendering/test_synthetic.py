"""The renderer: determinism, truth of the flow, the camera's statistics, and need of motion."""

import functools
import importlib.util
import pathlib

import numpy as np
import pytest

from darkjax.data.catalog import ARID11, INFAR12
from darkjax.data.rendering import background, camera
from darkjax.data.rendering.figure import HIP, Body, Pose, joints, two_bones
from darkjax.data.rendering.synthetic import recipes, render
from darkjax.errors import UserError

SIX = ("Jump", "Run", "Sit", "Stand", "Turn", "Walk")
SMALL = {"frames": 10, "height": 40, "width": 48, "fps": 8.0}
GREY = np.array([0.299, 0.587, 0.114], np.float32)


@functools.lru_cache
def clip(action, seed=0, group=0, domain="dark"):
    return render(action, seed=seed, group=group, domain=domain, **SMALL)


def luma(video):
    return video.astype(np.float32) @ GREY


@pytest.mark.parametrize("domain", ["dark", "day", "thermal"])
def test_same_arguments_give_the_same_bytes(domain):
    background.room.cache_clear()  # what is remembered may not matter
    again = render("Walk", seed=0, group=0, domain=domain, **SMALL)
    first = clip("Walk", domain=domain)
    for name in ("video", "bright", "flow"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_seed_and_group_and_action_change_the_clip():
    first = clip("Walk")
    for other in (clip("Walk", seed=1), clip("Walk", group=1), clip("Run")):
        assert np.mean(other.bright != first.bright) > 0.2


def test_shapes_and_dtypes():
    out = clip("Wave")
    assert out.video.shape == out.bright.shape == (10, 40, 48, 3)
    assert out.flow.shape == (9, 40, 48, 2)
    assert (out.video.dtype, out.bright.dtype, out.flow.dtype) == (np.uint8, np.uint8, np.float32)
    assert (out.fps, out.group) == (8.0, 0)
    bare = render("Wave", seed=0, want_flow=False, **SMALL)
    assert bare.flow.shape == (0, 40, 48, 2)
    np.testing.assert_array_equal(bare.video, out.video)
    assert render("Wave", seed=0, frames=1, height=33, width=35).video.shape == (1, 33, 35, 3)


@pytest.mark.parametrize("action", [*ARID11, *INFAR12])
def test_every_action_moves(action):
    """The true motion exceeds the camera's own on at least a few pixels of some frames."""
    out = clip(action)
    camera_motion = np.median(out.flow, axis=(1, 2), keepdims=True)
    speed = np.linalg.norm(out.flow - camera_motion, axis=-1)
    assert np.isfinite(out.flow).all()
    assert (speed.max(axis=(1, 2)) > 0.5).sum() >= 3
    assert np.abs(np.diff(luma(out.bright), axis=0)).mean() > 0.1


def test_the_same_word_in_other_case_is_the_same_motion():
    np.testing.assert_array_equal(clip("Walk").video, clip("walk").video)
    np.testing.assert_array_equal(clip("Jump").video, clip("jump").video)


def test_sitting_lowers_the_head_and_standing_raises_it():
    """Centroid of what is warm: down the image when sitting, up when standing."""
    for action, sign in (("Sit", 1), ("Stand", -1)):
        for seed in range(3):
            heat = luma(render(action, seed=seed, group=3, domain="thermal", **SMALL).video)
            warm = heat > 0.5 * (heat.max() + np.median(heat))
            rows = np.arange(40)[:, None]
            top = [(rows * w).sum() / w.sum() for w in (warm[0], warm[-1])]
            assert sign * (top[1] - top[0]) > 1.0


def warp(frame, flow):
    """Bilinear samples of frame [H, W, 3] at (x, y) + flow [H, W, 2]; and which lie inside."""
    h, w = flow.shape[:2]
    y, x = np.mgrid[:h, :w] + flow[..., ::-1].transpose(2, 0, 1)
    inside = (x >= 0) & (y >= 0) & (x <= w - 1) & (y <= h - 1)
    x, y = np.clip(x, 0, w - 1.001), np.clip(y, 0, h - 1.001)
    i, j = y.astype(int), x.astype(int)
    fy, fx = (y - i)[..., None], (x - j)[..., None]
    top = frame[i, j] * (1 - fx) + frame[i, j + 1] * fx
    return top * (1 - fy) + (frame[i + 1, j] * (1 - fx) + frame[i + 1, j + 1] * fx) * fy, inside


@pytest.mark.parametrize("action", ["Walk", "Run", "Jump", "Turn", "Sit", "push"])
def test_flow_takes_each_frame_to_the_next(action):
    """Looking up frame t+1 at the flow's end gives frame t, on moving pixels of the figure."""
    with_flow, without = [], []
    for seed in range(3):
        out = render(action, seed=seed, group=seed, frames=8, height=96, width=128, fps=20.0)
        video = out.bright.astype(np.float32)
        still = np.median(out.flow, axis=(1, 2))
        for t, flow in enumerate(out.flow):
            moved, inside = warp(video[t + 1], flow)
            held, _ = warp(video[t + 1], np.broadcast_to(still[t], flow.shape))
            body = inside & (np.linalg.norm(flow - still[t], axis=-1) > 0.7)
            with_flow.append(np.abs(moved - video[t])[body].ravel())
            without.append(np.abs(held - video[t])[body].ravel())
    assert np.concatenate(with_flow).mean() < 0.6 * np.concatenate(without).mean()


def test_flow_of_the_background_is_the_camera_s():
    """Where nothing moves the true flow reproduces the next frame almost exactly."""
    out = render("Wave", seed=5, group=1, frames=8, height=96, width=128)
    video = out.bright.astype(np.float32)
    flow = out.flow[0]
    room = np.all(flow == flow[0, 0], axis=-1)
    moved, inside = warp(video[1], flow)
    error = np.abs(moved - video[0]).mean(-1)[room & inside]
    assert np.median(error) < 1.5


def test_dark_clips_are_as_dark_as_arid():
    """ARID's mean luma: median 17, from 6.7 to 51 (its six-class subset, per clip)."""
    means = [luma(clip(SIX[i % 6], seed=i, group=i % 8).video).mean() for i in range(32)]
    assert 12 < np.median(means) < 24
    assert min(means) > 4.5
    assert max(means) < 60
    bright = [luma(clip(SIX[i % 6], seed=i, group=i % 8).bright).mean() for i in range(8)]
    assert np.median(bright) > 3 * np.median(means)


def test_day_is_the_bright_video_but_for_exposure_and_noise():
    out = clip("Sit", domain="day")
    day, bright = luma(out.video).ravel(), luma(out.bright).ravel()
    assert np.corrcoef(day, bright)[0, 1] > 0.98


def test_thermal_shows_a_warm_body_on_a_cool_background():
    for seed in range(4):
        out = clip("Run", seed=seed, group=seed, domain="thermal")
        assert np.ptp(out.video.astype(int), axis=-1).max() == 0  # one channel, three times
        flow = out.flow - np.median(out.flow, axis=(1, 2), keepdims=True)
        body = np.linalg.norm(flow, axis=-1) > 0.5
        heat = luma(out.video)[:-1]
        assert heat[body].mean() > 1.4 * heat[~body].mean()


def test_domains_film_the_same_performance():
    np.testing.assert_array_equal(clip("Run").bright, clip("Run", domain="thermal").bright)
    np.testing.assert_array_equal(clip("Run").flow, clip("Run", domain="day").flow)


def test_recipes_split_groups_and_spread_classes():
    clips = recipes(
        SIX, clips_per_class={"train": 9, "test": 4}, groups={"train": 4, "test": 2}, seed=1
    )
    assert len(clips) == 6 * 13
    assert len({c.id for c in clips}) == len({c.seed for c in clips}) == len(clips)
    train = {c.group_index for c in clips if c.split == "train"}
    test = {c.group_index for c in clips if c.split == "test"}
    assert len(train) == 4
    assert len(test) == 2
    assert not train & test
    assert {c.group for c in clips if c.split == "test"} == {"test_00", "test_01"}
    for split, groups, least in (("train", train, 2), ("test", test, 2)):
        table = np.zeros((6, 6), int)
        for c in clips:
            if c.split == split:
                assert SIX[c.label] == c.action
                table[c.label, c.group_index] += 1
        used = table[:, sorted(groups)]
        assert used.min() >= least
        assert used.max() <= least + 1
        assert np.ptp(used.sum(0)) <= 3
    assert clips == recipes(
        SIX, clips_per_class={"train": 9, "test": 4}, groups={"train": 4, "test": 2}, seed=1
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"action": "Wlak"}, "'Walk'"),
        ({"action": "handshaking"}, "'handshake'"),
        ({"domain": "drak"}, "'dark'"),
        ({"seed": -1}, "seed of at least 0"),
        ({"frames": 0}, "frames of at least 1"),
        ({"height": 8}, "height of at least 16"),
    ],
)
def test_what_cannot_be_rendered_is_named(change, says):
    with pytest.raises(UserError, match=says) as caught:
        render(**{"action": "Walk", "seed": 0, **change})
    assert "\n" not in str(caught.value)


def test_recipes_name_what_is_wrong():
    with pytest.raises(UserError, match="same splits"):
        recipes(SIX, clips_per_class={"train": 2}, groups={"test": 2}, seed=0)
    with pytest.raises(UserError, match="at least one clip"):
        recipes(SIX, clips_per_class={"train": 0}, groups={"train": 2}, seed=0)
    with pytest.raises(UserError, match="'Jump'"):
        recipes(["Jmup"], clips_per_class={"train": 1}, groups={"train": 1}, seed=0)


def test_two_bones_is_a_triangle():
    """Legs 3 and 4 over a hypotenuse of 5: the right angle is at the middle joint."""
    start, end = np.zeros((1, 3)), np.array([[5.0, 0, 0]])
    middle, reached = two_bones(start, end, 3.0, 4.0, np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(middle, [[1.8, 2.4, 0.0]], atol=1e-9)
    np.testing.assert_allclose(reached, end)
    _, short = two_bones(start, end * 2, 3.0, 4.0, np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(short, [[7.0, 0, 0]], atol=0.01)


def test_bones_keep_their_length_and_yaw_turns_the_body():
    rng = np.random.default_rng(0)
    body, pose = Body.draw(rng), Pose.standing(4, rng)
    pose.hip = HIP - np.array([0.0, 0.1, 0.2, 0.25])
    pose.yaw = np.array([0.0, 0.5, 1.0, np.pi / 2])
    found = joints(pose, body)
    for a, b, length in (("hip0", "knee0", 0.245), ("knee1", "ankle1", 0.245)):
        np.testing.assert_allclose(np.linalg.norm(found[b] - found[a], axis=-1), length, rtol=1e-6)
    left_right = found["shoulder0"] - found["shoulder1"]
    assert left_right[0, 0] > 0.15  # facing the camera: the left side is at the image's right
    assert left_right[3, 2] < -0.15  # facing the image's right: the left side is away


def test_bayer_blur_is_grey_at_every_pixel():
    """1-2-1 smoothing of an R G / G B mosaic of one colour is (R + 2G + B)/4 away from the edge."""
    colour = np.array([0.8, 0.4, 0.1], np.float32)
    raw = camera.mosaic(np.broadcast_to(colour, (1, 12, 14, 3)))
    grey = camera.blur(raw[..., None])[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(grey, (0.8 + 2 * 0.4 + 0.1) / 4, rtol=1e-5)
    shown = camera.develop(raw, 0.0)[0, 2:-2, 2:-2]
    np.testing.assert_allclose(shown, np.broadcast_to(colour, shown.shape), atol=1e-5)


def test_still_blocks_are_repeated_and_moving_ones_are_not():
    video = np.zeros((2, 16, 16, 3), np.uint8)
    video[1, :8, :8] = 1  # under the threshold: shown again
    video[1, 8:, 8:] = 9
    out = camera.repeat_still_blocks(video, 2.0)
    assert out[1, :8].max() == 0
    assert (out[1, 8:, 8:] == 9).all()


def test_dark_noise_grows_with_signal_and_keeps_the_mean():
    """A flat scene with a bright and a dark half: the ratio survives, the bright half is noisier
    in electrons; exposure puts the mean near the drawn target."""
    bright = np.full((6, 32, 32, 3), 90, np.uint8)
    bright[:, :, 16:] = 220
    ones = np.ones((6, 32, 32, 1), np.float32)
    video = camera.dark(bright, ones, 0 * ones, np.random.default_rng(0)).astype(float)
    assert video[:, :, 20:].mean() > 1.5 * video[:, :, :12].mean()
    assert 6 < video.mean() < 55


def _benchmark():
    path = pathlib.Path(__file__).resolve().parents[3] / "benchmarks" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("benchmark_synthetic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("train", "test", "height"),
    [(14, 10, 32), pytest.param(80, 40, 64, marks=pytest.mark.slow)],
)
def test_the_mean_frame_does_not_tell_the_class(train, test, height):
    """Chance is 0.167; a ridge classifier on other people in other rooms stays under 0.30."""
    bench = _benchmark()
    clips = recipes(
        SIX,
        clips_per_class={"train": train, "test": test},
        groups={"train": 8, "test": 6},
        seed=0,
    )
    features = {"mean": bench.mean_frame, "motion": bench.differences}
    top1 = bench.ridge_table(
        clips, features, frames=16, height=height, width=height * 5 // 4, fps=8.0
    )
    assert top1["mean"] < 0.30
    assert top1["motion"] > top1["mean"] + 0.08
