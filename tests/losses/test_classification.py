"""Six tests for every loss: scalar, batched, permuted axes, masked, gradient, singular point."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from darkjax import losses
from darkjax.errors import UserError
from darkjax.losses.codes import discriminative_codes

LN2, LN3 = math.log(2), math.log(3)
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(2, 3, 4)), jnp.float32)  # [B1, B2, K]
LABELS = jnp.asarray(RNG.integers(0, 4, size=(2, 3)), jnp.int32)
TARGETS = jnp.asarray(RNG.dirichlet(np.ones(4), size=(2, 3)), jnp.float32)
TEACHER = LOGITS + jnp.asarray(RNG.choice([-0.7, 0.4], size=(2, 3, 4)), jnp.float32)

CASES = {
    "cross_entropy": (losses.cross_entropy, LOGITS, LABELS),
    "soft_cross_entropy": (losses.soft_cross_entropy, LOGITS, TARGETS),
    "binary_cross_entropy": (
        lambda a, t: losses.binary_cross_entropy(a[..., 0], t[..., 0]),
        LOGITS,
        TARGETS,
    ),
    "l1_distillation": (losses.l1_distillation, LOGITS, TEACHER),
    "knowledge_distillation": (
        lambda a, t: losses.knowledge_distillation(a, t, 4.0),
        LOGITS,
        TEACHER,
    ),
    "discriminative_codes": (discriminative_codes, LOGITS, TEACHER),
}
every_loss = pytest.mark.parametrize("name", CASES)


def close(found, expected, tol=1e-6):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tol, atol=tol)


# ---------------------------------------------------------------- hand-computed, one example


def test_cross_entropy_of_one_example():
    logits = jnp.asarray([0.0, 0.0, LN2])  # softmax: 1/4, 1/4, 1/2
    close(losses.cross_entropy(logits, jnp.asarray(2)), LN2)
    close(losses.cross_entropy(logits, jnp.asarray(0)), 2 * LN2)


def test_soft_cross_entropy_of_one_example():
    logits = jnp.asarray([0.0, 0.0, LN2])
    targets = jnp.asarray([0.5, 0.0, 0.5])
    close(losses.soft_cross_entropy(logits, targets), 1.5 * LN2)  # (2 ln2 + ln2) / 2


def test_binary_cross_entropy_of_one_example():
    found = losses.binary_cross_entropy(jnp.asarray([LN3, LN3, 0.0]), jnp.asarray([1.0, 0.0, 0.5]))
    close(found, [math.log(4 / 3), 2 * LN2, LN2])  # sigmoid(ln 3) is 3/4
    huge = losses.binary_cross_entropy(jnp.asarray([1e4, -1e4]), jnp.asarray([1.0, 1.0]))
    close(huge, [0.0, 1e4])


def test_l1_distillation_of_one_example_is_a_sum_not_a_mean():
    found = losses.l1_distillation(jnp.asarray([1.0, -2.0, 3.0]), jnp.asarray([0.0, 1.0, 3.5]))
    close(found, 1 + 3 + 0.5)


def test_knowledge_distillation_of_one_example():
    teacher, student = jnp.asarray([2 * LN3, 0.0]), jnp.asarray([0.0, 0.0])
    # at t = 2 the teacher says 3/4 and 1/4, the student 1/2 twice
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    close(losses.knowledge_distillation(student, teacher, 2.0), expected)
    close(losses.knowledge_distillation(teacher + 7.0, teacher, 2.0), 0)
    by_student, by_teacher = jax.grad(losses.knowledge_distillation, (0, 1))(student, teacher, 2.0)
    close(by_student, [2 * (0.5 - 0.75), 2 * (0.5 - 0.25)])  # t (p_student - p_teacher)
    close(by_teacher, [0, 0])


def test_smooth_labels_of_one_example():
    close(losses.smooth_labels(jnp.asarray(1), 4, 0.2), [0.05, 0.85, 0.05, 0.05])
    close(losses.smooth_labels(jnp.asarray(1), 4, 0.0), [0, 1, 0, 0])


# ---------------------------------------------------------------- the six tests


@every_loss
def test_batched_equals_one_by_one(name):
    loss, a, b = CASES[name]
    found = loss(a, b)
    assert found.shape == (2, 3)
    for i in np.ndindex(2, 3):
        close(found[i], loss(a[i], b[i]))


@every_loss
def test_permuted_batch_axes_permute_the_loss(name):
    loss, a, b = CASES[name]
    close(loss(jnp.swapaxes(a, 0, 1), jnp.swapaxes(b, 0, 1)), loss(a, b).T)


@every_loss
def test_masked_equals_compacted(name):
    loss, a, b = CASES[name]
    mask = np.array([[1, 0, 1], [0, 0, 1]], bool)
    poisoned = jnp.where(mask[..., None], a, jnp.nan)
    found = losses.masked_mean(loss(poisoned, b), jnp.asarray(mask))
    close(found, jnp.mean(loss(a[mask], b[mask])))


@every_loss
def test_gradient(name):
    loss, a, b = CASES[name]

    def of_first(x):
        return loss(jnp.asarray(x), b)

    check_grads(of_first, (a,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


@every_loss
def test_float32_inside_and_under_jit(name):
    loss, a, b = CASES[name]
    found = jax.jit(loss)(a.astype(jnp.bfloat16), b)
    assert found.dtype == jnp.float32
    close(found, loss(a.astype(jnp.bfloat16).astype(jnp.float32), b))


@pytest.mark.parametrize("name", ["soft_cross_entropy", "l1_distillation"])
def test_the_other_side_may_be_of_low_precision_too(name):
    loss, a, b = CASES[name]
    low = b.astype(jnp.bfloat16)
    close(loss(a, low), loss(a, low.astype(jnp.float32)))


def finite(f, x):
    value, gradient = jax.value_and_grad(lambda v: jnp.sum(f(v)))(x)
    return bool(jnp.isfinite(value)) and bool(jnp.all(jnp.isfinite(gradient)))


def test_cross_entropy_is_finite_at_certainty():
    certain = jnp.asarray([1e30, -1e30, 0.0])
    assert finite(lambda x: losses.cross_entropy(x, jnp.asarray(1)), certain)
    close(losses.cross_entropy(certain, jnp.asarray(0)), 0)


def test_soft_cross_entropy_is_finite_at_certainty_and_with_an_excluded_class():
    target = jnp.asarray([0.5, 0.5, 0.0])
    assert finite(lambda x: losses.soft_cross_entropy(x, target), jnp.asarray([1e30, -1e30, 0.0]))
    excluded = jnp.asarray([0.0, 0.0, -jnp.inf])
    assert finite(lambda x: losses.soft_cross_entropy(x, target), excluded)
    close(losses.soft_cross_entropy(excluded, target), LN2)


def test_l1_distillation_is_finite_where_both_agree():
    same = jnp.asarray([1.0, 2.0])
    assert finite(lambda x: losses.l1_distillation(x, same), same)
    close(jax.grad(lambda x: losses.l1_distillation(x, same))(same), [0, 0])
    close(losses.l1_distillation(same, same), 0)


# ---------------------------------------------------------------- closed-form properties


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    found = jax.grad(lambda x: jnp.sum(losses.cross_entropy(x, LABELS)))(LOGITS)
    expected = jax.nn.softmax(LOGITS) - jax.nn.one_hot(LABELS, 4, dtype=jnp.float32)
    close(found, expected)


def test_no_gradient_into_the_teacher_and_signs_into_the_student():
    student, teacher = jnp.asarray([1.0, -2.0]), jnp.asarray([0.0, 1.0])
    by_student, by_teacher = jax.grad(losses.l1_distillation, argnums=(0, 1))(student, teacher)
    close(by_student, [1, -1])
    close(by_teacher, [0, 0])


def test_soft_with_one_hot_targets_is_the_hard_loss():
    hot = losses.smooth_labels(LABELS, 4, 0.0)
    close(losses.soft_cross_entropy(LOGITS, hot), losses.cross_entropy(LOGITS, LABELS))


def test_smoothed_loss_is_the_mix_of_label_and_uniform():
    smooth = losses.soft_cross_entropy(LOGITS, losses.smooth_labels(LABELS, 4, 0.3))
    uniform = -jnp.mean(jax.nn.log_softmax(LOGITS), axis=-1)
    close(smooth, 0.7 * losses.cross_entropy(LOGITS, LABELS) + 0.3 * uniform)


def test_smooth_labels_sum_to_one_in_every_batch_shape():
    found = losses.smooth_labels(LABELS, 4, 0.1)
    assert found.shape == (2, 3, 4) and found.dtype == jnp.float32
    close(found.sum(-1), np.ones((2, 3)))


def test_cross_entropy_of_a_label_beyond_the_classes_is_nan():
    assert jnp.isnan(losses.cross_entropy(jnp.zeros(3), jnp.asarray(3)))


def test_masked_mean():
    values = jnp.asarray([1.0, 2.0, jnp.nan, 6.0])
    close(losses.masked_mean(values, jnp.asarray([1.0, 1.0, 0.0, 1.0])), 3.0)
    close(losses.masked_mean(values, jnp.zeros(4)), 0.0)
    low = losses.masked_mean(values.astype(jnp.bfloat16), jnp.asarray([True, True, False, True]))
    assert low.dtype == jnp.float32 and low == 3.0
    close(jax.grad(losses.masked_mean)(values, jnp.asarray([1, 1, 0, 1])), [1 / 3, 1 / 3, 0, 1 / 3])
    close(losses.masked_mean(values, jnp.asarray([0.0, 1.0, 0.0, 0.0])), 2.0)
    close(losses.masked_mean(values, jnp.asarray([0.5, 1.5, 0.0, 0.0])), 1.75)  # a weight
    close(losses.masked_mean(values, jnp.asarray([0.25, 0.0, 0.0, 0.0])), 0.25)  # never blown up


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.l1_distillation(jnp.zeros((2, 8)), jnp.zeros((2, 1))),
        lambda: losses.cross_entropy(jnp.zeros((2, 3)), jnp.zeros((1,), jnp.int32)),
        lambda: losses.soft_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((1, 3))),
        lambda: losses.masked_mean(jnp.zeros(3), jnp.zeros(1)),
    ],
)
def test_what_would_broadcast_is_refused(call):
    with pytest.raises(UserError, match=r"expected .* found"):
        call()


@pytest.mark.parametrize("eps", [1.5, 1.0, -0.1])
def test_label_smoothing_out_of_its_range_is_refused(eps):
    with pytest.raises(UserError, match=rf"0 <= eps < 1, found {eps}"):
        losses.smooth_labels(LABELS, 4, eps)
