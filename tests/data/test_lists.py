"""What is wrong with a download is one line that says which file, which line and what to do."""

import os
import unicodedata

import pytest
import trees
from tiny import noise

from darkjax.data import images
from darkjax.data.catalog import get_dataset, protocols_of
from darkjax.data.convert import convert
from darkjax.data.datasets import lists
from darkjax.data.datasets.official import official
from darkjax.data.datasets.tree import Tree
from darkjax.data.records import Records
from darkjax.errors import UserError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


@pytest.fixture
def raw(tmp_path):
    """A function from an entry's name to its small copy, of files that are no videos."""

    def of(name):
        trees.TREES[name](tmp_path, touch)
        return tmp_path

    return of


def refused(name, root, match, **options):
    with pytest.raises(UserError, match=match) as error:
        dataset = get_dataset(name, **options)
        dataset.class_names(root)
        dataset.clips(root)
    assert "\n" not in str(error.value)


def edit(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def test_lists_that_are_not_there(tmp_path):
    for name, wanted in (
        ("arid", r"ARID_split1_train.txt, …\) anywhere .*xuyu0010/ARID_v1"),
        ("arid_ug2", r"ARID1.1_t1_train_pub.csv"),
        ("ucf101", r"trainlist01.txt, …\) .*UCF101TrainTestSplits"),
        ("hmdb51", r"brush_hair_test_split1.txt, …\) .*test_train_splits.rar"),
        ("dark48", r"train_split1.txt, …\) .*yzfly/Dark48"),
    ):
        refused(name, tmp_path, wanted)
        refused(name, tmp_path / "nothing", "found none at .*: see --raw")


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        (
            "arid",
            "ARID_split1_train.txt",
            "0\t0\tDrink",
            "0\t10\tDrink",
            r"of its folder's class; .*train.txt, line 1 labels it Wave",
        ),
        (
            "arid",
            "ARID_split1_train.txt",
            "0\t0\tDrink",
            "0\t11\tDrink",
            r"of 11 classes; found number 11 .*Drink_1_1.avi",
        ),
        (
            "arid",
            "ARID_split1_train.txt",
            "0\t0\tDrink",
            "0\tDrink",
            r"expected 3 columns; found .*line 1",
        ),
        (
            "arid",
            "ARID_split1_train.txt",
            "0\t0\tDrink",
            "0\tx\tDrink",
            r"whole number; found 'x' in .*line 1",
        ),
        (
            "arid",
            "ARID_split1_test.txt",
            "Drink_12_10",
            "Drink_1_1",
            r"Drink_1_1.avi once; .* as train in .*train.txt, line 1 and as test in .*line 1",
        ),
        (
            "arid",
            "ARID_split1_train.txt",
            "Drink_12_1.",
            "Drink_1_1.",
            r"once; .* train .*line 1 and as train in .*line 2",
        ),
        (
            "ucf101",
            "trainlist01.txt",
            "g08_c01.avi 1",
            "g08_c01.avi 2",
            r"folder's class; .* labels it ApplyLipstick",
        ),
        (
            "ucf101",
            "testlist01.txt",
            "ApplyEyeMakeup/",
            "ApplyEyes/",
            r"CLASS/FILE of a class of UCF101; found 'ApplyEyes",
        ),
        (
            "hmdb51",
            "kick_test_split1.txt",
            " 1 ",
            " 3 ",
            r"flag 0, 1 or 2; found '3' in .*kick_test_split1.txt, line 1",
        ),
        (
            "dark48",
            "train_split1.txt",
            "_106.mp4 6",
            "_106.mp4 7",
            r"folder's class; .* labels it breathing_fire",
        ),
        (
            "arid_ug2",
            "ARID1.1_t1_train_pub.csv",
            "ClassID",
            "Class",
            r"columns Video, ClassID in .*; found \['VideoID'",
        ),
        (
            "arid_ug2",
            "ARID1.1_t1_train_pub.csv",
            "Run_3_2.mp4,5",
            "Run_3_1.mp4,5",
            r"each Video once; found Run/Run_3_1.mp4 again",
        ),
        (
            "arid_ug2",
            "ARID1.1_t1_train_pub.csv",
            "Wave_10_1.mp4,10",
            "Wave_10_1.mp4,4",
            r"found number -1",
        ),
        (
            "xd145",
            "split_2.json",
            '"000000_hug"',
            '"000000_hag"',
            r"end in _CLASS; found '000000_hag' in .*split_2.json",
        ),
        (
            "xd145",
            "split_2.json",
            '"000002_hug"',
            '"000000_hug"',
            r"once; it is listed as train .* and as test",
        ),
        (
            "xd145",
            "split_2.json",
            '"training"',
            '"train"',
            r"expected .*\"training\".* in .*split_2.json",
        ),
        ("xd145", "split_2.json", "}", "", r"\"training\".*JSONDecodeError"),
        (
            "csv",
            "clips.csv",
            "0,0.1",
            "0.2,0.1",
            r"start before end; found 0.2 and 0.1 in .*clips.csv, row 1",
        ),
        (
            "csv",
            "clips.csv",
            "0,0.1",
            "one,0.1",
            r"seconds in the column start; found 'one' .*row 1",
        ),
        (
            "csv",
            "clips.csv",
            ",pour,0,0.1",
            ",,0,0.1",
            r"a path and a label; found .* and '' in .*row 1",
        ),
        (
            "csv",
            "clips.csv",
            "0.1,,,train",
            "0,0.1,,train",
            r"each clip once; found long, of monday.mp4@0-0.1 again .* row 2",
        ),
        ("csv", "clips.csv", "Testing", "te/st", r"name of a split .*; found 'te/st'"),
        ("csv", "clips.csv", "path,label", "path;label", r"the columns path, label in .*; found"),
    ],
)
def test_a_wrong_line_is_named(raw, name, file, old, new, message):
    root = raw(name)
    path = next(p for p in sorted(root.rglob(file)) if p.parent.name != "frame_file_list")
    edit(path, old, new)
    refused(name, root, message)


