"""Video files to frames: what comes out, and what is said of files that are bad."""

import av
import numpy as np
import pytest
from tiny import encode, moving_ball, rotate

from darkjax.data import decode, timing
from darkjax.data.decode import read_video, write_video
from darkjax.errors import UserError


def _cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_write_then_read(tmp_path):
    frames = moving_ball(frames=9)
    write_video(tmp_path / "a.mp4", frames, 24)
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape == frames.shape and video.frames.dtype == np.uint8
    assert video.fps == 24
    difference = np.abs(video.frames.astype(int) - frames)
    assert difference.mean() < 2 and difference.max() < 25
    # every frame is in its place: the blob's centre moves by four pixels a frame
    centre = (video.frames[..., 0] - 16.0).clip(0).argmax(2).mean(1)
    assert (np.diff(centre) > 2).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_max_frames(tmp_path):
    write_video(tmp_path / "a.mp4", moving_ball(9), 30)
    whole = read_video(tmp_path / "a.mp4").frames
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4", max_frames=4).frames, whole[:4])


@pytest.mark.parametrize(("short_side", "size"), [(32, (32, 48)), (21, (21, 32)), (48, (48, 72))])
def test_resize_keeps_aspect_and_brightness(tmp_path, short_side, size):
    write_video(tmp_path / "a.mp4", np.full((3, 32, 48, 3), 90, np.uint8), 30)
    frames = read_video(tmp_path / "a.mp4", short_side=short_side).frames
    assert frames.shape == (3, *size, 3)
    assert np.abs(frames.astype(int) - 90).max() <= 2


def test_resize_of_a_tall_video(tmp_path):
    write_video(tmp_path / "a.mp4", np.full((2, 64, 32, 3), 90, np.uint8), 30)
    assert read_video(tmp_path / "a.mp4", short_side=16).frames.shape == (2, 32, 16, 3)


def test_rotation_is_applied(tmp_path):
    frames = np.full((3, 32, 48, 3), 20, np.uint8)
    frames[:, :16, :24] = 200  # top left
    write_video(tmp_path / "a.mp4", frames, 30)
    path = tmp_path / "a.mp4"
    rotate(path)
    turned = read_video(path).frames
    assert turned.shape == (3, 48, 32, 3)
    assert turned[:, :20, 20:].min() > 150 and turned[:, :20, :12].max() < 60  # now top right
    small = read_video(path, short_side=16).frames
    assert small.shape == (3, 24, 16, 3)
    assert small[:, :10, 10:].min() > 150 and small[:, :10, :6].max() < 60


def test_missing_and_empty(tmp_path):
    with pytest.raises(UserError, match=r"missing file.*no\.mp4"):
        read_video(tmp_path / "no.mp4")
    (tmp_path / "e.mp4").touch()
    with pytest.raises(UserError, match=r"empty file.*e\.mp4"):
        read_video(tmp_path / "e.mp4")


def test_text_is_no_video(tmp_path):
    (tmp_path / "t.mp4").write_text("this is not a video\n" * 50)
    with pytest.raises(UserError, match=r"not a video.*Invalid data.*t\.mp4"):
        read_video(tmp_path / "t.mp4")


def test_sound_is_no_video(tmp_path):
    with av.open(str(tmp_path / "s.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(UserError, match=r"no video stream in .*s\.wav"):
        read_video(tmp_path / "s.wav")


def test_one_frame(tmp_path):
    write_video(tmp_path / "one.mp4", moving_ball(1), 30)
    with pytest.raises(UserError, match=r"at least 2 frames, decoded 1 in .*one\.mp4"):
        read_video(tmp_path / "one.mp4")


@pytest.mark.parametrize(
    ("name", "codec", "message"),
    [
        ("c.mp4", "libx264", r"truncated: decoded \d+ of 40 frames"),
        ("c.mp4", "mpeg4", r"truncated: decoded \d+ of 40 frames"),
        ("c.avi", "mpeg4", r"truncated: decoded \d+ of 40 frames"),
        ("c.mkv", "libx264", r"truncated: pictures end 0\.\d+ s before the declared end"),
    ],
)
def test_truncated(tmp_path, name, codec, message):
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), dtype=np.uint8)
    path = tmp_path / name
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    encode(path, noise, codec, **options)
    assert len(read_video(path).frames) == 40
    _cut(path, 0.6)
    with pytest.raises(UserError, match=message):
        read_video(path)
    if name == "c.mkv":
        _cut(path, 0.05)
        with pytest.raises(UserError, match="truncated: no frame could be decoded"):
            read_video(path)


def test_truncated_before_its_table(tmp_path):
    write_video(tmp_path / "c.mp4", moving_ball(20), 30)  # the table is at the end of the file
    _cut(tmp_path / "c.mp4", 0.7)
    with pytest.raises(UserError, match=r"not a video, or only its beginning.*c\.mp4"):
        read_video(tmp_path / "c.mp4")


RISING = np.repeat(np.arange(40, dtype=np.uint8)[:, None, None, None] * 6, 3, -1)  # says its number


def numbers(video):
    """Which of the rising frames a video has."""
    return np.rint(video.frames.mean((1, 2, 3)) / 6).astype(int).tolist()


