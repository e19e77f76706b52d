"""The last step of a training is judged once, and its predictions are those of its checkpoint."""

import pathlib

import numpy as np
import pytest
import tiny_run

from darkjax import experiment, judge


@pytest.fixture
def asked(monkeypatch):
    """How often clips were classified."""
    calls = []
    whole = judge.Judge.classified

    def classified(self, method, variables):
        calls.append(self.stage.steps)
        return whole(self, method, variables)

    monkeypatch.setattr(judge.Judge, "classified", classified)
    return calls


@pytest.fixture
def one(tmp_path):
    """The config of a teacher alone."""
    c = tiny_run.config(tmp_path / "records")
    c.stages = ("teacher",)
    with c.unlocked():
        del c.student
    c.teacher.keep_best = ""
    return c


def test_the_last_step_is_judged_once_as_its_checkpoint_would_be(one, tmp_path, asked):
    work = str(tmp_path / "run")
    experiment.run(one, work)
    assert len(asked) == 1
    before = tiny_run.predictions(pathlib.Path(work, "teacher"))
    again = experiment.run(one, work, "evaluate")
    after = tiny_run.predictions(pathlib.Path(work, "teacher"))
    assert len(asked) == 2 and again["numbers"]
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_was_chosen_by_looking_is_judged_from_its_own_checkpoint(one, tmp_path, asked):
    one.teacher.keep_best, one.teacher.eval_every = "top-1", 1
    experiment.run(one, str(tmp_path / "run"))
    seen = len(asked)
    assert seen > 2  # each epoch, then the best
    experiment.run(one, str(tmp_path / "run"))
    assert len(asked) == seen + 1


def test_a_training_that_ended_on_a_signal_is_judged_from_its_checkpoint(
    one, tmp_path, asked, monkeypatch
):
    """An earlier step's predictions are not taken for those of the last."""
    one.teacher.eval_every = 1
    steps = one.teacher.steps
    monkeypatch.setattr("darkjax.stops.Stop.asked", lambda self, step: step == steps)
    experiment.run(one, str(tmp_path / "run"))
    kept = tiny_run.predictions(tmp_path / "run" / "teacher")
    assert len(asked) == 2  # after the first of two epochs, and at the end
    experiment.run(one, str(tmp_path / "run"), "evaluate")
    after = tiny_run.predictions(tmp_path / "run" / "teacher")
    assert np.array_equal(kept["probabilities"], after["probabilities"])
