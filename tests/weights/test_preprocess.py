"""`mean="weights"`: a stage normalises as the weights that it starts from expect."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
import tiny_zoo
import torch_files as tf

from darkjax import checkpoint, methods
from darkjax import config as configs
from darkjax.errors import UserError
from darkjax.methods import base
from darkjax.state import TrainState
from darkjax.tools import describe
from darkjax.weights import card, convert, load, preprocess, zoo

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """`weights(arch)`: a folder of that name; a whole tiny one, or the card of an architecture."""
    monkeypatch.chdir(tmp_path)

    def make(arch, folder=None):
        folder = tmp_path / (folder or f"weights/{arch}")
        row = tiny_zoo.get(arch)
        if arch == "tiny":
            tf.save(tmp_path / "tiny.pth", tiny_zoo.state_dict())
            monkeypatch.setattr(zoo, "get", tiny_zoo.get)
            convert.convert("tiny", tmp_path / "tiny.pth", folder, say=lambda _: None)
        else:
            folder.mkdir(parents=True)
            fields = (row.paper, dict(row.model), 5, 3, row.input, row.preprocess, (), {}, "none")
            card.write(folder, card.Card(arch, *fields))
        return str(folder.relative_to(tmp_path))

    return make


def stage_of(file, stage, **fields):
    """A config, resolved, with fields of one stage replaced."""
    c = configs.load(f"{tiny_run.ROOT}/configs/{file}.py")
    with c.unlocked(), c.ignore_type():
        for field, value in fields.items():
            c[stage][field] = value
    return configs.resolve(c)


def classifier(source):
    return ((source, r"(?!head/)(.*)", r"classifier/\1"),)


def test_a_stage_sees_what_normalise_for_gives(weights, capsys):
    """The numbers are the card's in terms of [0, 1]: 0-255 minus a mean, not divided."""
    source = weights("tiny")
    c = preprocess.settle(stage_of("dtcm_arid", "dtcm", init_from=classifier(source)))
    np.testing.assert_allclose(c.dtcm.mean, np.asarray([114.7748, 107.7354, 99.4750]) / 255)
    np.testing.assert_allclose(c.dtcm.std, [1 / 255] * 3)
    video = jnp.asarray(np.random.default_rng(0).random((2, 3, 4, 4, 3)), jnp.float32)
    expected = load.normalise_for(load.load(source))(video)
    found = base.normalise(video, c.dtcm.mean, c.dtcm.std)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert capsys.readouterr().out == ""


def test_tsm_gets_what_tsm_expects(weights):
    """DTCM's other classifiers are normalised as their own weights want it."""
    source = weights("tsm_resnet50")
    c = preprocess.settle(stage_of("dtcm_arid", "dtcm", init_from=classifier(source)))
    assert (c.dtcm.mean, c.dtcm.std) == IMAGENET


def test_each_network_of_lift_has_its_own_weights(weights):
    """The ViT's card for one pathway; the 3-D network's comes through the teacher's stage."""
    vit, net = weights("vit_b16"), weights("r2plus1d34")
    c = stage_of("lift_arid", "teacher", mean="weights", std="weights")
    fields = ("mean", "std", "luminous_mean", "luminous_std")
    with c.ignore_type():
        c.teacher.init_from = ((net, r"(?!head/)(.*)", r"\1"),)
        c.student.update(dict.fromkeys(fields, "weights"))
        rule = (vit, r"(block\d+/.*)", r"student/pvit/vit/\1")
        c.student.init_from = (*c.student.init_from, rule)
    c = preprocess.settle(c)
    kinetics = zoo.get("r2plus1d34").preprocess
    assert (c.student.mean, c.student.std) == ((0.5,) * 3, (0.5,) * 3)
    for stage, prefix in ((c.teacher, ""), (c.student, "luminous_")):
        assert (stage[f"{prefix}mean"], stage[f"{prefix}std"]) == (kinetics.mean, kinetics.std)


