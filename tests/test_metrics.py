"""Metrics against numbers worked out by hand, and merged parts against the whole."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkjax import metrics
from darkjax.errors import UserError
from darkjax.metrics import AveragePrecision, Classification, Confusion, TopK


def answers(classes, K):
    """Logits whose argmax is the given class."""
    return np.eye(K)[classes]


# ---------------------------------------------------------------- top-k


def test_top_k_by_hand():
    logits = [[3, 2, 1, 0], [3, 2, 1, 0], [3, 2, 1, 0], [0, 1, 2, 3]]
    state = TopK.from_logits(logits, [0, 1, 3, 3])  # ranks 0, 1, 3, 0
    assert state.ranks.tolist() == [2, 1, 0, 1]
    assert state.compute((1, 2, 3)) == {"top-1": 0.5, "top-2": 0.75, "top-3": 0.75}


def test_top_5_of_three_classes_is_called_top_3():
    state = Classification.from_logits([[3, 2, 1], [3, 2, 1]], [0, 2])
    found = state.compute()
    assert found["top-1"] == 0.5 and found["top-3"] == 1.0 and "top-5" not in found


def test_among_equal_logits_the_lower_class_is_better():
    equal = np.zeros((3, 3))
    assert TopK.from_logits(equal, [0, 1, 2]).ranks.tolist() == [1, 1, 1]
    # ... and the confusion agrees: class 0 was the answer every time.
    assert Confusion.from_logits(equal, [0, 1, 2]).counts[:, 0].tolist() == [1, 1, 1]


def test_top_1_is_the_trace_of_the_confusion():
    rng = np.random.default_rng(1)
    logits, labels = rng.integers(0, 3, (50, 6)), rng.integers(0, 6, 50)  # many ties
    state = Classification.from_logits(logits, labels)
    assert state.top.ranks[0] == np.trace(state.confusion.counts)


# ---------------------------------------------------------------- confusion


def test_a_model_that_always_answers_class_2():
    labels = [0, 0, 1, 2, 2, 2, 3, 3]
    state = Classification.from_logits(answers([2] * 8, 4), labels)
    found = state.compute()
    assert found["top-1"] == 3 / 8  # the share of class 2
    assert found["mean-class"] == 0.25  # chance
    rows = state.confusion.per_class()
    assert [r.recall for r in rows] == [0, 0, 1, 0]
    assert rows[2].precision == 3 / 8
    assert math.isnan(rows[0].precision)  # never answered


def test_three_classes_by_hand():
    truth, said = [0, 0, 0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 2, 2, 2]
    state = Confusion.from_logits(answers(said, 3), truth)
    assert state.counts.tolist() == [[3, 1, 0], [0, 1, 2], [0, 0, 1]]
    assert state.per_class(["run", "sit", "walk"]) == [
        ("run", 4, 3 / 4, 1.0),
        ("sit", 3, 1 / 3, 1 / 2),
        ("walk", 1, 1.0, 1 / 3),
    ]
    assert state.compute()["mean-class"] == pytest.approx((3 / 4 + 1 / 3 + 1) / 3)


def test_a_class_absent_from_the_truth_is_left_out_of_the_mean():
    state = Confusion.from_logits(answers([0, 2, 1], 3), [0, 0, 1])
    assert state.compute()["mean-class"] == pytest.approx((1 / 2 + 1) / 2)


# ---------------------------------------------------------------- mask, dtypes, merging


def test_masked_rows_do_not_count_whatever_they_hold():
    logits = np.array([[1.0, 0.0], [np.nan, np.nan], [0.0, 1.0]])
    state = Classification.from_logits(logits, [0, -7, 0], [1.0, 0.0, 1.0])
    assert state.compute() == {"top-1": 0.5, "top-2": 1.0, "mean-class": 0.5, "n": 2.0}


def test_device_arrays_of_low_precision_are_taken():
    logits = jnp.asarray([[0, 1], [1, 0]], jnp.bfloat16)
    state = Classification.from_logits(logits, jnp.asarray([1, 1]), jnp.asarray([True, True]))
    assert state.compute()["top-1"] == 0.5


def test_small_integers_for_labels_do_not_wrap():
    truth = np.array([0, 150, 199], np.uint8)
    state = Classification.from_logits(answers(truth, 200), truth)
    assert np.diagonal(state.confusion.counts).nonzero()[0].tolist() == [0, 150, 199]
    assert state.compute()["top-1"] == 1


def test_one_class_is_always_right():
    assert Classification.from_logits([[0.3], [-2.0]], [0, 0]).compute()["top-1"] == 1


def test_nothing_measured_is_nan_not_zero():
    found = Classification.from_logits(np.zeros((1, 3)), [0], [0]).compute()
    assert found.pop("n") == 0
    found |= AveragePrecision.from_logits(np.zeros((1, 3)), [0], [0]).compute()
    assert all(math.isnan(v) for v in found.values())


def test_what_is_reported_is_plain_python():
    """JSON takes no numpy integer, and a reader of `repr` no `np.float64(0.5)`."""
    logits, labels = np.eye(4)[[0, 1, 2, 3, 0]], np.array([0, 1, 2, 2, 1])
    state = Classification.from_logits(logits, labels)
    rows = state.confusion.per_class()
    assert [row.name for row in rows] == ["0", "1", "2", "3"]
    rows += metrics.by_tercile(labels.astype(np.float32), labels == 1)
    found = [*state.compute().values(), *(value for row in rows for value in row)]
    found += AveragePrecision.from_logits(logits, labels).compute().values()
    assert {type(value) for value in found} == {str, int, float}


@st.composite
def two_batches(draw):
    seed, n = draw(st.integers(0, 2**16)), draw(st.integers(0, 30))
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 3, (n, 4)).astype(np.float64)  # ties are likely
    return logits, rng.integers(0, 4, n), rng.integers(0, 2, n), draw(st.integers(0, n))


@settings(deadline=None, max_examples=50)
@given(two_batches())
def test_merged_parts_equal_the_whole(batch):
    logits, labels, mask, cut = batch
    for metric in (Classification, AveragePrecision):
        whole = metric.from_logits(logits, labels, mask)
        a = metric.from_logits(logits[:cut], labels[:cut], mask[:cut])
        b = metric.from_logits(logits[cut:], labels[cut:], mask[cut:])
        for found in (a.merge(b), b.merge(a)):
            np.testing.assert_equal(found.compute(), whole.compute())


def test_states_are_pytrees_that_add_and_can_be_saved(tmp_path):
    rng = np.random.default_rng(0)
    a, b = (
        Classification.from_logits(rng.normal(size=(5, 3)), rng.integers(0, 3, 5)) for _ in range(2)
    )
    total = jax.tree.map(np.add, a, b)  # what a sum over hosts does
    assert total.compute() == a.merge(b).compute()
    np.savez(tmp_path / "state.npz", **a.confusion._asdict())
    with np.load(tmp_path / "state.npz") as saved:
        assert Confusion(**saved).compute() == a.confusion.compute()


# ---------------------------------------------------------------- average precision


def test_average_precision_by_hand():
    # Class 1 by falling score: hit, miss, hit, miss: (1/1 + 2/3) / 2.
    # Class 0 by falling score: hit, miss, hit, miss as well.
    scores = [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]
    state = AveragePrecision.from_logits(scores, [1, 0, 1, 0])
    np.testing.assert_allclose(state.per_class(), [5 / 6, 5 / 6])
    assert state.compute()["mAP"] == pytest.approx(5 / 6)


def test_average_precision_of_perfect_constant_and_absent():
    scores = [[0.9, 0.5, 0.1], [0.8, 0.5, 0.2], [0.1, 0.5, 0.3], [0.0, 0.5, 0.4]]
    found = AveragePrecision.from_logits(scores, [0, 0, 1, 1]).per_class()
    assert found[0] == 1.0  # both above all others
    assert found[1] == 0.5  # one threshold: the share of positives, in whatever order
    assert math.isnan(found[2])
    assert AveragePrecision.from_logits(scores, [0, 0, 1, 1]).compute()["mAP"] == 0.75


def test_scores_of_low_precision_are_kept_as_float64():
    state = AveragePrecision.from_logits(jnp.asarray([[0, 1], [1, 0]], jnp.bfloat16), [1, 0])
    assert state.scores.dtype == np.float64 and state.compute()["mAP"] == 1


# ---------------------------------------------------------------- terciles


def test_accuracy_by_tercile():
    luma = [50, 10, 20, 60, 30, 40, 70]
    right = [1, 0, 0, 1, 1, 0, 1]
    assert metrics.by_tercile(luma, right) == [
        ("darkest", 10, 30, 3, pytest.approx(1 / 3)),
        ("middle", 40, 50, 2, 0.5),
        ("brightest", 60, 70, 2, 1.0),
    ]


def test_terciles_of_two_clips():
    table = metrics.by_tercile([2.0, 1.0], [True, False])
    assert [row.n for row in table] == [1, 1, 0]
    assert table[0].accuracy == 0 and math.isnan(table[2].accuracy)


def test_clips_of_equal_brightness_keep_their_order():
    luma = np.tile([2.0, 1.0], 300)  # 300 of each: the middle third has both
    right = np.arange(600) < 400
    assert [row.accuracy for row in metrics.by_tercile(luma, right)] == [1.0, 0.5, 0.5]


# ---------------------------------------------------------------- views


def test_average_views():
    p = [[1.0, 0.0], [0.2, 0.8], [0.6, 0.4], [0.0, 1.0], [9.0, 9.0]]
    found = metrics.average_views(p, [7, 3, 7, 3, 3], [1, 1, 1, 1, 0])
    assert found.clip.tolist() == [3, 7]
    np.testing.assert_allclose(found.probabilities, [[0.1, 0.9], [0.8, 0.2]])
    assert found.views.tolist() == [2, 2]
    assert found.first.tolist() == [1, 0]


def test_views_without_a_mask_all_count_in_low_precision_too():
    p = jnp.asarray([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], jnp.bfloat16)
    found = metrics.average_views(p, [4, 4, 2])
    np.testing.assert_array_equal(found.probabilities, [[0.0, 1.0], [0.75, 0.25]])
    assert found.clip.tolist() == [2, 4] and found.probabilities.dtype == np.float64


def test_first_rows_are_of_the_input_not_of_the_kept_rows():
    found = metrics.average_views(np.eye(3), [5, 5, 4], [0, 1, 1])
    assert found.clip.tolist() == [4, 5] and found.first.tolist() == [2, 1]


# ---------------------------------------------------------------- refusals


def average_precision(classes):
    return AveragePrecision(np.zeros((1, classes)), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TopK.from_logits([[np.nan, 0.0]], [0]), "NaN in 1 of 1"),
        (lambda: TopK.from_logits([[np.nan] * 2, [0.0, np.nan], [0.0] * 2], [0] * 3), "in 2 of 3"),
        (lambda: TopK.from_logits(np.eye(3), [0, 1]), r"found \(3, 3\) and \(2,\)"),
        (lambda: TopK.from_logits(np.zeros((2, 0)), [0, 0]), r"found \(2, 0\)"),
        (lambda: TopK(np.ones(3)).merge(TopK(np.ones(1))), "found 3 and 1"),
        (lambda: average_precision(3).merge(average_precision(2)), "found 3 and 2"),
        (lambda: TopK.from_logits([[0.0, 1.0]], [2]), r"labels in \[0, 2\), found 2"),
        (lambda: TopK.from_logits([[0.0, 1.0]], [-1]), "found -1"),
        (lambda: TopK.from_logits([0.0, 1.0], [0]), r"found \(2,\) and \(1,\)"),
        (lambda: Confusion.from_logits([[0.0, 1.0]], [0], [1, 1]), r"mask of shape \(1,\)"),
        (lambda: Confusion(np.eye(3)).merge(Confusion(np.eye(2))), "found 3 and 2"),
        (lambda: Confusion(np.eye(3)).per_class(["a"]), "expected 3 class names, found 1"),
        (lambda: metrics.by_tercile([1.0], [1, 0]), "terciles"),
        (lambda: metrics.average_views(np.eye(2), [0]), "views: expected"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()
