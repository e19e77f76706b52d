"""`benchmarks/flow_carry.py`: what each training sees, and the table of it."""

import argparse

import jax.numpy as jnp
import numpy as np
import pytest

from darkjax import config as configs
from darkjax import methods, ranges
from darkjax.errors import UserError
from darkjax.eval.classify import Predictions
from darkjax.methods import base

ARGS = argparse.Namespace(workdir="runs", steps=0, seeds=2, strides="4,5", clips=3, records="real")


def made(bench, name):
    """(config, its method) of a training on one input."""
    config, folder = bench.trained_on(ARGS, "drawn", name, 1)
    ranges.check(config)
    assert config.seed == 1 and str(folder).startswith("runs/") and "," not in str(folder)
    return config, methods.make(configs.resolve(config).teacher, base.Spec.numbered(6))


def test_what_each_input_sees(bench):
    rng = np.random.default_rng(0)
    video = rng.uniform(0, 0.2, (1, 5, 4, 6, 6)).astype(np.float32)
    seen = {
        name: np.asarray(made(bench, name)[1].view(jnp.asarray(video))) for name in bench.INPUTS
    }
    assert {x.shape for x in seen.values()} == {(1, 5, 4, 6, 3)}
    bright = video[..., :3] ** (1 / 2.5)

    def standard(x):
        return (x - x.mean()) / (x.std() + 1e-3)

    moving = bright - np.median(bright, 1, keepdims=True)
    flow = video[..., 3:]
    expected = {
        "pixels": standard(bright),
        "pixels less their median": standard(moving),
        "flow": (flow - [128 / 255, 128 / 255, 0]) / 0.1,
        "flow, standardised": standard(flow),
    }
    for name, value in seen.items():
        np.testing.assert_allclose(value, expected[name], atol=2e-3, err_msg=name)


def test_the_table(bench, monkeypatch, capsys, tmp_path):
    """Trainings and judgements are counted, not done."""
    trained, judged = [], []

    class Real:
        def __init__(self, folder):
            assert folder == "real-flow"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __len__(self):
            return 150

    def run(config, folder):
        trained.append(folder.rpartition("/")[2])
        return {"numbers": {"top-1": 0.9 + 0.05 * config.seed}}

    def judge(config, folder, records, stride):
        """Of ten clips of class 0, pixels have one less than the stride, all else the stride."""
        judged.append((folder.name, stride))
        right = np.arange(10) < stride - folder.name.startswith("pixels-")
        if folder.name.startswith("flow-"):  # surer than the other, and of other clips
            right = right[::-1]
        sure = 0.9 if folder.name.startswith("flow-") else 0.6
        zeros = np.where(right, sure, 1 - sure)
        return Predictions(np.arange(10), np.zeros(10, int), np.stack([zeros, 1 - zeros], 1))

    monkeypatch.setattr(bench, "rendered", lambda args: "drawn")
    monkeypatch.setattr(bench, "with_flow", lambda folder, out: "real-flow")
    monkeypatch.setattr(bench, "Records", Real)
    monkeypatch.setattr(bench.experiment, "run", run)
    monkeypatch.setattr(bench, "judged", judge)
    assert bench.main(["--records=real", "--seeds=2", f"--workdir={tmp_path}"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(trained) == 8 and len(set(trained)) == 8 and len(judged) == 16
    assert "150 real clips" in out
    assert "| input | rendered | real, stride 4 | real, stride 5 |" in out
    cells = "0.925 (0.900 to 0.950) | 0.400 (0.400 to 0.400) | 0.500 (0.500 to 0.500)"
    assert all(f"| {name} | {cells} |" in out for name in list(bench.INPUTS)[1:])
    assert f"| pixels | {cells.replace('0.4', '0.3').replace('0.5', '0.4')} |" in out
    # what flow says, which is surer
    fused = "pixels less their median and flow"
    assert f"| {fused} |  | 0.400 (0.400 to 0.400) | 0.500 (0.500 to 0.500) |" in out
    assert "flow, stride 4: 4 right that pixels have not, 3 the other way, p 1.000" in out
    moved = "1 right that pixels have not, 0 the other way, p 1.000"
    assert f"pixels less their median, stride 5: {moved}" in out
    assert f"{fused}, stride 4: 4 right that pixels have not, 3 the other way, p 1.000" in out
    with pytest.raises(UserError, match="--strides=four: expected numbers"):
        bench.main(["--records=real", "--strides=four"])
