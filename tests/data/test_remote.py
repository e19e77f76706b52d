"""Records in an object store: the same batches as from the folder, and no more bytes than that."""

import itertools
import logging
import pickle
import sys
import time

import fsspec
import numpy as np
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.memory import MemoryFileSystem
from tiny import Noise, converted

from darkjax.data import remote
from darkjax.data.convert import convert, main
from darkjax.data.pipeline import eval_batches, train_batches
from darkjax.data.records import Records
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError

DATASET = Noise(train=12, test=4, bad=(5,))
CFG = ViewConfig(size=(6, 8), frames=4, stride=1, flip=True, views_clips=2, views_crops=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return converted(tmp_path_factory, DATASET, shards=2, max_bad_fraction=1)


@pytest.fixture
def bucket(folder):
    """memory://bucket/noise, filled from the folder; emptied afterwards."""
    yield _upload(folder, "bucket/noise")
    MemoryFileSystem.store.clear()


@pytest.fixture
def waits(monkeypatch):
    """Seconds that would have been waited."""
    found = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def _upload(folder, where):
    store = fsspec.filesystem("memory")
    for path in folder.iterdir():
        store.pipe_file(f"/{where}/{path.name}", path.read_bytes())
    return f"memory://{where}"


def _batches(where, **options):
    with Records(where, **options) as records:
        train = train_batches(records, records.select("train"), batch_size=5, cfg=CFG, seed=3)
        with train:
            found = [next(train) for _ in range(4)]
        rows = records.select("test")
        with eval_batches(records, rows, cfg=CFG, batch_size=5, num_threads=0) as judged:
            found += judged
    return found


def _same(left, right):
    assert len(left) == len(right) > 4
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], strict=True)


