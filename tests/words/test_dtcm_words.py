"""DTCM's and Zero-DCE's words: any order, every pair a config that runs or a refusal by name."""

import itertools
import os
import re

import ml_collections
import pytest
import tiny_run
import tiny_zoo

from darkjax import config as configs
from darkjax import experiment
from darkjax.errors import UserError

SMALL = {"demo", "arid6"}
CURVES = {"k1": 1, "k2": 2, "k4": 4, "k8": 8, "k16": 16}
# What a word does, whatever stands beside it.
DTCM = {
    "demo": lambda c: c.data.synthetic is not None and c.dtcm.epochs == 20,
    "arid6": lambda c: c.data.split == "fold" and c.dtcm.epochs == 30,
    "uav": lambda c: c.data.centre == (128, 128) and c.data.num_classes == 155,
    "frames16": lambda c: c.data.frames == 16,
    "recognition": lambda c: c.dtcm.objective == "recognition" and not c.dtcm.enhancer_frozen,
    "two_stage": lambda c: c.stages == ("enhancer", "dtcm") and c.dtcm.enhancer_frozen,
    **{
        word: lambda c, k=k: all(c[stage].enhancer.k == k for stage in c.stages)
        for word, k in CURVES.items()
    },
    "pretrained": lambda c: "weights/resnext101" in [rule[0] for rule in c.dtcm.init_from],
}
ZERO_DCE = {
    "video": lambda c: c.data.frames == 8 and c.data.split == "official",
    "demo": lambda c: c.data.synthetic is not None and c.enhancer.batch_size == 16,
    "light": lambda c: c.enhancer.enhancer.name == "zero_dce_light",
    "sci": lambda c: c.enhancer.objective == "sci" and c.enhancer.optim.clip == 5,
    "code": lambda c: c.enhancer.loss_form == "code",
}
WORDS = {"dtcm_arid": DTCM, "zero_dce": ZERO_DCE}
PAIRS = [(file, pair) for file, words in WORDS.items() for pair in itertools.combinations(words, 2)]
ONE_OF = (
    {"demo", "arid6", "uav", "video"},
    {"recognition", "two_stage"},
    set(CURVES),
    {"light", "sci"},
    {"sci", "code"},
)


def refused(pair):
    """Whether two words make no sense together; written apart from the configs' own tables."""
    two = set(pair)
    return any(len(two & group) > 1 for group in ONE_OF) or bool(
        two & SMALL and two & {"frames16", "k16", "pretrained"}
    )


RUN = [(file, pair) for file, pair in PAIRS if not refused(pair)]


def load(file, *words):
    return configs.load(f"{tiny_run.ROOT}/configs/{file}.py:{','.join(words)}")


@pytest.mark.parametrize(("file", "pair"), PAIRS, ids=str)
def test_every_pair_does_what_both_words_say_in_any_order_or_is_refused_by_name(file, pair):
    if not refused(pair):
        one, other = load(file, *pair), load(file, *reversed(pair))
        assert one.to_json_best_effort() == other.to_json_best_effort()
        resolved = configs.resolve(one)
        for word in pair:
            assert WORDS[file][word](resolved), word
        return
    for order in (pair, pair[::-1]):
        with pytest.raises(UserError) as error:
            load(file, *order)
        line = str(error.value)
        assert all(re.search(rf"\b{word}\b", line) for word in pair), line
        assert "\n" not in line


def test_the_matrix_has_one_word():
    full, quick = (load("enhance_matrix", word) for word in ("", "quick"))
    assert (full.joint.epochs, quick.joint.epochs, quick.seeds) == (20, 2, 1)
    with pytest.raises(UserError, match="'fast' is not one of quick"):
        load("enhance_matrix", "fast")


# ---- end to end ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with `weights/resnext101`, converted from a tiny file of that family."""
    return tiny_zoo.published(tmp_path_factory.mktemp("published"), "resnext101")


def shrunk(file, words, records):
    """The config of these words with tiny clips and networks; frames that share curves as they are.

    The rendered clips have 12 frames: more than that are looked at in a circle.
    """
    c = load(file, *words)
    tiny = tiny_run.config(records)
    for field in ("dir", "synthetic", "num_classes"):
        c.data[field] = tiny.data[field]
    c.data.size, c.data.centre, c.data.views_crops = (16, 16), (), 1
    c.data.frames, c.data.stride = min(c.data.frames, 17), 1
    c.data.eval_split = "test" if c.data.split == "official" else c.data.eval_split
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    with c.unlocked():
        for name in c.stages:
            s = c[name]
            if s.enhancer.name != "sci":
                s.enhancer.width = 8
            if s.method == "dtcm":
                s.model = ml_collections.ConfigDict(tiny_zoo.TINY["tiny"].model)
            s.batch_size, s.steps, s.eval_every, s.optim.warmup_steps = 8, 2, 0, 0
    return c


def run_to_the_end(file, words, records, work, published, monkeypatch):
    monkeypatch.chdir(published)
    c = shrunk(file, words, records)
    found = experiment.run(c, str(work))
    assert found["numbers"]["n"] > 0
    for name in c.stages:
        assert os.path.exists(work / name / "done.json")


COVER = [
    ("dtcm_arid", ("two_stage", "k4", "pretrained")),
    ("dtcm_arid", ("demo", "recognition", "k2")),
    ("zero_dce", ("video", "light", "code")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "words"), COVER, ids=str)
def test_words_together_run_to_the_end(file, words, tiny_folder, tmp_path, published, monkeypatch):
    run_to_the_end(file, words, tiny_folder, tmp_path, published, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "pair"), RUN, ids=str)
def test_every_pair_runs_to_the_end(file, pair, tiny_folder, tmp_path, published, monkeypatch):
    run_to_the_end(file, pair, tiny_folder, tmp_path, published, monkeypatch)
