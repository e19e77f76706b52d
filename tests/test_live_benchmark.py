"""`benchmarks/live.py`: a camera of its rate, a row of a network in front of it."""

import itertools

import numpy as np
import pytest
from colours import model

from darkjax.data.decode import read_video


def test_a_row_is_what_one_camera_costs(bench, monkeypatch, tmp_path):
    frames = itertools.repeat(np.full((240, 320, 3), 90, np.uint8))
    monkeypatch.setattr(bench.predict, "frames_of", lambda clips: frames)  # drawing takes a minute
    video = bench.camera(tmp_path, 15, 1.0)
    found = read_video(video)
    assert found.fps == 15 and found.frames.shape == (15, 240, 320, 3)
    cells = bench.row(model(), video, 15).split(" | ")
    assert cells[:2] == ["15", "10"]  # of 15 frames a second 10 are judged
    labels, half, most = (float(cell) for cell in cells[2:5])
    assert labels > 0 and 0 < half <= most and cells[5].endswith("%")


def test_rates_are_numbers(bench, monkeypatch):
    monkeypatch.setattr("sys.argv", ["live.py", "--rates=quick"])
    with pytest.raises(ValueError, match="--rates=quick"):
        bench.main()
