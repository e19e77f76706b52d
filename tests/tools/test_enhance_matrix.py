"""The matrix on tiny clips: every cell, what is kept, what is asked wrongly."""

import json

import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax.errors import UserError
from darkjax.tools import enhance_matrix

ROWS = ("raw", "gic", "sci", "joint")
pytestmark = pytest.mark.usefixtures("native_convolutions")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    tiny_run.records(tiny_run.config(folder))
    return folder


def config(records, rows=ROWS):
    c = configs.load(f"{tiny_run.ROOT}/configs/enhance_matrix.py:quick")
    small = tiny_run.config(records)
    with c.unlocked():
        c.data = small.data
        c.rows, c.seeds, c.eval_batch_size = rows, 1, 8
        model = {"name": "r2plus1d", "variant": (1, 1), "width": 4, "stem_mid": 4, "stem_kernel": 3}
        c.joint.enhancer.update({"width": 8, "k": 4})
        for stage in (c.classifier, c.joint, *c.enhancers.values()):
            stage.batch_size, stage.steps, stage.optim.warmup_steps = 8, 2, 0
            stage.augment.affine.p = 0.0
        c.classifier.model = c.joint.model = model
    return c


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def found(records, workdir, native_convolutions):
    return enhance_matrix.Matrix(config(records), workdir, {"zero_dce": None, "sci": None}).run()


def test_every_cell_is_a_share_of_the_clips(found):
    for row in ROWS:
        for column in ROWS:
            (share,) = found["cells"][row][column]
            assert share * 9 == pytest.approx(round(share * 9))
    assert found["judged"]["raw"]["inconsistency"] == 0
    assert found["judged"]["gic"]["brightness after"] > found["judged"]["raw"]["brightness after"]
    assert set(found["judged"]) == {"raw", "gic", "sci", "joint-0"}


def test_a_second_run_trains_nothing_and_finds_the_same(found, records, workdir, capsys):
    again = enhance_matrix.Matrix(config(records), workdir, {"zero_dce": None, "sci": None}).run()
    assert again == found
    assert "training" not in capsys.readouterr().out


def test_the_table_names_every_row_and_column(found, workdir):
    text = (workdir / "matrix.md").read_text()
    assert "| trained on \\ tested on | raw | gic | sci | joint |" in text
    assert json.loads((workdir / "matrix.json").read_text()) == json.loads(json.dumps(found))
    assert enhance_matrix._span([0.25, 0.5]) == "0.375 (0.250 to 0.500)"


def test_enhanced_records_are_the_enhancer_s_pixels(found, records, workdir):
    from darkjax.data.records import Records
    from darkjax.ops import enhance

    before, after = Records(records), Records(workdir / "records" / "gic")
    assert [c["id"] for c in after.clips] == [c["id"] for c in before.clips]
    assert [c["label"] for c in after.clips] == [c["label"] for c in before.clips]
    row = int(np.flatnonzero(after.meta["clip"] == before.meta["clip"][3])[0])
    frames = before.read_frames(3, range(4)).astype(np.float32) / 255
    expected = np.rint(255 * np.asarray(enhance.gic(frames)))
    assert np.abs(after.read_frames(row, range(4)) - expected).max() <= 1


def test_bad_requests_are_named(records, tmp_path):
    with pytest.raises(UserError, match=r"rows \['gamma'\]"):
        enhance_matrix.Matrix(config(records, ("raw", "gamma")), tmp_path, {})
    with pytest.raises(UserError, match=r"--sci=nowhere\.pt: no such file"):
        enhance_matrix.Matrix(config(records), tmp_path, {"sci": "nowhere.pt"})


def test_a_config_without_rows_is_refused(capsys):
    assert enhance_matrix.main([f"--config={tiny_run.ROOT}/configs/dtcm_arid.py:demo"]) == 2
    said = capsys.readouterr().err
    assert "has no rows, seeds, classifier, joint, enhancers: start from" in said
