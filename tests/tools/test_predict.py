"""What is found in videos: one answer for a clip, segments for more, in every kind of output."""

import csv
import itertools
import json
import tracemalloc
import types

import jax.numpy as jnp
import numpy as np
import pytest

from darkjax import loaded, methods, timeline
from darkjax.data import live
from darkjax.data.decode import read_video, write_video
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError
from darkjax.intake import Intake
from darkjax.tools import predict

RATE = 10


class Colour(methods.Method):
    """Its classes are the colours of the pixels."""

    def predict(self, variables, batch):
        colour = batch["video"].astype(jnp.float32).mean((1, 2, 3)) / 255
        return 20 * colour, {"pre_logits": colour}

    def look(self, batch, out):
        """It looks at the right half."""
        right = jnp.broadcast_to(jnp.array([0.0, 1.0]), (1, 2, 2, 2))
        return methods.Look(methods.base.to_float(batch["video"]), right)


@pytest.fixture(scope="module")
def model():
    views = ViewConfig(frames=4, stride=2, size=(16, 16), crop="resized", views_clips=2)
    config = types.SimpleNamespace(method="colour")
    method = Colour(config, methods.Spec(("red", "green", "blue")))
    intake = Intake(short_side=16, fps=RATE, channels=3)
    return loaded.Model(
        "runs/colour/only", method.spec.classes, {"only": config}, method, {}, intake, views
    )


def colours(*seconds):
    """Frames of as many seconds of red, green, blue, red …, 24 x 32 at RATE a second."""
    frames = np.zeros((int(RATE * sum(seconds)), 24, 32, 3), np.uint8)
    start = 0
    for number, length in enumerate(seconds):
        end = start + int(RATE * length)
        frames[start:end, ..., number % 3] = 200
        start = end
    return frames


@pytest.fixture
def long(tmp_path):
    path = tmp_path / "long.mp4"
    write_video(path, colours(4, 3, 5), RATE)
    return path


@pytest.fixture
def program(model, monkeypatch):
    """The tool with this model in the place of every run."""
    monkeypatch.setattr(loaded, "load", lambda run: model)
    return lambda *words: predict.main(["--run=runs/colour", *map(str, words)])


def test_a_long_video_is_its_segments(model, long):
    found = list(predict.predict(model, str(long)))
    assert [f.top[0][0] for f in found] == ["red", "green", "blue"]
    borders = [f.start for f in found] + [found[-1].end]
    # Windows of 0.7 s every 0.3 s: a border is known as well as that.
    np.testing.assert_allclose(borders, [0, 4, 7, 12], atol=0.5)
    assert borders[0] == 0 and borders[-1] == pytest.approx(12)
    assert all(a.end == b.start for a, b in itertools.pairwise(found))


def test_a_short_one_is_a_clip_judged_as_in_an_evaluation(model, tmp_path):
    write_video(tmp_path / "short.mp4", colours(0, 1.5), RATE)
    (found,) = predict.predict(model, str(tmp_path / "short.mp4"))
    assert found.top[0][0] == "green" and found.end == pytest.approx(1.5)
    assert found.top[0][1] == model.predict(tmp_path / "short.mp4")[0].probability
    # As a timeline where that is asked for.
    many = predict.predict(model, str(tmp_path / "short.mp4"), clip=0.0)
    assert [f.top[0][0] for f in many] == ["green"]


def test_windows_are_where_they_are_asked_for(model):
    frames = [(n / RATE, frame) for n, frame in enumerate(colours(2))]
    spans = [(w.start, w.end) for w in timeline.windows(model, frames, 8, 6)]
    np.testing.assert_allclose(spans, [(0, 0.8), (0.6, 1.4), (1.2, 2.0)])
    spans = [(w.start, w.end) for w in timeline.windows(model, frames[:10], 8, 6)]
    np.testing.assert_allclose(spans, [(0, 0.8), (0.2, 1.0)])  # the last ends with the video
    (one,) = timeline.windows(model, frames[:3])
    assert (one.start, one.end) == (0, pytest.approx(0.3))
    with pytest.raises(UserError, match="found none"):
        list(timeline.windows(model, []))


