"""Datasets that TensorFlow Datasets has prepared, in both of its file formats."""

import logging
import pickle
import sys

import numpy as np
import pytest
from tiny import noise

from darkjax.data.catalog import get_dataset
from darkjax.data.convert import convert, main
from darkjax.data.records import Records
from darkjax.errors import UserError

# TFDS and TensorFlow warn of packages of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
COUNTS = {"train": 6, "test": 3}


def _frames(number):
    return noise(number, (4 + number % 3, 10, 12, 3))


def _examples(split, **changed):
    for n in range(COUNTS[split]):
        number = n + 100 * (split == "test")
        example = {"video": _frames(number), "label": ("sit", "run")[n % 2]}
        yield example | {key: value(n) for key, value in changed.items()}


def _file(n):
    return f"v_g{n // 2:02d}.avi"


@pytest.fixture
def tfds():
    return pytest.importorskip(
        "tensorflow_datasets", reason="TensorFlow Datasets is not installed", exc_type=ImportError
    )


def _prepare(tfds, root, file_format="array_record", features=(), name="clips", **changed):
    """A dataset as TFDS writes it, under root/NAME/1.0.0; by its files alone it is opened."""
    if file_format == "tfrecord":
        pytest.importorskip("tensorflow", reason="TFDS writes TFRecord files by TensorFlow alone")
    known = {
        "video": tfds.features.Tensor(shape=(None, 10, 12, 3), dtype=np.uint8),
        "label": tfds.features.ClassLabel(names=["sit", "run"]),
    } | dict(features)

    class Clips(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = root

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(known))

        def _split_generators(self, _):
            return {split: self._generate_examples(split) for split in COUNTS}

        def _generate_examples(self, split):
            yield from enumerate(_examples(split, **changed))

    Clips.name = name
    Clips(data_dir=root, file_format=file_format).download_and_prepare()
    return root


def _numbers(records):
    """For each record the number whose frames it holds."""
    known = {_frames(n).tobytes(): n for n in (*range(6), 100, 101, 102)}
    found = []
    for record in range(len(records)):
        frames = records.read_frames(record, range(records.meta["frames"][record]))
        found.append(known[frames.tobytes()])
    return found


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize("kind", ["numbers", "pictures", "video"])
def test_converted_with_file_names(tfds, tmp_path, kind, file_format, caplog):
    features = {"filename": tfds.features.Text()}
    if kind != "numbers":
        pytest.importorskip("tensorflow", reason="TFDS writes pictures by TensorFlow alone")
        pictures = tfds.features.Sequence(tfds.features.Image(shape=(10, 12, 3)))
        video = tfds.features.Video(shape=(None, 10, 12, 3)) if kind == "video" else pictures
        features["video"] = video
    raw = _prepare(tfds, tmp_path / "raw", file_format, features, filename=_file)
    with caplog.at_level(logging.WARNING):
        card = convert("tfds:clips", tmp_path / "out", raw=raw, shards=2)
    assert not [r.message for r in caplog.records if r.name.startswith("darkjax")]
    assert card["classes"] == ["sit", "run"] and card["name"] == "clips" and not card["bad"]
    assert {name: split["clips"] for name, split in card["splits"].items()} == COUNTS
    with Records(tmp_path / "out") as records:
        numbers = _numbers(records)
        assert sorted(numbers) == [*range(6), 100, 101, 102]
        for number, clip in zip(numbers, records.meta["clip"], strict=True):
            row = records.clips[clip]
            split, n = ("test", number - 100) if number >= 100 else ("train", number)
            assert (row["split"], row["label"], row["group"]) == (split, n % 2, _file(n))
            assert row["id"].startswith(f"clips/1.0.0/{split}/0000")
            assert (row["fold"] > 0) == (split == "train")


def test_in_worker_processes_the_same_bytes(tfds, tmp_path):
    raw = _prepare(tfds, tmp_path / "raw")
    flags = ["--dataset=tfds:clips", f"--raw={raw}", "--shards=2", "--short_side=8"]
    for workers in (0, 2):
        assert main([*flags, f"--out={tmp_path / str(workers)}", f"--workers={workers}"]) == 0
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "02")
    assert one == two


