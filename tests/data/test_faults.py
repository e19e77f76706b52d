"""What goes wrong with real collections: each tried, nothing is lost without a word."""

import errno
import logging
import os
import re
import resource
import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
from tiny import Noise, encode, moving_ball, noise, rotate

from darkjax.data.convert import convert
from darkjax.data.decode import read_video, write_video
from darkjax.data.records import Records
from darkjax.errors import UserError

VARYING = np.cumsum([0, 33, 100, 33, 10, 60, 33, 100]).tolist()  # milliseconds
CZECH, JAPANESE = "hug/žluťoučký kůň.mp4", "hug/走る.mp4"
BAD = {
    "run/cut.mp4": r"truncated: decoded \d+ of 40 frames",
    "run/cut before its table.mp4": "not a video, or only its beginning",
    "run/zero.mp4": "empty file: expected a video, found 0 bytes",
    "run/text.avi": "not a video, or only its beginning: InvalidDataError",
    "run/sound.mp4": "not a video: no video stream",
    "run/picture.mp4": "at least 2 frames, decoded 1",
    "run/one.mp4": "at least 2 frames, decoded 1",
    "run/loop.mp4": "missing file: expected a video",  # a link to itself
    "run/nowhere.mp4": "missing file: expected a video",
}
GOOD = {  # frames, height, width, fps
    "run/ok.mp4": (8, 32, 48, 30),
    "run/matroska.mp4": (8, 32, 48, 30),  # another container than its name says
    "run/odd.mkv": (5, 33, 47, 30),
    "run/422.mp4": (5, 32, 48, 30),  # of 10 bits
    "run/phone.mp4": (8, 48, 32, 30),
    "run/varying.mp4": (8, 32, 48, pytest.approx(7000 / VARYING[-1], rel=0.06)),
    CZECH: (8, 32, 48, 30),
    JAPANESE: (8, 32, 48, 30),
    "hug/two  spaces .mp4": (8, 32, 48, 30),
    "hug/ok.mp4": (8, 32, 48, 30),  # a name that is there again in another class,
    "hug/ok.avi": (8, 32, 48, 30),  # and again with another suffix
}