def test_memory_does_not_grow_with_the_length(model):
    def endless(count):
        frame = np.full((64, 64, 3), 9, np.uint8)
        return ((n / RATE, frame.copy()) for n in range(count))

    def peak(count):
        tracemalloc.start()
        for _ in timeline.merged(timeline.windows(model, endless(count))):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(50)
    assert peak(1000) < 1.5 * peak(100)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_rows_are_written(program, long, tmp_path, capsys, suffix):
    out = tmp_path / f"found.{suffix}"
    assert program(long, f"--output={out}", "--top=2") == 0
    if suffix == "csv":
        with open(out, newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = [json.loads(row) for row in out.read_text().splitlines()]
        assert [len(row["top"]) for row in rows] == [2, 2, 2]
    assert [row["label"] for row in rows] == ["red", "green", "blue"]
    assert [float(row["end"]) for row in rows][-1] == pytest.approx(12)
    assert {row["file"] for row in rows} == {str(long)}
    assert "green 1.0" in capsys.readouterr().out


def test_an_annotated_video(program, tmp_path):
    large, out = tmp_path / "large.mp4", tmp_path / "said.mp4"
    write_video(large, np.repeat(np.repeat(colours(2, 2), 4, 1), 4, 2), RATE)
    assert program(large, f"--output={out}") == 0
    before, after = read_video(large), read_video(out)
    assert after.frames.shape[:3] == (40, 96, 128 + 48) and after.fps == before.fps
    # Right of it what the network saw, and below that where it looked.
    right, after = after.frames[:, :, 128:], after._replace(frames=after.frames[:, :, :128])
    assert np.abs(right[:20, 4:44, 4:44] - np.array([200.0, 0, 0])).mean() < 12
    assert np.abs(right[22:, 4:44, 4:44] - np.array([0, 200.0, 0])).mean() < 12
    assert right[:20, 52:92, 28:44].mean() > right[:20, 52:92, 4:20].mean() + 30
    # The picture is as it was; above it is black with letters, below a bar of the probability.
    assert np.abs(after.frames.astype(float) - before.frames)[:, 30:80].mean() < 5
    assert after.frames[:, :6, -20:].mean() < 30 < after.frames[:, 2:14, 4:40].max()
    assert after.frames[20, -2, 4, 0] > 150


def test_many_inputs_and_one_that_is_no_video(program, long, tmp_path, capsys):
    folder = tmp_path / "more"
    folder.mkdir()
    write_video(folder / "a.mp4", colours(1), RATE)
    (folder / "b.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("")
    assert program(folder, str(tmp_path / "lo*.mp4")) == 1
    out, err = capsys.readouterr()
    assert "a.mp4" in out and "long.mp4" in out and "notes" not in out
    assert err.count("error: not a video") == 1 and "b.mp4" in err
    assert "1 of 3 inputs failed" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.mp4",), "nowhere.mp4: no such file or folder, and nothing matches it"),
        (("LONG", "--output=x.txt"), "--output=x.txt: expected a file .jsonl, .csv or .mp4"),
        (("LONG", "LONG", "--output=x.mp4"), "takes one video file"),
        (("LONG", "--output=LONG"), "is the input: give another name"),
        (("LONG", "--window=-1"), "--window=-1.0: expected more than 0"),
    ],
)
def test_bad_requests_are_one_line(program, long, words, said):
    with pytest.raises(UserError, match=said):
        program(*(word.replace("LONG", str(long)) for word in words))


def test_streams_are_known(model, tmp_path):
    assert all(map(live.is_live, ("-", "camera:0", "rtsp://a/b"))) and not live.is_live("a.mp4")
    with pytest.raises(UserError, match="expected camera:0, camera:1"):
        next(predict.predict(model, "camera:front"))


def test_one_that_is_cut_off_is_named(program, long, tmp_path, capsys):
    whole = long.read_bytes()
    transport = tmp_path / "cut.mp4"
    transport.write_bytes(whole[: len(whole) // 2])
    assert program(transport) == 1
    assert "error: " in capsys.readouterr().err