def rising(path, times=None, codec="libx264", **options):
    frames = np.broadcast_to(RISING, (40, 32, 48, 3)) + np.uint8(0)
    encode(path, frames, codec, times=times, **options)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_a_cut_is_read_from_the_key_frame_before_it(tmp_path, name, monkeypatch):
    codec = "mpeg4" if name == "a.avi" else "libx264"
    rising(tmp_path / name, codec=codec, codec_g="5", codec_bf="0")
    whole = read_video(tmp_path / name).frames
    decoded, noting = [], timing.Seen.noting

    def counted(self, pictures):
        return (decoded.append(p[0]) or p for p in noting(self, pictures))

    monkeypatch.setattr(timing.Seen, "noting", counted)
    for options, wanted in (
        ({"start": 0.8, "end": 1.0}, range(24, 30)),
        ({"start": 1.2}, range(36, 40)),
        ({"start": 0.5, "fps": 10}, range(15, 40, 3)),
        ({"start": 0.5, "end": 1.0, "fps": 10, "max_frames": 2}, (15, 18)),
    ):
        decoded.clear()
        part = read_video(tmp_path / name, **options)
        np.testing.assert_array_equal(part.frames, whole[list(wanted)])
        assert part.fps == options.get("fps", 30)
        if name != "a.ts":  # it has no index: where a seek goes wrong, all is read
            assert len(decoded) <= wanted[-1] + 2 - 10 * (options["start"] > 0.5)


def test_a_cut_beyond_the_end(tmp_path):
    rising(tmp_path / "a.mp4")
    assert len(read_video(tmp_path / "a.mp4", start=0.5, end=1.42).frames) == 25  # people round
    with pytest.raises(UserError, match=r"pictures end at 1\.30 s, before 3\.00 s in"):
        read_video(tmp_path / "a.mp4", start=0.5, end=3)
    with pytest.raises(UserError, match=r"pictures end at 1\.30 s, before 9"):
        read_video(tmp_path / "a.mp4", start=8, end=9)
    with pytest.raises(UserError, match="at least 2 frames, decoded 0"):
        read_video(tmp_path / "a.mp4", start=8)


VARYING = np.cumsum([0] + [33, 100, 33, 10, 60] * 8)[:40].tolist()  # milliseconds


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_varying_frame_rate(tmp_path, name):
    rising(tmp_path / name, VARYING)
    video = read_video(tmp_path / name)
    assert numbers(video) == list(range(40))
    assert video.fps == pytest.approx(39000 / VARYING[-1], rel=0.06)  # not the container's 30
    even = read_video(tmp_path / name, fps=10)
    away = np.abs(np.array(VARYING)[:, None] - 100 * np.arange(len(even.frames)))  # [40, k]
    shown = away[numbers(even), np.arange(len(even.frames))]
    assert (shown <= away.min(0) + 2).all() and even.fps == 10  # a tie may go either way
    assert len(even.frames) == 1 + VARYING[-1] // 100


def test_a_long_last_picture_is_no_truncation(tmp_path):
    times = [*range(0, 3900, 100), 6000]  # so long does a picture stay
    rising(tmp_path / "a.mkv", times, last=2000)
    assert len(read_video(tmp_path / "a.mkv").frames) == 40


def test_a_seek_that_goes_too_far_is_made_up_for(tmp_path, monkeypatch):
    rising(tmp_path / "a.mp4", codec_g="5")
    whole, sought = read_video(tmp_path / "a.mp4").frames, decode._sought

    def badly(container, stream, seconds):
        return sought(container, stream, seconds + 0.4 if seconds else 0)

    monkeypatch.setattr(decode, "_sought", badly)
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4", start=0.8).frames, whole[24:])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mkv", "ffv1", "gray16le"),
        ("a.avi", "ffv1", "gray16le"),
        ("a.nut", "rawvideo", "gray16le"),
        ("a.mkv", "ffv1", "gray12le"),
        ("a.mkv", "ffv1", "gray10le"),
    ],
)
def test_deep_grey(tmp_path, name, codec, pix_fmt):
    most = 2 ** int(pix_fmt[4:6])
    counts = np.random.default_rng(0).integers(0, most, (4, 32, 48), dtype=np.uint16)
    encode(tmp_path / name, counts, codec, pix_fmt)
    with pytest.raises(UserError, match=rf"--window=.*from {counts.min()} to {counts.max()} in"):
        read_video(tmp_path / name)
    low, high = most // 4, most // 2
    seen = read_video(tmp_path / name, window=f"{low}:{high}").frames
    wanted = np.rint(np.clip((counts.astype(float) - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(seen, np.repeat(wanted[..., None], 3, -1))
    small = read_video(tmp_path / name, short_side=16, window="1%:99%").frames
    assert small.shape == (4, 16, 24, 3) and (small.min(), small.max()) == (0, 255)


def test_a_window_changes_no_other_video(tmp_path):
    write_video(tmp_path / "a.mp4", moving_ball(4), 30)
    plain = read_video(tmp_path / "a.mp4").frames
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4", window="3:4").frames, plain)


def test_write_refuses(tmp_path):
    with pytest.raises(UserError, match="even height and width"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 31, 48, 3), np.uint8), 30)
    with pytest.raises(UserError, match="expected uint8"):
        write_video(tmp_path / "a.mp4", np.zeros((2, 32, 48, 3), np.float32), 30)


def test_without_pyav(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'darkjax\[convert\]'"):
        read_video(tmp_path / "a.mp4")


def test_real_files_are_read_whole(shared):
    xvid = read_video(shared / "data" / "bright" / "test.avi", short_side=30)
    assert xvid.frames.shape[1] == 30 and len(xvid.frames) > 100
