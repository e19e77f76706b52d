"""Random access: the frames asked for and nothing else, however the shards are read."""

import logging
import os
import pickle

import numpy as np
import pytest
from tiny import Noise, converted, flip_byte

from darkjax.data import index
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.errors import UserError

DATASET = Noise(train=12, test=4, bad=(5,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return converted(tmp_path_factory, DATASET, shards=2, max_bad_fraction=0.1)


@pytest.fixture
def copy(tmp_path):
    convert(DATASET, tmp_path, shards=2, max_bad_fraction=0.1)
    return tmp_path


def _truth(records, record):
    row = records.clips[records.meta["clip"][record]]
    seed = int(row["id"][4:]) + (100 if row["split"] == "test" else 0)
    return DATASET.frames(seed)


@pytest.mark.parametrize("read", ["mmap", "pread"])
@pytest.mark.parametrize("check_crc", [False, True])
def test_every_clip(folder, read, check_crc):
    with Records(folder, read=read, check_crc=check_crc) as records:
        assert len(records) == 15 and records.classes == ("a", "b")
        assert records.domains == ("dark", "day")
        for record in range(len(records)):
            truth = _truth(records, record)
            frames = records.read_frames(record, range(len(truth)))
            np.testing.assert_array_equal(frames, truth)
            assert frames.dtype == np.uint8 and frames.flags.writeable
            row = records.clips[records.meta["clip"][record]]
            assert records.meta["label"][record] == row["label"]
            assert records.domains[records.meta["domain"][record]] == row["domain"]
            assert records.meta["fold"][record] == row["fold"]
            assert truth.shape == tuple(
                records.meta[k][record] for k in ("frames", "height", "width", "channels")
            )


@pytest.mark.parametrize("read", ["mmap", "pread"])
@pytest.mark.parametrize(
    "numbers", [[0], [4, 0, 0, 2], [0, 1, 2], [0, 2, 4], [1, 4], [3, 2, 1], []]
)
def test_frames_and_windows(folder, read, numbers):
    with Records(folder, read=read) as records:
        truth = _truth(records, 3)
        window = records.read_frames(3, np.array(numbers, int), (2, 7), (5, 12))
        np.testing.assert_array_equal(window, truth[np.array(numbers, int), 2:7, 5:12])
        out = np.zeros((len(numbers), 10, 3, 3), np.uint8)
        assert records.read_frames(3, numbers, cols=(0, 3), out=out) is out
        np.testing.assert_array_equal(out, truth[np.array(numbers, int), :, :3])


@pytest.mark.parametrize(
    "arguments",
    [([-1],), ([99],), ([0], (0, 11)), ([0], (3, 3)), ([0], None, (-1, 4)), ([0], None, (0, 13))],
)
def test_outside(folder, arguments):
    with Records(folder) as records, pytest.raises(IndexError):
        records.read_frames(0, *arguments)


@pytest.mark.parametrize("read", ["mmap", "pread"])
def test_jpeg(tmp_path, read):
    smooth = Noise(train=3, test=0)
    convert(smooth, tmp_path, encoding="jpeg", jpeg_quality=100)
    with Records(tmp_path, read=read) as records:
        truth = smooth.frames(int(records.clips[records.meta["clip"][1]]["id"][4:]))
        frames = records.read_frames(1, [4, 0, 4], (2, 7), (5, 12))
        assert frames.shape == (3, 5, 7, 3)
        np.testing.assert_array_equal(frames[0], frames[2])
        difference = np.abs(frames.astype(int) - truth[[4, 0, 4], 2:7, 5:12])
        assert difference.mean() < 2  # noise at the highest quality
    begin = int(records._index[1]["begin"])
    shard = next(iter(tmp_path.glob("*.tfrecord")))
    for position in range(begin, begin + 40):
        flip_byte(shard, position)
    with Records(tmp_path, read=read) as records, pytest.raises(UserError, match="clip1, byte"):
        records.read_frames(1, [0])


def test_jpeg_of_one_channel(tmp_path):
    dataset = Noise(train=2, test=0, channels=1)
    convert(dataset, tmp_path, encoding="jpeg")
    with Records(tmp_path) as records:
        assert records.read_frames(0, [0, 1]).shape == (2, 10, 12, 1)


@pytest.mark.parametrize("read", ["mmap", "pread"])
def test_pickle_and_close(folder, read):
    records = Records(folder, read=read)
    before = records.read_frames(2, [1, 3])
    copied = pickle.loads(pickle.dumps(records))
    np.testing.assert_array_equal(copied.read_frames(2, [1, 3]), before)
    copied.close()
    records.close()
    records.close()
    np.testing.assert_array_equal(records.read_frames(2, [1, 3]), before)
    records.close()
    assert len(pickle.dumps(records)) < 50_000  # no frames inside


def test_select(folder):
    records = Records(folder)

    def clips(**conditions):
        return records.meta["clip"][records.select(**conditions)].tolist()

    train = [n for n in range(12) if n != 5]
    assert clips() == [*train, 12, 13, 14, 15]
    assert clips(split="train") == train and clips(split="test") == [12, 13, 14, 15]
    for fold in sorted({records.clips[n]["fold"] for n in train}):
        held = clips(split="train", fold=fold)
        rest = clips(split="train", holdout=fold)
        assert sorted(held + rest) == train and not set(held) & set(rest)
        groups = [{records.clips[n]["group"] for n in side} for side in (held, rest)]
        assert not groups[0] & groups[1]
    assert clips(clips=[7, 1, 5]) == [1, 7]
    for conditions, message in (
        ({"split": "validate"}, "a split out of test, train; found 'validate'"),
        ({"fold": 9}, r"a fold out of \[1, 2, 3, 4, 5\]; found 9"),
        ({"split": "test", "holdout": 1}, r"a fold out of \[\]; found 1"),
        ({"clips": []}, "found none"),
    ):
        with pytest.raises(UserError, match=message):
            records.select(**conditions)


def test_order_does_not_depend_on_shards(folder, tmp_path):
    convert(DATASET, tmp_path, shards=5, max_bad_fraction=0.1)
    one, other = Records(folder), Records(tmp_path)
    assert one.digest == other.digest
    for a, b in zip(one.select(), other.select(), strict=True):
        assert one.meta["clip"][a] == other.meta["clip"][b]
        np.testing.assert_array_equal(one.read_frames(a, [0]), other.read_frames(b, [0]))


def _index_files(folder):
    return {p: p.read_bytes() for p in folder.glob("*.idx.npy")}


@pytest.mark.parametrize(
    "harm",
    ["missing", "stale", "garbage", "of another kind", "a label that is not so", "no checksum"],
)
def test_index_is_built_again(copy, caplog, harm):
    before = _index_files(copy)
    assert len(before) == 4
    for path in before:
        rows = np.load(path)
        if harm == "missing":
            path.unlink()
        elif harm == "stale":
            index.write(path.with_name(path.name.replace(".idx.npy", ".tfrecord")), rows[:-1])
        elif harm == "garbage":
            path.write_bytes(b"no index")
        elif harm == "of another kind":
            np.save(path, np.zeros(3))
        elif harm == "no checksum":  # as they were written at first
            np.save(path, rows)
        else:
            rows["label"] = 1 - rows["label"]
            np.save(path, rows)
    with caplog.at_level(logging.WARNING), Records(copy) as records:
        np.testing.assert_array_equal(records.read_frames(3, [0]), _truth(records, 3)[:1])
    assert _index_files(copy) == before
    assert len(caplog.records) == 4 and "built again" in caplog.text


def test_no_flipped_bit_in_an_index_is_accepted(tmp_path, caplog):
    """A bit of every byte: the shard tells what is so, and one line says that it was asked."""
    convert(Noise(train=2, test=0), tmp_path, shards=1)
    (path,) = _index_files(tmp_path)
    shard, content = tmp_path / "noise-train-00000-of-00001.tfrecord", path.read_bytes()
    truth = index.load(shard)
    assert truth.tolist() == index.build(shard)
    assert len(truth.dtype.names) == 10
    bits = np.random.default_rng(0).integers(0, 8, len(content))
    for position, bit in enumerate(bits.tolist()):
        bad = bytearray(content)
        bad[position] ^= 1 << bit
        path.write_bytes(bad)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(index.load(shard), truth)
        (line,) = caplog.messages
        assert "built again from the shard" in line and path.read_bytes() == content
    for cut in (content[:-1], content[:-12], content[:100], b"", content + b"\0", content * 2):
        path.write_bytes(cut)
        np.testing.assert_array_equal(index.load(shard), truth)
        assert path.read_bytes() == content


def test_index_in_a_folder_that_cannot_be_written(copy, caplog, monkeypatch):
    for path in _index_files(copy):
        path.unlink()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with caplog.at_level(logging.WARNING), Records(copy) as records:
        assert len(records) == 15
    assert not _index_files(copy) and "built in memory" in caplog.text
    assert not list(copy.glob("*.part-*"))


def test_truncated_shard(copy):
    shard = sorted(copy.glob("*.tfrecord"))[-1]
    end = int(np.load(index.index_path(shard))["offset"][-1])
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 100)
    with pytest.raises(
        UserError, match=rf"truncated shard.*{shard.name}.*byte {end - 12}.*--verify"
    ):
        Records(copy)


def test_missing_shard_and_strange_card(copy):
    shard = next(iter(copy.glob("*.tfrecord")))
    shard.rename(copy / "away")
    with pytest.raises(UserError, match="it is missing: convert the dataset again"):
        Records(copy)
    (copy / "card.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match=r"card format 1, found 99 in .*card\.json"):
        Records(copy)
    (copy / "card.json").write_text("{")
    with pytest.raises(UserError, match=r"expected JSON in .*card\.json"):
        Records(copy)
    with pytest.raises(UserError, match="mmap, pread; found 'read'"):
        Records(copy, read="read")


@pytest.mark.parametrize("read", ["mmap", "pread"])
def test_checksum_on_read(copy, read):
    with Records(copy, read=read, check_crc=True) as records:
        begin = int(records._index[0]["begin"])
        row = records.clips[records.meta["clip"][0]]
        records.read_frames(0, [0])
    shard = copy / records.card["splits"][row["split"]]["shards"][row["shard"]]["file"]
    flip_byte(shard, begin + 50)
    with Records(copy, read=read, check_crc=True) as records:
        with pytest.raises(UserError, match=rf"{shard.name}, record 0, clip {row['id']}, byte \d+"):
            records.read_frames(0, [4])
        records.read_frames(1, [0])
    with Records(copy, read=read) as records:
        records.read_frames(0, [4])  # not asked to look
