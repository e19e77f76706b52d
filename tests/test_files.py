"""Files that are there whole or not at all, and the name that was meant."""

import json

import numpy as np
import pytest

from darkjax import files
from darkjax.nearest import did_you_mean, nearest


def test_each_kind_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    files.write_text(tmp_path / "a.txt", "é\n")
    files.write_bytes(tmp_path / "a.bin", b"\x00\xff")
    files.write_json(tmp_path / "a.json", {"a": [1]})
    files.write_npz(tmp_path / "a.b", {"x": np.arange(3)})  # not a.b.npz
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1]}
    with np.load(tmp_path / "a.b") as found:
        np.testing.assert_array_equal(found["x"], [0, 1, 2])
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", "a.bin", "a.json", "a.b"}


@pytest.mark.parametrize("keep_suffix", [False, True])
def test_what_fails_half_way_changes_nothing(tmp_path, keep_suffix):
    path = tmp_path / "a.mp4"
    path.write_text("before")
    with (
        pytest.raises(KeyboardInterrupt),
        files.whole(path, keep_suffix=keep_suffix) as part,
    ):
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_the_other_name_says_what_it_is(tmp_path):
    path = tmp_path / "a.mp4"
    with files.whole(path) as part:
        assert part.name.startswith("a.mp4.part-") and part.parent == tmp_path
        part.touch()
    with files.whole(path, keep_suffix=True) as part, files.whole(path, keep_suffix=True) as other:
        assert part.name.startswith(".a.part-") and part.suffix == ".mp4"
        assert part != other  # two writers of one file, also of one process
        part.touch()
        other.touch()


def test_the_nearest_name():
    known = ("c3d", "r3d18", "r3d34")
    assert nearest("r3d81", known) == "r3d18" and nearest("lstm", known) is None
    assert nearest("lstm", known, 0) in known
    assert nearest(None, ()) is None
    assert did_you_mean("c3", known, lead="; ") == "; did you mean 'c3d'?"
    assert did_you_mean("lstm", known, lead="; ") == ""
    assert did_you_mean("lstm", known, otherwise="known are c3d") == "known are c3d"
