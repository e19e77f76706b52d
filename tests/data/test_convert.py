"""Conversion: what is written, what is skipped, what is reported."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tiny import Noise, encode, folder_of_videos, moving_ball, noise

from darkjax.data import card as card_file
from darkjax.data import convert as cli
from darkjax.data import jobs, shards
from darkjax.data.catalog import get_dataset
from darkjax.data.convert import convert
from darkjax.data.decode import read_video, write_video
from darkjax.data.records import Records
from darkjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Counting(Noise):
    """Noise that notes every clip it loads."""

    loaded: list = dataclasses.field(default_factory=list, compare=False, repr=False)

    def load(self, clip, root, **options):
        self.loaded.append(clip.id)
        return super().load(clip, root, **options)


def _files(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_card(tmp_path):
    dataset = Noise(train=10, test=4, bad=(3,))
    card = convert(dataset, tmp_path, shards=3, max_bad_fraction=0.1)
    assert card == json.loads((tmp_path / "card.json").read_text())
    assert card["classes"] == ["a", "b"] and card["name"] == "noise"
    assert [row["clip"] for row in card["clips"]] == list(range(14))
    train, test = card["splits"]["train"], card["splits"]["test"]
    assert (train["clips"], train["per_class"]) == (9, [5, 4])
    assert (test["clips"], test["per_class"]) == (4, [2, 2])
    assert train["frames"] == sum(5 + n % 5 for n in range(10) if n != 3)
    assert card["bad"] == [{"clip": 3, "path": "clip3", "reason": "clip 3 is bad on purpose"}]
    assert (card["clips"][3]["shard"], card["clips"][3]["frames"]) == (-1, 0)
    for shard in train["shards"] + test["shards"]:
        content = (tmp_path / shard["file"]).read_bytes()
        assert len(content) == shard["bytes"]
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
    luma = dataset.frames(0) @ np.array([0.299, 0.587, 0.114])
    assert card["clips"][0]["mean_luma"] == pytest.approx(luma.mean(), abs=0.006)
    names = {s["file"] for s in train["shards"]}
    assert names == {f"noise-train-{k:05d}-of-00003.tfrecord" for k in range(3)}


def test_resumed_conversion_does_nothing_twice(tmp_path):
    dataset = Counting()
    convert(dataset, tmp_path, shards=2)
    assert sorted(dataset.loaded) == sorted(c.id for c in dataset.clips(None))
    before = _files(tmp_path)
    dataset.loaded.clear()
    convert(dataset, tmp_path, shards=2)
    assert dataset.loaded == [] and _files(tmp_path) == before


def test_a_killed_conversion_is_continued(tmp_path):
    dataset = Counting()
    convert(dataset, tmp_path, shards=2)
    before = _files(tmp_path)
    # as after a kill while the second training shard was written
    lost = "noise-train-00001-of-00002"
    for suffix in (".tfrecord", ".idx.npy", ".json"):
        (tmp_path / f"{lost}{suffix}").unlink()
    (tmp_path / "card.json").unlink()
    (tmp_path / f"{lost}.tfrecord.part-99999").write_bytes(b"half")
    with pytest.raises(UserError, match="run the same command again"):
        Records(tmp_path)
    dataset.loaded.clear()
    convert(dataset, tmp_path, shards=2)
    assert _files(tmp_path) == before  # bit for bit, and the half file is gone
    assert 0 < len(dataset.loaded) < 20


@pytest.mark.parametrize("harm", [b"", b"{", b"[]", b"7", b'{"file": "other"}', b"\xff", None])
def test_a_damaged_report_is_one_line(tmp_path, harm):
    convert(Noise(train=2, test=0), tmp_path, shards=1)
    report = tmp_path / "noise-train-00000-of-00001.json"
    before = report.read_bytes()
    report.write_bytes(before.replace(b'"rows"', b'"rose"') if harm is None else harm)
    with pytest.raises(UserError, match=rf"in {report}: .*: delete that file and run") as error:
        convert(Noise(train=2, test=0), tmp_path, shards=1)
    assert "\n" not in str(error.value)
    report.unlink()
    convert(Noise(train=2, test=0), tmp_path, shards=1)
    assert report.read_bytes() == before


def test_an_error_leaves_no_half_shard(tmp_path, monkeypatch):
    dataset = Noise()

    def full(job, shard_part, tick):
        shard_part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write_records", full)
        with pytest.raises(UserError, match=r"No space left.*free some space.*same command again"):
            convert(dataset, tmp_path, shards=1)
    assert list(tmp_path.iterdir()) == []

    def interrupted(job, shard_part, tick):
        shard_part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "_write_records", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(dataset, tmp_path, shards=1)
    assert list(tmp_path.iterdir()) == []


def test_changed_settings_and_clips_are_refused(tmp_path):
    convert(Noise(), tmp_path, shards=1)
    with pytest.raises(UserError, match=r"max_frames=None \(now 4\).*another --out"):
        convert(Noise(), tmp_path, shards=1, max_frames=4)
    with pytest.raises(UserError, match="the dataset's list, labels, groups or options changed"):
        convert(Noise(train=22), tmp_path, shards=1)
    with pytest.raises(UserError, match=r"found noise-test-00000-of-00001\.tfrecord"):
        convert(Noise(), tmp_path, shards=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "png"}, "encoding raw or jpeg; found 'png'"),
        ({"short_side": 0}, "short_side of at least 1"),
        ({"max_frames": 1}, "max_frames of at least 2"),
        ({"encoding": "jpeg", "jpeg_quality": 0}, "jpeg_quality from 1 to 100"),
        ({"shards": 0}, "at least 1 shard"),
        ({"fps": 0.0}, "fps above 0; found 0"),
        ({"fps": 5.0}, "dataset 'noise' has no --fps: leave it out"),
        ({"window": "9:7"}, "LOW below HIGH; found '9:7'"),
        ({"window": "1%:9"}, "found '1%:9'"),
        ({"window": "1%:101%"}, "found '1%:101%'"),
        ({"window": "7:9"}, "has no --window"),
        ({"max_bad_fraction": 1.5}, "max_bad_fraction from 0 to 1; found 1.5"),
        ({"shard_index": 2, "shard_count": 2}, "shard_index < shard_count"),
    ],
)
def test_refused_options(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        convert(Noise(), tmp_path, **options)


def test_nothing_converted(tmp_path):
    dataset = Noise(train=2, test=0, bad=(0, 1))
    with pytest.raises(UserError, match="all 2 failed, the first, clip0, with: clip 0 is"):
        convert(dataset, tmp_path)
    assert not (tmp_path / "card.json").exists()


def test_shards_change_neither_digest_nor_rows(tmp_path):
    one = convert(Noise(), tmp_path / "1", shards=1)
    four = convert(Noise(), tmp_path / "4", shards=4)
    assert card_file.digest(one) == card_file.digest(four)
    assert card_file.digest(convert(Noise(bad=(2,)), tmp_path / "b")) != card_file.digest(one)
    assert card_file.digest(convert(Noise(), tmp_path / "m", max_frames=3)) != card_file.digest(one)


def test_many_machines(tmp_path):
    first = Counting()
    assert convert(first, tmp_path / "n", shards=3, shard_index=0, shard_count=2) is None
    assert not (tmp_path / "n" / "card.json").exists()
    second = Counting()
    card = convert(second, tmp_path / "n", shards=3, shard_index=1, shard_count=2)
    assert card is not None and not set(first.loaded) & set(second.loaded)
    convert(Noise(), tmp_path / "1", shards=3)
    names = [p.name for p in (tmp_path / "1").glob("*.tfrecord")]
    for name in names:
        alone, together = (tmp_path / "1" / name).read_bytes(), (tmp_path / "n" / name).read_bytes()
        assert alone == together


def test_processes_write_the_same_bytes(tmp_path):
    convert(Noise(), tmp_path / "0", shards=2)
    convert(Noise(), tmp_path / "2", shards=2, workers=2)
    assert _files(tmp_path / "0") == _files(tmp_path / "2")


def test_bad_files_are_reported_and_the_rest_converted(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    folder_of_videos(raw)
    (raw / "hug" / "text.mp4").write_text("not a video\n" * 30)
    (raw / "hug" / "empty.mp4").touch()
    write_video(raw / "hug" / "one.mp4", moving_ball(1), 30)
    write_video(raw / "run" / "cut.mkv", noise(0, (40, 32, 48, 3)), 30)
    content = (raw / "run" / "cut.mkv").read_bytes()
    (raw / "run" / "cut.mkv").write_bytes(content[: len(content) // 2])
    flags = ["--dataset=folder", f"--raw={raw}", f"--out={out}", "--short_side=24", "--workers=0"]
    assert cli.main([*flags, "--max_bad_fraction=0.5"]) == 0
    printed = capsys.readouterr().out
    for name, reason in (
        ("hug/text.mp4", "not a video"), ("hug/empty.mp4", "empty file"),
        ("hug/one.mp4", "at least 2 frames, decoded 1"), ("run/cut.mkv", "truncated: pictures end"),
    ):  # fmt: skip
        assert [line for line in printed.splitlines() if name in line and reason in line], printed
    assert "4 clips converted (train 4), 4 bad, 2 classes" in printed
    with Records(out) as records:
        assert len(records) == 4
        for record in range(4):
            row = records.clips[records.meta["clip"][record]]
            direct = read_video(raw / row["path"], short_side=24)
            frames = records.read_frames(record, range(row["frames"]))
            np.testing.assert_array_equal(frames, direct.frames)
            source = hashlib.sha256((raw / row["path"]).read_bytes()).hexdigest()
            assert row["source_sha256"] == source
            assert (row["height"], row["width"]) == (24, 36) and row["fps"] == 30


def test_too_many_bad_clips(tmp_path):
    dataset = Counting(train=10, test=0, bad=(3, 7))
    with pytest.raises(UserError) as error:
        convert(dataset, tmp_path, shards=2)
    assert str(error.value) == (
        "expected at most 0.05 of the clips to be bad; 2 of 10 failed, the first, clip3, with: "
        f"clip 3 is bad on purpose; {tmp_path}/bad_files.csv lists them: correct the files and run "
        "the same command again, or go on without them by --max_bad_fraction=0.2; finished shards "
        "are kept"
    )
    listed = (
        "clip,path,reason\n3,clip3,clip 3 is bad on purpose\n7,clip7,clip 7 is bad on purpose\n"
    )
    assert (tmp_path / "bad_files.csv").read_text() == listed
    assert not (tmp_path / "card.json").exists() and len(list(tmp_path.glob("*.tfrecord"))) == 2
    dataset.loaded.clear()
    card = convert(dataset, tmp_path, shards=2, max_bad_fraction=0.2)
    assert dataset.loaded == [] and len(card["bad"]) == 2
    assert (tmp_path / "bad_files.csv").read_text() == listed
    convert(Noise(train=10, test=0), tmp_path / "good", shards=2, max_bad_fraction=0)
    assert (tmp_path / "good" / "bad_files.csv").read_text() == "clip,path,reason\n"


def test_a_bad_file_that_was_replaced_is_converted(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    folder_of_videos(raw, per_class=3)
    good = (raw / "run" / "run1.mp4").read_bytes()
    (raw / "run" / "run1.mp4").write_bytes(good[:100])
    with pytest.raises(UserError, match="1 of 6 failed"):
        convert("folder", out, raw=raw, shards=3)
    accepted = convert("folder", out, raw=raw, shards=3, max_bad_fraction=0.5)
    assert accepted["bad"][0].keys() == {"clip", "path", "reason"}
    before = {p: p.stat().st_mtime_ns for p in out.glob("*.tfrecord")}
    (raw / "run" / "run1.mp4").write_bytes(good)
    card = convert("folder", out, raw=raw, shards=3)
    assert card["bad"] == [] and len(Records(out)) == 6
    assert sum(p.stat().st_mtime_ns != t for p, t in before.items()) == 1
    convert("folder", tmp_path / "whole", raw=raw, shards=3)
    assert _files(out) == _files(tmp_path / "whole")


def test_no_card_while_a_shard_is_written_again(tmp_path, monkeypatch):
    convert(Noise(), tmp_path, shards=2)
    (tmp_path / "noise-train-00000-of-00002.tfrecord").unlink()

    def interrupted(job, shard_part, tick):
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "_write_records", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(Noise(), tmp_path, shards=2)
    assert not (tmp_path / "card.json").exists()


def test_changed_rate_and_window_are_refused(tmp_path):
    folder_of_videos(tmp_path / "raw")
    out, raw = tmp_path / "out", tmp_path / "raw"
    card = convert("folder", out, raw=raw, shards=1, fps=10, window="1%:99.0%")
    assert card["decode"]["fps"] == 10 and card["decode"]["window"] == "1%:99%"
    assert {row["fps"] for row in card["clips"]} == {10}
    again = {"raw": raw, "shards": 1, "fps": 10}
    with pytest.raises(UserError, match=r"window=1%:99% \(now 5:6\)"):
        convert("folder", out, **again, window="5:6")
    with pytest.raises(UserError, match=r"found window=1%:99% \(now None\): use the same"):
        convert("folder", out, **again)
    with pytest.raises(UserError, match=r"fps=10 \(now None\)"):
        convert("folder", out, raw=raw, shards=1, window="1%:99%")
    plain = convert("folder", tmp_path / "plain", raw=raw)
    assert plain["decode"].keys() == {"short_side", "max_frames", "encoding", "jpeg_quality"}


def test_deep_grey_without_a_window_asks_for_one_and_goes_on_with_it(tmp_path, capsys):
    (tmp_path / "raw" / "hug").mkdir(parents=True)
    counts = np.random.default_rng(0).integers(7000, 9001, (4, 10, 12), dtype=np.uint16)
    encode(tmp_path / "raw" / "hug" / "a.mkv", counts, "ffv1", "gray16le")
    flags = ["--dataset=folder", f"--raw={tmp_path / 'raw'}", f"--out={tmp_path / 'out'}"]
    assert cli.main([*flags, "--workers=0"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "expected --window=LOW:HIGH in counts" in said
    assert cli.main([*flags, "--workers=0", "--window=7000:9000"]) == 0  # nothing was kept
    frames = Records(tmp_path / "out").read_frames(0, range(4))
    np.testing.assert_array_equal(frames[..., 0], np.rint((counts - 7000.0) / 2000 * 255))


def test_a_folder_of_deep_pictures_is_a_clip(tmp_path):
    """The camera's own counts, a picture for each frame; the card says what came from what."""
    counts = np.random.default_rng(0).integers(7000, 9001, (6, 10, 12), dtype=np.uint16)
    (tmp_path / "raw" / "hug" / "one").mkdir(parents=True)
    for number, picture in enumerate(counts):
        Image.fromarray(picture).save(tmp_path / "raw" / "hug" / "one" / f"{number}.png")
    dataset = get_dataset("frames", fps_of_frames=20)
    options = {"raw": tmp_path / "raw", "window": "7000:9000"}
    card = convert(dataset, tmp_path / "out", **options, fps=10)
    (row,) = card["clips"]
    assert (row["frames"], row["fps"], len(row["source_sha256"])) == (3, 10, 64)
    frames = Records(tmp_path / "out").read_frames(0, range(3))
    wanted = np.rint((counts[::2] - 7000.0) / 2000 * 255)
    np.testing.assert_array_equal(frames, np.repeat(wanted[..., None], 3, -1))
    again = convert(dataset, tmp_path / "again", **options)
    assert again["clips"][0]["source_sha256"] == row["source_sha256"]
    (tmp_path / "raw" / "hug" / "one" / "5.png").unlink()
    other = convert(dataset, tmp_path / "other", **options)
    assert other["clips"][0]["source_sha256"] != row["source_sha256"]


