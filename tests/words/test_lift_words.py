"""LIFT-Net's words: any order, every pair a config that runs or a refusal that names both."""

import collections
import dataclasses
import functools
import itertools
import json

import both_orders
import jax
import numpy as np
import published as published_files
import pytest
import tiny_run
import tiny_zoo
import torch_files as tf

from darkjax import checkpoint, experiment, methods, models, optim, spec, starts
from darkjax import config as configs
from darkjax.data.catalog import get_dataset
from darkjax.errors import UserError
from darkjax.state import TrainState
from darkjax.weights import convert, zoo

CONFIG = f"{tiny_run.ROOT}/configs/lift_arid.py"
GOLDEN = tiny_run.ROOT / "tests" / "golden"
WORDS = ["demo", "arid6", "small", "medium", "large", "r3d", "no_kd"]
WORDS += ["freeze_all", "unfrozen", "pretrained", "flow"]
PAIRS = list(itertools.combinations(WORDS, 2))
ONE_OF = ({"demo", "arid6"}, {"small", "medium", "large"}, {"freeze_all", "unfrozen"})
TINY = {"demo", "arid6"}


def refused(words):
    """Whether these words make no sense together; written apart from the config's own table."""
    chosen = set(words)
    return any(len(chosen & group) > 1 for group in ONE_OF) or bool(
        chosen & TINY and chosen & {"freeze_all", "pretrained"}
    )


def load(*words, config=CONFIG):
    return configs.load(f"{config}:{','.join(words)}")


@pytest.mark.parametrize("pair", PAIRS, ids=",".join)
def test_every_pair_is_one_config_in_both_orders_or_is_refused_by_name(pair):
    both_orders.agree(load, pair, refused(pair))


def test_every_word_keeps_its_meaning_beside_the_others():
    for repeats, word in ((4, "small"), (6, "medium"), (8, "large")):
        assert load("demo", word).student.model.repeats == repeats
    assert load("demo").student.model.repeats == 2
    alone = load("no_kd", "demo").student
    assert not alone.luminous_frozen and not alone.init_from and alone.distill.weight == 0
    assert alone.epochs == load("demo").teacher.epochs
    assert "teacher" not in load("no_kd")
    tiny = load("arid6", "r3d")
    assert tiny.teacher.model.name == tiny.student.model.luminous_net == "resnet3d"
    assert load("demo", "unfrozen").student.pvit_freeze == "all_free"
    assert load("freeze_all", "pretrained").student.pvit_freeze == "all_frozen"


def test_flow_is_what_the_teacher_and_the_luminous_pathway_see():
    for words in (("flow",), ("demo", "flow"), ("flow", "arid6", "r3d"), ("no_kd", "flow")):
        c, plain = load(*words), load(*(word for word in words if word != "flow"))
        for name in c.stages:
            assert (plain[name].luminous_input, c[name].luminous_input) == ("gamma", "flow")
            assert c[name].flow_enhance == "gic"  # these clips are dark
            plain[name].luminous_input = "flow"
        drawn = "demo" in words  # rendered clips have it made once; of real ones it is asked for
        assert (c.data.channels, c.data.synthetic is not None) == (
            (6, True) if drawn else (3, False)
        )
        if drawn:
            made = {"method": "brox", "bound": 6.0, "enhance": "gic"}
            with plain.unlocked():
                plain.data.channels, plain.data.synthetic.flow = 6, made
        assert c.to_json_best_effort() == plain.to_json_best_effort()  # and nothing else


OTHERS = {"hmdb51": (51, 6, "day"), "ucf101": (101, 6, "day"), "infar": (12, 12, "thermal")}


