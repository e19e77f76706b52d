"""How stages begin: every rule of `init_from` is checked before anything is trained."""

import jax
import pytest
import tiny_run
import tiny_zoo
import torch_files as tf

from darkjax import config as configs
from darkjax import experiment, sharding, spec, starts, train
from darkjax.errors import UserError
from darkjax.weights import convert, zoo

FROM_TEACHER = ("teacher", r"(.*)", r"teacher/\1")


def tiny(folder, **student):
    c = tiny_run.config(folder)
    with c.unlocked():
        for field, value in student.items():
            c.student[field] = value
    return configs.resolve(c)


def check(c, workdir, classes=3):
    names = [str(k) for k in range(classes)]
    starts.check(c, workdir, {name: spec.bare(c, name, names) for name in c.stages})


def refused(c, workdir, match, classes=3):
    with pytest.raises(UserError, match=match) as error:
        check(c, workdir, classes)
    assert "\n" not in str(error.value)


def test_the_papers_config_names_the_weights_that_it_freezes(tmp_path):
    c = configs.resolve(configs.load(f"{tiny_run.ROOT}/configs/lift_arid.py"))
    refused(
        c,
        tmp_path,
        r"student: 29,094,144 frozen parameters \(first student/pvit/vit/.*weights/vit_b16: "
        r"python -m darkjax.weights.convert --arch=vit_b16 --checkpoint=ViT-B_16.npz "
        r"--out=weights/vit_b16; then add `pretrained`.*student.allow_random_frozen=True",
        11,
    )


def test_a_run_stops_before_anything_is_trained(tiny_folder, tmp_path):
    c = tiny(tiny_folder, pvit_freeze="first_free")
    with pytest.raises(UserError, match="come from no init_from and would stay random"):
        experiment.run(c, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "teacher").exists()


def test_the_loop_by_itself_refuses_them_too(tiny_folder, tmp_path):
    c = tiny(tiny_folder)
    c.teacher.freeze = (r"(?!head/).*",)
    mesh = sharding.make_mesh((1, 1), jax.devices()[:1])
    with pytest.raises(UserError, match=r"teacher: [\d,]+ frozen parameters .first stage1_0/"):
        train.run(c, "teacher", tiny_run.records(c), workdir=tmp_path / "alone", mesh=mesh)


@pytest.mark.parametrize(
    ("rules", "match"),
    [
        (
            [FROM_TEACHER, ("weights/vit_b16", "(.*)", r"\1")],
            r"student.init_from wants weights/vit_b16, which is not there: python -m "
            r"darkjax.weights.convert --arch=vit_b16 --checkpoint=ViT-B_16.npz --out=weights/vit",
        ),
        ([("runs/x/teacher", "(.*)", r"\1")], r"runs/x/teacher, which is not there: train that"),
        ([("student", "(.*)", r"\1")], r"'student' is not an earlier stage.*teacher, student"),
        ([("teacher", "(.*)", r"nowhere/\1")], r"places nothing of teacher: .* nowhere/.* has not"),
        ([("teacher", "typo/(.*)", r"\1")], r"places nothing of teacher: no path matches"),
        (
            [("teacher", "head/kernel", "student/head/kernel")],
            r"head/kernel of teacher is \(4, 3\), student/head/kernel is \(5, 3\).*\(\?!head/\)",
        ),
        ([("teacher", "(.*)")], r"expected \(stage or folder, regex, replacement\)"),
        ([("teacher", "(", r"\1")], r"'\(' -> .* is no regular expression"),
        ([("teacher", ".*", r"\1")], r"'\.\*' -> .* is no regular expression"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_named(tmp_path, rules, match):
    c = tiny(tmp_path)
    c.student.model.head_width = 5
    c.student.init_from = tuple(rules)
    refused(c, tmp_path, match)


def test_each_rule_counts_by_itself(tmp_path):
    """One rule that places something does not cover for another."""
    c = tiny(tmp_path)
    c.student.init_from = (FROM_TEACHER, ("teacher", r"(.*)", r"student/lumnous/\1"))
    refused(c, tmp_path, r"'student/lumnous/.*' places nothing of teacher")


def test_all_frozen_parameters_must_be_covered(tmp_path):
    """The frozen network's head comes from the teacher, the rest of it from nowhere."""
    c = tiny(tmp_path)
    check(c, tmp_path)
    c.student.init_from = (FROM_TEACHER,)
    refused(c, tmp_path, r"first student/luminous/.*name their source in student.init_from")
    c.student.allow_random_frozen = True
    check(c, tmp_path)
    c.student.allow_random_frozen = False
    c.student.luminous_frozen = False  # the same rules, and nothing but the teacher is frozen
    check(c, tmp_path)


def test_a_finished_stage_is_a_source_and_is_not_asked_again(tmp_path):
    c = tiny(tmp_path)
    c.teacher.init_from = (("weights/gone", r"(.*)", r"\1"),)
    refused(c, tmp_path, "teacher.init_from wants weights/gone")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "done.json").write_text("{}")
    check(c, tmp_path)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "get", tiny_zoo.get)
        tf.save(folder / "tiny.pth", tiny_zoo.state_dict())
        convert.convert("tiny", folder / "tiny.pth", folder / "tiny", say=lambda _: None)
    return str(folder / "tiny")


def test_converted_weights_are_read_by_their_shapes(converted, tmp_path, monkeypatch):
    """Five classes in the file, three in the dataset: all but the head fits."""
    from darkjax.weights import load

    monkeypatch.setattr(load, "load", None)  # no array is read
    c = tiny(tmp_path)
    c.teacher.model = {"name": "resnet3d", "variant": "10", "width": 4}
    c.stages = ("teacher",)
    c.teacher.freeze = (r"stem.*",)
    refused(c, tmp_path, r"teacher: 4,124 frozen parameters .first stem/kernel.*docs/weights.md")
    c.teacher.init_from = ((converted, r"(.*)", r"\1"),)
    refused(c, tmp_path, r"head/bias of .*tiny is \(5,\), head/bias is \(3,\).*\(\?!head/\)")
    c.teacher.init_from = ((converted, r"(?!head/)(.*)", r"\1"),)
    check(c, tmp_path)
    c.teacher.model.width = 8
    refused(c, tmp_path, r"stage1_0.* of .*tiny is .*the models or their classes differ")