def test_one_side_of_a_split_alone(raw):
    root = raw("arid")
    (root / "list_cvt/ARID_split2_test.txt").unlink()
    refused("arid", root, r"ARID_split2_test.txt beside .*ARID_split2_train.txt; found none")
    for path in (root / "list_cvt").glob("*split2*"):
        path.unlink()
    assert protocols_of(get_dataset("arid"), root) == ("1", "3")


def test_a_class_of_hmdb51_without_one_of_its_lists(raw):
    root = raw("hmdb51")
    (root / "splits/kick_test_split2.txt").unlink()
    refused("hmdb51", root, r"kick_test_split2.txt, as of the other splits; found none")


def test_listed_and_not_there(tmp_path, caplog):
    """Some: bad clips, in the log and in the card. All: refused."""
    pool = trees.Clips(tmp_path)
    numbers = iter(range(100))
    root = tmp_path / "raw"
    root.mkdir()
    trees.arid(root, lambda path: pool.put(next(numbers), path))
    (root / "clips_v1.0/Drink/Drink_12_10.mp4").unlink()
    pool.put(50, root / "clips_v1.0/Drink/Drink_99_1.mp4")
    card = convert("arid", tmp_path / "out", raw=root, max_bad_fraction=0.5)
    assert [entry["path"] for entry in card["bad"]] == ["Drink/Drink_12_10.avi"]
    assert "listed and not there: 1 video, as Drink/Drink_12_10.avi" in caplog.text
    assert "in no list, left out: 1 video, as clips_v1.0/Drink/Drink_99_1.mp4" in caplog.text
    assert len(Records(tmp_path / "out")) == 7
    (root / "clips_v1.0").rename(tmp_path / "elsewhere")
    refused("arid", root, r"videos that are listed \(as Drink/Drink_12_1.avi, .*none of 8 under")


def test_the_lists_of_frames_of_dark48_alone(raw):
    root = raw("dark48")
    clips = get_dataset("dark48").clips(root)
    for path in (root / "annotations").glob("*.txt"):
        path.unlink()
    assert get_dataset("dark48").clips(root) == clips


def test_two_files_for_one_line(raw):
    root = raw("ucf101")
    touch(root / "copy/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi")
    refused(
        "ucf101", root, r"one file for ApplyEyeMakeup/.*; found UCF-101/.* and copy/|and UCF-101"
    )
    (root / "copy").rename(root / ".copy")  # hidden
    assert len(get_dataset("ucf101").clips(root)) == 6