@pytest.mark.parametrize("name", OTHERS)
def test_day_and_infrared_experiments_are_of_flow(name):
    """Tables III to V: as on ARID, but for the clips and the luminous input."""
    classes, drawn, domain = OTHERS[name]
    there = f"{tiny_run.ROOT}/configs/lift_{name}.py"
    for word in sorted(set(WORDS) - {"arid6", "flow", "demo"}):
        pair = ("demo", word)
        both_orders.agree(functools.partial(load, config=there), pair, refused(pair))
    for word in ("arid6", "flow"):
        with pytest.raises(UserError, match=f"argument '{word}' is not one of"):
            load(word, config=there)
    for chosen in ((), ("demo",), ("small", "r3d", "no_kd")):
        c, arid = load(*chosen, config=there), load(*chosen, "flow")
        for stage in c.stages:
            assert (c[stage].luminous_input, c[stage].flow_enhance) == ("flow", "")
            arid[stage].flow_enhance = ""
            assert c[stage].to_json_best_effort() == arid[stage].to_json_best_effort()
        assert c.data.num_classes == (drawn if "demo" in chosen else classes)
    rendered = load("demo", config=there).data.synthetic
    assert rendered.domain == domain
    options = rendered.to_dict()
    assert options.pop("flow") == {"method": "brox", "bound": 6.0, "enhance": ""}
    recipes = get_dataset("synthetic", **options).clips()
    assert len({clip.label for clip in recipes}) == drawn
    assert collections.Counter(clip.split for clip in recipes) == {"train": 720, "test": 240}


# ---- end to end ---------------------------------------------------------------------------------

VIT = {"depth": 2, "width": 64, "heads": 1, "patch": 16, "qkv_bias": True}


def shapes(model, *video):
    """Shape by path of a model's parameters and statistics."""
    one = jax.ShapeDtypeStruct((1, *video), np.float32)
    found = jax.eval_shape(
        lambda x: models.build(model, 5).init(jax.random.key(0), x, train=False), one
    )
    flat = [optim.flatten(found.get(part, {})) for part in ("params", "batch_stats")]
    return {path: leaf.shape for tree in flat for path, leaf in tree.items()}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with `weights/` as the config wants them, converted from tiny published files."""
    folder = tmp_path_factory.mktemp("published")
    net = {"name": "r2plus1d", **tiny_run.NETS["r2plus1d"][0]}
    tiny = {
        "r2plus1d34": dataclasses.replace(zoo.get("r2plus1d34"), model=net, input=(4, 32, 32)),
        "r3d34": tiny_zoo.TINY["tiny"],
    }
    real = zoo.get
    # Positions for 224x224; the depth and the width are found in the file.
    vit = shapes({"name": "vit", **VIT, "depth": 3}, 224, 224, 3)
    ours = {"vit_b16": published_files.values(vit)}
    ours["r2plus1d34"] = published_files.values(shapes(net, 4, 32, 32, 3))
    published_files.google(folder / "ViT-B_16.npz", ours["vit_b16"])
    published_files.ig65m(folder / "ig65m.pth", ours["r2plus1d34"])
    tf.save(folder / "r3d34_K_200ep.pth", tiny_zoo.state_dict("tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "get", lambda name: tiny.get(name) or real(name))
        for arch, file, options in (
            ("vit_b16", "ViT-B_16.npz", {"input": (1, 32, 32)}),
            ("r2plus1d34", "ig65m.pth", {}),
            ("r3d34", "r3d34_K_200ep.pth", {}),
        ):
            out = folder / "weights" / arch
            convert.convert(arch, folder / file, out, say=lambda _: None, **options)
    return folder, ours


def shrunk(words, records):
    """The config of these words, its clips and networks tiny."""
    c = load(*words)
    gelu = c.student.model.pvit.get("gelu", "erf")
    tiny_run.shrink(c, records)
    with c.unlocked():
        c.student.model.pvit = {**VIT, "gelu": gelu}
    for name in c.stages:
        c[name].steps = 2
    return c


def run_to_the_end(words, records, work):
    """All stages, judged; without weights to freeze, the refusal first."""
    c = shrunk(words, records)
    if not set(words) & {"demo", "arid6", "unfrozen", "pretrained"}:
        with pytest.raises(UserError, match=r"weights/vit_b16.*`pretrained`"):
            experiment.run(c, str(work))
        assert not work.exists() or not list(work.glob("*/checkpoints"))
        c.student.allow_random_frozen = True
    found = experiment.run(c, str(work))
    assert found["numbers"]["n"] > 0
    stages = ["student"] if "no_kd" in words else ["student", "teacher"]
    assert sorted(p.parent.name for p in work.glob("*/checkpoints")) == stages
    student = checkpoint.load_variables(work / "student" / "checkpoints")["params"]["student"]
    repeats = {"small": 4, "medium": 6, "large": 8}
    tiny = 2 if set(words) & TINY else 8
    wanted = next((repeats[word] for word in words if word in repeats), tiny)
    assert sum(key.startswith("critic") for key in student) == wanted
    assert ("stem_spatial" in student["luminous"]) == ("r3d" not in words)
    return c


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("small", "r3d", "demo"), ("unfrozen", "medium", "no_kd", "arid6")], ids=",".join
)
def test_words_together_run_end_to_end(words, published, tiny_folder, tmp_path, monkeypatch):
    """In the orders that used to fail after the teacher, or to freeze what was random."""
    monkeypatch.chdir(published[0])
    run_to_the_end(words, tiny_folder, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("pair", [p for p in PAIRS if not refused(p)], ids=",".join)
def test_every_pair_runs_end_to_end(pair, published, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(published[0])
    run_to_the_end(pair, tiny_folder, tmp_path / "run")


def without_cards(c):
    """Resolved, each clip by its own mean: the weights' cards are not asked."""
    c = configs.resolve(c)
    for stage in (c[name] for name in c.stages):
        with stage.ignore_type():
            stage.mean = stage.std = ()
            if "luminous_mean" in stage:
                stage.luminous_mean = stage.luminous_std = ()
    return c


