"""Which records are learnt from and which are judged: by hand, and never both."""

from types import SimpleNamespace

import pytest
from tiny import Noise

from darkjax.data import split
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.errors import UserError


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    convert(Noise(train=12, test=4), folder)
    return Records(folder)


def sides(records, **fields):
    """Clips of both sides, and the evaluation's name."""
    data = {"split": "official", "train_split": "train", "eval_split": "test", "fold": 1}
    train, held, name = split.rows(records, SimpleNamespace(**{**data, **fields}))
    return [records.meta["clip"][rows].tolist() for rows in (train, held)], name


def test_official_splits(records):
    assert sides(records) == ([[*range(12)], [12, 13, 14, 15]], "noise-test")
    turned = sides(records, train_split="test", eval_split="train")
    assert turned == ([[12, 13, 14, 15], [*range(12)]], "noise-train")


def test_a_fold_is_held_out_of_the_training_split(records):
    held_out = []
    for fold in (1, 2, 3):
        (train, held), name = sides(records, split="fold", fold=fold)
        assert {records.clips[n]["fold"] for n in held} == {fold}
        assert sorted(train + held) == [*range(12)] and name == f"noise-fold{fold}"
        held_out += held
    assert len(set(held_out)) == len(held_out)


def test_what_is_not_there_is_said(records):
    with pytest.raises(UserError, match=r"needs the split 'validate'; .* has test, train: convert"):
        sides(records, eval_split="validate")
    with pytest.raises(UserError, match=r"data\.split='random' is not 'official' or 'fold'"):
        sides(records, split="random")
