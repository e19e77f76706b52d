"""The flow tool on tiny clips: arrays and videos in, arrays and pictures out, and bad input."""

import av
import numpy as np
import pytest

from darkjax.data import decode
from darkjax.ops import brox, flow
from darkjax.tools import flow as tool


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """A Brox of one level: quick to compile, and with more steps enough for a small shift."""
    one = brox.Brox(outer_iterations=1, solver_iterations=200)
    monkeypatch.setitem(flow.METHODS, "brox", lambda: one)
    monkeypatch.setattr(tool, "CHUNK", 2)


def clip(frames=4):
    """uint8 [T, 32, 40]: a soft pattern that moves by one pixel to the right."""
    y, x = np.mgrid[:32, :40].astype(float)
    at = [x - t for t in range(frames)]
    waves = [np.sin(a / 2.5 + y / 9) + np.sin(y / 2 - a / 7) for a in at]
    return np.rint(128 + 50 * np.stack(waves)).astype(np.uint8)


def run(source, target, *flags):
    return tool.main([f"--input={source}", f"--output={target}", *flags])


def test_arrays_in_and_out(tmp_path, capsys):
    frames = clip()
    np.save(tmp_path / "x.npy", frames)
    assert run(tmp_path / "x.npy", tmp_path / "new" / "y.npy") == 0
    found = np.load(tmp_path / "new" / "y.npy")
    assert found.shape == (3, 32, 40, 2) and found.dtype == np.float32
    np.testing.assert_allclose(
        found[:, 6:-6, 6:-6], np.broadcast_to([1, 0], (3, 20, 28, 2)), atol=0.1
    )
    assert capsys.readouterr().out.startswith("x.npy: 4 frames of 40x32, motion ")
    np.save(tmp_path / "f.npy", np.repeat(frames[..., None] / 255, 3, -1).astype(np.float16))
    assert run(tmp_path / "f.npy", tmp_path / "f_y.npy") == 0
    np.testing.assert_allclose(np.load(tmp_path / "f_y.npy"), found, atol=0.05)
    assert not list(tmp_path.rglob(".*"))


def test_pictures_of_a_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        video = out.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 40, 32, "yuv420p"
        video.options = {"crf": "1"}
        for frame in clip(5):
            pixels = np.repeat(frame[..., None], 3, -1)
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode())
    assert run(tmp_path / "a.mp4", tmp_path / "b.mp4", "--bound=1") == 0
    seen = decode.read_video(tmp_path / "b.mp4")
    assert seen.frames.shape == (4, 32, 40, 3) and seen.fps == 10
    # To the right is red.
    np.testing.assert_allclose(seen.frames[:, 8:-8, 8:-8].mean((0, 1, 2)), [255, 0, 0], atol=25)
    assert run(tmp_path / "a.mp4", tmp_path / "c.mp4", "--quiver") == 0
    arrows = decode.read_video(tmp_path / "c.mp4").frames
    assert arrows.shape == (4, 32 * 12, 40 * 12, 3)
    yellow = (arrows[..., :2].min(-1) > 150) & (arrows[..., 2] < 110)
    assert 0.001 < yellow.mean() < 0.2


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    def refused(words, *args):
        assert run(*args) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1 and words in err, err

    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, clip())
    refused("no such file", tmp_path / "z.npy", y)
    refused("ends in .npy or .mp4", x, tmp_path / "y.avi")
    refused("would overwrite its own source", x, x)
    refused("give an --output that ends in .mp4", x, y, "--quiver")
    refused("expected pixels above 0", x, tmp_path / "y.mp4", "--bound=0")
    refused("expected a method of brox, tvl1; found 'farneback'", x, y, "--method=farneback")
    refused("expected one of gic", x, y, "--enhance=gamma")
    for bad in (clip()[:1], clip()[0], clip().astype(np.int32)):
        np.save(x, bad)
        refused(f"found {bad.dtype} {list(bad.shape)}", x, y)
    np.save(x, clip().astype(np.float32))
    refused("expected float frames in [0, 1], found 2", x, y)
    x.write_bytes(x.read_bytes()[:200])
    refused("only its beginning", x, y)
    (tmp_path / "v.mp4").write_bytes(b"nothing")
    refused("not a video", tmp_path / "v.mp4", y)
    assert not y.exists() and not (tmp_path / "y.mp4").exists()
