"""Optical flow: motions known in closed form, the properties every flow has, and its own parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.ops import pyramid, tvl1
from darkjax.ops.flow import TVL1, Brox, flow, grey

HEIGHT, WIDTH = 48, 64
METHODS = {"brox": Brox(), "tvl1": TVL1(scale_step=0.5, nscales=2)}
both_methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
quick_first = pytest.mark.parametrize(  # one way through the code of both
    "method",
    [METHODS["tvl1"], pytest.param(METHODS["brox"], marks=pytest.mark.slow)],
    ids=["tvl1", "brox"],
)


def texture(x, y, waves=60, seed=3):
    """Grey in [0, 1] at any points: waves of 6 to 40 pixels in all directions."""
    rng = np.random.default_rng(seed)
    length, angle = rng.uniform(6, 40, waves), rng.uniform(0, 2 * np.pi, waves)
    phase = rng.uniform(0, 2 * np.pi, waves)
    along = x[..., None] * np.cos(angle) + y[..., None] * np.sin(angle)
    return 0.5 + 0.06 * np.sum(np.sin(2 * np.pi * along / length + phase), -1) / np.sqrt(waves / 20)


def grid(height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return x, y


def moving(matrix, shift=(0.0, 0.0), height=HEIGHT, width=WIDTH):
    """Two frames [2, H, W, 1], the second moved by x -> matrix (x - centre) + centre + shift, and
    the true flow."""
    x, y = grid(height, width)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    points = np.stack([x, y], -1) - centre
    back = (points - np.asarray(shift)) @ np.linalg.inv(matrix).T + centre
    frames = np.stack([texture(x, y), texture(back[..., 0], back[..., 1])])
    true = points @ np.asarray(matrix).T + shift - points
    return np.clip(frames, 0, 1).astype(np.float32)[..., None], true


def inside(errors, border=8):
    return errors[..., border:-border, border:-border]


def end_point(found, true):
    return np.linalg.norm(np.asarray(found) - true, axis=-1)


@both_methods
def test_nothing_moves(method):
    frames, _ = moving(np.eye(2))
    np.testing.assert_array_equal(flow(frames[[0, 0]], method), 0)
    black = np.zeros((2, HEIGHT, WIDTH, 1), np.float32)
    np.testing.assert_array_equal(flow(black, method), 0)


@both_methods
@pytest.mark.parametrize("shift", [(1.0, 0.0), (-0.4, 0.3), (3.3, -2.6)])
def test_a_shift_is_found(method, shift):
    frames, true = moving(np.eye(2), shift)
    found = flow(frames, method)
    assert found.shape == (1, HEIGHT, WIDTH, 2) and found.dtype == jnp.float32
    error = inside(end_point(found[0], true))
    assert error.max() < 0.1, (error.mean(), error.max())


def turned(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@both_methods
@pytest.mark.parametrize(
    "matrix",
    [turned(2), 1.04 * np.eye(2), np.array([[1, 0.05], [0, 1]])],
    ids=["rotation", "zoom", "shear"],
)
def test_rotation_zoom_and_shear_are_found(method, matrix):
    frames, true = moving(matrix)
    error = inside(end_point(flow(frames, method)[0], true))
    assert error.max() < 0.15, (error.mean(), error.max())


@both_methods
def test_time_backwards_is_the_other_way(method):
    frames, true = moving(turned(2), (0.7, -0.5))
    there, back = flow(frames, method)[0], flow(frames[::-1], method)[0]
    assert np.abs(inside((np.asarray(there) + back).transpose(2, 0, 1))).max() < 0.25
    assert np.abs(inside((back + true).transpose(2, 0, 1))).max() < 0.25


@both_methods
def test_twice_the_resolution_is_twice_the_flow(method):
    shift = np.array([0.8, -0.6])
    x, y = grid(HEIGHT // 2, WIDTH // 2)
    small = np.stack([texture(2 * x, 2 * y), texture(2 * (x - shift[0]), 2 * (y - shift[1]))])
    x, y = grid()
    x, y = x - 0.5, y - 0.5
    large = np.stack([texture(x, y), texture(x - 2 * shift[0], y - 2 * shift[1])])
    small, large = (
        flow(np.clip(v, 0, 1).astype(np.float32)[..., None], method)[0] for v in (small, large)
    )
    doubled = 2 * np.repeat(np.repeat(small, 2, 0), 2, 1)
    assert inside(end_point(large, doubled)).max() < 0.2


def test_brox_is_hardly_changed_by_a_constant():
    frames, true = moving(np.eye(2), (0.7, -0.5))
    brighter = frames * 0.8 + np.float32([0, 0.1])[:, None, None, None]
    error = inside(end_point(flow(brighter, METHODS["brox"])[0], true))
    assert error.mean() < 0.1, error.mean()
    # Which TV-L1, knowing brightness alone, cannot do.
    error = inside(end_point(flow(brighter, METHODS["tvl1"])[0], true))
    assert error.mean() > 0.3


@quick_first
def test_a_batch_is_its_pairs_one_by_one(method):
    few = METHODS_SHORT[type(method).__name__]
    clip = np.concatenate([moving(turned(d), height=20, width=24)[0] for d in (1, 2)])[:3]
    clips = (np.stack([clip, clip[::-1]]) * 255).astype(np.uint8)
    together = flow(clips, few, at_once=99)
    assert together.shape == (2, 2, 20, 24, 2)
    np.testing.assert_allclose(flow(clips, few, at_once=3), together, atol=1e-4)
    for clip, found in zip(clips, together, strict=True):
        np.testing.assert_allclose(flow(clip, few, at_once=1), found, atol=1e-4)


@quick_first
def test_eager_is_compiled(method):
    frames, _ = moving(turned(2), height=20, width=24)
    few = METHODS_SHORT[type(method).__name__]
    with jax.disable_jit():
        eager = few.pair(*jnp.asarray(frames[..., 0]))
    np.testing.assert_allclose(eager, flow(frames, few)[0], atol=1e-4)


METHODS_SHORT = {
    "Brox": Brox(inner_iterations=2, solver_iterations=3, outer_iterations=1),
    "TVL1": TVL1(
        nscales=1, warps=1, outer_iterations=2, inner_iterations=3, epsilon=0, median_filtering=1
    ),
}


@both_methods
def test_gradients_are_finite(method):
    """Also where nothing moves, of a black picture and of a textured one."""
    few = METHODS_SHORT[type(method).__name__]
    loss = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(flow(x, few) - 1))))
    still, black = moving(np.eye(2), height=20, width=24)[0], np.zeros((2, 20, 24, 1), np.float32)
    for frames in (still, black, moving(turned(3), height=20, width=24)[0]):
        assert np.isfinite(loss(frames)).all()
    assert np.abs(loss(moving(turned(3), height=20, width=24)[0])).max() > 0


def test_frames_of_any_kind():
    colour = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3), np.uint8)
    luma = (colour / 255) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey(colour), luma, atol=1e-6)
    np.testing.assert_allclose(grey(jnp.asarray(luma[..., None], jnp.bfloat16)), luma, atol=4e-3)
    np.testing.assert_allclose(grey(np.stack([luma, 1 - luma], -1)), 0.5, atol=1e-6)
    np.testing.assert_allclose(grey(colour, "gic"), grey((colour / 255) ** (1 / 1.8)), atol=1e-5)
    few = METHODS_SHORT["Brox"]
    half = flow(jnp.asarray(luma[..., None], jnp.bfloat16), few)
    assert half.dtype == jnp.float32 and np.isfinite(half).all()
    with pytest.raises(UserError, match="uint8 or as float in \\[0, 1\\], found int32"):
        flow(colour.astype(np.int32), few)
    with pytest.raises(UserError, match="found 'farneback'"):
        flow(colour, "farneback")
    with pytest.raises(UserError, match="T of at least 2"):
        flow(colour[:1], few)
    with pytest.raises(UserError, match="enhancement: expected one of gic"):
        flow(colour, few, enhance="gamma")


@pytest.mark.parametrize("size", [(1, 1), (3, 40)])
def test_any_size(size):
    frames = np.random.default_rng(0).random((2, *size, 1), np.float32)
    for few in METHODS_SHORT.values():
        found = flow(frames, few)
        assert found.shape == (1, *size, 2) and np.isfinite(found).all()


# ---------------------------------------------------------------- parts


def test_levels_by_hand():
    assert pyramid.sizes((64, 80), 0.5, 9) == [(16, 20), (32, 40), (64, 80)]
    assert pyramid.sizes((64, 80), 0.5, 2) == [(32, 40), (64, 80)]
    assert pyramid.sizes((5, 9), 0.8, 9) == [(5, 9)]
    assert len(pyramid.sizes((128, 171), 0.8, 150)) == 10  # round(128 * .8**9) is 17


def test_resizing_keeps_ramps_and_repeats_edges():
    x = jnp.asarray(np.arange(12.0)[None] + np.zeros((8, 1)), jnp.float32)
    half = np.asarray(pyramid.resized(x, 4, 6, margin=1))
    np.testing.assert_allclose(half[0, 2:-2], [2.5, 4.5, 6.5, 8.5], atol=1e-5)
    np.testing.assert_array_equal(half[:, 0], half[:, 1])
    np.testing.assert_array_equal(half[0], half[1])
    np.testing.assert_allclose(pyramid.resized(x, 8, 12), x, atol=1e-6)


def test_derivatives_of_a_polynomial():
    x, y = np.mgrid[-4:5, -4:5][::-1].astype(np.float32)
    p = jnp.asarray(x**3 - 2 * x * y**2)
    np.testing.assert_allclose(pyramid.along_x(p), (3 * x**2 - 2 * y**2)[:, 2:-2], atol=1e-3)
    np.testing.assert_allclose(pyramid.along_y(p), (-4 * x * y)[2:-2], atol=1e-3)


def test_reading_at_moved_points():
    """Exact at pixels and for parabolas between them; what lies outside is marked."""
    x, y = np.mgrid[:9, :11][::-1].astype(np.float32)
    picture = jnp.asarray(np.stack([x * x, x * y]))
    move = functools.partial(np.broadcast_to, shape=(9, 11))
    read, mask = pyramid.moved(picture, jnp.asarray(np.stack([move(2.0), move(0.0)]), jnp.float32))
    np.testing.assert_allclose(read[:, :, :-2], picture[:, :, 2:], atol=1e-4)
    np.testing.assert_array_equal(mask, x + 2 <= 10)
    read, _ = pyramid.moved(picture, jnp.asarray(np.stack([move(0.3), move(-0.4)]), jnp.float32))
    true = np.stack([(x + 0.3) ** 2, (x + 0.3) * (y - 0.4)])
    np.testing.assert_allclose(read[:, 2:-2, 2:-2], true[:, 2:-2, 2:-2], atol=1e-3)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_median(size):
    x = np.random.default_rng(0).random((2, 7, 9), np.float32)
    wide = np.pad(x, [(0, 0), (size // 2,) * 2, (size // 2,) * 2], "edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (size, size), (1, 2))
    np.testing.assert_array_equal(tvl1.median(jnp.asarray(x), size), np.median(windows, (-2, -1)))
