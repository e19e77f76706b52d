"""`benchmarks/predict.py`: what it joins is as long as it says."""

import numpy as np
import pytest

from darkjax import process
from darkjax.data.decode import read_video, write_video
from darkjax.errors import UserError


def test_clips_are_joined_and_repeated(bench, monkeypatch, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(2):
        write_video(clips / f"{number}.mp4", np.full((4, 48, 64, 3), 60 + 90 * number, "u1"), 25)
    bench.joined(clips, tmp_path / "one.mp4", 10 / bench.RATE)
    bench.repeated(tmp_path / "one.mp4", tmp_path / "many.mp4", 3)
    one, many = (read_video(tmp_path / f"{name}.mp4") for name in ("one", "many"))
    assert one.frames.shape == (10, 240, 320, 3) and many.fps == one.fps == 25
    levels = many.frames.mean((1, 2, 3))
    np.testing.assert_allclose(levels, np.tile(one.frames.mean((1, 2, 3)), 3), atol=0.5)
    np.testing.assert_allclose(levels[:10], [60] * 4 + [150] * 4 + [60] * 2, atol=4)
    found = bench.cost(["true"])
    assert found.wall > 0 and 0 < found.memory < process.peak_gib() / 2  # not this process's own
    with pytest.raises(UserError, match="ended with 1"):
        bench.cost(["false"])
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no video below it"):
        next(bench.frames_of(tmp_path / "none"))