@pytest.fixture
def ranges(monkeypatch):
    """(file name, first byte, end) of everything read from the store in memory."""
    found = []
    read = MemoryFileSystem.cat_file

    def counted(self, path, start=None, end=None, **kwargs):
        found.append((path.rpartition("/")[2], start, end))
        return read(self, path, start, end, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", counted)
    return found


# ---------------------------------------------------------------- the same batches


@pytest.mark.parametrize("check_crc", [False, True])
def test_the_same_batches_as_from_the_folder(folder, bucket, check_crc):
    local = _batches(folder, check_crc=check_crc)
    _same(_batches(bucket, check_crc=check_crc), local)
    _same(_batches(f"{bucket}/", check_crc=check_crc), local)
    _same(_batches(folder.as_uri(), check_crc=check_crc), local)


def test_a_store_that_is_asked_asynchronously(folder, bucket, monkeypatch):
    """As gcsfs and s3fs are: one event loop answers all threads."""
    wrapper = AsyncFileSystemWrapper(fsspec.filesystem("memory"), asynchronous=False)
    monkeypatch.setattr(remote, "_store", lambda where: wrapper)
    fsspec.filesystem("memory").rm("/bucket/noise/noise-train-00001-of-00002.idx.npy")
    _same(_batches(bucket), _batches(folder))


def test_jpeg_of_a_store(tmp_path):
    convert(Noise(train=12, test=4), tmp_path, shards=2, encoding="jpeg")
    _same(_batches(tmp_path.as_uri()), _batches(tmp_path))


def test_what_a_store_says_of_itself(folder, bucket):
    local, far = Records(folder), Records(bucket)
    assert far.digest == local.digest and far.classes == local.classes
    assert str(far.directory) == bucket and repr(far).startswith(f"Records({bucket}, 15 clips")
    for name in local.meta:
        np.testing.assert_array_equal(far.meta[name], local.meta[name])


def test_pickled_records_read_on(folder, bucket):
    far = Records(bucket)
    far.read_frames(0, [0])
    again = pickle.loads(pickle.dumps(far))
    np.testing.assert_array_equal(again.read_frames(3, [1]), Records(folder).read_frames(3, [1]))


# ---------------------------------------------------------------- only those bytes


def test_opening_reads_the_card_and_the_indices_once(bucket, ranges):
    Records(bucket)
    names = [name for name, _, _ in ranges]
    assert sorted(names) == sorted(set(names)) and "card.json" in names
    assert len(names) == 1 + 4 and not [name for name in names if name.endswith(".tfrecord")]


def test_only_the_sampled_bytes_are_read(folder, bucket, ranges, monkeypatch):
    monkeypatch.setattr(remote, "GAP", 0)
    far, local = Records(bucket), Records(folder)
    for record in (0, 7):
        row = (2, 7)
        del ranges[:]
        got = far.read_frames(record, [4, 0, 2, 2], row, (3, 9))
        np.testing.assert_array_equal(got, local.read_frames(record, [4, 0, 2, 2], row, (3, 9)))
        # 10×12 pixels of 3 channels: five whole rows of each of three frames
        assert [end - start for _, start, end in sorted(ranges)] == [5 * 12 * 3] * 3
        content = (folder / ranges[0][0]).read_bytes()
        wanted = [local.read_frames(record, [n], row)[0].tobytes() for n in (0, 2, 4)]
        assert [content[start:end] for _, start, end in sorted(ranges)] == wanted


def test_ranges_that_touch_are_one_request(bucket, ranges, monkeypatch):
    monkeypatch.setattr(remote, "GAP", 0)
    far = Records(bucket)
    del ranges[:]
    far.read_frames(0, [2, 1, 3])
    ((_, start, end),) = ranges
    assert end - start == 3 * 10 * 12 * 3


def test_a_small_gap_is_read_through(bucket, ranges):
    far = Records(bucket)
    del ranges[:]
    far.read_frames(0, [1, 3], (4, 6))
    ((_, start, end),) = ranges
    assert end - start == (2 * 10 + 2) * 12 * 3 and 10 * 12 * 3 < remote.GAP < 1 << 20


def test_no_frames_no_request(bucket, ranges):
    far = Records(bucket)
    del ranges[:]
    assert far.read_frames(0, []).shape == (0, 10, 12, 3) and not ranges


def test_one_connection_for_all_threads(bucket, monkeypatch):
    records = Records(bucket)
    monkeypatch.delattr(fsspec.core, "url_to_fs")
    rows = records.select("train")
    with train_batches(records, rows, batch_size=5, cfg=CFG, seed=3, num_threads=2) as batches:
        next(batches)


# ---------------------------------------------------------------- what may be wrong


def test_a_missing_index_is_built_in_memory_and_not_written(folder, bucket, caplog):
    store = fsspec.filesystem("memory")
    lost = "/bucket/noise/noise-train-00001-of-00002.idx.npy"
    store.rm(lost)
    damaged = lost.replace("train-00001", "test-00000")
    store.pipe_file(damaged, store.cat_file(damaged)[:-9])
    before = sorted(store.ls("/bucket/noise", detail=False))
    with caplog.at_level(logging.WARNING):
        found = _batches(bucket)
    _same(found, _batches(folder))
    assert sorted(store.ls("/bucket/noise", detail=False)) == before
    one, two = [r.message for r in caplog.records]
    assert "00001-of-00002.idx.npy is missing; built in memory from all of its shard" in one + two
    assert "test-00000-of-00002.idx.npy is without a checksum; built in memory" in one + two
    assert "copy the index" in one and "copy the index" in two


@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_a_shard_that_is_not_whole(bucket, harm):
    store = fsspec.filesystem("memory")
    name = "/bucket/noise/noise-train-00001-of-00002.tfrecord"
    content = store.cat_file(name)
    store.rm(name)
    if harm == "truncated":
        store.pipe_file(name, content[:-100])
    match = "is missing: copy it there" if harm == "missing" else "truncated shard"
    with pytest.raises(UserError, match=match) as error:
        Records(bucket)
    assert "memory://bucket/noise/noise-train-00001-of-00002.tfrecord" in str(error.value)


def test_a_shard_that_is_cut_later(bucket):
    records = Records(bucket)
    store = fsspec.filesystem("memory")
    for name in store.ls("/bucket/noise", detail=False):
        if name.endswith(".tfrecord"):
            store.pipe_file(name, store.cat_file(name)[:50])
    with pytest.raises(UserError, match=r"truncated shard.*memory://bucket/noise/noise-"):
        records.read_frames(0, [0])


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("memory://nowhere/noise", "expected a converted dataset with card.json in memory://now"),
        ("gs://bucket/noise", "gs://bucket/noise.*gcsfs.*pip install gcsfs"),
        ("s3://bucket/noise", "s3://bucket/noise.*s3fs.*pip install s3fs"),
        ("ssb://bucket/noise", "ssb://bucket/noise.*[Pp]rotocol.*ssb"),
    ],
)
def test_no_such_store(url, match, monkeypatch, waits):
    for package in ("gcsfs", "s3fs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=match):
        Records(url)
    assert not waits


def test_without_fsspec(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match=r"memory://b/noise.*pip install 'darkjax\[remote\]'"):
        Records("memory://b/noise")


class _Failing:
    """The store's reading fails a number of times, then works."""

    def __init__(self, monkeypatch, times, error):
        self.left, self.error = 0, error
        self.times = times
        read = MemoryFileSystem.cat_file

        def cat_file(store, path, start=None, end=None, **kwargs):
            if self.left > 0:
                self.left -= 1
                raise self.error
            return read(store, path, start, end, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)

    def begin(self):
        self.left = self.times


def test_a_line_that_comes_back(folder, bucket, waits, monkeypatch, caplog):
    line = _Failing(monkeypatch, remote.TRIES - 1, ConnectionError("the line is down"))
    records, local = Records(bucket), Records(folder)
    line.begin()
    with caplog.at_level(logging.WARNING):
        got = records.read_frames(0, [0])
    np.testing.assert_array_equal(got, local.read_frames(0, [0]))
    assert len(waits) == remote.TRIES - 1 and 5 < sum(waits) < 60
    assert all(later > earlier for earlier, later in itertools.pairwise(waits))
    assert "the line is down" in caplog.text and "memory://bucket/noise/noise-" in caplog.text


def test_a_line_that_stays_down_in_the_middle_of_training(bucket, waits, monkeypatch):
    line = _Failing(monkeypatch, 10**9, TimeoutError())
    records = Records(bucket)
    # without threads: those that had begun would go on trying into the next test
    options = {"batch_size": 5, "cfg": CFG, "seed": 3, "num_threads": 0}
    with train_batches(records, records.select("train"), **options) as batches:
        next(batches)
        line.begin()
        with pytest.raises(UserError, match=r"memory://bucket/noise/noise-train-.*TimeoutError"):
            for _ in range(10):
                next(batches)


def test_what_waiting_does_not_mend_is_not_tried_again(bucket, waits, monkeypatch):
    line = _Failing(monkeypatch, 10**9, PermissionError("Forbidden"))
    records = Records(bucket)
    line.begin()
    with pytest.raises(UserError, match=r"memory://bucket/noise/noise-.*Forbidden.*credentials"):
        records.read_frames(0, [0])
    assert not waits


def test_records_are_written_to_folders_only(tmp_path, capsys):
    assert main(["--dataset=synthetic", "--out=gs://bucket/out"]) == 2
    assert "expected a folder in --out; found gs://bucket/out: convert to" in (
        capsys.readouterr().err
    )
    assert main(["--verify=gs://bucket/out"]) == 2
    assert "--verify" in capsys.readouterr().err