def test_command_line_errors(tmp_path, capsys):
    assert cli.main(["--dataset=foldr", f"--raw={tmp_path}", f"--out={tmp_path}/o"]) == 2
    assert "did you mean 'folder'" in capsys.readouterr().err
    assert cli.main(["--dataset=folder", f"--out={tmp_path}/o"]) == 2
    assert "give their folder with --raw" in capsys.readouterr().err
    assert cli.main(["--dataset=folder", f"--raw={tmp_path}"]) == 2
    assert "expected --out" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--dataset=synthetic", "--clips_per_class=train=3"])
    assert stopped.value.code == 2


def test_command_line_renders(tmp_path, capsys):
    flags = [
        "--dataset=synthetic", f"--out={tmp_path}", "--classes=Walk,Sit", "--seed=3", "--frames=4",
        "--clips_per_class=train:2,test:1", "--groups=train:2,test:1", "--height=20", "--width=24",
        "--domain=thermal", "--workers=0",
    ]  # fmt: skip
    assert cli.main(flags) == 0
    assert "6 clips converted (test 2, train 4), 0 bad, 2 classes" in capsys.readouterr().out
    records = Records(tmp_path)
    assert records.classes == ("Walk", "Sit") and records.domains == ("thermal",)
    assert records.meta["frames"].tolist() == [4] * 6 and records.meta["height"][0] == 20


