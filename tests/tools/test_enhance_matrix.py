"""The matrix on tiny clips: every cell, what is kept, what is asked wrongly."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from darkjax import config as configs
from darkjax.errors import UserError
from darkjax.tools import enhance_matrix

ROWS = ("raw", "gic", "sci", "joint")
pytestmark = pytest.mark.usefixtures("one_device", "one_program")
trains = pytest.mark.whole  # six trainings


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    tiny_run.records(tiny(folder))
    return folder


def tiny(folder):
    """As few clips as are trained in batches of eight: three rows enhance each of them."""
    c = tiny_run.config(folder)
    with c.unlocked():
        c.data.synthetic.clips_per_class.train = 4
    c.data.size = (16, 16)
    return c


def config(records, rows=ROWS):
    c = configs.load(f"{tiny_run.ROOT}/configs/enhance_matrix.py:quick")
    small = tiny(records)
    with c.unlocked():
        c.data = small.data
        c.rows, c.seeds, c.eval_batch_size = rows, 1, 8
        c.joint.enhancer.update({"width": 8, "k": 4})
        for stage in (c.classifier, c.joint, *c.enhancers.values()):
            stage.batch_size, stage.steps, stage.optim.warmup_steps = 8, 2, 0
            stage.augment.affine.p = 0.0
        c.classifier.model = c.joint.model = {"name": "padding:Classifier"}
    return c


def matrix(c, workdir):
    return enhance_matrix.Matrix(c, workdir, {"zero_dce": None, "sci": None}).run()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def found(records, workdir, one_device, one_program):
    return matrix(config(records), workdir)


@trains
def test_every_cell_is_a_share_of_the_clips(found):
    for row in ROWS:
        for column in ROWS:
            (share,) = found["cells"][row][column]
            assert share * 9 == pytest.approx(round(share * 9))
    assert found["judged"]["raw"]["inconsistency"] == 0
    assert found["judged"]["gic"]["brightness after"] > found["judged"]["raw"]["brightness after"]
    assert set(found["judged"]) == {"raw", "gic", "sci", "joint-0"}


@trains
def test_a_second_run_trains_nothing_and_finds_the_same(found, records, workdir, capsys):
    again = matrix(config(records), workdir)
    assert again == found
    assert "training" not in capsys.readouterr().out


@pytest.fixture
def planted(found, workdir):
    """In every file that keeps numbers 0.123, which no run gives; put back afterwards."""
    files = (*workdir.glob("*/scores.json"), *workdir.glob("judged/*.json"))
    before = {file: file.read_text() for file in (*files, *workdir.glob("matrix.*"))}
    for file in files:
        kept = json.loads(before[file])
        kept["found"] = dict.fromkeys(kept["found"], 0.123)
        file.write_text(json.dumps(kept))
    yield
    for file, text in before.items():
        file.write_text(text)


@trains
def test_planted_numbers_come_back_where_nothing_changed(planted, records, workdir):
    """The fixture does what the tests below need."""
    again = matrix(config(records, ("raw", "gic")), workdir)
    assert again["judged"]["gic"]["brightness after"] == 0.123


@trains
def test_cells_of_other_views_are_made_again(planted, records, workdir, capsys):
    """Every kept number is replaced; nothing is trained for it."""
    c = config(records, ("raw", "gic"))
    c.data.views_crops = 3
    again = matrix(c, workdir)
    assert "@1x3" in again["about"]
    cells = {v[0] for row in again["cells"].values() for v in row.values()}
    assert 0.123 not in cells
    said = capsys.readouterr().out
    assert "training raw" not in said and "training gic" not in said
    assert "gic-0/scores.json is of other settings (" in said
    # What is judged by whole clips does not depend on the views: kept, so still the planted.
    assert again["judged"]["raw"]["inconsistency"] == 0.123


@trains
def test_numbers_of_another_enhancer_are_made_again(found, records, workdir):
    """By its weights, not its name: the joint enhancer of a training that came out differently."""
    from darkjax.eval import enhancers

    c = config(records, ("raw", "joint"))
    m = enhance_matrix.Matrix(c, workdir, {})
    first = enhancers.enhancer(None, workdir / "joint-0" / "enhancer")
    second = enhancers.enhancer(None, workdir / "joint-0" / "joint")
    assert first.identity["fields"] == second.identity["fields"] and first.k == 4
    assert first.identity["weights"] != second.identity["weights"]
    kept = workdir / "judged" / "joint-0.json"
    before = kept.read_text()
    assert m._judge("joint-0", second) == found["judged"]["joint-0"]
    assert kept.read_text() == before
    assert m._judge("joint-0", first) != found["judged"]["joint-0"]
    kept.write_text(before)
    one, two = (m._enhanced("joint-0", e, test_only=True) for e in (first, second))
    assert one.records.directory != two.records.directory
    assert one.records.digest != two.records.digest
    assert two.records.clips[0]["source_sha256"] != one.records.clips[0]["source_sha256"]


@trains
@pytest.mark.parametrize(
    ("row", "change", "named"),
    [
        ("gic", {"classifier.steps": 3}, "gic-0/classifier"),
        ("joint", {"joint.alpha": 0.5}, "joint-0/joint"),
        ("joint", {"enhancers.joint.w_stc": 0.5}, "joint-0/enhancer"),
        ("sci", {"enhancers.sci.steps": 3}, "sci-0/enhancer"),
    ],
)
def test_trainings_with_other_settings_are_refused(planted, records, workdir, row, change, named):
    """Also where the scores are kept, and where only the enhancer's own stage differs."""
    c = config(records, (row,))
    for path, value in change.items():
        c.update_from_flattened_dict({path: value})
    with pytest.raises(UserError, match=f"{named}.* was trained with other settings"):
        matrix(c, workdir)


