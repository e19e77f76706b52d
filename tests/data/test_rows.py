"""Many rows of a card: as columns they are the same rows."""

import json
import logging
import pickle

import numpy as np
import pytest
from tiny import Noise

from darkjax.data import card as card_file
from darkjax.data import rows
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.errors import UserError

LISTED = [
    {"clip": 0, "id": "ä", "group": "g", "fps": 30.0, "sha": "a0", "end": 2},
    {"clip": 1, "id": "", "group": "g", "fps": 29.97, "sha": None, "start": 0.5, "end": 2.5},
    {"clip": 2, "id": "c", "group": "g", "fps": 0.0, "sha": "b1", "parts": ["train", ""]},
    {"clip": 2**70, "id": "d", "group": "g", "fps": 1.0, "sha": "c2"},
]


def test_columns_give_the_rows_back():
    columns = rows.Rows.of(LISTED, "digest")
    assert list(columns) == LISTED and [columns[n] for n in range(4)] == LISTED
    assert columns[-1] == LISTED[-1] and columns[np.int32(1)] == LISTED[1]
    assert columns[1:3] == LISTED[1:3] and len(columns) == 4
    assert [type(row["end"]) for row in columns[:2]] == [int, float]
    assert rows.column(columns, "group") == rows.column(LISTED, "group") == ["g"] * 4
    assert rows.column(columns, "fps").tolist() == [30.0, 29.97, 0.0, 1.0]
    assert list(pickle.loads(pickle.dumps(columns))) == LISTED
    for number in (4, -5):
        with pytest.raises(IndexError):
            columns[number]
    with pytest.raises(KeyError):
        columns.column("nothing")


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A dataset whose few clips count as many, and one whose clips do not."""
    dataset = Noise(train=30, test=8, bad=(4,))
    convert(dataset, tmp_path / "few", shards=2)
    monkeypatch.setattr(rows, "MANY", 10)
    convert(dataset, tmp_path / "many", shards=2)
    return tmp_path


def test_records_of_many_clips_are_those_of_few(many, caplog):
    assert (many / "many" / rows.NAME).is_file() and not (many / "few" / rows.NAME).exists()
    cards = [(many / name / "card.json").read_bytes() for name in ("few", "many")]
    assert cards[0] == cards[1]
    with pytest.MonkeyPatch.context() as patch, Records(many / "many") as columns:
        patch.setattr(rows, "MANY", 1000)
        with Records(many / "few") as few:
            assert type(few.clips) is list and isinstance(columns.clips, rows.Rows)
            assert list(columns.clips) == few.clips and columns.digest == few.digest
            assert columns.domains == few.domains and columns.card["bad"] == few.card["bad"]
            for name in few.meta:
                np.testing.assert_array_equal(columns.meta[name], few.meta[name])
            for wanted in ({"split": "test"}, {"split": "train", "fold": 2}, {"holdout": 1}):
                np.testing.assert_array_equal(columns.select(**wanted), few.select(**wanted))
    assert not caplog.messages


def test_the_cache_is_read_and_not_the_card(many, monkeypatch):
    monkeypatch.setattr(rows.Rows, "of", None)  # would be called for the card's rows
    card = card_file.read(many / "many")
    assert isinstance(card["clips"], rows.Rows) and card["name"] == "noise"


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda content: b"", "of another kind"),
        (lambda content: b"x" + content[1:], "of another kind"),
        (lambda content: content[:-40], "damaged"),
        (lambda content: content[:200] + b"?" + content[201:], "damaged"),
        (None, "of another card"),
    ],
)
def test_a_cache_that_is_not_to_be_trusted_is_made_again(many, caplog, harm, what):
    path = many / "many" / rows.NAME
    before = path.read_bytes()
    if harm is None:
        card = json.loads((many / "many" / "card.json").read_text())
        card["clips"][0]["group"] = "somebody else"
        (many / "many" / "card.json").write_text(json.dumps(card))
    else:
        path.write_bytes(harm(before))
    with caplog.at_level(logging.WARNING), Records(many / "many") as records:
        assert records.clips[0]["group"] == ("group0" if harm else "somebody else")
        assert records.digest == card_file.digest(json.loads((many / "many/card.json").read_text()))
    assert [what in message for message in caplog.messages] == [True]
    assert (path.read_bytes() == before) == (harm is not None)


def test_a_card_of_many_clips_is_checked_as_one_of_few(many):
    path = many / "many" / "card.json"
    whole = path.read_text()
    for change, message in (
        (lambda card: card["clips"][4].pop("fold"), r"expected 'fold' in clips\[4\]"),
        (lambda card: card["clips"][5].update(label=1.5), r"clips\[5\].label; found 1.5"),
        (lambda card: card["clips"][5].update(label=7), "label 7 of clip5 has no class"),
        (lambda card: card["clips"][5].update(height=11), "clip5 with label"),
    ):
        card = json.loads(whole)
        change(card)
        path.write_text(json.dumps(card))
        with pytest.raises(UserError, match=message):
            Records(many / "many")


def test_a_folder_that_cannot_be_written(many, monkeypatch, caplog):
    (many / "many" / rows.NAME).unlink()

    def refused(path, content):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rows.files, "write_bytes", refused)
    with caplog.at_level(logging.WARNING), Records(many / "many") as records:
        assert len(records) == 37
    assert ["card.columns is not written" in message for message in caplog.messages] == [True]
