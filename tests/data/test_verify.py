"""`--verify` finds every kind of damage and says where it is."""

import json

import numpy as np
import pytest
from tiny import Noise, flip_byte

from darkjax.data import convert as cli
from darkjax.data import index
from darkjax.data.convert import convert
from darkjax.data.verify import verify


@pytest.fixture
def folder(tmp_path):
    convert(Noise(train=8, test=3, bad=(2,)), tmp_path, shards=2, max_bad_fraction=0.1)
    return tmp_path


def _shard(folder):
    return folder / "noise-train-00001-of-00002.tfrecord"


def test_sound(folder, capsys):
    assert verify(folder) == []
    assert cli.main(["--verify", str(folder)]) == 0
    assert "0 faults in 10 records of 4 shards" in capsys.readouterr().out


def test_every_flipped_byte_is_found_and_named(folder, capsys):
    shard = _shard(folder)
    rows = np.load(index.index_path(shard))
    card = json.loads((folder / "card.json").read_text())
    record = 1
    clip = card["clips"][rows[record]["clip"]]["id"]
    start, length = int(rows[record]["offset"]), int(rows[record]["length"])
    # in the features, in the frames, in the last byte, in the data's checksum
    for position in (
        start + 9,
        int(rows[record]["begin"]) + 40,
        start + length - 1,
        start + length,
    ):
        flip_byte(shard, position)
        (fault,) = verify(folder)
        assert f"{shard}, record 1, byte {start}: wrong checksum of the data (clip {clip})" in fault
        assert f"delete {shard.name} in {folder} and run the conversion again" in fault
        flip_byte(shard, position)
    for position in (start - 12, start - 1):  # the length, its checksum
        flip_byte(shard, position)
        (fault,) = verify(folder)
        assert "checksum of the length" in fault and f"record 1, byte {start - 12}" in fault
        assert f"(clip {clip})" in fault
        flip_byte(shard, position)
    assert verify(folder) == []
    flip_byte(shard, start + 9)
    assert cli.main(["--verify", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("fault: ") and "\n1 fault in 10 records" in printed


def test_repair_as_the_fault_says(folder):
    shard = _shard(folder)
    whole = shard.read_bytes()
    flip_byte(shard, 500)
    assert verify(folder)
    shard.unlink()
    convert(Noise(train=8, test=3, bad=(2,)), folder, shards=2, max_bad_fraction=0.1)
    assert verify(folder) == [] and shard.read_bytes() == whole


def test_truncated_and_missing(folder):
    shard = _shard(folder)
    content = shard.read_bytes()
    shard.write_bytes(content[:-50])
    faults = verify(folder)
    assert f"expected {len(content)} bytes, found {len(content) - 50}" in faults[0]
    assert "truncated shard" in faults[1]
    shard.unlink()
    (fault,) = verify(folder)
    assert f"{shard}: missing" in fault


def test_records_against_index_and_card(folder):
    shard = _shard(folder)
    path = index.index_path(shard)
    rows = np.load(path)
    wrong = rows.copy()
    wrong["label"][0] += 1
    np.save(path, wrong)
    (fault,) = verify(folder)
    assert f"{path}: the index is without a checksum: it is built again" in fault
    index.write(shard, wrong)
    (fault,) = verify(folder)
    assert "record 0" in fault and "expected the index to say" in fault
    flip_byte(path, -40)
    (fault,) = verify(folder)
    assert f"{path}: the index is damaged: it is built again" in fault
    path.unlink()
    (fault,) = verify(folder)
    assert f"{path}: the index is missing: it is built again" in fault
    index.write(shard, rows[:-1])
    assert "in the index" in verify(folder)[0]
    index.write(shard, rows)

    card_path = folder / "card.json"
    card = json.loads(card_path.read_text())
    clip = int(rows["clip"][0])
    for change, message in (
        (lambda c: c["clips"][clip].update(label=7), "label 7 of"),
        (lambda c: c["clips"][clip].update(id="someone"), "by the card, found"),
        (lambda c: c["splits"]["train"].update(clips=3), "split train counts 3 clips"),
        (lambda c: c["splits"]["train"]["shards"][1].update(sha256="0"), "expected sha256 0"),
        (lambda c: c["clips"][2].update(shard=0), "listed as bad"),
        (lambda c: c.update(classes=["a"]), "has no class"),
    ):
        changed = json.loads(json.dumps(card))
        change(changed)
        card_path.write_text(json.dumps(changed))
        assert any(message in fault for fault in verify(folder)), message
    card_path.write_text(json.dumps(card))
    assert verify(folder) == []