def test_what_is_kept_is_of_the_same_or_made_again(tmp_path, capsys):
    """Also where the file is damaged or of an older layout."""
    file = tmp_path / "scores.json"
    of = {"trained": {"seed": 0}, "views": (1, 3)}
    for made, expected, kept in ((0.25, 0.25, of), (0.5, 0.25, of), (0.5, 0.5, {**of, "x": 1})):
        assert enhance_matrix._kept(file, kept, lambda made=made: {"raw": made}) == {
            "raw": expected
        }
    assert capsys.readouterr().out == f"{file} is of other settings (x): made again\n"
    for text in (file.read_text()[:20], '{"data": {}, "scores": {"raw": 0.123}}', "[]"):
        file.write_text(text)
        assert enhance_matrix._kept(file, of, lambda: {"raw": 0.75}) == {"raw": 0.75}
        assert json.loads(file.read_text())["found"] == {"raw": 0.75}


@trains
def test_a_run_s_enhancer_is_what_its_training_predicts(found, records, workdir):
    """Through the tool's entry, without a method: the fields and weights are the run's."""
    from darkjax import trained
    from darkjax.data.records import Records
    from darkjax.eval import enhancers

    c = config(records)
    resolved = configs.resolve(enhance_matrix._only(c, "joint", c.joint))
    clips = Records(records)
    method, variables, _ = trained.load(resolved, "joint", str(workdir / "joint-0"), clips)
    frames = clips.read_frames(0, range(4), (0, 16), (0, 16))  # the size that it was trained on
    _, out = method.predict(variables, {"video": frames[None]})
    loaded = enhancers.enhancer(None, workdir / "joint-0" / "joint")
    assert loaded.method == "zero_dce_light"
    again = loaded(frames.astype(np.float32) / 255)
    np.testing.assert_allclose(again, out["enhanced"][0], atol=1e-5)


@trains
def test_a_run_s_folder_may_stand_for_weights(found, records, workdir, tmp_path):
    """As published weights do: what was trained elsewhere is judged the same here."""
    folder = str(workdir / "sci-0" / "enhancer")
    m = enhance_matrix.Matrix(config(records, ("raw", "sci")), tmp_path, {"sci": folder})
    assert m._judge("sci", m._fixed("sci")) == found["judged"]["sci"]
    with pytest.raises(UserError, match="method 'supervised', which has no enhancer"):
        other = str(workdir / "raw-0" / "classifier")
        enhance_matrix.Matrix(config(records, ("raw", "sci")), tmp_path, {"sci": other})
    with pytest.raises(UserError, match="holds weights of zero_dce_light, not of sci"):
        other = str(workdir / "joint-0" / "joint")
        enhance_matrix.Matrix(config(records, ("raw", "sci")), tmp_path, {"sci": other})
    with pytest.raises(UserError, match=r"is a run: name one of its stages, .*enhancer or .*joint"):
        other = str(workdir / "joint-0")
        enhance_matrix.Matrix(config(records, ("raw", "sci")), tmp_path, {"sci": other})


@trains
def test_the_table_names_every_row_and_column(found, workdir):
    text = (workdir / "matrix.md").read_text()
    assert "| trained on \\ tested on | raw | gic | sci | joint |" in text
    assert json.loads((workdir / "matrix.json").read_text()) == json.loads(json.dumps(found))
    assert enhance_matrix._span([0.25, 0.5]) == "0.375 (0.250 to 0.500)"


@trains
def test_enhanced_records_are_the_enhancer_s_pixels(found, records, workdir):
    from darkjax.data.records import Records
    from darkjax.ops import enhance

    (folder,) = (workdir / "records").glob("gic-*")
    before, after = Records(records), Records(folder)
    assert [c["id"] for c in after.clips] == [c["id"] for c in before.clips]
    assert [c["label"] for c in after.clips] == [c["label"] for c in before.clips]
    row = int(np.flatnonzero(after.meta["clip"] == before.meta["clip"][3])[0])
    frames = before.read_frames(3, range(4)).astype(np.float32) / 255
    expected = np.rint(255 * np.asarray(enhance.gic(jnp.asarray(frames))))
    assert np.abs(after.read_frames(row, range(4)) - expected).max() <= 1


def test_bad_requests_are_named(records, tmp_path):
    with pytest.raises(UserError, match=r"rows \['gamma'\]"):
        enhance_matrix.Matrix(config(records, ("raw", "gamma")), tmp_path, {})
    with pytest.raises(UserError, match="row zero_dce_light has neither weights nor a stage"):
        none = {"zero_dce_light": None}
        enhance_matrix.Matrix(config(records, ("raw", "zero_dce_light")), tmp_path, none)
    with pytest.raises(UserError, match=r"--sci=nowhere\.pt: no such file"):
        enhance_matrix.Matrix(config(records), tmp_path, {"sci": "nowhere.pt"})


def test_a_config_without_rows_is_refused(capsys):
    assert enhance_matrix.main([f"--config={tiny_run.ROOT}/configs/dtcm_arid.py:demo"]) == 2
    said = capsys.readouterr().err
    assert "has no rows, seeds, classifier, joint, enhancers: start from" in said
