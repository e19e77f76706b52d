"""DarkLight's words: any order, every pair a config that runs or a refusal that names both."""

import itertools
import os

import both_orders
import ml_collections
import pytest
import tiny_run
import tiny_zoo

from darkjax import config as configs
from darkjax import experiment

# What a word does, whatever stands beside it.
WORDS = {
    "demo": lambda c: c.data.synthetic is not None and c.darklight.epochs == 40,
    "arid6": lambda c: c.data.split == "fold" and c.darklight.epochs == 30,
    "r2plus1d_bert": lambda c: len(c.darklight.views) == 1 and c.darklight.model.mask_prob == 0.8,
    "md_bert": lambda c: (
        tuple(c.darklight.views) == ("dark", "gamma", "he")
        and c.darklight.model.fusion == "sigmoid"
        and c.darklight.gamma == 2.5
    ),
    "resnext": lambda c: c.darklight.model.backbone.to_dict() == {"variant": "resnext101"},
    "dark_only": lambda c: tuple(c.darklight.views) == ("dark",),
    "gamma_only": lambda c: tuple(c.darklight.views) == ("gamma",),
    "no_attention": lambda c: not c.darklight.model.attention,
    "pretrained": lambda c: (
        len(c.darklight.init_from) == 1 and c.darklight.mean == c.darklight.std == "weights"
    ),
}
# Written apart from the config's own table.
REFUSED = [
    {"demo", "arid6"}, {"r2plus1d_bert", "md_bert"}, {"dark_only", "gamma_only"},
    {"demo", "resnext"}, {"arid6", "resnext"}, {"demo", "pretrained"}, {"arid6", "pretrained"},
    {"r2plus1d_bert", "resnext"}, {"r2plus1d_bert", "no_attention"},
    {"md_bert", "dark_only"}, {"md_bert", "gamma_only"},
]  # fmt: skip


def load(*words):
    return configs.load(f"{tiny_run.ROOT}/configs/darklight_arid.py:{','.join(words)}")


@pytest.mark.parametrize("pair", list(itertools.combinations(WORDS, 2)), ids=",".join)
def test_every_pair_does_what_both_words_say_or_is_refused_by_name(pair):
    refused = set(pair) in REFUSED
    both_orders.agree(load, pair, refused)
    if not refused:
        c = load(*pair)
        for word in pair:
            assert WORDS[word](c), word


def test_the_recipe_is_the_released_one():
    c = load()
    d, s = c.data, c.darklight
    assert (d.frames, d.stride, tuple(d.size), d.crop) == (64, 1, (112, 112), "corners")
    assert (tuple(d.corner_scales), d.corner_distort) == ((1, 0.875, 0.75, 0.66), 1)
    assert (d.views_clips, d.views_crops) == (1, 10)
    assert (s.optim.name, s.optim.lr, s.optim.weight_decay) == ("adamw", 1e-5, 1e-3)
    assert (s.batch_size, s.accumulate, s.epochs, s.gamma) == (128, 16, 200, 1.8)
    assert (s.model.dropout, s.model.mask_prob, tuple(s.views)) == (0.8, 1, ("dark", "gamma"))
    assert load("r2plus1d_bert").darklight.views == ("dark",)
    assert load("pretrained").darklight.init_from[0][0] == "weights/r2plus1d34"
    p = load("resnext", "pretrained").darklight
    assert p.init_from[0][0] == "weights/resnext101"
    # ResNeXt's weights are of levels from 0 to 255, without a deviation.
    assert load("resnext").darklight.std == pytest.approx((1 / 255,) * 3)


def shrunk(words, records):
    """The config of these words with tiny clips and a tiny backbone."""
    c = load(*words)
    tiny = tiny_run.config(records)
    for field in ("dir", "synthetic", "num_classes"):
        c.data[field] = tiny.data[field]
    c.data.frames, c.data.stride, c.data.size = 4, 1, (16, 16)
    c.data.views_crops, c.eval_batch_size, c.report_clips, c.log_every = 1, 8, 2, 1
    c.data.eval_split = "test" if c.data.split == "official" else c.data.eval_split
    s = c.darklight
    with c.unlocked():
        s.model.backbone_net = "resnet3d"
        s.model.backbone = ml_collections.ConfigDict({"variant": "10", "width": 4})
    s.batch_size, s.accumulate, s.steps, s.optim.warmup_steps = 16, 2, 2, 0
    return c


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with `weights/r2plus1d34`, converted from a tiny file of another family."""
    return tiny_zoo.published(tmp_path_factory.mktemp("published"), "r2plus1d34")


COVER = [
    ("demo",),
    ("md_bert", "no_attention", "pretrained"),
    ("arid6", "gamma_only", "r2plus1d_bert"),
    ("dark_only", "no_attention"),
]


@pytest.mark.slow
@pytest.mark.parametrize("words", COVER, ids=",".join)
def test_words_together_run_to_the_end(words, tiny_folder, tmp_path, published, monkeypatch):
    monkeypatch.chdir(published)
    found = experiment.run(shrunk(words, tiny_folder), str(tmp_path))
    assert found["numbers"]["n"] > 0
    assert os.path.exists(tmp_path / "darklight" / "done.json")
