"""`darkjax.tools.live`: its line, its file, how it ends; a file, a UDP stream."""

import fractions
import json
import os
import re
import signal
import socket
import threading

import numpy as np
import pytest
from colours import RATE, colours
from colours import model as coloured

from darkjax import live, loaded
from darkjax.data import decode
from darkjax.data import live as sources
from darkjax.errors import UserError
from darkjax.tools import live as tool


@pytest.fixture(scope="module")
def model():
    return coloured()


@pytest.fixture
def program(model, monkeypatch):
    """The tool with this model in the place of every run."""
    monkeypatch.setattr(loaded, "load", lambda run: model)
    return lambda *words: tool.main(["--run=runs/colour", *map(str, words)])


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "night.mp4"
    decode.write_video(path, colours(2, 2), RATE)
    return path


@pytest.fixture
def lockstep(model, monkeypatch):
    """A file's next picture comes when the window with the one before was judged."""
    permits, add = threading.Semaphore(model.span + 1), live.Tally.add  # one is decoded ahead

    def taken(tally, label):
        add(tally, label)
        permits.release()

    def arrival(pace, clock, leave):
        def arrive(seconds):
            while not permits.acquire(timeout=0.05):
                if leave.is_set():
                    raise live._Left
            return clock()

        return arrive

    monkeypatch.setattr(live.Tally, "add", taken)
    monkeypatch.setattr(live, "_arrival", arrival)


def rows(path):
    found = [json.loads(row) for row in path.read_text().splitlines()]
    return [[row for row in found if row["kind"] == kind] for kind in ("label", "segment")], found


@pytest.mark.usefixtures("lockstep")
def test_a_file_is_shown_and_written(program, video, tmp_path, capsys):
    out = tmp_path / "seen.jsonl"
    assert program(video, f"--output={out}", "--top=2") == 0
    (labels, segments), every = rows(out)
    assert [row["label"] for row in segments] == ["red", "green"]
    assert segments[0]["end"] == segments[1]["start"] and segments[1]["end"] == 4.0
    assert {len(row["top"]) for row in labels + segments} == {2}
    summary = every[-1]
    assert summary["kind"] == "summary" and summary["labels"] == len(labels)
    assert len(labels) in (33, 34)  # the last two pictures come together
    assert (summary["frames"], summary["used"], summary["dropped"]) == (40, 40, 0)
    assert summary["p95"] >= summary["p50"] > 0 and all(row["latency"] > 0 for row in labels)
    shown, said = capsys.readouterr()
    assert "runs/colour/only: 3 classes" in shown and f"{video}      0.00 to" in shown
    median = re.search(rf"\n{len(labels)} labels, latency p50 (\d+) ms", shown)
    assert median and abs(int(median[1]) - 1000 * summary["p50"]) <= 1  # both are rounded
    assert "frames: 40 used, 0 dropped" in shown
    assert said.startswith("compiled in ") and "labels, latency p50" in said


@pytest.mark.usefixtures("lockstep")
def test_it_ends_after_so_many_seconds(program, video, capsys):
    assert program(video, "--seconds=1") == 0
    assert "0.00 to     1.00 s  red 1.000" in capsys.readouterr().out


@pytest.mark.usefixtures("lockstep")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_all_that_was_seen(
    program, video, tmp_path, capsys, monkeypatch, number
):
    before, out, taken = signal.getsignal(number), tmp_path / "seen.jsonl", live.Tally.add

    def add(tally, label):
        taken(tally, label)
        if tally.labels == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(live.Tally, "add", add)
    assert program(video, f"--output={out}") == 128 + number
    (labels, segments), every = rows(out)
    assert len(labels) == 2 and len(segments) == 1 and segments[0]["label"] == "red"
    assert segments[0]["end"] == labels[1]["end"] and every[-1]["labels"] == 2
    assert "2 labels, latency p50" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_a_stream_that_breaks_is_one_line_after_all_that_was_seen(
    program, tmp_path, capsys, monkeypatch
):
    def broken(*ignored):
        for number, frame in enumerate(colours(1)):
            yield sources.Arrival(number / RATE, frame, 0.0)
        raise UserError("breaks off after 10 frames: Connection reset in rtsp://a/b")

    class Opened:
        def __init__(self, *ignored, **how):
            pass

        def __enter__(self):
            return sources.Stream(broken(), 0.0)

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(sources, "opened", Opened)
    out = tmp_path / "seen.jsonl"
    assert program("rtsp://a/b", f"--output={out}") == 1
    (labels, segments), every = rows(out)
    assert labels and len(segments) == 1 and every[-1]["frames"] == 10
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "error: breaks off after 10 frames: Connection reset in rtsp://a/b"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.mp4",), "nowhere.mp4: no such file; a camera is camera:0, a stream a URL"),
        (("camera:0", "--output=x.csv"), "--output=x.csv: expected a file .jsonl"),
        (("camera:0", "--speed=0"), "--speed=0.0: expected more than 0"),
        (("camera:0", "--reconnect=-1"), "--reconnect=-1: expected"),
        (("camera:99",), "camera:99: no camera that "),
    ],
)
def test_bad_requests_are_one_line(program, words, said):
    with pytest.raises(UserError, match=said):
        program(*words)


def sending(url, leave):
    """Red pictures as MPEG-TS over UDP, 25 a second, until `leave` is set."""
    import av

    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., 0] = 200
    with av.open(url, "w", format="mpegts") as out:
        stream = out.add_stream("mpeg2video", fractions.Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = 1  # every picture by itself: one can begin to look at any
        for number in range(60 * 25):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
            if leave.wait(1 / 25):
                return


def test_a_stream_that_somebody_sends_over_udp(program, tmp_path):
    av = pytest.importorskip("av")
    if "mpeg2video" not in av.codecs_available or "mpegts" not in av.formats_available:
        pytest.skip("this PyAV cannot send MPEG-TS")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    out, leave = tmp_path / "seen.jsonl", threading.Event()
    url = f"udp://127.0.0.1:{port}"
    try:
        av.open(f"{url}?pkt_size=1316", "w", format="mpegts").close()
    except (av.FFmpegError, OSError, ValueError):
        pytest.skip("this PyAV cannot open udp")
    sender = threading.Thread(target=sending, args=(f"{url}?pkt_size=1316", leave))
    sender.start()
    try:
        assert program(url, "--seconds=1", f"--output={out}") == 0
    finally:
        leave.set()
        sender.join()
    (labels, segments), every = rows(out)
    assert labels and {row["label"] for row in labels + segments} == {"red"}
    assert every[-1]["used"] >= 7