def specs(c, classes):
    names = [str(k) for k in range(classes)]
    return {name: spec.bare(c, name, names) for name in c.stages}


def begun(c, name, given):
    """Flat parameters and statistics of a stage that would hold 0 but for its rules."""
    method = methods.make(c[name], specs(c, 3)[name])
    zeros = jax.tree.map(
        lambda x: jax.device_put(np.zeros(x.shape, x.dtype)), starts.abstract(method)
    )
    state = TrainState(0, zeros.pop("params"), zeros, {}, {})
    sources = {
        r[0]: given.get(r[0]) or experiment.source_variables(r[0]) for r in c[name].init_from
    }
    state, _ = checkpoint.place(state, sources, c[name].init_from)
    return state.variables()


@pytest.mark.parametrize("words", ["pretrained,freeze_all", "unfrozen,pretrained,no_kd"])
def test_published_weights_land_in_both_pathways_and_in_the_teacher(
    words, published, tmp_path, monkeypatch
):
    folder, ours = published
    monkeypatch.chdir(folder)
    c = without_cards(shrunk((*words.split(","), "small"), tmp_path))
    starts.check(c, tmp_path, specs(c, 3))
    given = {}
    if "teacher" in c:
        given["teacher"] = begun(c, "teacher", {})
    variables = begun(c, "student", given)
    student = {}
    for part in ("params", "batch_stats"):
        student |= optim.flatten(variables[part]["student"])
        if "teacher" in c:
            student |= {f"teacher/{k}": v for k, v in optim.flatten(given["teacher"][part]).items()}
    net = {k: v for k, v in ours["r2plus1d34"].items() if not k.startswith("head/")}
    for path, value in net.items():
        np.testing.assert_array_equal(student[f"luminous/{path}"], value, err_msg=path)
        if "teacher" in c:
            np.testing.assert_array_equal(student[f"teacher/{path}"], value, err_msg=path)
    vit = {k: v for k, v in ours["vit_b16"].items() if f"pvit/vit/{k}" in student}
    assert {k.split("/")[0] for k in vit} == {"cls", "position", "embedding", "block0", "block1"}
    for path, value in vit.items():
        if path != "position":  # resized for the smaller frames
            np.testing.assert_array_equal(student[f"pvit/vit/{path}"], value, err_msg=path)
    assert np.any(student["pvit/vit/position"]) and not np.any(student["head/kernel"])


@pytest.mark.parametrize("words", ["pretrained", "no_kd,pretrained,r3d"])
def test_published_weights_fit_the_papers_networks(words, tmp_path, monkeypatch):
    """By the frozen shapes of the zoo at full size; nothing is made."""

    def stored(source):
        frozen = json.loads((GOLDEN / f"{source.removeprefix('weights/')}.json").read_text())
        flat = {path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in frozen.items()}
        return {"params": {}, "batch_stats": {}, **optim.unflatten(flat)}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(starts, "stored", stored)
    c = without_cards(load(*words.split(",")))
    for source in ("vit_b16", "r2plus1d34", "r3d34"):
        (tmp_path / "weights" / source).mkdir(parents=True)
    starts.check(c, tmp_path, specs(c, 11))
    pvit = c.student.model.pvit
    assert (pvit.gelu, pvit.qkv_bias) == ("tanh", True)  # as Google's file