def test_the_word_pretrained_brings_the_weights_preprocessing(weights):
    """R3D-34's weights want another range than R(2+1)D-34's; the ViT's are its own."""
    for arch in ("vit_b16", "r3d34", "resnext101"):
        weights(arch)
    lift, dtcm = (
        preprocess.settle(configs.resolve(configs.load(f"{tiny_run.ROOT}/configs/{words}")))
        for words in ("lift_arid.py:pretrained,r3d", "dtcm_arid.py:pretrained")
    )
    for stage, prefix in ((lift.teacher, ""), (lift.student, "luminous_")):
        np.testing.assert_allclose(stage[f"{prefix}std"], (0.2768, 0.2713, 0.2737))
    np.testing.assert_allclose(dtcm.dtcm.std, [1 / 255] * 3)
    assert lift.student.mean == (0.5,) * 3


def test_numbers_that_contradict_the_weights_stay_and_are_said_in_a_line(weights, capsys):
    source = weights("tsm_resnet50")
    mean = (0.5, 0.5, 0.5)
    fields = {"init_from": classifier(source), "mean": mean, "std": IMAGENET[1]}
    c = preprocess.settle(stage_of("dtcm_arid", "dtcm", **fields))
    assert (c.dtcm.mean, c.dtcm.std) == (mean, IMAGENET[1])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"dtcm.mean=(0.5, 0.5, 0.5), but {source} was trained with (0.485, ")
    preprocess.settle(stage_of("dtcm_arid", "dtcm", **{**fields, "mean": IMAGENET[0]}))
    assert capsys.readouterr().out == ""


def test_bgr_is_refused_and_a_missing_folder_says_how_to_make_it(weights):
    source = weights("c3d")
    with pytest.raises(UserError, match=f"{source} expects BGR frames and a stage gives RGB: type"):
        preprocess.settle(stage_of("dtcm_arid", "dtcm", init_from=classifier(source)))
    gone = stage_of("dtcm_arid", "dtcm", init_from=classifier("weights/gone"))
    with pytest.raises(UserError, match=r"dtcm.mean='weights': .* weights/gone; .*weights.convert"):
        preprocess.settle(gone)
    half = stage_of("dtcm_arid", "dtcm", mean=(0.5, 0.5, 0.5))
    with pytest.raises(UserError, match=r"dtcm.std='weights', but no rule of dtcm.init_from"):
        preprocess.settle(half)
    with pytest.raises(UserError, match=r"mean='weights'.* settled .* before a method is made"):
        base.normalise(jnp.zeros((1, 1, 1, 1, 3)), "weights", "weights")


def test_without_weights_each_clip_is_its_own_measure(capsys):
    """Any classifier can begin so; the configs' own stages and `describe` need no folder."""
    c = preprocess.settle(stage_of("dtcm_arid", "dtcm"))
    assert (c.dtcm.mean, c.dtcm.std) == ((), ())
    assert capsys.readouterr().out == (
        "dtcm.mean, std: no weights, each clip by its own mean and deviation\n"
    )
    methods.make(c.dtcm, methods.Spec.numbered(11))
    config = f"{tiny_run.ROOT}/configs/dtcm_arid.py:pretrained,uav"
    assert describe.main([f"--config={config}"]) == 0
    out = capsys.readouterr().out
    assert "found none: make them with" in out.splitlines()[0] and "classifier/" in out


def saved(config, folder):
    """A checkpoint whose meta is that of a training with this config."""
    flat = {"w": jnp.zeros(1)}
    state = TrainState(jnp.asarray(1, jnp.int32), flat, {}, {}, {})
    with checkpoint.Checkpointer(folder, None) as saver:
        saver.save(state, {"step": 1, "config": config.to_json_best_effort()}, None)


def test_a_finished_run_needs_its_weights_folder_no_more(weights, tmp_path):
    """What its checkpoint says counts, for itself and for a run that starts from it."""
    source = weights("tsm_resnet50")
    config = stage_of("dtcm_arid", "dtcm", init_from=classifier(source))
    settled = preprocess.settle(config, str(tmp_path / "run"))
    saved(settled, tmp_path / "run" / "dtcm" / "checkpoints")
    shutil.rmtree(source)
    again = preprocess.settle(config, str(tmp_path / "run"))
    assert again.to_json_best_effort() == settled.to_json_best_effort()
    with pytest.raises(UserError, match="found none: make them with"):
        preprocess.settle(config, str(tmp_path / "another"))
    rule = ((str(tmp_path / "run" / "dtcm"), r"(classifier/.*)", r"\1"),)
    other = preprocess.settle(stage_of("dtcm_arid", "dtcm", init_from=rule), "other")
    assert (other.dtcm.mean, other.dtcm.std) == IMAGENET
