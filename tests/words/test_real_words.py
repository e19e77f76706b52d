"""Rendered clips judged on real ones: the world, the input and the training by their words."""

import dataclasses
import itertools

import both_orders
import pytest
import tiny_run

from configs import dinet_infar, real_arid6
from darkjax import config as configs
from darkjax import experiment, preflight, ranges, spec
from darkjax.data.catalog import get_dataset
from darkjax.data.class_names import ARID11
from darkjax.data.convert import convert
from darkjax.data.rendering.dataset import ACTIONS, Synthetic
from darkjax.data.rendering.world import LATER, PLAIN
from darkjax.errors import UserError

EVERY = [word for group in real_arid6.WORDS.values() for word in group]


def load(*words):
    return configs.load(f"{tiny_run.ROOT}/configs/real_arid6.py:{','.join(words)}")


def refused(pair):
    """Two worlds, inputs or trainings."""
    alone = (real_arid6.WORLDS, real_arid6.INPUTS, ("finetune", "adapt"))
    return any(set(pair) <= set(group) for group in alone)


@pytest.mark.parametrize("pair", [*itertools.combinations(EVERY, 2)], ids=",".join)
def test_every_pair_is_one_config_in_both_orders_or_is_refused_by_name(pair):
    both_orders.agree(load, pair, refused(pair))


@pytest.mark.parametrize("words", [(), *((word,) for word in EVERY)], ids=str)
def test_every_word_can_be_built(words):
    c = load(*words)
    ranges.check(c)
    c = configs.resolve(c)
    for name in c.stages:
        preflight.build(c, name, spec.bare(c, name, ACTIONS))
    assert set(ACTIONS) <= set(ARID11)


def test_labels_of_real_clips_are_unknown_but_where_they_are_asked_for():
    for words in ((), ("gamma",), ("adapt",), ("full",)):
        c = load(*words)
        assert all(not labelled for folder, _, labelled in c.data.sources if folder != "source")
        assert c[c.stages[-1]].keep_best == "" and c.data.source_synthetic is not None
    c = load("finetune")
    assert (c.finetune.data.sources, c.finetune.data.split) == ((), "fold")
    assert configs.data_of(configs.resolve(c), "rendered").sources == (("source", 1.0, True),)


def test_the_reversed_gradient_is_that_of_the_other_small_words():
    """At lambda 1 the actions are hardly learnt in so few steps."""
    demo = configs.load(f"{dinet_infar.__file__}:demo").dinet
    assert load("adapt").adapt.lambda_max == demo.lambda_max == 0.1


def test_the_official_validation_split_is_judged_by_a_word():
    for words in ((), ("finetune",), ("adapt",)):
        c = configs.resolve(load("validate", *words))
        for name in c.stages:
            data = configs.data_of(c, name)
            assert (data.split, data.train_split) == ("official", "train")
            assert data.eval_split == "validate"


def test_what_is_wrong_with_the_judged_clips_is_said_before_any_are_drawn(tmp_path):
    counts = {"clips_per_class": {"train": 1}, "groups": {"train": 1}}
    small = get_dataset("synthetic", classes=ACTIONS, **counts, frames=4, height=24, width=32)
    convert(small, str(tmp_path / "real"), workers=0)
    for words, folder, why in (
        (("validate",), tmp_path / "real", "needs the split 'validate'"),
        ((), tmp_path / "none", "expected a converted dataset"),
    ):
        c = load(*words)
        c.data.dir = str(folder)
        with pytest.raises(UserError, match=why):
            experiment.run(c, str(tmp_path / "run"))
        assert not (tmp_path / "run" / "records-source").exists()


def test_the_worlds():
    natural, filmed, rich, plain = (
        Synthetic(**load(*w).data.source_synthetic.to_dict())
        for w in ((), ("filmed_world",), ("rich_world",), ("plain_world",))
    )
    assert plain.world == PLAIN and all(vars(natural.world).values())
    later = dict.fromkeys(LATER, 0.0)
    assert rich.world == dataclasses.replace(natural.world, **later) != plain.world
    assert filmed.world == dataclasses.replace(natural.world, natural=0.0)
    assert (len(natural.clips()), len({clip.group for clip in natural.clips()})) == (1800, 150)


def test_spans():
    """Seconds from the first frame to the last of a view, of a rendered clip of so many."""
    found = []
    for words in ((), ("short",)):
        data = load(*words).data
        world = data.source_synthetic
        span = ((data.frames - 1) * data.stride + 1) / world.fps
        found.append((data.frames, round(span, 2), world.frames / world.fps))
    assert found == [(12, 1.92, 3), (8, 1.25, 2)]


def test_inputs():
    assert load().rendered.luminous_input == load("adapt").adapt.luminous_input == "difference"
    flow = load("flow", "finetune")
    assert flow.data.source_synthetic.flow.bound == flow.finetune.flow_bound == 6
    assert flow.data.channels == 6 and load().data.channels == 3
    assert load("flow", "adapt").adapt.mean == flow.rendered.mean != load().rendered.mean
    for word in real_arid6.INPUTS:
        assert load(word, "finetune").finetune.luminous_input == word
