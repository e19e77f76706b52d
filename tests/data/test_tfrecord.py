"""Shards are standard TFRecord files of tf.train.Example.

Read by TensorFlow where it is installed, and always by a second parser written here from the
descriptions of the two formats: its own checksum table and its own protobuf walk.
"""

import pathlib
import re
import struct

import numpy as np
import pytest
from tiny import Noise, noise

from darkjax.data import example, tfrecord
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.errors import UserError


def _crc32c_table():
    """Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4)."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _crc32c_table()


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _unmask(masked):
    rotated = (masked - 0xA282EAD8) % 2**32
    return (rotated >> 17 | rotated << 15) % 2**32


def _records(content):
    """Data of every record, with both checksums compared."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert _unmask(struct.unpack("<I", content[8:12])[0]) == _crc32c(content[:8])
        data, footer = content[12 : 12 + length], content[12 + length : 16 + length]
        assert _unmask(struct.unpack("<I", footer)[0]) == _crc32c(data)
        yield data
        content = content[16 + length :]


def _varint(data):
    value = 0
    for k, byte in enumerate(data):
        value += (byte % 128) * 128**k
        if byte < 128:
            return value, data[k + 1 :]
    raise AssertionError("a varint ends with the message")


def _message(data):
    """(field number, value) pairs; lengths give bytes, the rest integers."""
    pairs = []
    while data:
        tag, data = _varint(data)
        if tag % 8 == 2:
            length, data = _varint(data)
            value, data = data[:length], data[length:]
        elif tag % 8 == 0:
            value, data = _varint(data)
        else:
            assert tag % 8 == 5
            value, data = data[:4], data[4:]
        pairs.append((tag // 8, value))
    return pairs


def _features(data):
    """{name: (kind, list body)} of an Example: Example.features.feature[name].kind."""
    ((_, features),) = _message(data)
    found = {}
    for _, entry in _message(features):
        (_, key), (_, value) = _message(entry)
        ((kind, body),) = _message(value)
        found[key.decode()] = (("", "bytes", "float", "int64")[kind], body)
    return found


def _ints(body):
    ((_, packed),) = _message(body)
    numbers = []
    while packed:
        value, packed = _varint(packed)
        numbers.append(value)
    return numbers


def _check_clip(features, clip, number, frames):
    assert set(features) == {
        "video", "shape", "label", "clip", "clip_id", "group", "fps", "domain", "encoding",
    }  # fmt: skip
    assert _ints(features["shape"][1]) == list(frames.shape)
    assert (_ints(features["label"][1]), _ints(features["clip"][1])) == ([clip.label], [number])
    for name, value in (
        ("clip_id", clip.id), ("group", clip.group), ("domain", clip.domain), ("encoding", "raw"),
    ):  # fmt: skip
        assert _message(features[name][1]) == [(1, value.encode())]
    ((_, fps),) = _message(features["fps"][1])
    assert struct.unpack("<f", fps) == (25.0,)
    assert _message(features["video"][1]) == [(1, frames.tobytes())]


def test_crc32c_of_the_standard():
    # RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and rising
    vectors = ((b"\0" * 32, 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E))
    for data, crc in vectors:
        assert _crc32c(data) == crc and _unmask(tfrecord.masked_crc(data)) == crc


def test_shards_are_read_by_a_second_parser(tmp_path):
    dataset = Noise(train=9, test=0)
    convert(dataset, tmp_path, shards=2)
    clips = {clip.id: (n, clip) for n, clip in enumerate(dataset.clips(None))}
    seen = []
    for shard in sorted(tmp_path.glob("noise-train-0000?-of-00002.tfrecord")):
        for data in _records(shard.read_bytes()):
            features = _features(data)
            clip_id = _message(features["clip_id"][1])[0][1].decode()
            number, clip = clips[clip_id]
            _check_clip(features, clip, number, dataset.frames(clip.seed))
            seen.append(clip_id)
    assert sorted(seen) == sorted(clips)


def _from_the_docs(package):
    """The lines of docs/data.md that begin with the import of a package."""
    paper = pathlib.Path(__file__).parents[2] / "docs" / "data.md"
    blocks = re.findall(
        r"^```python\n(.*?)^```", paper.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    (lines,) = [
        block for block in blocks if re.search(rf"^import {package}\b", block, re.MULTILINE)
    ]
    return lines


def _converted(tmp_path, monkeypatch, **options):
    """A folder `records` here, and the frames of each label in it, sorted."""
    dataset = Noise(train=5, test=2)
    convert(dataset, tmp_path / "records", shards=2, **options)
    monkeypatch.chdir(tmp_path)
    clips = [clip for clip in dataset.clips(None) if clip.split == "train"]
    return sorted((clip.label, dataset.frames(clip.seed).tobytes()) for clip in clips)


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_the_lines_of_the_docs_read_shards_by_tensorflow(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    wanted = _converted(tmp_path, monkeypatch)
    found = {}
    exec(_from_the_docs("tensorflow"), found)
    read = [(int(label), video.numpy().tobytes()) for video, label in found["clips"]]
    assert sorted(read) == wanted


@pytest.mark.filterwarnings("ignore")
def test_jpegs_are_read_by_tensorflow_as_the_docs_say(tmp_path, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    wanted = _converted(tmp_path, monkeypatch, encoding="jpeg", jpeg_quality=100)
    features = {
        "video": tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
        "shape": tf.io.FixedLenFeature([4], tf.int64),
    }
    shards = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob("records/*-train-*.tfrecord")))
    count = 0
    for record in shards:
        found = tf.io.parse_single_example(record, features)
        frames = tf.map_fn(tf.io.decode_jpeg, found["video"], fn_output_signature=tf.uint8)
        assert frames.shape.as_list() == found["shape"].numpy().tolist()
        count += 1
    assert count == len(wanted)


@pytest.mark.filterwarnings("ignore")
def test_the_lines_of_the_docs_read_shards_by_tfds(tmp_path, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_datasets")
    wanted = _converted(tmp_path, monkeypatch)
    found = {}
    exec(_from_the_docs("tensorflow_datasets"), found)
    read = []
    for clip in found["clips"]:
        video = tf.reshape(tf.io.decode_raw(clip["video"], tf.uint8), clip["shape"])
        read.append((int(clip["label"]), video.numpy().tobytes()))
    assert sorted(read) == wanted
    with Records(tmp_path / "records") as records:  # still what it was
        assert len(records) == 7


def test_the_same_clip_gives_the_same_bytes():
    frames = noise(0, (3, 4, 5, 3))
    fields = example.Fields((3, 4, 5, 3), 7, 300, "id é", "g", 29.97, "dark", "raw")
    data = example.encode(frames, fields)
    assert data == example.encode(frames.copy(), fields)
    found, begin, end = example.split(data)
    assert found._replace(fps=29.97) == fields and found.fps == pytest.approx(29.97)
    assert data[begin:end] == frames.tobytes()


def test_jpeg_frames():
    line = np.arange(0, 240, 8, dtype=np.uint8)  # [30]
    ramp = np.ascontiguousarray(np.broadcast_to(line[:, None], (2, 20, 30, 3)))
    fields = example.Fields((2, 20, 30, 3), 0, 0, "x", "", 30.0, "", "jpeg")
    data = example.encode(ramp, fields, jpeg_quality=95)
    found, begin, end = example.split(memoryview(data))
    assert found == fields
    spans = [
        (begin + s, begin + e) for s, e in example.jpeg_values(data[begin:end], 0, end - begin)
    ]
    assert len(spans) == 2
    for start, stop in spans:
        picture = example.decode_jpeg(data[start:stop])
        assert picture.shape == (20, 30, 3) and np.abs(picture.astype(int) - ramp[0]).max() < 12
    with pytest.raises(UserError, match="expected a JPEG frame"):
        example.decode_jpeg(b"no picture")


def test_a_jpeg_frame_that_claims_to_be_enormous_is_refused(monkeypatch):
    pillow = example._import_pillow()
    ramp = np.zeros((2, 64, 64, 3), np.uint8)
    fields = example.Fields(ramp.shape, 0, 0, "a", "g", 25.0, "dark", "jpeg")
    data = example.encode(ramp, fields, jpeg_quality=95)
    _, begin, end = example.split(memoryview(data))
    ((start, stop), *_) = example.jpeg_values(data[begin:end], 0, end - begin)
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", 64)  # as 64x64 is to it, 2^28 is to the default
    with pytest.raises(UserError, match="expected a JPEG frame"):
        example.decode_jpeg(data[begin + start : begin + stop])


@pytest.mark.parametrize(
    "data", [b"", b"\x08\x01", b"\x0a\x05ab", b"\x0a\x02\x0a\x00", b"\xff" * 9]
)
def test_other_records_are_refused(data):
    with pytest.raises(UserError, match=r"expected a tf\.train\.Example of a clip"):
        example.split(data)


def test_damaged_records_are_refused_or_read_but_never_crash():
    fields = example.Fields((2, 2, 2, 3), 1, 2, "id", "g", 30.0, "dark", "raw")
    data = example.encode(noise(0, (2, 2, 2, 3)), fields)
    for position in range(len(data)):
        for mask in (1, 0x80, 0xFF):
            broken = bytearray(data)
            broken[position] ^= mask
            try:
                _, begin, end = example.split(bytes(broken))
                assert 0 <= begin <= end <= len(data)
            except UserError:
                pass


def test_scan_says_where_a_file_is_damaged():
    whole = b"".join(b"".join(tfrecord.frame(bytes([n]) * 20)) for n in range(3))
    assert [whole[s : s + n] for s, n in tfrecord.scan(whole, "f")] == [
        bytes([n]) * 20 for n in range(3)
    ]
    with pytest.raises(UserError, match=r"truncated shard.*4 more bytes.*f, record 2, byte 72"):
        list(tfrecord.scan(whole[:-4], "f"))
    with pytest.raises(UserError, match=r"truncated shard.*inside f, record 1, byte 36"):
        list(tfrecord.scan(whole[:40], "f"))
    broken = bytearray(whole)
    broken[36] ^= 1
    with pytest.raises(UserError, match=r"checksum of the length in f, record 1, byte 36"):
        list(tfrecord.scan(bytes(broken), "f"))
    broken = bytearray(whole)
    broken[50] ^= 1
    assert len(list(tfrecord.scan(bytes(broken), "f"))) == 3
    with pytest.raises(UserError, match=r"checksum of the data in f, record 1, byte 36"):
        list(tfrecord.scan(bytes(broken), "f", check_crc=True))
