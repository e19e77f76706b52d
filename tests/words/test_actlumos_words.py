"""ActLumos' words: any order, every pair a config or a refusal by name; some run to the end."""

import itertools

import both_orders
import pytest
import tiny_run
import tiny_zoo

from darkjax import config as configs
from darkjax import experiment

STUDENTS = ("scratch", "ssl_only", "kd_only", "teacher_only")
WORDS = ("demo", "arid6", "md_bert", "motion", "pretrained", *STUDENTS)
STAGES = {
    "": ("pretrain", "teacher", "student"),
    "scratch": ("student",),
    "ssl_only": ("pretrain", "student"),
    "kd_only": ("teacher", "student"),
    "teacher_only": ("teacher",),
}


def load(*words):
    return configs.load(f"{tiny_run.ROOT}/configs/actlumos_arid.py:{','.join(words)}")


def refused(pair):
    """Whether two words make no sense together; written apart from the config's own table."""
    two = set(pair)
    return (
        len(two & set(STUDENTS)) > 1
        or two == {"demo", "arid6"}
        or ("pretrained" in two and bool(two & {"demo", "arid6"}))
        or ("md_bert" in two and bool(two & {"scratch", "ssl_only"}))
    )


NET = {"name": "r2plus1d", **tiny_run.NETS["r2plus1d"][0]}
PAIRS = list(itertools.combinations(WORDS, 2))


@pytest.mark.parametrize("pair", PAIRS, ids=",".join)
def test_every_pair_is_one_config_in_both_orders_or_is_refused_by_name(pair):
    both_orders.agree(load, pair, refused(pair))


def test_motion_is_seen_in_the_place_of_dark_by_every_network():
    for data in ("demo", "arid6"):
        for words in ((), ("md_bert",)):
            plain, c = load(data, *words), load(data, "motion", *words)
            assert c.pretrain.luminous_input == "motion" and c.pretrain.gamma == c.student.gamma
            for name in {"rendered", "teacher", "student"} & set(c.stages):
                seen = tuple("motion" if view == "dark" else view for view in plain[name].views)
                assert c[name].views == seen and "motion" in seen
            assert c.student.teacher_views == c.teacher.views


def test_a_word_means_the_same_beside_any_other():
    for data in ("", "demo", "arid6", "pretrained"):
        rendered = ("rendered",) if data == "arid6" else ()
        for student, stages in STAGES.items():
            c = load(data, student)
            assert c.stages == (*rendered, *stages)
            assert set(c) & {"pretrain", "teacher", "student", "rendered"} == set(c.stages)
            sources = {rule[0] for name in c.stages for rule in c[name].init_from}
            assert sources <= {*c.stages, "weights/r2plus1d34"}
            if "student" in stages:
                assert (c.student.distill.weight > 0) == ("teacher" in stages)
                begins = {rule[0] for rule in c.student.init_from}
                first = {"arid6": "rendered", "pretrained": "weights/r2plus1d34"}.get(data, "")
                expected = {"pretrain" if "pretrain" in stages else first, *rendered} - {""}
                assert begins - {"teacher"} == expected
            if "teacher" in stages:
                bert = load(data, student, "md_bert")
                assert bert.teacher.views == ("dark", "gamma", "he")
                assert (bert.teacher.model.fusion, bert.teacher.supcon.weight) == ("sigmoid", 0)
                if "student" in stages:
                    assert bert.student.teacher_views == bert.teacher.views
                    assert bert.student.teacher.to_dict() == bert.teacher.model.to_dict()


def test_the_published_size():
    c = load()
    assert c.teacher.views == ("dark", "msr") and c.student.views == ("dark",)
    for s in (c.teacher, c.student):
        assert (s.model.name, s.model.backbone.variant) == ("views_bert", "34")
    assert c.teacher.supcon.weight > 0 and c.student.supcon.weight == 0
    assert c.pretrain.data.train_views == 2
    assert configs.resolve(load("pretrained")).student.teacher_mean == "weights"


# ---- end to end ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with `weights/r2plus1d34`, converted from a tiny file of that family."""
    return tiny_zoo.published(tmp_path_factory.mktemp("published"), "r2plus1d34")


def shrunk(words, records):
    """The config of these words with tiny clips and networks."""
    c = load(*words)
    tiny = tiny_run.config(records)
    for field in ("dir", "synthetic", "num_classes", "views_crops"):
        c.data[field] = tiny.data[field]
    c.data.size, c.data.frames, c.data.stride = (32, 32), 4, 1
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 1
    with c.unlocked():
        for name in c.stages:
            s = c[name]
            net = tiny_zoo.TINY["tiny"].model if "pretrained" in words else NET
            s.model.backbone_net = net["name"]
            s.model.backbone = {k: v for k, v in net.items() if k != "name"}
            s.model.heads = 2
            s.batch_size, s.steps, s.eval_every, s.optim.warmup_steps = 8, 1, 0, 0
            s.augment.affine.p = s.augment.jitter.p = 0.0
            if "source_synthetic" in s.data:
                s.data.source_synthetic = None
                s.data.source_dir = str(records)
            if name == "rendered":
                s.data.eval_split = "test"
    return c


COVER = [("demo",), ("arid6", "kd_only", "md_bert"), ("pretrained", "ssl_only")]


@pytest.mark.slow
@pytest.mark.parametrize("words", COVER, ids=",".join)
def test_words_together_run_to_the_end(words, tiny_folder, tmp_path, published, monkeypatch):
    monkeypatch.chdir(published)
    c = shrunk(words, tiny_folder)
    found = experiment.run(c, str(tmp_path / "run"))
    assert found["numbers"]["n"] > 0
    for name in c.stages:
        assert (tmp_path / "run" / name / "done.json").exists()
