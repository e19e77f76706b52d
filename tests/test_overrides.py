"""A model named on the command line: its name is never contradicted."""

import os
import subprocess
import sys

import ml_collections
import pytest
import tiny_run

from darkjax import config as configs
from darkjax import methods, models, overrides
from darkjax.errors import UserError

LIFT = f"{tiny_run.ROOT}/configs/lift_arid.py"
DTCM = f"{tiny_run.ROOT}/configs/dtcm_arid.py"


def parsed(config, *words):
    """What `darkjax.main` makes of these words."""
    others, fields = overrides.split(words)
    assert not others
    return configs.load(config, fields)


def test_a_name_against_a_leftover_field_is_refused_with_both():
    c = parsed(LIFT, "--config.teacher.model.name=r3d18")
    with pytest.raises(
        UserError, match=r"model.name='r3d18' .* variant='18', .* model.variant='34'"
    ):
        models.build(c.teacher.model, 11)
    c = parsed(LIFT, "--config.teacher.model.name=i3d")
    with pytest.raises(UserError, match=r"'i3d' has no field 'variant'.*STAGE.model=i3d begins"):
        models.build(c.teacher.model, 11)
    c = parsed(LIFT, "--config.teacher.model.name=r3d34")  # the same variant is no contradiction
    assert models.build(c.teacher.model, 11) == models.build({"name": "r3d34"}, 11)


def test_the_luminous_net_of_lift_is_not_contradicted_either():
    c = parsed(LIFT, "--config.student.model.luminous_net=r3d18")
    both = r"model.luminous_net='r3d18' .* variant='18', .* model.luminous.variant='34'"
    with pytest.raises(UserError, match=both):
        methods.make(configs.resolve(c).student, methods.Spec.numbered(11))


def test_a_name_in_the_place_of_the_section_replaces_it():
    c = parsed(LIFT, "--config.teacher.model=r3d18")
    assert c.teacher.model.to_dict() == {"name": "r3d18"}
    assert models.build(c.teacher.model, 11) == models.build({"name": "r3d18"}, 11)
    c = parsed(DTCM, "--config.dtcm.model=tsm_resnet50", "--config.dtcm.enhancer=zero_dce")
    assert c.dtcm.model.to_dict() == {"name": "tsm_resnet50"}
    assert c.dtcm.enhancer.to_dict() == {"name": "zero_dce"}
    c = parsed(DTCM, "--config.dtcm.model={'name': 'resnet3d', 'width': 8}")
    assert c.dtcm.model.width == 8


def test_fields_of_a_replaced_section_are_those_of_its_model():
    """Whatever stood there before, in any order, and a variant is a word even where it is 34."""
    words = ("--config.teacher.model.variant=34", "--config.teacher.model.remat=true")
    c = parsed(LIFT, *words, "--config.teacher.model=resnet3d", "--config.teacher.model.width=8")
    expected = {"name": "resnet3d", "variant": "34", "remat": True, "width": 8}
    assert c.teacher.model.to_dict() == expected
    c = parsed(LIFT, "--config.teacher.model=r3d18", words[0])
    with pytest.raises(UserError, match="stands for variant='18'"):
        models.build(c.teacher.model, 11)


def test_the_program_takes_a_name_for_a_section(tmp_path):
    words = [f"--config={DTCM}", "--config.dtcm.model=tsm_resnet50", f"--workdir={tmp_path}"]
    found = subprocess.run(
        [sys.executable, "-m", "darkjax.main", *words],
        capture_output=True,
        text=True,
        cwd=tiny_run.ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=240,
    )
    assert found.returncode == 2 and "data.dir is empty" in found.stderr, found.stderr


@pytest.mark.parametrize("name", [n for n, row in models.ARCHITECTURES.items() if row[2]])
def test_no_field_of_a_name_can_be_contradicted(name):
    fixed = models.ARCHITECTURES[name][2]
    for field in fixed:
        with pytest.raises(UserError, match=f"{name}.*{field}"):
            models.build(ml_collections.ConfigDict({"name": name, field: "other"}), None)
    models.build({"name": name, **fixed}, None)
