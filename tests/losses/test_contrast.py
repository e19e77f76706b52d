"""SupCon and NT-Xent: by hand, as the authors' code, and the same on any number of devices."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from jax.test_util import check_grads

from darkjax import losses, sharding
from darkjax.errors import UserError
from darkjax.losses.contrast import by_clip

RNG = np.random.default_rng(0)
FEATURES = jnp.asarray(RNG.normal(size=(8, 2, 5)), jnp.float32)
LABELS = jnp.asarray([0, 0, 1, 1, 2, 2, 3, 4], jnp.int32)
TEMPERATURE = 0.5
X, Y = (1.0, 0.0), (0.0, 1.0)  # similarities of what is made of them: 1, 0, -1


def vectors(*rows):
    return jnp.asarray(rows, jnp.float32)


def share(own, *others):
    """-log of the share of `own` among all the similarities, at a temperature of 1/2."""
    return -(2 * own - math.log(sum(math.exp(2 * s) for s in (own, *others))))


def near(found, expected, tol=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tol, atol=1e-6)


# ---------------------------------------------------------------- by hand


def test_nt_xent_of_two_clips_and_two_views():
    features = vectors((X, X), (Y, X))
    first = share(1, 0, 1)  # both anchors: the other view 1; Y 0, X 1
    second = (share(0, 0, 0) + share(0, 1, 1)) / 2  # Y's only positive is X, and X's is Y
    near(losses.nt_xent(features, TEMPERATURE), [first, second])


def test_supcon_counts_the_views_of_all_clips_of_a_class():
    features = vectors((X, X), (Y, X), (Y, Y))
    of_x = (share(1, 0, 1, 0, 0) * 2 + share(0, 1, 1, 0, 0)) / 3  # positives X, X and Y; then Y, Y
    found = losses.supcon(features, jnp.asarray([3, 3, 5]), TEMPERATURE)
    near(found[0], of_x)
    near(found[2], share(1, 0, 0, 1, 0))  # its own other view alone; Y of the second is 1 too


def test_supcon_of_one_view_has_the_others_of_the_class_as_positives():
    features = vectors((X,), (X,), (Y,))
    found = losses.supcon(features, jnp.asarray([0, 0, 1]), TEMPERATURE)
    near(found, [share(1, 0), share(1, 0), 0.0])  # alone in its class: nothing to be like


def test_three_views_are_three_anchors_with_two_positives_each():
    features = vectors((X, X, Y), (Y, Y, Y))
    x = (share(1, 0, 0, 0, 0) + share(0, 1, 0, 0, 0)) / 2
    y = share(0, 0, 1, 1, 1)
    near(losses.nt_xent(features, TEMPERATURE)[0], (2 * x + y) / 3)


def test_without_any_label_supcon_is_nt_xent():
    none = jnp.full(8, -1)
    found = losses.supcon(FEATURES, none, TEMPERATURE)
    np.testing.assert_array_equal(found, losses.nt_xent(FEATURES, TEMPERATURE))
    apart = losses.supcon(FEATURES, jnp.arange(8), TEMPERATURE)
    near(apart, found)
    some = losses.supcon(FEATURES, jnp.asarray([7, 7, -1, -1, -1, -1, -1, -1]), TEMPERATURE)
    near(some[2:], found[2:])
    assert np.all(np.abs(some[:2] - found[:2]) > 1e-3)


def test_the_length_of_a_vector_means_nothing():
    near(losses.nt_xent(FEATURES * 7.0, TEMPERATURE), losses.nt_xent(FEATURES, TEMPERATURE))


def test_base_temperature_is_the_factor_of_the_authors_code():
    plain = losses.supcon(FEATURES, LABELS, 0.1)
    near(losses.supcon(FEATURES, LABELS, 0.1, base_temperature=0.07), plain * 0.1 / 0.07)


@pytest.mark.parametrize("labelled", [True, False])
def test_masked_equals_left_out_whatever_stands_there(labelled):
    mask = jnp.asarray([1.0, 0, 1, 1, 0, 1, 1, 1])
    kept = np.flatnonzero(mask)

    def total(features, labels, mask=None):
        if labelled:
            values = losses.supcon(features, labels, TEMPERATURE, mask=mask)
        else:
            values = losses.nt_xent(features, TEMPERATURE, mask=mask)
        return values.sum(), values

    poisoned = jnp.where(mask[:, None, None] > 0, FEATURES, jnp.nan)
    (_, found), slope = jax.value_and_grad(total, has_aux=True)(poisoned, LABELS, mask)
    (_, expected), known = jax.value_and_grad(total, has_aux=True)(FEATURES[kept], LABELS[kept])
    near(found[kept], expected)
    near(slope[kept], known)
    gone = np.flatnonzero(mask == 0)
    assert not np.any(found[gone]) and not np.any(slope[gone])


def test_nothing_to_compare_with_is_no_loss_and_no_slope():
    for mask, rows in ((jnp.zeros(8), 8), (jnp.ones(1), 1)):
        features = jnp.zeros((rows, 1, 5)) if rows == 1 else FEATURES

        def loss(f, mask=mask, rows=rows):
            return losses.supcon(f, LABELS[:rows], TEMPERATURE, mask=mask).sum()

        value, slope = jax.value_and_grad(loss)(features)
        assert value == 0 and not np.any(slope)


def test_gradients_of_features_and_temperature():
    def loss(features, temperature):
        return losses.supcon(jnp.asarray(features), LABELS, jnp.asarray(temperature))

    args = (FEATURES, jnp.float32(TEMPERATURE))
    check_grads(loss, args, order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)
    # one clip whose positive has similarity 1 and whose two negatives have 0, by t: with
    # e = exp(1/t), the loss is log(1 + 2 / e) and its slope -(2 / t^2) / (e + 2)
    features = vectors((X, X), (Y, Y))
    t = 0.5
    slope = jax.grad(lambda t: losses.nt_xent(features, t)[0])(jnp.float32(t))
    near(slope, 2 / t**2 / (math.exp(1 / t) + 2))


def test_low_precision_in_float32_out():
    low = FEATURES.astype(jnp.bfloat16)
    found = jax.jit(losses.supcon)(low, LABELS, 0.07)
    assert found.dtype == jnp.float32
    near(found, losses.supcon(low.astype(jnp.float32), LABELS, 0.07))


def test_views_of_a_clip_stand_in_blocks():
    rows = jnp.arange(6, dtype=jnp.float32)[:, None]
    np.testing.assert_array_equal(by_clip(rows, 2)[..., 0], [[0, 3], [1, 4], [2, 5]])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match=r"at least 2 views.*found 1.*data\.train_views"):
        losses.nt_xent(FEATURES[:, :1], TEMPERATURE)
    with pytest.raises(UserError, match="expected labels of shape"):
        losses.supcon(FEATURES, LABELS[:7], TEMPERATURE)
    with pytest.raises(UserError, match="expected mask of shape"):
        losses.supcon(FEATURES, LABELS, TEMPERATURE, mask=jnp.ones(1))


# ---------------------------------------------------------------- the authors' code


@pytest.mark.parametrize("temperature", [0.07, 0.1, 0.5])
def test_as_the_authors_code(shared, temperature):
    with np.load(shared / "golden" / "supcon_io.npz") as known:
        features, labels = (jnp.asarray(known[k]) for k in ("features", "labels"))
        labels = labels.astype(jnp.int32)
        base = losses.supcon(features, labels, temperature, base_temperature=0.07)
        near(base.mean(), known[f"supcon_t{temperature}"])
        plain = losses.supcon(features, labels, temperature)
        near(plain.mean(), known[f"supcon_t{temperature}_base{temperature}"])
        alone = losses.nt_xent(features, temperature) * temperature / 0.07
        near(alone.mean(), known[f"simclr_t{temperature}"])


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize("devices", [1, 8])
def test_loss_and_gradient_are_those_of_the_whole_batch_on_any_number_of_devices(devices):
    mesh = sharding.make_mesh((devices, 1), jax.devices()[:devices])
    split = NamedSharding(mesh, PartitionSpec("data"))

    def loss(features, labels, mask, temperature):
        values = losses.supcon(features, labels, temperature, mask=mask)
        return losses.masked_mean(values, mask)

    mask = jnp.ones(8).at[5].set(0)
    rest = (LABELS, mask, jnp.float32(TEMPERATURE))
    step = jax.value_and_grad(loss, (0, 3))
    placed = [jax.device_put(x, split) for x in (FEATURES, LABELS, mask)]
    value, slopes = jax.jit(step)(*placed, rest[-1])
    expected, known = step(FEATURES, *rest)
    near(value, expected, 1e-6)
    for found, slope in zip(slopes, known, strict=True):
        near(found, slope)
    # of the rows of each device alone it would be another number: there is nothing to push away
    local = np.mean([losses.nt_xent(FEATURES[i : i + 1], TEMPERATURE)[0] for i in range(8)])
    assert abs(local - value) > 1
