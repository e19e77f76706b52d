"""Clips made of pictures: a file of several, or a folder of them."""

import numpy as np
import pytest
from PIL import Image
from tiny import noise

from darkjax.data import sequences
from darkjax.errors import UserError

COUNTS = np.random.default_rng(0).integers(5000, 6000, (4, 10, 12), dtype=np.uint16)


def windowed(counts):
    grey = np.rint(np.clip((counts.astype(float) - 5000) / 1000, 0, 1) * 255)
    return np.repeat(grey[..., None], 3, -1)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_a_folder_of_deep_grey(tmp_path, suffix):
    paths = [tmp_path / f"{n:03d}{suffix}" for n in range(4)]
    for path, counts in zip(paths, COUNTS, strict=True):
        Image.fromarray(counts).save(path)
    with pytest.raises(UserError, match=rf"--window=.*from \d+ to {COUNTS.max()} in {tmp_path}"):
        sequences.read_folder(paths)
    video = sequences.read_folder(paths, window="5000:6000")
    np.testing.assert_array_equal(video.frames, windowed(COUNTS))
    assert video.fps == 0
    some = sequences.read_folder(paths, rate=20, fps=10, window="5000:6000")
    np.testing.assert_array_equal(some.frames, windowed(COUNTS[::2]))
    assert (
        some.fps == 10 and sequences.read_folder(paths, rate=8, short_side=5, window="1:9").fps == 8
    )
    with pytest.raises(UserError, match="found neither"):
        sequences.read_folder(paths, fps=10, window="5000:6000")


def test_a_folder_in_colour(tmp_path):
    frames = noise(0, (3, 10, 12, 3))
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    np.testing.assert_array_equal(sequences.read_folder(paths).frames, frames)
    assert sequences.read_folder(paths, short_side=5, max_frames=2).frames.shape == (2, 5, 6, 3)
    Image.fromarray(COUNTS[0]).save(paths[1])
    with pytest.raises(UserError, match="frames of one size, found several"):
        sequences.read_folder(paths)
    paths[1].write_bytes(b"")
    with pytest.raises(UserError, match=r"empty file: .*1\.png"):
        sequences.read_folder(paths)
    paths[1].unlink()
    with pytest.raises(UserError, match=r"missing file: .*1\.png"):
        sequences.read_folder(paths)


def test_a_file_of_several(tmp_path):
    first, *rest = (Image.fromarray(counts) for counts in COUNTS)
    first.save(tmp_path / "a.tiff", save_all=True, append_images=rest)
    video = sequences.read_moving(tmp_path / "a.tiff", window="5000:6000")
    np.testing.assert_array_equal(video.frames, windowed(COUNTS))
    frames = [Image.fromarray(frame) for frame in noise(1, (6, 10, 12, 3))]
    frames[0].save(
        tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True
    )
    whole = sequences.read_moving(tmp_path / "a.webp")
    assert whole.fps == 10 and len(whole.frames) == 6
    part = sequences.read_moving(tmp_path / "a.webp", start=0.2, end=0.5, fps=5)
    np.testing.assert_array_equal(part.frames, whole.frames[[2, 4]])


def test_floats_are_no_counts(tmp_path):
    for n in range(2):
        Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / f"{n}.tiff")
    with pytest.raises(UserError, match=r"8 bits for a channel, or 16 of grey, found others in"):
        sequences.read_folder(sorted(tmp_path.iterdir()), window="1:2")