def test_module_runs_and_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from darkjax.data import convert\n"
        "try: convert.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'jax', 'av', 'PIL', 'grain', 'flax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert "--shard_index" in done.stdout and done.stdout.endswith("[]\n")
    command = [sys.executable, "-m", "darkjax.data.convert", "--verify", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: expected a converted dataset")


def test_progress_is_redrawn_only_on_a_terminal(monkeypatch):
    from darkjax.data.progress import Progress

    class Stream(io.StringIO):
        def __init__(self, tty):
            super().__init__()
            self.tty = tty

        def isatty(self):
            return self.tty

    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for tty, updates in ((True, 30), (False, 3)):
        stream = Stream(tty)
        progress = Progress(100, "clips", stream)
        for step in range(1, 61):
            now[0] += 0.25
            progress.update(step)
        progress.close()
        assert stream.getvalue().count("clips/s") == (60 if tty else updates)
        assert ("\r" in stream.getvalue()) == tty
    assert progress.line(50) == "50/100 clips, 3.3 clips/s, 15 s left"
    now[0] += 15
    taken_up = Progress(10_000, "clips", Stream(False), before=4_000)  # by an earlier run
    now[0] += 100
    assert taken_up.line(1_000) == "5000/10000 clips, 10.0 clips/s, 8 min left"
    assert taken_up.line(10, ", 2 bad") == "4010/10000 clips, 0.1 clips/s, 16.6 h left, 2 bad"
    assert taken_up.line(0) == "4000/10000 clips, 0.0 clips/s, unknown time left"


def test_work_is_counted_across_processes(monkeypatch):
    counter = jobs.multiprocessing.get_context("spawn").Value("q", 0)
    monkeypatch.setattr(jobs, "_counter", counter)
    jobs._tick()
    jobs._tick()
    assert counter.value == 2


def test_real_clips_equal_a_direct_decode(tmp_path, shared):
    root = tmp_path / "raw"
    lines = (shared / "data" / "arid6" / "train.txt").read_text().splitlines()[::40]
    (root / "train").mkdir(parents=True)
    for name in ("mapping_table_23.txt", "manifest.csv"):
        os.symlink(shared / "data" / "arid6" / name, root / name)
    (root / "train.txt").write_text("\n".join(lines))
    for folder in (shared / "data" / "arid6" / "train").iterdir():
        os.symlink(folder, root / "train" / folder.name)
    card = convert("arid_ee6222", tmp_path / "out", raw=root, short_side=120)
    records = Records(tmp_path / "out")
    assert len(records) == len(lines) == 4 and card["bad"] == []
    with (root / "manifest.csv").open() as file:
        luma = {line.split(",")[0]: float(line.split(",")[-1]) for line in list(file)[1:]}
    for record in range(4):
        row = records.clips[records.meta["clip"][record]]
        direct = read_video(root / row["path"])
        frames = records.read_frames(record, range(row["frames"]))
        np.testing.assert_array_equal(frames, direct.frames)
        assert frames.shape[1:] == (120, 160, 3)
        assert row["mean_luma"] == pytest.approx(luma[row["path"]], abs=1.5)
