"""The darkness command on small rendered videos: scores, bad files, lists, splits."""

import collections
import csv

import numpy as np
import pytest
from data.tiny import moving_ball

from darkjax.data.clip import Clip
from darkjax.data.decode import write_video
from darkjax.tools import darkness


def video(path, brightness):
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = moving_ball(frames=16, height=16, width=16)
    write_video(path, (frames * brightness).astype(np.uint8), 30)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Ten dark clips of "hug", four of "run", a bright one of each, and a broken file."""
    root = tmp_path_factory.mktemp("raw")
    for name, count in (("hug", 10), ("run", 4)):
        for n in range(count):
            video(root / name / f"dark{n}.mp4", 0.05)
        video(root / name / "bright.mp4", 1.0)
    (root / "run" / "broken.mp4").write_bytes(b"no video")
    return root


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("rule", ["paper", "code"])
def test_scores_and_lists(raw, tmp_path, capsys, rule):
    flags = [f"--raw={raw}", f"--out={tmp_path / 'o'}", "--min_clips=5", f"--rule={rule}"]
    assert darkness.main([*flags, "--workers=0"]) == 0
    said = capsys.readouterr()
    assert "14 of 16 videos are dark" in said.err and "bad: run/broken.mp4: not a video" in said.err
    assert said.out == (tmp_path / "o" / "scores.csv").read_text()
    scores = {row["path"]: row for row in rows(tmp_path / "o" / "scores.csv")}
    assert len(scores) == 16
    assert scores["hug/bright.mp4"]["dark"] == "0" and scores["hug/dark3.mp4"]["dark"] == "1"
    assert scores["run/dark0.mp4"] | {"score": ""} == {
        "path": "run/dark0.mp4", "class": "run", "group": "dark0", "frames": "16",
        "score": "", "dark": "1",
    }  # fmt: skip
    expected = (-1.0, -0.877) if rule == "paper" else (1.0, 1.0)
    assert expected[0] <= float(scores["run/dark0.mp4"]["score"]) <= expected[1]
    assert [row["path"] for row in rows(tmp_path / "o" / "bad.csv")] == ["run/broken.mp4"]
    # "run" has too few; "hug" is left, its ten clips in three splits of eight and two.
    assert (tmp_path / "o" / "classInd.txt").read_text() == "0\thug\n"
    tests = []
    for split in (1, 2, 3):
        train, test = (
            (tmp_path / "o" / f"{side}_split{split}.txt").read_text().splitlines()
            for side in ("train", "test")
        )
        assert (len(train), len(test)) == (8, 2)
        assert sorted(train + test) == [f"hug/dark{n}.mp4 0" for n in range(10)]
        tests.append(tuple(test))
    assert len(set(tests)) > 1
    left = {p.name for p in (tmp_path / "o").iterdir()}
    assert len(left) == 9 and not any("part" in name for name in left)


def test_in_other_processes_and_again_the_same(raw, tmp_path, capsys):
    outputs = []
    for name, workers in (("a", 2), ("b", 0)):
        flags = [f"--raw={raw}", f"--out={tmp_path / name}", "--min_clips=4", "--seed=3"]
        assert darkness.main([*flags, f"--workers={workers}"]) == 0
        outputs.append({p.name: p.read_text() for p in sorted((tmp_path / name).iterdir())})
    assert outputs[0] == outputs[1]
    assert outputs[0]["classInd.txt"] == "0\thug\n1\trun\n"
    capsys.readouterr()


def test_without_out_nothing_is_written(raw, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert darkness.main([f"--raw={raw}", "--workers=0"]) == 0
    assert capsys.readouterr().out.startswith("path,class,group,frames,score,dark\n")
    assert not list(tmp_path.iterdir())


def clips_of(groups):
    """[(group, label, number of clips)] as clips."""
    return [
        Clip(f"{group}/{label}/{n}", f"{group}/{label}/{n}", label, group, "train", "dark")
        for group, label, count in groups
        for n in range(count)
    ]


def test_groups_are_never_split_and_the_shares_are_near_a_fifth():
    rng = np.random.default_rng(0)
    clips = clips_of([(f"g{g}", c, int(rng.integers(1, 6))) for g in range(40) for c in range(5)])
    for seed in range(5):
        is_test = darkness.deal_split(clips, np.random.default_rng(seed))
        sides = collections.defaultdict(set)
        for clip, test in zip(clips, is_test, strict=True):
            sides[clip.group].add(test)
        assert all(len(seen) == 1 for seen in sides.values())
        per_class = collections.Counter(c.label for c in clips)
        tests = collections.Counter(c.label for c, t in zip(clips, is_test, strict=True) if t)
        for label, count in per_class.items():
            assert 0.12 < tests[label] / count < 0.28


def test_single_clips_are_split_to_the_unit():
    clips = clips_of([(f"g{n}", n % 2, 1) for n in range(50)])
    is_test = darkness.deal_split(clips, np.random.default_rng(0))
    tests = collections.Counter(c.label for c, t in zip(clips, is_test, strict=True) if t)
    assert tests == {0: 5, 1: 5}


def test_a_class_of_two_large_groups_gives_the_smaller():
    clips = clips_of([("large", 0, 9), ("small", 0, 7), *[(f"g{n}", 1, 1) for n in range(10)]])
    is_test = darkness.deal_split(clips, np.random.default_rng(0))
    sides = {(c.group, t) for c, t in zip(clips, is_test, strict=True) if c.label == 0}
    assert sides == {("large", False), ("small", True)}


def test_a_class_of_one_group_is_reported(tmp_path):
    clips = clips_of([("all", 0, 6), *[(f"g{n}", 1, 1) for n in range(10)]])
    said = darkness.write_lists(tmp_path, clips, ("hug", "run"), 5, 1, 0)
    assert any("all clips of 'hug' are in train" in line for line in said)


def test_kept_classes():
    assert darkness.kept_classes([3, 1, 1, 3, 3, 0], 2) == [1, 3]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--min_clips=50"], "at least 50 dark clips; 'hug' has most, 10: lower --min_clips"),
        (["--threshold=1"], "no clip is dark"),
        (["--splits=0"], "expected --splits of at least 1; found 0"),
        (["--threshold=2"], "expected --threshold from 0 to 1"),
        (["--dataset=fold"], "did you mean 'folder'"),
        (["--raw=nowhere"], "found none at nowhere"),
    ],
)
def test_errors_are_one_line(raw, tmp_path, capsys, flags, says):
    assert darkness.main([f"--raw={raw}", f"--out={tmp_path}", "--workers=0", *flags]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and says in last
