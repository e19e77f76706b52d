"""Which clips a dataset has, their groups and their folds."""

import collections
import csv

import pytest

from darkjax.data import catalog
from darkjax.data.catalog import Clip, deal_folds, get_dataset
from darkjax.errors import UserError


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def _arid(root, train, validate=None):
    (root / "mapping_table_23.txt").write_text("0\tJump\n1\tRun\n")
    (root / "train.txt").write_text("".join(f"{n}\t{k}\t{f}\r\n" for n, (k, f) in enumerate(train)))
    (root / "train").mkdir()
    if validate:
        rows = "".join(f"{n}\t{k}\t{f}\n" for n, (k, f) in enumerate(validate))
        (root / "validate.txt").write_text(rows)


def test_class_lists():
    assert len(catalog.ARID11) == 11 and catalog.ARID11[1] == "Jump"
    assert len(catalog.INFAR12) == 12 and catalog.INFAR12[-1] == "wave2"
    assert list(catalog.INFAR12) == sorted(catalog.INFAR12)


def test_unknown_dataset_suggests_the_nearest():
    with pytest.raises(UserError, match=r"'arid_ee622'.*did you mean 'arid_ee6222'"):
        get_dataset("arid_ee622")


def test_unknown_option_suggests_the_nearest():
    with pytest.raises(UserError, match=r"no option 'domian'.*did you mean 'domain'"):
        get_dataset("folder", domian="dark")


def test_arid_reads_lists_and_sessions(tmp_path):
    _arid(
        tmp_path,
        [(0, "Jump/Jump_11_1.mp4"), (0, "Jump/Jump_11_10.mp4"), (1, "Run/Run_2_3.mp4")],
        [(1, "Run_7_1.mp4"), (0, "anon_17.mp4")],
    )
    data = get_dataset("arid_ee6222")
    assert data.class_names(tmp_path) == ("Jump", "Run")
    clips = data.clips(tmp_path)
    assert [c.path for c in clips][:2] == ["train/Jump/Jump_11_1.mp4", "train/Jump/Jump_11_10.mp4"]
    assert [(c.label, c.group, c.split) for c in clips] == [
        (0, "Jump_11", "train"), (0, "Jump_11", "train"), (1, "Run_2", "train"),
    ]  # fmt: skip
    assert {c.fold for c in clips} <= {1, 2, 3, 4, 5}  # dealt: there is no manifest

    _touch(tmp_path, "validate/Run_7_1.mp4", "validate/anon_17.mp4")
    late = data.clips(tmp_path)[3:]
    assert [(c.path, c.group, c.split, c.fold) for c in late] == [
        ("validate/Run_7_1.mp4", "Run_7", "validate", -1),
        ("validate/anon_17.mp4", "anon_17", "validate", -1),
    ]


def test_arid_takes_the_manifests_folds(tmp_path):
    _arid(tmp_path, [(0, "Jump/Jump_11_1.mp4"), (1, "Run/Run_2_3.mp4")])
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,session_fold\ntrain/Jump/Jump_11_1.mp4,4\ntrain/Run/Run_2_3.mp4,2\n")
    assert [c.fold for c in get_dataset("arid_ee6222").clips(tmp_path)] == [4, 2]
    manifest.write_text("path,session_fold\ntrain/Jump/Jump_11_1.mp4,4\n")
    with pytest.raises(UserError, match=r"Run_2_3.mp4 is not in .*manifest.csv"):
        get_dataset("arid_ee6222").clips(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [("0\t7\tJump/a.mp4", "label from 0 to 1; found 7"), ("0\tJump/a.mp4", "3 columns.*line 1")],
)
def test_arid_says_what_is_wrong_with_a_list(tmp_path, line, message):
    _arid(tmp_path, [])
    (tmp_path / "train.txt").write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        get_dataset("arid_ee6222").clips(tmp_path)


def test_arid_needs_its_root(tmp_path):
    with pytest.raises(UserError, match="--raw"):
        get_dataset("arid_ee6222").clips(None)
    with pytest.raises(UserError, match=r"mapping_table_23\.txt"):
        get_dataset("arid_ee6222").clips(tmp_path)


