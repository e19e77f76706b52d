"""Moving channels along time: hand-computed values, the original's output, closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.ops import shift


def test_one_channel_comes_from_each_side():
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4) + 1  # B T C
    y = shift.temporal_shift(jnp.asarray(x), 4)
    expected = [[5, 0, 3, 4], [9, 2, 7, 8], [0, 6, 11, 12]]
    np.testing.assert_array_equal(y[0], np.float32(expected))


@pytest.mark.parametrize("div", [8, 4])
def test_the_shift_is_the_originals(shared, div):
    with np.load(shared / "golden" / "tsm_shift.npz") as arrays:
        x, y = arrays["x"], arrays[f"y_div{div}_t{div}"]  # as many frames as folds
    clips = [a.reshape(-1, div, 16, 3, 3).transpose(0, 1, 3, 4, 2) for a in (x, y)]
    np.testing.assert_array_equal(shift.temporal_shift(jnp.asarray(clips[0]), div), clips[1])


def test_shifting_keeps_dtype_and_moves_gradients_back():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, 3, 16))
    y = jax.random.normal(jax.random.key(1), x.shape)
    assert shift.temporal_shift(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    back = jax.grad(lambda x: (shift.temporal_shift(x) * y).sum())(x)
    # the adjoint of taking from the next frame is giving to it: the same with time reversed
    mirrored = shift.temporal_shift(y[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(back, mirrored)


def test_a_clip_of_one_frame_loses_the_shifted_channels():
    y = shift.temporal_shift(jnp.ones((1, 1, 8)), 4)
    np.testing.assert_array_equal(y[0, 0], np.float32([0, 0, 0, 0, 1, 1, 1, 1]))


def test_a_wrong_fold_is_refused():
    with pytest.raises(UserError, match="div >= 2"):
        shift.temporal_shift(jnp.ones((1, 2, 8)), 1)


def naive(x, offset):
    """`y[t + o] = x[t]`, value by value."""
    y = np.zeros_like(x)
    size = x.shape[-1] // offset.shape[1]
    for b, group in np.ndindex(*offset.shape):
        channels = slice(group * size, (group + 1) * size)
        low = int(np.floor(offset[b, group]))
        for t in range(x.shape[1]):
            for to, share in ((low, 1 - offset[b, group] + low), (low + 1, offset[b, group] - low)):
                if 0 <= t + to < x.shape[1]:
                    y[b, t + to, ..., channels] += share * x[b, t, ..., channels]
    return y


def test_half_a_frame_is_the_mean_of_two():
    x = jnp.asarray([2.0, 4.0, 8.0]).reshape(1, 3, 1)
    later = shift.interlace(x, jnp.asarray([[0.5]]))
    np.testing.assert_array_equal(later.ravel(), np.float32([1, 3, 6]))
    sooner = shift.interlace(x, jnp.asarray([[-1.25]]))
    np.testing.assert_array_equal(sooner.ravel(), np.float32([5, 6, 0]))


def test_every_group_and_clip_has_its_own_offset():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 6, 2, 3, 8)).astype(np.float32)
    offset = rng.uniform(-7, 7, (3, 4)).astype(np.float32)
    offset[0] = [0, -2, 1, 6]
    y = jax.jit(shift.interlace)(x, offset)
    np.testing.assert_allclose(y, naive(x, offset), atol=1e-6)


def test_whole_offsets_shift_as_tsm():
    x = jax.random.normal(jax.random.key(0), (2, 4, 3, 16))
    y = shift.interlace(x, jnp.asarray([[-1.0, 1.0, 0.0, 0.0]] * 2))
    np.testing.assert_array_equal(y, shift.temporal_shift(x, 4))


def test_the_offset_learns():
    """`d y / d o` is the step between neighbouring frames, also at whole offsets."""
    x = jnp.asarray([0.0, 1.0, 4.0, 9.0]).reshape(1, 4, 1)

    def third(o):
        return shift.interlace(x, o.reshape(1, 1))[0, 2, 0]

    for o in (0.25, 0.0):  # y[2] = (1 - o) x[2] + o x[1]
        assert float(jax.grad(third)(jnp.float32(o))) == -3.0


def test_groups_must_divide_the_channels():
    with pytest.raises(UserError, match="do not divide"):
        shift.interlace(jnp.ones((1, 2, 6)), jnp.zeros((1, 4)))
