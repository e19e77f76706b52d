"""Folders as people make them: what is clear is done as meant, the rest is one line."""

import logging
import os
import pathlib

import numpy as np
import pytest
from PIL import Image
from tiny import folder_of_videos, moving_ball, noise

from darkjax.data import convert as cli
from darkjax.data.catalog import get_dataset
from darkjax.data.decode import write_video
from darkjax.data.folders import scan
from darkjax.data.records import Records
from darkjax.data.verify import verify
from darkjax.errors import UserError


@pytest.fixture
def make(tmp_path):
    """Files of one byte; folders where a name ends in /."""

    def touch(*names):
        for name in names:
            path = tmp_path / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(b"x")
        return tmp_path

    return touch


def refused(root, match):
    with pytest.raises(UserError, match=match) as error:
        scan(root)
    assert "\n" not in str(error.value)


def test_splits_in_capitals(make):
    root = make("Train/run/a.mp4", "TEST/run/b.mp4", "Validation/run/c.mp4", "Testing/run/d.mp4")
    files, notes = scan(root)
    assert [(split, name) for split, name, _ in files] == [
        ("test", "run"), ("test", "run"), ("train", "run"), ("validation", "run"),
    ]  # fmt: skip
    assert notes == []
    assert get_dataset("folder").class_names(root) == ("run",)
    assert {c.fold > 0 for c in get_dataset("folder").clips(root) if c.split == "train"} == {True}


def test_a_folder_beside_the_splits(make):
    root = make("train/run/a.mp4", "test/run/b.mp4", "docs/readme.txt", "annotations/")
    files, notes = scan(root)
    assert {name for _, name, _ in files} == {"run"} and len(files) == 2
    assert notes == [f"{name}/ is left out: it holds no videos" for name in ("annotations", "docs")]
    make("extra/run/c.mp4", "extra/d.mp4")
    refused(root, r"splits beside test/, train/; found extra/ with 2 videos in .*: move it away")


def test_a_class_that_is_called_as_a_split(make):
    root = make("run/a.mp4", "hug/b.mp4", "test/c.mp4")
    refused(root, r"found test/, a split by its name but with videos and no classes in it, beside")
    (root / "test" / "c.mp4").unlink()
    files, notes = scan(root)
    assert {name for _, name, _ in files} == {"run", "hug"}
    assert notes == ["test/ holds no videos, so it is no class"]


def test_videos_in_no_class(make):
    root = make("train/run/a.mp4", "train/b.mp4", "c.mp4", "d.txt")
    files, (note,) = scan(root)
    assert len(files) == 1
    assert note.startswith("2 videos in no class folder, as c.mp4, left out: put them in a folder")
    refused(make("train/run/a.mp4").joinpath("train", "run"), r"1 video in no class folder, as a\.")


def test_one_class_in_two_spellings(make):
    accents = ("cafe\u0301", "caf\u00e9")  # as a Mac stores it, and as others do
    root = make(
        "train/run/a.mp4", "test/Run/b.mp4", f"train/{accents[0]}/c.mp4", f"test/{accents[1]}/d.mp4"
    )
    files, notes = scan(root)
    assert [(split, name) for split, name, _ in files] == [
        ("test", accents[0]), ("test", "run"), ("train", accents[0]), ("train", "run"),
    ]  # fmt: skip
    assert "run/ (train) and Run/ (test) are taken as one class, run" in notes and len(notes) == 2
    make("train/RUN/")
    assert "train/RUN/ holds no videos" in scan(root).notes
    if len(list((root / "train").iterdir())) == 3:  # not where the disc takes them as one
        make("train/RUN/e.mp4")
        refused(root, r"one folder for a class; found RUN/ and run/ in .*train: put their files")


def test_an_empty_class(make):
    root = make("run/a.mp4", "hug/")
    files, notes = scan(root)
    assert {name for _, name, _ in files} == {"run"}
    assert notes == ["hug/ holds no videos, so it is no class"]
    both = make("s/train/run/a.mp4", "s/train/hug/a.mp4", "s/test/run/b.mp4", "s/test/hug/") / "s"
    assert {name for _, name, _ in scan(both).files} == {"run", "hug"}
    assert scan(both).notes == ["test/hug/ holds no videos"]


