"""What is known before the first step is said before it: data, devices, metrics, models."""

import sys
import time

import jax
import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import experiment, judge, methods, preflight, sharding
from darkjax.errors import UserError
from darkjax.eval import enhance

DARK = (np.full((2, 3, 3, 3), 0.1, np.float32), np.full((2, 3, 3, 3), 0.2, np.float32))


@pytest.fixture
def said(tiny_folder, tmp_path):
    """A function from fields to the one line that is said of them before anything is built."""

    def check(mode="all", devices=1, **fields):
        c = tiny_run.config(tiny_folder)
        records = tiny_run.records(c)
        with c.unlocked(), c.ignore_type():
            for field, value in fields.items():
                section = c
                for part in field.split("__")[:-1]:
                    section = section[part]
                section[field.rpartition("__")[2]] = value
        mesh = sharding.make_mesh((devices, 1), jax.devices()[:devices])
        try:
            of_stages = dict.fromkeys(c.stages, records)
            preflight.check(configs.resolve(c), of_stages, mesh, str(tmp_path), mode)
        except UserError as e:
            assert "\n" not in str(e)
            return str(e)
        return ""

    return check


def test_a_config_that_is_right_is_let_through(said):
    assert said() == said(mode="evaluate") == ""
    began = time.process_time()
    assert said(seed=7) == ""  # what was traced is known
    assert time.process_time() - began < 5 and preflight._BUILT


def test_a_logger_that_is_not_installed_is_named(said, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "pip install 'darkjax[wandb]', or leave it out" in said(log_to=("tensorboard", "wandb"))
    assert said(mode="evaluate", log_to=("wandb",)) == ""
    assert "log_to=('wanb',): expected" in said(log_to=("wanb",))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"teacher__batch_size": 40}, "teacher.batch_size=40 is more than the 33 clips of "),
        ({"data__size": (64, 64)}, "expected frames of at least 64×64 pixels to crop; found 36×40"),
        ({"data__channels": 1}, "data.channels=1, but the clips of "),
        ({"data__split": "fold", "data__fold": 9}, "expected a fold out of [1, 2, 3]; found 9"),
        ({"data__split": "random"}, "set data.allow_leaky_split=True and every number says 'leaky"),
        ({"data__protocol": "2"}, "data.protocol='2': "),
        ({"data__eval_split": "tset"}, "needs the split 'tset'; "),
        ({"data__train_split": "trian"}, "expected a split out of test, train; found 'trian'"),
        ({"student__keep_best": "foo"}, "student.keep_best='foo': there is none: expected 'top-1'"),
        ({"student__keep_best": "top1"}, "there is none: expected 'top-1', or '' for the last"),
        ({"student__keep_best": "top-5"}, "expected 'top-3', or ''"),  # of three classes
        ({"student__keep_best": "nll"}, "the highest is kept, and that is not its best"),
        ({"student__keep_best": "n"}, "the highest is kept, and that is not its best"),
        ({"teacher__freeze": ("hed/.*",)}, "teacher.freeze: 'hed/.*' fits no parameter"),
        ({"teacher__freeze": (".*",)}, "teacher.freeze=('.*',) leaves nothing to train"),
        (
            {"teacher__model__variant": "99"},
            "teacher: the model's variant='99': expected one of '10'",
        ),
        (
            {"student__model__heads": 3},
            "student: the model's 3 heads do not divide the embedding of 16",
        ),
        ({"student__model__head_width": 5}, "set model.head_width"),
        ({"teacher__mean": (0.5,) * 2, "teacher__std": (0.5,) * 2}, "teacher.model cannot be"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(said, fields, expected):
    assert expected in said(**fields)


def test_batches_that_devices_do_not_divide(said):
    assert "eval_batch_size=12 is not a multiple of the 8 devices" in said(
        mode="evaluate", devices=8, eval_batch_size=12
    )
    assert "teacher.batch_size=12 is not a multiple of the 8 devices" in said(
        devices=8, teacher__batch_size=12
    )
    assert "teacher.batch_size / accumulate=4 is not" in said(devices=8, teacher__accumulate=4)


def test_evaluation_alone_asks_nothing_of_the_training(said):
    assert said(mode="evaluate", teacher__batch_size=40, student__keep_best="foo") == ""


def test_the_best_of_an_enhancer_is_one_of_its_numbers():
    found = {name for kind in judge.numbers("frames", 3) for name in kind}
    assert found - {"n"} == enhance.numbers(*DARK).keys()
    c = configs.resolve(configs.load(f"{tiny_run.ROOT}/configs/zero_dce.py:demo"))
    for name, line in (("inconsistency", "highest"), ("top-1", "there is none")):
        c.enhancer.keep_best = name
        with pytest.raises(UserError, match=line):
            preflight.best(c, "enhancer", methods.Spec.numbered(3))
    c.enhancer.keep_best = "brightness after"
    preflight.best(c, "enhancer", methods.Spec.numbered(3))


def test_a_run_stops_there(tiny_folder, tmp_path, monkeypatch):
    """`experiment.run` asks before it trains: nothing is built, no stage's folder is made."""
    from darkjax import train

    monkeypatch.setattr(train, "run", lambda *_, **__: pytest.fail("trained"))
    c = tiny_run.config(tiny_folder)
    tiny_run.records(c)
    c.mesh, c.student.keep_best = (8, 1), "foo"
    with pytest.raises(UserError, match=r"student.keep_best='foo'"):
        experiment.run(c, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "teacher").exists()
