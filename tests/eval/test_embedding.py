"""Points of a plane: PCA against a closed form, the picture's marks and colours."""

import re
import sys

import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.eval import embedding


def test_pca_is_the_two_directions_of_largest_variance():
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    hidden = rng.normal(size=(200, 5)) * [7, 3, 0.1, 0.1, 0.1]
    points = embedding.plane(hidden @ turn.T + 4)
    assert points.shape == (200, 2)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-9)
    for k in (0, 1):
        assert abs(np.corrcoef(points[:, k], hidden[:, k])[0, 1]) > 0.999
    assert np.isfinite(embedding.plane(np.zeros((3, 4)))).all()


def test_tsne_asks_for_scikit_learn_where_it_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UserError, match=r"pip install 'darkjax\[embed\]', or take the plane 'pca'"):
        embedding.plane(np.eye(4), "tsne")
    with pytest.raises(UserError, match="by 'umap': expected one of pca, tsne"):
        embedding.plane(np.eye(4), "umap")


def test_tsne_keeps_what_is_apart_apart():
    pytest.importorskip("sklearn", reason="scikit-learn is an extra: darkjax[embed]")
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.normal(size=(20, 6)), rng.normal(size=(20, 6)) + 20])
    points = embedding.plane(codes, "tsne")
    apart = np.linalg.norm(points[:20].mean(0) - points[20:].mean(0))
    assert apart > 2 * max(points[:20].std(), points[20:].std())


def test_a_class_is_a_colour_and_a_domain_a_mark():
    panel = embedding.Panel(
        "a < b", np.array([[0.0, 0], [1, 1], [2, 4]]), np.array([0, 1, 0]), np.array([0, 0, 1])
    )
    text = embedding.picture([panel, panel], ("Jump", "Sit"), ("source", "target"))
    assert text.count("<circle") == 2 * 3 + 2 + 2 and "a &lt; b" in text
    marks = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3" ([^/]*)/>', text)
    first, second, third = (m[2] for m in marks[:3])
    assert first != second and first.startswith('fill="#') and 'fill="none"' in third
    assert first.split('"')[1] == third.split('"')[3]  # of one class
    assert all(0 < float(x) < 2 * 376 + 16 for x, _, _ in marks)
    assert float(marks[2][1]) < float(marks[0][1])  # up is up
