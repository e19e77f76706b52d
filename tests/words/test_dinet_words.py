"""3D-DiNet's words: any order, every pair a config or a refusal by name; the published recipe."""

import itertools

import both_orders
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import preflight, spec
from darkjax.data.class_names import INFAR12

BACKBONES = ("c3d", "r3d18", "r3d34", "r3d50", "r3d101", "resnext101")
CLIPS = ("demo", "day_dark", "real")
WORDS = (*BACKBONES, *CLIPS, "source_only", "oracle", "adabn", "pretrained")
ONE_OF = (set(BACKBONES), set(CLIPS), {"source_only", "oracle"}, {"oracle", "adabn"})


def load(*words):
    return configs.load(f"{tiny_run.ROOT}/configs/dinet_infar.py:{','.join(words)}")


def refused(pair):
    """Whether two words make no sense together; written apart from the config's own table."""
    two = set(pair)
    return any(len(two & group) > 1 for group in ONE_OF) or (
        "pretrained" in two and bool(two & {"c3d", *CLIPS})
    )


@pytest.mark.parametrize("pair", list(itertools.combinations(WORDS, 2)), ids=",".join)
def test_every_pair_is_one_config_in_both_orders_or_is_refused_by_name(pair):
    both_orders.agree(load, pair, refused(pair))


def test_the_published_recipe():
    c = configs.resolve(load("pretrained"))
    s = c.dinet
    assert s.model.to_dict() == {"name": "resnext101"} and c.data.num_classes == 12
    assert (s.adapt, s.batch_norm, s.domain_head) == ("dann", "shared", (1024, 1024))
    assert (s.optim.name, s.optim.momentum, s.optim.schedule) == ("sgd", 0.9, "dann")
    assert (s.optim.lr, s.lambda_max, s.lambda_gamma, s.lambda_start) == (0.01, 1, 10, 0)
    assert c.data.sources == (("source", 0.5, True), ("", 0.5, False))
    assert s.init_from == (("weights/resnext101", r"(?!head/)(.*)", r"features/\1"),)
    assert s.mean == "weights" and s.keep_best == ""


def test_the_small_networks_have_a_recipe_of_their_own():
    for clips in CLIPS:
        for training in ((), ("source_only",), ("oracle",)):
            s = configs.resolve(load(clips, *training)).dinet
            o = s.optim
            assert (o.name, o.schedule, o.lr, o.warmup_steps) == ("adamw", "cosine", 3e-3, 50)
            assert (s.steps, s.batch_size, o.weight_decay) == (600, 32, 0.05)
            assert (s.lambda_max, s.lambda_gamma) == (0.1, 10)  # of 1 nothing is learnt in so few


def test_a_word_means_the_same_beside_any_other():
    for clips in ((), *((word,) for word in CLIPS)):
        assert load(*clips, "source_only").dinet.adapt == "none"
        assert load(*clips, "adabn").dinet.batch_norm == "domain"
        oracle = load(*clips, "oracle")
        assert oracle.dinet.adapt == "target"
        assert [labelled for _, _, labelled in oracle.data.sources] == [True, True]
    for name in BACKBONES:
        assert load(name).dinet.model.name == name
        assert load(name, "demo").dinet.model.to_dict() == load("real", name).dinet.model.to_dict()


def test_the_oracle_of_real_clips_is_not_judged_on_what_it_learnt():
    assert load("real").data.eval_split == load("real").data.train_split
    assert load("real", "oracle").data.split == "fold"
    assert load("demo", "oracle").data.split == "official"


def test_the_rendered_domains_show_the_same_classes_and_other_performances():
    for word, names in (("demo", INFAR12), ("day_dark", None)):
        target, source = (load(word).data[k] for k in ("synthetic", "source_synthetic"))
        assert (source.domain, target.domain) == ("day", "thermal" if names else "dark")
        assert source.get("classes") == target.get("classes") == names
        assert source.seed != target.seed


@pytest.mark.parametrize("name", [
    "r3d18", *(pytest.param(n, marks=pytest.mark.slow) for n in BACKBONES if n != "r3d18"),
])  # fmt: skip
def test_the_demo_can_be_trained_with_every_backbone(name):
    c = configs.resolve(load(name, "demo"))
    preflight.build(c, "dinet", spec.bare(c, "dinet", INFAR12))
