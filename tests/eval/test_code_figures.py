"""Pictures of saved codes: the matrix by class, accuracy over k, and where the report has them."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from darkjax.eval import code_figures, pictures, streams

CLASSES = ("fight", "hug <a>", "walk")
LABELS = np.array([2, 0, 1, 0, 2, 1])


@pytest.fixture
def folder(tmp_path):
    """A stage whose codes are 1 at the three neurons of the class; of training clips one is odd."""
    codes = np.repeat(np.eye(3, dtype=np.float32), 3, axis=1)
    stage = tmp_path / "ir"
    stage.mkdir()
    who = {"clip": np.arange(6), "label": LABELS, "probabilities": np.eye(3)[LABELS]}
    np.savez(stage / "predictions.npz", codes=codes[LABELS], **who)
    known = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    taught = codes[known]
    taught[3] = codes[0]  # a hug that looks like a fight: as near to fights as they are
    who = {"clip": np.arange(10, 19), "label": known, "probabilities": np.eye(3)[known]}
    np.savez(stage / "predictions-train.npz", codes=taught, **who)
    text = json.dumps({"name": "top-1@1x1 tiny", "classes": CLASSES, "numbers": {}})
    (stage / "results.json").write_text(text)
    return stage


def test_the_matrix_is_of_clips_by_class(folder):
    svg = code_figures.matrix(streams.read(folder))
    data = re.search(r'href="data:image/png;base64,([^"]+)"', svg)[1]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    low, high = pictures.heat_colours()[[0, 255]]
    expected = np.where(np.kron(np.eye(3), np.ones((3, 2)))[..., None] > 0, high, low)
    np.testing.assert_array_equal(seen, expected)  # neurons down, clips across
    assert "hug &lt;a&gt;" in svg and "<a>" not in svg
    assert "9 neurons (down) of 6 clips" in svg


def test_many_neurons_are_shown_as_means(monkeypatch):
    monkeypatch.setattr(code_figures, "_ROWS", 2)
    codes = np.array([[0.0, 4.0], [2.0, 4.0], [0.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    image = base64.b64decode(code_figures._image(codes))
    seen = np.asarray(Image.open(io.BytesIO(image)))
    colours = pictures.heat_colours()
    np.testing.assert_array_equal(seen[0, 1], colours[255])  # (4 + 4) / 2, the largest
    np.testing.assert_array_equal(seen[1, 1], colours[0])
    np.testing.assert_array_equal(seen[0, 0], seen[1, 0])  # (0 + 2) / 2 = (0 + 0 + 3) / 3


def test_neighbours_by_k(folder):
    stream = streams.read(folder)
    one, three = (code_figures.by_neighbours(stream, k, gamma=1.0) for k in (1, 3))
    # With one neighbour a fight is as near to the odd hug as to a fight.
    np.testing.assert_allclose(one[1], [0.5, 0.5, 0], atol=3e-3)
    # With three, hugs are at (0 + 2 sqrt 6) / 3, walks at sqrt 6.
    near = np.exp([0.0, -((2 * 6**0.5 / 3) ** 2), -6.0])
    np.testing.assert_allclose(three[1], near / near.sum(), rtol=1e-5)
    chart = code_figures.over_neighbours(stream, [1, 3])
    assert "from 1 at k 1 to 1 at k 3" in chart and ">k<" in chart


def test_the_report_has_a_section_of_each_stage_with_codes(folder, monkeypatch):
    monkeypatch.setattr(code_figures, "KS", (1,))
    bare = folder.parent / "bare"
    bare.mkdir()
    np.savez(bare / "predictions.npz", clip=[0], label=[0], probabilities=[[1.0, 0, 0]])
    (bare / "results.json").write_text((folder / "results.json").read_text())
    found = code_figures.sections(str(folder.parent), ("ir", "bare", "absent"))
    assert len(found) == 1 and "Codes of ir" in found[0]
    assert "6 of 6 clips on the diagonal" in found[0] and "over k" in found[0]
    (folder / "predictions-train.npz").unlink()
    last = code_figures.sections(str(folder.parent), ("ir",))[0]
    assert "diagonal" not in last and "over k" not in last