def test_a_file_of_the_same_name_in_another_class_is_not_taken(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("walk/1.avi", "run/2.avi", "3.avi", "extra/run/4.mp4"):
        touch(tmp_path / name)
    tree = Tree(tmp_path)
    found = [tree.video(f"run/{n}.avi", ("run", "walk")) for n in (1, 2, 3, 4)]
    assert found == [None, "run/2.avi", "3.avi", "extra/run/4.mp4"]


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path / "disc/run/a.avi")
    touch(tmp_path / "disc/b.avi")
    root = tmp_path / "raw"
    root.mkdir()
    (root / "data").symlink_to(tmp_path / "disc")
    (tmp_path / "disc/again").symlink_to(tmp_path / "disc")
    (root / "self").symlink_to(root)
    assert Tree(root).files == ["data/b.avi", "data/run/a.avi"]


def test_accents_stored_apart_are_found(tmp_path):
    apart = unicodedata.normalize("NFD", "café")
    touch(tmp_path / apart / f"{apart}_1.avi")
    assert Tree(tmp_path).video("café/café_1.avi") == f"{apart}/{apart}_1.avi"


def test_a_name_that_is_no_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9_kick_f_cm_np1_ba_med_1.avi")
    try:
        touch(tmp_path / "kick" / name)
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    (tmp_path / "kick_test_split1.txt").write_bytes(b"caf\xe9_kick_f_cm_np1_ba_med_1.avi 1\n")
    (clip,) = get_dataset("hmdb51").clips(tmp_path)
    assert clip.path == f"kick/{name}" and clip.group == r"caf\xe9" and clip.id.isprintable()