def test_groups_that_are_unknown_are_said_to_be(tfds, tmp_path, caplog):
    dataset = get_dataset("tfds:clips", domain="dark")
    clips = dataset.clips(_prepare(tfds, tmp_path))
    assert len({clip.group for clip in clips}) == len(clips) == 9
    assert {clip.domain for clip in clips} == {"dark"}
    assert "groups are unknown: each clip is its own" in caplog.text
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_examples_without_a_label_are_left_out_and_said(tfds, tmp_path, caplog):
    raw = _prepare(tfds, tmp_path, label=lambda n: -1 if n < 2 else 0)
    clips = get_dataset("tfds:clips").clips(raw)
    assert len(clips) == 5 and {clip.label for clip in clips} == {0}
    assert "4 examples without a label left out" in caplog.text


def test_loading_one_clip(tfds, tmp_path):
    grey = {"video": tfds.features.Tensor(shape=(None, 10, 12, 1), dtype=np.uint8)}
    raw = _prepare(tfds, tmp_path, features=grey, video=lambda n: _frames(n)[..., :1])
    dataset = get_dataset("tfds:clips:1.0.0")
    train = [clip for clip in dataset.clips(raw) if clip.split == "train"]
    loaded = {dataset.load(clip, raw).frames.tobytes() for clip in train}
    assert loaded == {_frames(n)[..., :1].tobytes() for n in range(6)}
    assert len(dataset.load(train[0], raw, max_frames=3).frames) == 3
    assert dataset.load(train[0], raw, short_side=5).frames.shape[1:3] == (5, 6)
    with pytest.raises(
        UserError, match=r"expected at least 2 frames, found 1 in clips/1\.0\.0/train"
    ):
        dataset.load(train[0], raw, max_frames=1)


def test_features_that_do_not_say_what_is_meant(tfds, tmp_path):
    other = {"camera": tfds.features.ClassLabel(num_classes=9)}
    raw = _prepare(tfds, tmp_path / "two", features=other, camera=lambda n: 8)
    with pytest.raises(UserError, match=r"one class label among.*camera \(ClassLabel\).*found 2"):
        get_dataset("tfds:clips").clips(raw)
    with pytest.raises(UserError, match="found no lable: name it by the field label"):
        get_dataset("tfds:clips", label="lable").clips(raw)
    dataset = get_dataset("tfds:clips", label="camera")
    assert {clip.label for clip in dataset.clips(raw)} == {8}
    assert dataset.class_names(raw) == tuple("012345678")
    still = {"video": tfds.features.Tensor(shape=(10, 12, 3), dtype=np.uint8)}
    raw = _prepare(tfds, tmp_path / "still", features=still, video=lambda n: _frames(n)[0])
    with pytest.raises(UserError, match=r"expected one video among.*video \(Tensor\).*found none"):
        get_dataset("tfds:clips").clips(raw)


def test_what_is_not_prepared(tfds, tmp_path):
    with pytest.raises(UserError, match="--dataset=tfds:no_such_set cannot be opened in --raw="):
        get_dataset("tfds:no_such_set").clips(tmp_path)
    with pytest.raises(
        UserError, match=r"expected mnist prepared.*found none: run `tfds build mnist"
    ):
        get_dataset("tfds:mnist").clips(tmp_path)


def test_a_damaged_example_is_a_bad_clip(tfds, tmp_path):
    raw = _prepare(tfds, tmp_path / "raw", "tfrecord")
    (shard,) = raw.glob("clips/1.0.0/*train*tfrecord*")
    dataset = get_dataset("tfds:clips")
    clips = dataset.clips(raw)
    content = bytearray(shard.read_bytes())
    content[-100] ^= 255
    with shard.open("r+b") as file:  # in place: the file is mapped
        file.write(content)
    with pytest.raises(
        UserError, match=r"clips/1.0.0/train/000005 cannot be decoded: wrong checks"
    ):
        dataset.load([clip for clip in clips if clip.split == "train"][-1], raw)


# ---------------------------------------------------------------- without TensorFlow Datasets


def test_without_the_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert main(["--dataset=tfds:ucf101", f"--raw={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
    assert "needs TensorFlow Datasets: pip install 'darkjax[tfds]'" in capsys.readouterr().err


def test_names():
    dataset = get_dataset("tfds:ucf101/ucf101_1:2.0.0")
    assert dataset.name == "ucf101_ucf101_1_2.0.0" and dataset.builder == "ucf101/ucf101_1:2.0.0"
    with pytest.raises(UserError, match=r"no option 'builder'.*it has domain, group, label, video"):
        get_dataset("tfds:ucf101", builder="x")
    with pytest.raises(UserError, match="or tfds:NAME; found 'ucf'"):
        get_dataset("ucf")
