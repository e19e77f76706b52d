"""`benchmarks/export.py`: a program beside the run that it was made of."""

import numpy as np
import pytest

from darkjax.errors import UserError


def test_a_row_is_a_program_beside_its_run(bench, tmp_path):
    model = bench.model_of("vit", 2, 16)
    videos = np.random.default_rng(0).integers(0, 256, (2, 2, 2, 16, 16, 3), np.uint8)
    cells = bench.row(model, videos, 1, tmp_path).strip("| ").split(" | ")
    assert cells[0] == "vit" and len(cells) == bench.HEAD.splitlines()[0].count(" | ") + 1
    size = (tmp_path / "model.zip").stat().st_size / 2**20
    assert float(cells[2]) == pytest.approx(size, abs=0.01) and float(cells[9]) <= 1e-5
    said = model.judged(videos)
    assert said.max() > 0.4 and np.abs(said[0] - said[1]).max() > 1e-3  # parity of something


def test_a_network_that_is_not_there_is_named(bench):
    with pytest.raises(UserError, match="--networks=vitt: expected of c3d, "):
        bench.main(["--networks=vitt,vit"])
