"""Guesses by how common classes are among the clips that are left."""

import numpy as np
import pytest

from darkjax.data.prior import Prior, left_out


def test_by_hand():
    # fold one left out: the other has classes 1, 3 of 4 clips; then 3, 1
    prior = left_out(np.array([[3, 1], [1, 3]]))
    assert prior == pytest.approx(Prior((3 / 4 + 3 / 4) / 8 + (3 / 4 + 3 / 4) / 8, 2 / 8, 0.5))


def test_folds_alike_are_worth_what_the_whole_is_and_a_class_a_fold_nothing():
    alike = left_out(np.array([[4, 2, 2], [8, 4, 4]]))
    assert alike.share == pytest.approx(alike.whole) == pytest.approx(0.375)
    assert alike.common == pytest.approx(0.5)
    apart = left_out(np.eye(4, dtype=int) * 5)
    assert apart == pytest.approx(Prior(0.0, 0.0, 0.25))


def test_equally_common_classes_share_the_guess():
    assert left_out(np.array([[2, 2], [1, 1]])).common == pytest.approx(0.5)


def test_empty_folds_do_not_count_and_one_fold_is_refused():
    counts = np.array([[3, 1], [0, 0], [1, 3]])
    assert left_out(counts) == left_out(counts[[0, 2]])
    assert left_out(np.array([[1, 0], [0, 1]])) == Prior(0.0, 0.0, 0.5)  # one clip is a fold
    with pytest.raises(ValueError, match="two folds or more, found 1"):
        left_out(counts[:2])
