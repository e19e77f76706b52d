"""Which records are learnt from and which are judged: by hand, and never both."""

from types import SimpleNamespace

import pytest
from tiny import Noise, converted

from darkjax.data import split
from darkjax.data.records import Records
from darkjax.errors import UserError


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return Records(converted(tmp_path_factory, Noise(train=12, test=4)))


def sides(records, **fields):
    """Clips of both sides, and the evaluation's name."""
    train, held, name = split.rows(records, data_section(**fields))
    return [records.meta["clip"][rows].tolist() for rows in (train, held)], name


def data_section(**fields):
    """Those fields of a config's data section that choose clips."""
    data = {
        "split": "official", "protocol": "", "train_split": "train", "eval_split": "test",
        "fold": 1, "random_share": 0.25, "random_seed": 0, "allow_leaky_split": False,
    }  # fmt: skip
    return SimpleNamespace(**{**data, **fields})


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
    with pytest.raises(UserError, match=r"data\.split='rand' is not 'official', 'fold' or"):
        sides(records, split="rand")


def test_a_random_split_of_known_groups_is_refused(records):
    with pytest.raises(UserError, match=r"6 of 6 groups .*'group0'.*allow_leaky_split") as error:
        sides(records, split="random")
    assert "\n" not in str(error.value) and "data.split='fold'" in str(error.value)


def test_a_leaky_split_says_so_in_its_name(records):
    leaky = {"split": "random", "allow_leaky_split": True}
    (train, held), name = sides(records, **leaky)
    assert name == "noise-random0.25 (leaky split)"
    assert sorted(train + held) == [*range(12)]
    assert [sum(records.clips[n]["label"] == k for n in held) for k in (0, 1)] == [2, 2]
    assert sides(records, **leaky)[0] == [train, held]
    assert any(sides(records, **leaky, random_seed=s)[0] != [train, held] for s in (1, 2, 3))


def test_a_random_split_where_no_group_is_known(records):
    """Of test, where every clip is a group of its own: nothing leaks, and nothing is said."""
    (train, held), name = sides(records, split="random", train_split="test", random_share=0.5)
    assert sorted(train + held) == [12, 13, 14, 15] and name == "noise-random0.5"
    with pytest.raises(UserError, match=r"data\.random_share=0\.9.* leaves no clip to train on"):
        sides(records, split="random", train_split="test", random_share=0.9)
    with pytest.raises(UserError, match=r"data\.random_share=0\.01.* leaves no clip to judge on"):
        sides(records, split="random", train_split="test", random_share=0.01)