def test_a_class_that_is_only_tested(make):
    root = make("train/running/a.mp4", "test/runing/b.mp4", "test/running/c.mp4")
    assert scan(root).notes == ["runing/ (test) is a class without videos in train"]
    assert scan(make("only/test/run/a.mp4") / "only").notes == []


def test_files_that_are_no_videos(make, caplog):
    root = make("run/a.mp4", "run/b.JPG", "run/c.jpg", "run/d/e.srt", "run/README", "run/.hidden")
    with caplog.at_level(logging.WARNING):
        get_dataset("folder").clips(root)
    assert caplog.messages == [
        f"{root}: 4 files left out, no videos by their suffix (.jpg 2, no suffix 1, .srt 1), as "
        "run/README: pictures are read with --dataset=images"
    ]


def test_a_link_to_a_class(make, tmp_path):
    make("elsewhere/a.mp4", "root/run/b.mp4", "root/loop/c.mp4")
    (tmp_path / "root" / "hug").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "loop" / "again").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "run" / "gone.mp4").symlink_to("nowhere")  # a bad file, said as such
    assert [path for _, _, path in scan(tmp_path / "root").files] == [
        "hug/a.mp4", "loop/c.mp4", "run/b.mp4", "run/gone.mp4",
    ]  # fmt: skip


