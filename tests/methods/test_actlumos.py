"""ActLumos: the loss against its parts, who teaches whom, what is frozen, where it begins."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import padding
import pytest
import test_contract
import tiny_run

from darkjax import config as configs
from darkjax import losses, methods, optim, spec, starts
from darkjax.errors import UserError
from darkjax.methods import base

TEACHER = {"views": ("dark", "gic"), "supcon": {"weight": 0.25, "projection": (8, 4)}}
OWN = ("backbone", "bert", "fusion", "head")
BOTH = {**TEACHER, "distill": {"weight": 2.0, "temperature": 3.0}}


def config(**fields):
    """The student's section of the demo, with some fields changed."""
    c = configs.load(f"{tiny_run.ROOT}/configs/actlumos_arid.py:demo")
    with c.unlocked():
        c.student.augment = {}
        c.student.update(fields)
    return configs.resolve(c).student


@pytest.fixture
def make(monkeypatch):
    padding.small_networks(monkeypatch, group=0)
    monkeypatch.setattr(padding.Classifier, "has_rng", lambda *_: False)  # nothing is dropped out

    def made(**fields):
        method = methods.make(config(**fields), methods.Spec.numbered(3))
        return method, method.init(jax.random.key(0), test_contract.clips())

    return made


def value(method, variables, batch):
    found, aux = jax.jit(method.loss)(variables, batch, jax.random.key(1), 0.0)
    return float(found), {k: float(v) for k, v in aux.metrics.items()}


def test_the_loss_is_the_sum_of_its_three_parts(make):
    method, variables = make(**BOTH, label_smoothing=0.0)
    batch = {**test_contract.clips(), "label": jnp.asarray([0, 1, -1, 0], jnp.int32)}
    found, metrics = value(method, variables, batch)
    assert found == pytest.approx(
        metrics["ce"] + 0.25 * metrics["supcon"] + 2.0 * metrics["distill"], rel=1e-5
    )
    # Each by itself, from what the networks answer.
    video = base.to_float(batch["video"])
    net = {k: {n: v for n, v in x.items() if n not in ("projection", "teacher")}
           for k, x in variables.items()}  # fmt: skip
    (logits, out), _ = method.model.apply(
        net, *method.views(video), train=True, mutable=["batch_stats"]
    )
    known = jnp.asarray([1.0, 1, 0, 1])
    target = losses.smooth_labels(jnp.asarray([0, 1, 0, 0]), 3, 0.0)
    ce = losses.masked_mean(losses.soft_cross_entropy(logits, target), known)
    assert metrics["ce"] == pytest.approx(float(ce), rel=1e-4)
    features = jnp.stack([out["dark/pre_logits"], out["bright/pre_logits"]], 1)
    head = {"params": variables["params"]["projection"]}
    apart = losses.supcon(method.projection.apply(head, features), batch["label"], 0.1, mask=known)
    assert metrics["supcon"] == pytest.approx(float(apart[known > 0].mean()), rel=1e-4)
    teacher = {k: v["teacher"] for k, v in variables.items()}
    told, _ = jax.jit(method.teacher.predict)(teacher, batch)  # evaluated, not trained
    far = losses.knowledge_distillation(logits, told, 3.0)  # of all clips, labelled or not
    assert metrics["distill"] == pytest.approx(float(far.mean()), rel=1e-4)


def test_padding_weighs_nothing(monkeypatch):
    padding.small_networks(monkeypatch)
    padding.check(methods.make(config(**BOTH), methods.Spec.numbered(3)))


def test_a_stage_has_a_projection_and_a_teacher_where_their_losses_weigh(make):
    parts = lambda v: set(v["params"]) & {"projection", "teacher"}  # noqa: E731
    method, variables = make(**BOTH)
    assert parts(variables) == {"projection", "teacher"} and r"teacher/.*" in method.frozen
    method, variables = make(distill={"weight": 0.0})
    assert not parts(variables) and not method.frozen
    _, metrics = value(method, variables, test_contract.clips())
    assert set(metrics) == {"ce", "accuracy"}
    _, variables = make(distill={"weight": 0.0}, **TEACHER)
    assert parts(variables) == {"projection"}


def test_the_student_sees_the_dark_clip_and_its_teacher_both(make):
    method, _ = make()
    assert method.config.views == ("dark",) and method.teacher.config.views == ("dark", "msr")
    video = base.to_float(test_contract.clips()["video"])
    (own,), (first, second) = method.views(video), method.teacher.views(video)
    np.testing.assert_array_equal(own, first)
    assert np.abs(own - second).max() > 0.1


def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(UserError, match=r"cutmix\.p=0\.5.*supcon\.weight"):
        make(**TEACHER, augment={"cutmix": {"p": 0.5}})
    section = config(**TEACHER).copy_and_resolve_references()
    with section.unlocked():
        del section.teacher
    with pytest.raises(UserError, match=r"distill\.weight=1\.0.*no section `teacher`"):
        methods.make(section, methods.Spec.numbered(3))


@pytest.mark.slow
@pytest.mark.parametrize("data", ["demo", "arid6"])
def test_each_stage_begins_from_those_before_it(data, tmp_path):
    """By shapes, of the real networks: every part of the student has its source, of rendered clips
    with the same labels the classifier too."""
    c = configs.resolve(configs.load(f"{tiny_run.ROOT}/configs/actlumos_arid.py:{data}"))
    specs = {name: spec.bare(c, name, tuple("abcdef")) for name in c.stages}
    starts.check(c, tmp_path, specs)
    shapes = {name: starts.abstract(methods.make(c[name], specs[name])) for name in c.stages}
    for kind in ("params", "batch_stats"):
        own = set(optim.flatten(shapes["student"][kind]))
        given = {
            to
            for rule in c.student.init_from
            for _, to in starts._matches(rule, optim.flatten(shapes[rule[0]].get(kind, {})))
        }
        new = {"head/kernel", "head/bias"} if (kind, data) == ("params", "demo") else set()
        assert own - given == new


@pytest.mark.slow
def test_parameters_at_the_published_size():
    """The student is R(2+1)D-BERT; the teacher has the fusion beside it, and what training needs.

    By hand, of 512 channels and a quarter inside: five 1x1x1 convolutions and their batch norms,
    and a layer of two logits with bias; the projection's two layers have biases.
    """
    c = configs.resolve(configs.load(f"{tiny_run.ROOT}/configs/actlumos_arid.py"))
    counts = {}
    for name in ("student", "teacher"):
        made = methods.make(c[name], spec.bare(c, name, tuple("abcdefghijk")))
        flat = optim.flatten(starts.abstract(made)["params"])
        for path, leaf in flat.items():
            part = (name, path.partition("/")[0])
            counts[part] = counts.get(part, 0) + math.prod(leaf.shape)
    fusion = 5 * 512 * 128 + 2 * (2 * 128 + 2 * 512) + 2 * 128 + 128 * 2 + 2
    assert counts["teacher", "fusion"] == fusion
    assert counts["teacher", "projection"] == 512 * 512 + 512 + 512 * 128 + 128
    own = {
        name: sum(n for (of, part), n in counts.items() if of == name and part in OWN)
        for name in ("student", "teacher")
    }
    assert own == {"student": 66_655_122, "teacher": 66_655_122 + fusion}
    assert counts["student", "teacher"] == own["teacher"]
    assert ("student", "projection") not in counts and ("student", "fusion") not in counts