def test_class_tables(tmp_path):
    path = tmp_path / "classes.txt"
    for content, names in (
        (b"\xef\xbb\xbfrun\r\nhug a friend\r\n", ("run", "hug a friend")),
        (b"1 run\n2 hug a friend", ("run", "hug a friend")),
        (b"1\thug\n0\trun\n", ("run", "hug")),
        (b"3 point shot\nrun\n", ("3 point shot", "run")),
    ):
        path.write_bytes(content)
        assert lists.classes(path) == names
    for content, message in (
        ("", "found none in"),
        ("run\nrun\n", "found 'run' again"),
        ("1 a\n3 b\n", r"found \[1, 3\]"),
        ("2 a\n3 b\n", "from 0 or 1"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            lists.classes(path)


def test_a_table_of_other_classes(raw):
    root = raw("ucf101")
    (root / "ucfTrainTestlist/classInd.txt").write_text("1 Archery\n2 ApplyEyeMakeup\n")
    refused("ucf101", root, r"101 official classes in their order; found 'Archery' as number 0")
    root = raw("dark48")
    (root / "ucfTrainTestlist/classInd.txt").unlink()
    (root / "annotations/classInd.txt").write_text("0\tadult_female_singing\n")
    refused("dark48", root, r"48 official classes .*; found 1 classes")


def test_names_of_uav_human(raw):
    root = raw("uavhuman_fisheye")
    name = "P{:03d}S10G20200B10H20UC022000LC021000A{:03d}R0_09141799.avi"
    touch(root / name.format(119, 3))
    refused("uavhuman_fisheye", root, r"subjects 0 to 118 and actions 0 to 154; found P119S10")
    (root / name.format(119, 3)).rename(root / name.format(118, 155))
    refused("uavhuman_fisheye", root, r"found P118.*A155")
    (root / name.format(118, 155)).unlink()
    (one,) = root.rglob("P070*")
    touch(root / "again" / one.name)
    refused("uavhuman_fisheye", root, "each name once; found again/P070")
    for path in root.rglob("P*.avi"):
        path.unlink()
    refused("uavhuman_fisheye", root, "named P…S.*found 1 video, as fisheye/readme.avi")


def test_the_divisions_of_infar(tmp_path):
    """Of the full names: 30 and 20 of each class, five times, each another."""
    table = official("infar")
    for name in get_dataset("infar").class_names(tmp_path):
        for n in range(50):
            touch(tmp_path / f"{name}/{n:06d}_{name}.avi")
    dataset = get_dataset("infar")
    clips = dataset.clips(tmp_path)
    trained = set()
    for k, protocol in enumerate(dataset.protocols(tmp_path)):
        for part, counts in table["splits"][protocol].items():
            chosen = [c for c in clips if c.assigned[k] == part]
            per_class = [sum(c.label == n for c in chosen) for n in range(12)]
            assert (len(chosen), per_class) == (counts["clips"], counts["per_class"])
        trained.add(tuple(c.id for c in clips if c.assigned[k] == "train"))
    assert len(trained) == 5 and clips == dataset.clips(tmp_path)


def test_what_is_unknown_is_asked_for(tmp_path, caplog):
    touch(tmp_path / "clips/a.mp4")
    asked = r"--classes_file .* and --split_file \(columns path,split,label\)"
    refused("arid15", tmp_path, r"class folders \(Drink, Jump.*1 video, as clips/a.mp4.*" + asked)
    refused("iitr_iar", tmp_path, r"1 folders with videos where there are 21 classes.*" + asked)
    refused("infar", tmp_path / "clips", r"class folders \(fight.*" + asked)
    names, split = tmp_path / "names.txt", tmp_path / "split.csv"
    names.write_text("\n".join(f"action {n}" for n in range(21)))
    split.write_text(
        "path,split,label,group\nclips/a.mp4,Training,action 7,anna\nb.mp4,test,action 2,\n"
    )
    dataset = get_dataset("iitr_iar", classes_file=str(names), split_file=str(split))
    one, other = dataset.clips(tmp_path)
    assert (one.id, one.label, one.group, one.split) == ("b.mp4", 2, "b", "test")  # a bad clip
    assert (other.label, other.group, other.split, other.fold) == (7, "anna", "train", 1)
    assert len(dataset.class_names(tmp_path)) == 21 and not protocols_of(dataset, tmp_path)
    assert "names.txt" not in repr(dataset)  # what it said counts, not where it lies
    edit(split, "action 7", "jump")
    refused("iitr_iar", tmp_path, "a class out of .*; found 'jump' for clips/a.mp4 in .*--classes",
            classes_file=str(names), split_file=str(split))  # fmt: skip
    refused("infar", tmp_path, "cannot be read", split_file=str(tmp_path / "none.csv"))
    caplog.clear()
    touch(tmp_path / "arid/train/Drink/Drink_1_1.mp4")
    touch(tmp_path / "arid/test/Drink/Drink_2_1.mp4")
    assert [c.split for c in get_dataset("arid15").clips(tmp_path / "arid")] == ["test", "train"]
    assert not caplog.records
    (tmp_path / "arid/test").rename(tmp_path / "arid/more")
    assert {c.split for c in get_dataset("arid15").clips(tmp_path / "arid")} == {"train"}
    assert "give the split with --split_file (columns path,split)" in caplog.text


def test_a_table_of_clips(raw, tmp_path):
    root = raw("csv")
    names = tmp_path / "names.txt"
    names.write_text("pour\nwave\n")
    refused("csv", root, r"class of .*names.txt; found the label 'drink'", classes_file=str(names))
    clips = get_dataset("csv").clips(root)
    assert [(c.start, c.end) for c in clips] == [(0.0, 0.1), (0.1, None), (None, None)]
    assert clips[0].fold == clips[1].fold  # two cuts of one video
    (root / "clips.csv").rename(root / "other.csv")
    refused("csv", root, r"columns path, label at .*clips.csv; found none: .*--table")
    assert get_dataset("csv", table=str(root / "other.csv")).clips(root) == clips
    for path in root.glob("*.mp4"):
        path.unlink()
    refused("csv", root, r"found none of 2 of the videos, as b.mp4", table=str(root / "other.csv"))


def test_folders_of_pictures(tmp_path, caplog):
    for n in (2, 9, 10, 11):
        images_ = tmp_path / f"run/a/{n}.png"
        images_.parent.mkdir(parents=True, exist_ok=True)
        images.write_image(images_, noise(n, (1, 8, 10, 3))[0])
    images.write_image(tmp_path / "run/a/flow_x_2.png", noise(0, (1, 8, 10, 3))[0])
    dataset = get_dataset("frames", fps_of_frames=10.0)
    (clip,) = dataset.clips(tmp_path)
    assert "pictures are missing in 1 clips, as run/a (number 3)" in caplog.text
    video = dataset.load(clip, tmp_path)
    assert video.fps == 10 and [int(f[0, 0, 0]) for f in video.frames] == [
        int(noise(n, (1, 8, 10, 3))[0, 0, 0, 0]) for n in (2, 9, 10, 11)
    ]
    names = tmp_path / "names.txt"
    names.write_text("hug\n")
    refused("frames", tmp_path, "a class of .*; found the folder run", classes_file=str(names))
    refused("frames", tmp_path, "fps_of_frames=-1", fps_of_frames=-1)
    refused("frames", tmp_path / "run", r"SPLIT/CLASS/CLIP/\*.jpg below .*; found pictures in a")
    refused("frames", tmp_path / "run/a", r"found pictures in it: .*--dataset=images")
