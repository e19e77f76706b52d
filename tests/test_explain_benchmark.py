"""`benchmarks/explain.py`: its cues are where it says, and heat is counted there."""

import numpy as np
import pytest


def test_the_cue_is_the_class_and_the_mask_is_where_it_is(bench):
    videos, labels, masks = bench.clips("square", 0, 6)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    for video, label, mask in zip(videos, labels, masks, strict=True):
        assert (mask.sum((1, 2)) == bench.SQUARE**2).all()
        inside, outside = video[mask].mean(0), video[~mask].mean(0)
        assert inside.argmax() == label and inside[label] > outside[label] + 80
    assert (masks[0] != masks[3]).any()
    again, _, _ = bench.clips("square", 0, 6)
    np.testing.assert_array_equal(videos, again)
    assert (videos != bench.clips("square", 1, 6)[0]).any()
    drawn, _, figures = bench.clips("figure", 0, 1)
    assert drawn.shape == (1, bench.FRAMES, bench.SIZE, bench.SIZE, 3)
    assert 0.005 < figures.mean() < 0.5


def test_heat_is_counted_inside_the_mask(bench):
    mask = np.zeros((4, 8, 8), bool)
    mask[2:, :4, :4] = True
    even = np.ones((2, 2, 2), np.float32)
    assert bench.pointing(even, mask)[1] == pytest.approx(1)
    exact = np.zeros((2, 2, 2), np.float32)
    exact[1, 0, 0] = 1
    top, inside = bench.pointing(exact, mask)
    assert top == 1 and 4 < inside <= 8  # the enlarged heat has soft borders
    assert bench.pointing(exact[::-1], mask)[0] == 0
    assert bench.pointing(0 * exact, mask) == (0.0, 0.0)


@pytest.mark.slow
def test_it_prints_a_table(bench, capsys):
    bench.main(["--networks=tsn", "--steps=20", "--test=3"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert rows[2][:3] == ["| tsn", "gradcam", "16 x 4 x 4"] and rows[3][0] == "| chance"
    assert float(rows[2][5]) >= 0