def write_tree(raw):
    """A collection with one fault of each kind."""
    for name in ("run", "hug"):
        (raw / name).mkdir(parents=True)
    ball = raw / "run" / "ok.mp4"
    write_video(ball, moving_ball(), 30)
    for name in ("run/phone.mp4", CZECH, JAPANESE, "hug/two  spaces .mp4", "hug/ok.mp4"):
        shutil.copy(ball, raw / name)
    rotate(raw / "run/phone.mp4")
    encode(raw / "run/a.mkv", moving_ball())
    (raw / "run/a.mkv").rename(raw / "run/matroska.mp4")
    encode(raw / "hug/ok.avi", moving_ball(), "mpeg4")
    encode(raw / "run/odd.mkv", noise(0, (5, 33, 47, 3)), "ffv1")
    encode(raw / "run/422.mp4", moving_ball(5), pix_fmt="yuv422p10le")
    encode(raw / "run/varying.mp4", moving_ball(), times=VARYING)
    encode(raw / "run/cut.mp4", noise(0, (40, 32, 48, 3)), movflags="faststart")
    os.truncate(raw / "run/cut.mp4", (raw / "run/cut.mp4").stat().st_size * 6 // 10)
    content = ball.read_bytes()
    (raw / "run/cut before its table.mp4").write_bytes(content[: len(content) * 7 // 10])
    (raw / "run/zero.mp4").touch()
    (raw / "run/text.avi").write_text("not a video\n" * 50)
    write_video(raw / "run/one.mp4", moving_ball(1), 30)
    with av.open(str(raw / "run/picture.png"), "w", format="image2") as container:
        stream = container.add_stream("png")
        stream.height, stream.width, stream.pix_fmt = 32, 48, "rgb24"
        picture = av.VideoFrame.from_ndarray(moving_ball(1)[0], format="rgb24")
        container.mux(stream.encode(picture))
    (raw / "run/picture.png").rename(raw / "run/picture.mp4")
    with av.open(str(raw / "run/sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    os.symlink("loop.mp4", raw / "run/loop.mp4")
    os.symlink("nowhere", raw / "run/nowhere.mp4")
    os.symlink(raw, raw / "again")  # folders that lead back
    os.symlink("..", raw / "run/deeper")


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


class Converted:
    """The tree, what was said, and its records."""

    def __init__(self, base):
        self.raw, self.out = base / "raw", base / "out"
        write_tree(self.raw)
        self.said = []
        handler = logging.Handler()
        handler.emit = lambda entry: self.said.append(entry.getMessage())
        logging.getLogger("darkjax").addHandler(handler)
        try:
            self.card = convert("folder", self.out, raw=self.raw, max_bad_fraction=0.9)
        finally:
            logging.getLogger("darkjax").removeHandler(handler)
        self.rows = {row["path"]: row for row in self.card["clips"]}
        self.bad = {entry["path"]: entry["reason"] for entry in self.card["bad"]}
        self.records = Records(self.out)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Converted(tmp_path_factory.mktemp("faults"))
    yield made
    made.records.close()


def test_every_file_is_a_clip_or_listed_as_bad(tree):
    assert tree.rows.keys() == BAD.keys() | GOOD.keys()
    assert tree.bad.keys() == BAD.keys() and len(tree.records) == len(GOOD)
    listed = (tree.out / "bad_files.csv").read_text().splitlines()
    assert listed[0] == "clip,path,reason" and len(listed) == 1 + len(BAD)
    assert all(any(f",{name}," in line for line in listed) for name in BAD)
    assert any("2 links to folders left out, as again: put the folders" in s for s in tree.said)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_its_reason(tree, name):
    assert re.search(BAD[name], tree.bad[name]) and "\n" not in tree.bad[name]
    assert tree.bad[name].endswith(str(tree.raw / name))
    assert tree.rows[name]["shard"] == -1 and tree.rows[name]["frames"] == 0


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_is_as_decoded(tree, name):
    row = tree.rows[name]
    assert (row["frames"], row["height"], row["width"], row["fps"]) == GOOD[name]
    (record,) = tree.records.select(clips=[row["clip"]])
    frames = tree.records.read_frames(record, range(row["frames"]))
    np.testing.assert_array_equal(frames, read_video(tree.raw / name).frames)
    if name in ("run/phone.mp4", "run/422.mp4", "run/varying.mp4", "run/matroska.mp4"):
        ball = moving_ball(len(frames)).astype(int)
        upright = np.rot90(ball, -1, (1, 2)) if name == "run/phone.mp4" else ball
        assert np.abs(frames - upright).mean() < 3


# ---------------------------------------------------------------- lists


def arid(raw, lines):
    (raw / "train" / "Run").mkdir(parents=True)
    (raw / "mapping_table_23.txt").write_text("0\tRun\n")
    (raw / "train.txt").write_text("".join(f"{k}\t0\t{name}\n" for k, name in enumerate(lines)))
    write_video(raw / "train" / "Run" / "Run_1_1.mp4", moving_ball(), 30)


def test_a_list_that_names_missing_files(tmp_path):
    arid(tmp_path / "raw", ["Run/Run_1_1.mp4", "Run/Run_1_2.mp4", "Run/Run_2_1.mp4"])
    with pytest.raises(UserError, match=r"2 of 3 failed, the first, train/Run/Run_1_2.mp4, with"):
        convert("arid_ee6222", tmp_path / "out", raw=tmp_path / "raw")
    card = convert("arid_ee6222", tmp_path / "out", raw=tmp_path / "raw", max_bad_fraction=0.7)
    assert [entry["reason"].split(":")[0] for entry in card["bad"]] == ["missing file"] * 2


def test_a_list_that_names_a_file_twice(tmp_path):
    arid(tmp_path / "raw", ["Run/Run_1_1.mp4"] * 2)
    with pytest.raises(UserError, match=r"each clip once; found train/Run/Run_1_1\.mp4 more than"):
        convert("arid_ee6222", tmp_path / "out", raw=tmp_path / "raw")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- discs


def stops_and_goes_on(tmp_path, stop):
    """`stop` ends in one line and leaves only whole files; the same command then goes on."""
    dataset = Noise(train=12, test=0)
    convert(dataset, tmp_path / "reference", shards=2)
    wanted, out = files(tmp_path / "reference"), tmp_path / "out"
    with pytest.raises(UserError, match=r"could not write .*run the same command") as error:
        stop(dataset, out)
    assert "\n" not in str(error.value)
    assert files(out).items() <= wanted.items() and "card.json" not in files(out)
    convert(dataset, out, shards=2)
    assert files(out) == wanted
    return str(error.value)


@pytest.mark.parametrize("number", range(8))
def test_disc_full_at_any_file(tmp_path, monkeypatch, number):
    """Shard, index and report, twice; the table of bad files; the card."""

    def stop(dataset, out):
        replace, left = os.replace, [number]

        def full(source, target):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            convert(dataset, out, shards=2)

    assert "No space left on device: free some space and run" in stops_and_goes_on(tmp_path, stop)


def test_a_quota(tmp_path):
    """No file may be larger than half a shard: the system's own error, in the middle of writing."""

    def stop(dataset, out):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
        try:
            convert(dataset, out, shards=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert "File too large" in stops_and_goes_on(tmp_path, stop)


def test_a_small_disc(tmp_path):
    """A real one, where the system lets a test mount it."""
    disc = tmp_path / "out"
    disc.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disc)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disc can be mounted here")
    try:

        def stop(dataset, out):
            convert(dataset, out, shards=2)

        with pytest.raises(UserError, match=r"No space left on device: free some space and run"):
            stop(Noise(train=12, test=0), disc)
        assert not list(disc.glob("*.part-*"))
        subprocess.run(["mount", "-o", "remount,size=1m", str(disc)], check=True)
        convert(Noise(train=12, test=0), disc, shards=2)
        convert(Noise(train=12, test=0), tmp_path / "reference", shards=2)
        assert files(disc) == files(tmp_path / "reference")
    finally:
        subprocess.run(["umount", str(disc)], check=True)


# ---------------------------------------------------------------- kill -9

KILLED = """
import os, pathlib, shutil, sys
import av  # once, before there are children
from darkjax.data import convert as cli
from darkjax.data import example

example.example_class()
base = pathlib.Path(sys.argv[1])
flags = [
    "--dataset=folder", f"--raw={base / 'raw'}", "--fps=10", "--window=100:900", "--workers=0",
    "--shards=2", "--max_bad_fraction=0.5",
]


def run(out, last, before):
    "In a process of its own, killed at one of its renames; whether it came to its end."
    child = os.fork()
    if not child:
        replace, done = os.replace, []
        def fatal(source, target):
            if before and len(done) == last:
                os._exit(9)
            replace(source, target)
            done.append(target)
            if not before and len(done) == last + 1:
                os._exit(9)
        os.replace = fatal
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(cli.main([*flags, f"--out={out}"]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    return code == 0


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


assert run(base / "reference", 99, True)
wanted, kills = files(base / "reference"), 0
for before in (True, False):
    for last in range(99):
        out = base / f"out{before}{last}"
        if run(out, last, before):
            break
        kills += 1
        whole = {name: c for name, c in files(out).items() if ".part-" not in name}
        assert whole.items() <= wanted.items(), out
        assert run(out, 99, True) and files(out) == wanted, (out, files(out).keys())
        shutil.rmtree(out)
print(kills, "kills")
"""


def test_killed_at_any_file_the_result_is_that_of_an_uninterrupted_run(tmp_path):
    """With frames by time stamps, a window, and a bad file."""
    for name in ("run", "hug"):
        (tmp_path / "raw" / name).mkdir(parents=True)
    encode(tmp_path / "raw/run/varying.mp4", moving_ball(), times=VARYING)
    counts = np.random.default_rng(0).integers(0, 1024, (6, 16, 24), dtype=np.uint16)
    encode(tmp_path / "raw/run/deep.mkv", counts, "ffv1", "gray10le")
    write_video(tmp_path / "raw/hug/ok.mp4", moving_ball(), 30)
    (tmp_path / "raw/hug/zero.mp4").touch()
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # it forks
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=env)
    assert (done.returncode, done.stdout) == (0, "16 kills\n"), done.stderr
