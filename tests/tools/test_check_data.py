"""The check of converted clips: each fault is made, found, named, counted; good ones have none."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from data.tiny import flip_byte, noise

from darkjax.data import contents
from darkjax.data.clip import Clip
from darkjax.data.convert import convert
from darkjax.data.datasets import official
from darkjax.data.decode import Video
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import check_text
from darkjax.tools import check_data


@dataclasses.dataclass(frozen=True)
class Made:
    """Clips with the frames given: (id, label, group, split, frames or what is wrong, fold)."""

    rows: tuple[tuple, ...]
    name: str = "made"
    parts: tuple[str, ...] = ()

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        return ("a", "b")

    def protocols(self, root: pathlib.Path | None) -> tuple[str, ...]:
        return self.parts

    def clips(self, root):
        found = []
        for number, (name, label, group, split, _, *fold) in enumerate(self.rows):
            assigned = tuple(split.split()) if self.parts else ()
            one = Clip(name, "", label, group, "all" if self.parts else split, "dark", *fold)
            found.append(dataclasses.replace(one, seed=number, assigned=assigned))
        return found

    def load(self, clip, root, *, short_side=None, max_frames=None):
        frames = self.rows[clip.seed][4]
        if isinstance(frames, str):
            raise UserError(frames)
        return Video(frames, 25.0)


def moving(seed: int, level: float = 1.0) -> np.ndarray:
    return (noise(seed, (6, 10, 12, 3)) * level).astype(np.uint8)


def good(**changes):
    rows = [
        (f"clip{n}", n % 2, f"group{n // 2}", "train" if n < 8 else "test", moving(n))
        for n in range(12)
    ]
    for name, row in changes.items():
        rows[int(name.removeprefix("clip"))] = (name, *row)
    return tuple(rows)


def checked(tmp_path, dataset, **options):
    convert(dataset, tmp_path / "records")
    with Records(tmp_path / "records") as records:
        return check_data.check(records, **options)


def test_good_clips_have_no_fault(tmp_path, capsys):
    found = checked(tmp_path, Made(good()))
    assert found["faults"] == []
    assert found["notes"] == []
    assert found["counts"][""]["train"] == {
        "clips": 8, "bad": 0, "frames": 48, "per_class": [4, 4],
    }  # fmt: skip
    assert check_data.main([str(tmp_path / "records")]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert ["class", "test", "train"] in lines and ["clips", "4", "8"] in lines
    assert "0 faults, 0 notes; frames of all of 12 clips were read" in said
    assert ["official", "unknown"] in lines


STILL = np.repeat(moving(50)[:1], 6, 0)
ALMOST = STILL.copy()
ALMOST[5, 9, 11, 2] ^= 1  # one bit of the last frame
SPOT = np.zeros((6, 10, 12, 3), np.uint8)
SPOT[5, 0, 0, 0] = 9  # the mean luma is 0.004


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ((0, "group0", "train", "cut short"), "1 bad files: clip1"),
        ((1, "group0", "train", STILL), "1 frozen clips: clip1"),
        ((1, "group0", "train", ALMOST), ""),
        ((1, "group0", "train", moving(1, 8 / 255)), "1 black clips: clip1"),
        ((1, "group0", "train", moving(1, 11 / 255)), ""),
        ((1, "group0", "train", SPOT), ""),
        ((1, "group0", "test", moving(1)), "1 of 6 groups have clips in test and train: group0"),
        ((1, "group0", "train", moving(10)), "1 sets of equal clips of several classes"),
        ((1, "group0", "train", moving(11)), "1 sets of equal clips in test and train: clip1 = "),
        ((1, "group0", "train", moving(3)), ""),  # twice on one side: a note
        ((1, "group0", "train", moving(1)[:5]), ""),
    ],
)
def test_a_fault_is_found(tmp_path, capsys, row, fault):
    convert(Made(good(clip1=row)), tmp_path / "records", max_bad_fraction=1)
    status = check_data.main([str(tmp_path / "records"), f"--json={tmp_path / 'all.json'}"])
    said, found = capsys.readouterr().out, json.loads((tmp_path / "all.json").read_text())
    assert status == (1 if fault else 0), said
    assert all(line in said for line in found["faults"])
    assert any(line.startswith(fault) for line in found["faults"]) if fault else not found["faults"]
    same = (row[3] == moving(3)).all() if np.shape(row[3]) == (6, 10, 12, 3) else False
    assert found["duplicates"] == ([["clip1", "clip3"]] if same else found["duplicates"])
    twice = "note: 1 sets of equal clips on the same side of every split: clip1 = clip3"
    assert (twice in said) == same


def test_folds_keep_groups_apart(tmp_path):
    rows = [(f"clip{n}", n % 2, f"group{n // 2}", "train", moving(n), 1 + n // 4) for n in range(8)]
    assert checked(tmp_path / "1", Made(tuple(rows)))["faults"] == []
    rows[1] = (*rows[1][:5], 2)
    fault = "1 of 4 groups have clips in fold 1 and fold 2: group0"
    assert checked(tmp_path / "2", Made(tuple(rows)))["faults"] == [fault]


def test_folds_whose_classes_mislead_are_a_note(tmp_path):
    def rows(fold):  # a group for each two clips of a class
        return tuple((f"clip{n}", n % 2, f"group{n % 2}{n // 4}", "train", moving(n), fold(n))
                     for n in range(8))  # fmt: skip

    apart = checked(tmp_path / "apart", Made(rows(lambda n: 1 + n % 2)))
    assert apart["counts"]["folds"]["1"]["per_class"] == [4, 0]
    assert apart["guess"] == {"share": 0.0, "common": 0.0, "whole": 0.5}
    (note,) = apart["notes"]
    assert "is right for 0.000 of its clips, the most common class for 0.000" in note
    assert "folds:1  folds:2" in check_text.text(apart) and not apart["faults"]
    alike = checked(tmp_path / "alike", Made(rows(lambda n: 1 + n // 4)))
    assert alike["guess"]["share"] == 0.5 and alike["notes"] == []


def _published(monkeypatch, **changes):
    half = {"clips": 4, "per_class": [2, 2]}
    whole = {"classes": 2, "clips": 8, "splits": {k: {"train": half, "test": half} for k in "12"}}
    monkeypatch.setattr(official, "official", lambda name: {**whole, **changes})


PROTOCOLS = tuple(
    (f"clip{n}", n % 2, f"group{n}", f"{'train' if n < 4 else 'test'} "
     f"{'test' if n < 4 else 'train'}", moving(n))
    for n in range(8)
)  # fmt: skip


def test_the_official_numbers_of_every_protocol(tmp_path, monkeypatch, capsys):
    _published(monkeypatch)
    convert(Made(PROTOCOLS, parts=("1", "2")), tmp_path / "records")
    assert check_data.main([str(tmp_path / "records")]) == 0
    assert "0 faults, 0 notes" in capsys.readouterr().out
    changed = list(PROTOCOLS)
    changed[0] = ("clip0", 0, "group0", "train train", moving(5))
    changed[3] = (*PROTOCOLS[3][:4], "truncated")
    convert(Made(tuple(changed), parts=("1", "2")), tmp_path / "other", max_bad_fraction=1)
    assert check_data.main([str(tmp_path / "other")]) == 1
    said = capsys.readouterr().out
    for fault in (
        "7 clips; official: 8",
        "3 clips of train of split 1; official: 4",
        "5 clips of train of split 2; official: 4",
        "1 classes of train of split 1 with other counts: b 1 (official 2)",
        "2 classes of test of split 2 with other counts: a 1 (official 2), b 1 (official 2)",
        "1 sets of equal clips in test of split 1 and train of split 1: clip0 = clip5",
        "1 sets of equal clips of several classes: clip0 = clip5",
    ):
        assert f"fault: {fault}\n" in said
    assert "5 (official 4)" in said
    _published(monkeypatch, classes=3, splits={"3": {"train": {"clips": 5}}})
    with Records(tmp_path / "other") as records:
        faults = check_data.check(records)["faults"]
    assert "2 classes; official: 3" in faults
    assert "no clips of train of split 3; official: 5" in faults


def test_groups_that_the_authors_share_are_a_note(tmp_path):
    rows = good(clip1=(1, "group0", "test", moving(1)))
    found = checked(tmp_path, Made(rows, name="arid_ee6222"))
    assert found["faults"] == []
    assert any("(published like that): group0" in note for note in found["notes"])
    assert found["groups"]["across"][0]["groups"] == ["group0"]


def test_a_sample_reads_so_many_and_still_counts_all(tmp_path, capsys, monkeypatch):
    convert(Made(good()), tmp_path)
    read, of = [], contents.of
    monkeypatch.setattr(contents, "of", lambda r, n: read.append(n) or of(r, n))
    assert check_data.main([str(tmp_path), "--sample=5"]) == 0
    said = capsys.readouterr().out
    assert len(set(read)) == len(read) == 5
    assert "frames of 5 of 12 clips were read" in said and "clips     4      8" in said


def test_the_same_file_is_found_without_reading(tmp_path):
    """Other seconds of the same file are another clip."""
    convert(Made(good()), tmp_path)
    with Records(tmp_path) as records:
        for row, (path, sha, start) in enumerate(
            [("x", "s", 0.0), ("y", "s", 0.0), ("x", "s", 2.0), ("", "s", 0.0), ("z", None, 0.0),
             ("w", None, 0.0)]
        ):  # fmt: skip
            records.clips[row] |= {"path": path, "source_sha256": sha, "start": start}
        records.clips[6] |= {"path": "x", "source_sha256": "s", "start": 0.0, "end": 1.0}
        assert contents.alike(contents.source_keys(records)) == [[0, 1]]


def test_long_clips_are_read_in_parts(tmp_path, monkeypatch):
    steps = np.repeat(moving(50)[:2], 2, 0)  # a a b b: no frame differs within two of them
    rows = good(
        clip1=(1, "group0", "train", STILL),
        clip2=(0, "group1", "train", ALMOST),
        clip3=(1, "group1", "train", steps),
    )
    convert(Made(rows), tmp_path)
    with Records(tmp_path) as records:
        whole = [contents.of(records, n) for n in range(len(records))]
        monkeypatch.setattr(contents, "CHUNK_BYTES", 2 * 10 * 12 * 3)
        assert [contents.of(records, n) for n in range(len(records))] == whole
        names = [records.clips[row]["id"] for row in records.meta["clip"]]
        stills = {name: c.still for name, c in zip(names, whole, strict=True)}
    assert {stills[name] for name in ("clip0", "clip4")} == {1}
    assert [stills[f"clip{n}"] for n in (1, 2, 3)] == [6, 5, 2]


def test_a_clip_that_stands_still_for_a_while_is_a_note(tmp_path):
    stops = np.concatenate([moving(1), np.repeat(moving(2)[:1], 26, 0), moving(3)])
    found = checked(tmp_path / "1", Made(good(clip1=(1, "group0", "train", stops))))
    assert found["faults"] == [] and found["still"] == {"clip1": 26}
    note = "1 clips that stand still for more than a second: clip1 (26 frames)"
    assert found["notes"] == [note]
    found = checked(tmp_path / "2", Made(good(clip1=(1, "group0", "train", stops[:-7]))))
    assert found["notes"] == []  # 25 frames are a second


def test_equal_sets_that_overlap_are_one():
    assert contents.merged([[1, 2], [3, 4], [5, 6], [2, 3]]) == [[1, 2, 3, 4], [5, 6]]


def test_a_damaged_record_is_named_and_the_rest_is_read(tmp_path, capsys):
    dataset = Made(good())
    convert(dataset, tmp_path, encoding="jpeg")
    (shard,) = tmp_path.glob("*train*.tfrecord")
    content = shard.read_bytes()
    flip_byte(shard, content.index(b"\xff\xd8\xff") + 1)  # the first JPEG's mark
    assert check_data.main([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "fault: 1 records that cannot be read: clip" in said and "of all of 12 clips" in said


def test_no_records_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match=r"^expected a converted dataset with card\.json"):
        check_data.main([str(tmp_path)])
    convert(Made(good()), tmp_path / "records")
    for flags, said in (
        (["--sample=-1"], "--sample=-1: expected a number of clips"),
        ([f"--json={tmp_path / 'no' / 'where.json'}"], "No such file or directory"),
    ):
        with pytest.raises(UserError, match=said):
            check_data.main([str(tmp_path / "records"), *flags])


def test_the_histogram_counts_every_clip_of_every_split(tmp_path):
    dim = {f"clip{n}": (n % 2, f"group{n // 2}", "train", moving(n, 0.9)) for n in range(8)}
    rows = good(**dim | {"clip1": (1, "group0", "train", moving(1, 0.1))})
    found = checked(tmp_path, Made(rows))
    counts = found["brightness"]["counts"]
    assert sum(counts["train"]) == 8 and sum(counts["test"]) == 4
    at = {low: n for low, n in zip(check_data.EDGES, counts["train"], strict=False) if n}
    assert at == {12: 1, 96: 7}  # 127 · 0.1 and 127 · 0.9
    lines = check_text.text(found).splitlines()
    (twelve,) = [line for line in lines if line.startswith("   12 to  16") and "1" in line[12:]]
    assert twelve.count("█") == 6  # 40 / 7 rounded up
