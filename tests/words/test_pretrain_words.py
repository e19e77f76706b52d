"""The zoo without labels: every network by its word; clips and networks are those of supervised."""

import itertools

import both_orders
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import preflight, spec
from darkjax.weights import zoo

OTHERS = ("demo", "arid6", "pretrained")


def load(*words, file="pretrain_dark"):
    return configs.load(f"{tiny_run.ROOT}/configs/{file}.py:{','.join(words)}")


def refused(pair):
    """Whether two words make no sense together; written apart from the config's own table."""
    two = set(pair)
    return two == {"demo", "arid6"} or ("pretrained" in two and bool(two & {"c3d", *OTHERS[:2]}))


PAIRS = [*itertools.combinations(OTHERS, 2), *itertools.product(("r3d18", "c3d"), OTHERS)]


@pytest.mark.parametrize("pair", PAIRS, ids=",".join)
def test_every_pair_is_one_config_in_both_orders_or_is_refused_by_name(pair):
    both_orders.agree(load, pair, refused(pair))


SOME = ("c3d", "slowfast_r50_8x8", "vit_b16")


@pytest.mark.parametrize("words", [(), ("demo",), ("arid6",)], ids=str)
@pytest.mark.parametrize(
    "name", [n if n in SOME else pytest.param(n, marks=pytest.mark.slow) for n in zoo.NAMES]
)
def test_network_and_clips_are_those_of_supervised_training(name, words):
    c, like = load(name, *words), load(name, *words, file="supervised")
    assert c.pretrain.model.to_dict() == like.classifier.model.to_dict()
    assert c.data.to_dict() == like.data.to_dict()
    assert (c.pretrain.mean, c.pretrain.std) == (like.classifier.mean, like.classifier.std)
    assert c.stages == ("pretrain",) and c.pretrain.data.train_views == 2
    configs.resolve(c)


def test_published_weights_begin_the_network_and_bring_their_levels():
    s = load("pretrained", "r2plus1d34").pretrain
    assert s.init_from == (("weights/r2plus1d34", r"(?!head/)(.*)", r"features/\1"),)
    assert s.mean == s.std == "weights"


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_demo_of_every_network_can_be_traced(name):
    c = configs.resolve(load(name, "demo"))
    preflight.build(c, "pretrain", spec.bare(c, "pretrain", tuple("abcdef")))