def test_arid_real(shared):
    root = shared / "data" / "arid6"
    data = get_dataset("arid_ee6222")
    clips = data.clips(root)
    assert collections.Counter(c.label for c in clips) == dict.fromkeys(range(6), 25)
    with (root / "manifest.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for clip in clips:
        row = rows[clip.path]
        assert (clip.group, str(clip.fold)) == (row["session"], row["session_fold"])
        assert data.class_names(root)[clip.label] == row["label"]


def test_folder_without_splits(tmp_path):
    _touch(tmp_path, "run/b.mp4", "run/a.AVI", "hug/deep/c.webm", "hug/notes.txt", "run/.d.mp4",
           ".cache/x.mp4")  # fmt: skip
    data = get_dataset("folder", domain="infrared")
    assert data.class_names(tmp_path) == ("hug", "run")
    clips = data.clips(tmp_path)
    assert [(c.path, c.label, c.group) for c in clips] == [
        ("hug/deep/c.webm", 0, "c"), ("run/a.AVI", 1, "a"), ("run/b.mp4", 1, "b"),
    ]  # fmt: skip
    assert {c.split for c in clips} == {"train"} and {c.domain for c in clips} == {"infrared"}
    assert all(1 <= c.fold <= 5 for c in clips)


def test_folder_with_splits(tmp_path):
    _touch(tmp_path, "train/run/a.mp4", "train/hug/b.mp4", "test/run/c.mp4")
    clips = get_dataset("folder").clips(tmp_path)
    assert [(c.path, c.label, c.split) for c in clips] == [
        ("test/run/c.mp4", 1, "test"), ("train/hug/b.mp4", 0, "train"),
        ("train/run/a.mp4", 1, "train"),
    ]  # fmt: skip
    assert clips[0].fold == -1


def test_folder_groups(tmp_path):
    _touch(tmp_path, "run/a.mp4", "run/b.mp4")
    (tmp_path / "groups.csv").write_text("path,group,domain\nrun/a.mp4,anna,day\nrun/b.mp4,anna,\n")
    clips = get_dataset("folder").clips(tmp_path)
    assert [(c.group, c.domain) for c in clips] == [("anna", "day"), ("anna", "visible")]
    assert clips[0].fold == clips[1].fold
    (tmp_path / "groups.csv").write_text("path,group\nrun/a.mp4,anna\n")
    with pytest.raises(UserError, match=r"run/b.mp4 is not in .*groups.csv"):
        get_dataset("folder").clips(tmp_path)


def test_folder_empty(tmp_path):
    with pytest.raises(UserError, match="found none under"):
        get_dataset("folder").clips(tmp_path)


def test_folds_keep_groups_whole_and_classes_balanced():
    clips = [
        Clip(f"{k}-{n}", "", k, f"{k}-{n // 2}", "train", "dark")
        for k in range(3)
        for n in range(20)
    ]
    outside = Clip("t", "", 0, "0-0", "test", "dark")
    dealt = deal_folds([*clips, outside])
    folds = collections.defaultdict(set)
    for clip in dealt[:-1]:
        folds[clip.group].add(clip.fold)
    assert all(len(numbers) == 1 for numbers in folds.values())
    # 10 groups of 2 clips in each class: 5 folds hold exactly 4 clips of every class
    counts = collections.Counter((c.fold, c.label) for c in dealt[:-1])
    assert counts == {(fold, label): 4 for fold in range(1, 6) for label in range(3)}
    assert dealt[-1] == outside
    assert deal_folds(clips[::-1])[::-1] == dealt[:-1]  # whatever the order they come in


def test_synthetic_clips_and_frames():
    data = get_dataset(
        "synthetic", classes=("Walk", "Sit"), clips_per_class={"train": 2, "test": 1},
        groups={"train": 2, "test": 1}, frames=3, height=24, width=32, seed=5,
    )  # fmt: skip
    clips = data.clips(None)
    assert collections.Counter((c.split, c.label) for c in clips) == {
        ("train", 0): 2, ("train", 1): 2, ("test", 0): 1, ("test", 1): 1,
    }  # fmt: skip
    groups = {split: {c.group for c in clips if c.split == split} for split in ("train", "test")}
    assert not groups["train"] & groups["test"]
    video = data.load(clips[0], None)
    assert video.frames.shape == (3, 24, 32, 3) and video.frames.dtype == "uint8" and video.fps > 0
    assert data.load(clips[0], None, max_frames=2).frames.shape[0] == 2
    with pytest.raises(UserError, match="--short_side=16"):
        data.load(clips[0], None, short_side=16)