def test_moving_pictures_are_converted(tmp_path, capsys):
    ball = moving_ball()
    folder = tmp_path / "raw" / "run"
    folder.mkdir(parents=True)
    first, *rest = map(Image.fromarray, ball)
    more = {"save_all": True, "append_images": rest}
    first.save(folder / "a.gif", duration=40, **more)
    first.save(folder / "b.apng", format="PNG", duration=40, **more)
    first.save(folder / "c.webp", duration=40, lossless=True, **more)
    first.save(folder / "d.tif", **more)
    Image.fromarray(noise(0, (9, 8, 3, 1))[..., 0]).save(folder / "still.tif")
    first.save(folder / "still.webp")
    first.save(folder / "one.gif")
    write_video(folder / "e.avi", ball, 25, codec="mpeg4")
    (folder / "e.avi").rename(folder / "e.DIVX")
    flags = ["--dataset=folder", f"--raw={tmp_path / 'raw'}", "--workers=0"]
    flags += ["--max_bad_fraction=0.2"]
    assert cli.main([*flags, f"--out={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr()
    assert "5 clips converted (train 5), 1 bad" in said.out
    assert "bad: run/one.gif: expected at least 2 frames, decoded 1" in said.out
    with Records(tmp_path / "out") as records:
        for record in records.select():
            row = records.clips[records.meta["clip"][record]]
            frames = records.read_frames(record, range(row["frames"]))
            close = 3 if row["path"].endswith("DIVX") else 0
            assert frames.shape == ball.shape and np.abs(frames.astype(int) - ball).mean() <= close
            assert row["fps"] == (0 if row["path"].endswith("tif") else 25)
    assert cli.main([*flags, f"--out={tmp_path / 'small'}", "--short_side=16"]) == 0
    assert set(Records(tmp_path / "small").meta["width"].tolist()) == {24}


def test_damaged_moving_pictures_are_bad_files(tmp_path, capsys):
    folder_of_videos(tmp_path, ("run",), 1)
    first, *rest = (Image.fromarray(f) for f in noise(1, (6, 32, 48, 3)))
    for name in ("a.webp", "b.tif"):
        first.save(tmp_path / "run" / name, save_all=True, append_images=rest)
        content = (tmp_path / "run" / name).read_bytes()
        harm = bytearray(content)
        harm[len(content) // 3 : 2 * len(content) // 3] = bytes(len(content) // 3)
        (tmp_path / "run" / name).write_bytes(harm)
    (tmp_path / "run" / "c.tif").write_bytes(b"no picture")
    deep = [Image.fromarray(np.full((8, 8), 1000 * k, np.uint16)) for k in range(3)]
    deep[0].save(tmp_path / "run" / "deep.tif", save_all=True, append_images=deep[1:])
    flags = ["--dataset=folder", f"--raw={tmp_path}", f"--out={tmp_path}/out", "--workers=0"]
    assert cli.main([*flags, "--max_bad_fraction=0.9"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "c.tif: expected an image, found something else" in line]
    for name in ("a.webp", "b.tif"):
        assert [line for line in said if line.startswith(f"bad: run/{name}: truncated: ")], said
    assert [
        line for line in said if "deep.tif: grey of more than 8 bits: expected --window" in line
    ]


def _latin1(folder: pathlib.Path, name: str) -> bytes:
    """A path whose last name is Latin-1, as old archives unpack it."""
    path = os.fsencode(folder) + b"/" + name.encode("latin1")
    try:
        os.mkdir(path)
        os.rmdir(path)
    except OSError:
        pytest.skip("this disc takes only UTF-8 names")
    return path


def test_names_that_are_not_utf8(tmp_path, capsys):
    raw = tmp_path / "raw"
    folder_of_videos(raw, ("hug",), 2)
    os.rename(raw / "hug" / "hug0.mp4", _latin1(raw / "hug", "caf\xe9.mp4"))
    (raw / "hug" / "two\nlines.mp4").write_bytes(b"no video")
    pathlib.Path(os.fsdecode(_latin1(raw / "hug", "b\xe4d.mp4"))).write_bytes(b"no video")
    os.rename(raw / "hug", _latin1(raw, "\xfcben"))
    flags = ["--dataset=folder", f"--raw={raw}", f"--out={tmp_path / 'out'}", "--workers=1"]
    assert cli.main([*flags, "--max_bad_fraction=0.5"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in said[:2]] == [
        r"\xfcben/b\xe4d.mp4", r"\xfcben/two\x0alines.mp4",
    ]  # fmt: skip
    assert "2 clips converted (train 2), 2 bad, 1 classes" in said[-1] and len(said) == 3
    records = Records(tmp_path / "out")
    assert records.classes == (r"\xfcben",) and verify(tmp_path / "out") == []
    assert {row["group"] for row in records.clips} >= {r"caf\xe9", r"b\xe4d", "hug1"}
    assert records.read_frames(0, [0]).mean() > 16
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert cli.main([*flags, "--max_bad_fraction=0.5"]) == 0
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}


def test_lists_with_names_that_are_not_utf8(tmp_path):
    (tmp_path / "run").mkdir()
    pathlib.Path(os.fsdecode(_latin1(tmp_path / "run", "caf\xe9.mp4"))).write_bytes(b"x")
    table = "path,group\nrun/caf\xe9.mp4,Ren\xe9\n"
    (tmp_path / "groups.csv").write_bytes(b"\xef\xbb\xbf" + table.encode("latin1"))  # and a BOM
    (clip,) = get_dataset("folder").clips(tmp_path)
    assert (clip.id, clip.group) == (r"run/caf\xe9.mp4", r"Ren\xe9")
    (tmp_path / "groups.csv").write_text("path,group\n")
    with pytest.raises(UserError, match=r"run/caf\\xe9.mp4 is not in"):
        get_dataset("folder").clips(tmp_path)
    (tmp_path / "mapping_table_23.txt").write_text("0\tJump\n")
    (tmp_path / "train.txt").write_bytes("0\t0\tJump/Jump_\xe9_1.mp4\n".encode("latin1"))
    (clip,) = get_dataset("arid_ee6222").clips(tmp_path)
    assert clip.id == r"train/Jump/Jump_\xe9_1.mp4"
    assert os.fsencode(clip.path) == "train/Jump/Jump_\xe9_1.mp4".encode("latin1")


def test_pictures_with_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(_latin1(tmp_path, "caf\xe9.png"))
    with open(name, "wb") as file:
        Image.fromarray(moving_ball(1)[0]).save(file, "PNG")
    data = get_dataset("images")
    (clip,) = data.clips(tmp_path)
    assert clip.id == r"caf\xe9.png" and data.load(clip, tmp_path).frames.shape == (1, 32, 48, 3)
