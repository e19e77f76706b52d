"""The words after a config's colon: orthogonal, order-free, refused by name."""

import itertools

import ml_collections
import pytest

from configs import common
from darkjax.errors import UserError

GROUPS = {"net": ("r3d",), "size": ("demo", "arid6"), "N": ("small", "large"), "input": ("flow",)}
REFUSED = (
    (("flow",), "no records of flow yet: leave it out"),
    (("r3d", "arid6"), "the clips are too few: take demo"),
)


def words(arg):
    return common.words(arg, GROUPS, REFUSED)


def test_words_come_in_the_order_in_which_they_apply():
    for order in itertools.permutations(("large", "demo", "r3d")):
        assert words(",".join(order)) == ["r3d", "demo", "large"]
    assert words("") == words(",") == []
    assert words(" demo, small,demo") == ["demo", "small"]


@pytest.mark.parametrize(
    ("arg", "line"),
    [
        ("dmeo", "'dmeo' is not one of r3d, demo, arid6, small, large, flow: did you mean 'demo'?"),
        ("demo,xyz", "'xyz' is not one of"),
        ("large,r3d,small", "'large,r3d,small': small and large are both the N: give one"),
        ("arid6,demo", "'arid6,demo': demo and arid6 are both the size"),
        ("arid6,r3d", "'arid6,r3d': r3d and arid6 do not go together: the clips are too few: take"),
        ("demo,flow", "'demo,flow': flow is not to be had: no records of flow yet"),
    ],
)
def test_what_is_refused_is_named(arg, line):
    with pytest.raises(UserError) as error:
        words(arg)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_pretrained_adds_the_published_weights_to_the_rules():
    stage = ml_collections.ConfigDict({"init_from": (("a", "b", "c"),), "published": (("d",) * 3,)})
    common.pretrained(stage)
    assert stage.init_from == (("a", "b", "c"), ("d", "d", "d"))
