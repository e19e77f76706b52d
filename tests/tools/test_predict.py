"""What is found in videos: one answer for a clip, segments for more, in every kind of output."""

import contextlib
import csv
import io
import itertools
import json
import os
import signal
import socket
import sys
import tracemalloc
import types

import numpy as np
import pytest
from colours import RATE, colours
from colours import model as coloured

from darkjax import loaded, timeline
from darkjax.data import live
from darkjax.data.decode import read_video, write_video
from darkjax.errors import UserError
from darkjax.eval import annotate
from darkjax.tools import predict


@pytest.fixture(scope="module", name="model")
def _model():
    return coloured()


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

    def through(count):
        for _ in timeline.merged(timeline.windows(model, endless(count))):
            pass

    def peak(count):
        tracemalloc.start()
        through(count)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    through(50)  # compiled: that is slow where memory is watched
    assert peak(160) < 1.2 * peak(40)


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
        (("LONG", "--output=nowhere/x.mp4"), "--output=nowhere/x.mp4: there is no folder nowhere"),
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


@pytest.mark.parametrize(("suffix", "status"), [("mkv", 0), ("mp4", 1)])
def test_standard_input_is_a_stream(program, tmp_path, monkeypatch, capsys, suffix, status):
    path = tmp_path / f"piped.{suffix}"
    noise = np.random.default_rng(0).integers(0, 40, (20, 192, 256, 3), np.uint8)  # large, if coded
    noise[..., 1] += 160
    write_video(path, noise, RATE)
    piped = types.SimpleNamespace(read=io.BytesIO(path.read_bytes()).read)  # it cannot go back
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=piped))
    assert program("-") == status
    out, err = capsys.readouterr()
    assert ("green 1.0" in out) is not bool(status) and ("Matroska can" in err) is bool(status)


def test_one_that_is_cut_off_is_named(program, long, tmp_path, capsys):
    whole = long.read_bytes()
    transport = tmp_path / "cut.mp4"
    transport.write_bytes(whole[: len(whole) // 2])
    assert program(transport) == 1
    assert "error: " in capsys.readouterr().err


def killing(monkeypatch, module, name, number):
    """The function sends this process a signal when it is first called, and then does its work."""
    does, sent = getattr(module, name), []

    def call(*args):
        if not sent:
            sent.append(os.kill(os.getpid(), number))
        return does(*args)

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_was_found_so_far(
    program, long, tmp_path, capsys, monkeypatch, number
):
    before, out = signal.getsignal(number), tmp_path / "found.jsonl"
    killing(monkeypatch, predict, "line", number)  # when there is something to print
    assert program(long, long, f"--output={out}") == 128 + number
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    assert [row["label"] for row in rows] == ["red", "green"]  # not blue, and not the second file
    assert rows[0]["end"] == rows[1]["start"] and 4 < rows[1]["end"] < 7.5
    assert f"stopped in {long}, input 1 of 2" in capsys.readouterr().err
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("module", "name"), [(predict, "line"), (annotate, "panel")])
def test_a_stopped_mp4_is_not_there(program, long, tmp_path, capsys, monkeypatch, module, name):
    out = tmp_path / "said.mp4"
    killing(monkeypatch, module, name, signal.SIGINT)
    assert program(long, f"--output={out}") == 130
    assert f"{out} is not written: it would lack its end" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["long.mp4"]


def test_what_came_before_a_break_is_found(model, monkeypatch):
    def breaking():
        for n, frame in enumerate(colours(4, 3)):
            yield live.Arrival(n / RATE, frame, 0.0)
        raise UserError("breaks off after 70 frames")

    @contextlib.contextmanager
    def opened(source, **how):
        yield live.Stream(breaking(), 0.0)

    monkeypatch.setattr(live, "opened", opened)
    found = predict.predict(model, "rtsp://camera/1")
    assert [next(found).top[0][0] for _ in range(2)] == ["red", "green"]
    with pytest.raises(UserError, match="breaks off after 70 frames"):
        next(found)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_cameras_and_streams_that_are_not_there_are_one_line(program, capsys, monkeypatch):
    monkeypatch.setattr(live, "PATIENCE", 0.2)
    silent = f"udp://127.0.0.1:{free_port()}"
    refused = "rtsp://127.0.0.1:9/night"  # the port of "discard", which nobody serves any more
    assert program("camera:99", refused, silent, "nothing://a/b") == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5 and errors[-1] == "4 of 4 inputs failed"
    assert errors[0].startswith("error: camera:99: no camera that ")
    assert errors[1] == f"error: no stream: Connection refused at {refused}"
    assert errors[2] == f"error: no answer for 0.2 s from {silent}: is anybody sending there?"
    assert errors[3] == "error: no stream: Protocol not found at nothing://a/b"
