"""One net of the infrared two-stream network: its loss, its codes, what is concluded and kept."""

import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import test_contract
import tiny_run

from darkjax import checkpoint, experiment, methods, spec
from darkjax import config as configs
from darkjax.errors import UserError
from darkjax.losses.codes import p_hot
from darkjax.methods import base

STUB = {"alpha": 0.5, "neurons": 8, "luminous_input": "dark", "dropout": 0.0}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    padding.small_networks(monkeypatch, group=0)


def made(classes=3, **fields):
    c = configs.load(f"{tiny_run.ROOT}/configs/ir_dcl_infar.py:demo")
    with c.unlocked():
        c.ir.augment = {}
        c.ir.update({**STUB, **fields})
    return methods.make(
        configs.resolve(c).ir, methods.Spec(tuple("abc"[:classes]), spread=(1, 9, 4))
    )


def test_the_loss_is_cross_entropy_and_alpha_times_the_distance_to_the_ideal_code():
    method = made()
    batch = test_contract.clips()
    variables = method.init(jax.random.key(0), batch)
    value, aux = jax.jit(method.loss)(variables, batch, jax.random.key(1), 0.0)
    (logits, out), _ = method.model.apply(
        variables, method.view(base.to_float(batch["video"])), train=True, mutable=["batch_stats"],
        rngs={"dropout": base.dropout_key(jax.random.key(1))},
    )  # fmt: skip
    q = p_hot(3, 8, (1, 9, 4))[np.asarray(batch["label"])]  # p = 2, the others for b and c
    assert q[1].sum() == q[2].sum() == 3 and q[0].sum() == 2
    apart = np.square(q - np.asarray(out["codes"])).sum(1).mean()
    ce = -np.asarray(jax.nn.log_softmax(logits))[np.arange(4), batch["label"]].mean()
    assert float(aux.metrics["codes"]) == pytest.approx(apart, rel=1e-4)
    assert float(value) == pytest.approx(ce + 0.5 * apart, rel=1e-4)


def test_padding_never_weighs(monkeypatch):
    padding.small_networks(monkeypatch)  # batch norm of the clips and of the padding apart
    padding.check(made())


def test_without_the_code_layer_there_are_no_codes_and_nothing_is_fitted():
    method = made(alpha=0.0, answer="softmax")
    variables = method.init(jax.random.key(0), test_contract.clips())
    assert not method.fits and set(variables["params"]) == {"backbone", "head"}
    scores, out = method.predict(variables, test_contract.clips())
    assert "codes" not in out and list(method.seen(scores, out)) == ["probabilities"]
    assert list(method.concluded(variables, {"probabilities": np.eye(3)})) == ["softmax"]
    with pytest.raises(UserError, match=r"alpha=0.*answer='softmax'"):
        made(alpha=0.0, answer="knn")


@pytest.mark.parametrize("answer", ["knn", "softmax"])
def test_both_answers_are_given_and_the_config_says_which_is_first(answer):
    method = made(answer=answer, knn_k=1, knn_gamma=1.0)
    codes = np.asarray([[0.0] * 8, [1.0] + [0.0] * 7, [0.0] * 7 + [2.0]], np.float32)
    fitted = {"codes": codes, "label": np.asarray([2, 0, 1], np.int32)}
    means = {"probabilities": np.asarray([[0.2, 0.5, 0.3]]), "codes": codes[:1].astype(float)}
    found = method.concluded({"params": {}, "fitted": fitted}, means)
    assert next(iter(found)) == answer and set(found) == {"knn", "softmax"}
    np.testing.assert_array_equal(found["softmax"], means["probabilities"])
    near = np.exp([-1.0, -4.0, 0.0])
    np.testing.assert_allclose(found["knn"], [near / near.sum()], rtol=1e-5)


def test_the_spread_of_brightness_deals_the_leftover_neurons(tiny_folder):
    c = tiny_run.config(tiny_folder)
    records = tiny_run.records(c)
    found = spec.of(c, "teacher", records).spread
    luma = {label: [] for label in range(3)}
    for clip in records.clips:
        if clip["split"] == "train":
            luma[clip["label"]].append(clip["mean_luma"])
    np.testing.assert_allclose(found, [np.std(luma[k]) for k in range(3)], rtol=1e-6)
    c.data.train_split = "nothing"  # records that are only judged
    assert spec.of(c, "teacher", records).spread == ()


@pytest.mark.whole
def test_a_run_keeps_the_codes_of_both_splits(tiny_folder, tmp_path):
    """Clips of 12 frames, 4 at a time: three views of each, in the fit and in the evaluation."""
    c = configs.load(f"{tiny_run.ROOT}/configs/ir_dcl_infar.py:demo")
    small = tiny_run.config(tiny_folder).data
    with c.unlocked(), c.ignore_type():
        for field in ("dir", "synthetic", "num_classes", "size"):
            c.data[field] = small[field]
        c.data.channels, c.data.split, c.data.frames = 3, "official", 4
        c.stages = ("ir",)
        c.ir.update(STUB)
    c.eval_batch_size, c.report_clips, c.log_every = 8, 2, 5
    c.ir.batch_size, c.ir.epochs, c.ir.optim.warmup_steps = 16, 5, 0
    c.ir.augment.affine.p = 0.0
    found = experiment.run(c, str(tmp_path))
    assert found["name"] == "top-1@allx1 synthetic-test"
    assert set(found["others"]) == {"knn", "softmax"}
    assert found["others"]["knn"] == found["numbers"]
    folder = tmp_path / "ir"
    fitted = checkpoint.load_variables(folder / "checkpoints")["fitted"]
    arrays = {}
    for part in ("predictions", "predictions-train"):
        with np.load(folder / f"{part}.npz") as saved:
            arrays[part] = dict(saved)
    names = {"clip", "label", "probabilities", "probabilities_knn", "probabilities_softmax"}
    assert set(arrays["predictions"]) == set(arrays["predictions-train"]) == {*names, "codes"}
    learnt = arrays["predictions-train"]
    assert learnt["codes"].shape == (33, 8) and learnt["codes"].dtype == np.float32
    np.testing.assert_array_equal(learnt["clip"], fitted["clip"])
    np.testing.assert_array_equal(learnt["label"], fitted["label"])
    np.testing.assert_allclose(learnt["codes"], fitted["codes"], rtol=1e-4, atol=1e-5)
    assert "top-1 (softmax)" in (tmp_path / "report.html").read_text()
    again = experiment.run(c, str(tmp_path), mode="evaluate")
    assert again["numbers"] == found["numbers"]
    for answer in jnp.asarray(arrays["predictions"]["probabilities_knn"]).sum(1):
        assert answer == pytest.approx(1, abs=1e-5)
