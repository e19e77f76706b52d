"""Several official splits of the same clips: stored once, chosen by `data.protocol`."""

import copy
import dataclasses
import json
import pathlib

import pytest
import tiny_run
from test_split import data_section
from tiny import Noise, converted

from darkjax import run_data
from darkjax.data import card as card_file
from darkjax.data import convert as cli
from darkjax.data import shards
from darkjax.data.clip import Clip, deal_folds
from darkjax.data.convert import convert
from darkjax.data.datasets.official import official
from darkjax.data.enhanced import Enhanced
from darkjax.data.records import Records
from darkjax.data.split import rows, shared_groups, train_rows
from darkjax.errors import UserError

PARTS = {"1": ("train", "train", "test", "other"), "2": ("test", "train", "train", "")}


@dataclasses.dataclass(frozen=True)
class Twice(Noise):
    """Twelve clips in groups of two with two official splits, in turns of `PARTS`."""

    name: str = "twice"
    named: tuple[str, ...] = ("1", "2")

    def protocols(self, root: pathlib.Path | None) -> tuple[str, ...]:
        return self.named

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        clips = [
            Clip(
                f"clip{n}", "", n % 2, f"group{n // 2}", "all", "dark", seed=n,
                assigned=tuple(PARTS[p][n % 4] for p in ("1", "2")),
            )
            for n in range(12)
        ]  # fmt: skip
        return deal_folds(clips, "all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return converted(tmp_path_factory, Twice())


@pytest.fixture(scope="module")
def records(folder):
    return Records(folder)


def sides(records, **fields):
    train, held, name = rows(records, data_section(**fields))
    return [records.meta["clip"][side].tolist() for side in (train, held)], name


def test_a_clip_is_stored_once_and_is_in_every_protocol(folder, records):
    assert [p.name for p in folder.glob("*.tfrecord")] == ["twice-all-00000-of-00001.tfrecord"]
    assert records.protocols == ("1", "2") and len(records) == 12
    assert records.card["protocols"] == ["1", "2"] and records.card["format"] == 1
    assert records.clips[3]["assigned"] == ["other", ""]


def test_the_protocol_chooses_and_is_in_the_name(records):
    first = ([[0, 1, 4, 5, 8, 9], [2, 6, 10]], "twice-1-test")
    assert sides(records) == first == sides(records, protocol="1")
    assert sides(records, protocol="2") == ([[1, 2, 5, 6, 9, 10], [0, 4, 8]], "twice-2-test")
    assert sides(records, eval_split="other") == ([[0, 1, 4, 5, 8, 9], [3, 7, 11]], "twice-1-other")
    assert records.meta["clip"][records.select("other")].tolist() == [3, 7, 11]
    assert len(records.select("all")) == 12


def test_folds_are_of_all_clips(records):
    held_out = []
    for fold in range(1, 6):
        (train, held), name = sides(records, split="fold", fold=fold, protocol="2")
        assert sorted(train + held) == [*range(12)] and name == f"twice-fold{fold}"
        groups = [{records.clips[n]["group"] for n in side} for side in (train, held)]
        assert not groups[0] & groups[1]
        held_out += held
    assert sorted(held_out) == [*range(12)]


def test_what_is_not_there_is_said(records, tmp_path):
    with pytest.raises(UserError, match=r"data\.protocol='4'.* has 1, 2"):
        rows(records, data_section(protocol="4"))
    with pytest.raises(UserError, match=r"needs the split 'val'; .* has other, test, train"):
        rows(records, data_section(eval_split="val"))
    with pytest.raises(UserError, match=r"expected a split out of .*test, train; found 'trian'"):
        rows(records, data_section(train_split="trian"))
    convert(Noise(train=12, test=4), tmp_path)
    plain = Records(tmp_path)
    assert plain.protocols == () and "protocols" not in plain.card
    assert not any("assigned" in row for row in plain.clips)
    with pytest.raises(UserError, match=r"data\.protocol='2': .* has one official split: leave"):
        rows(plain, data_section(protocol="2"))
    # as one of several sources: the protocol is of those that have any
    assert len(train_rows(plain, data_section(protocol="2"))) == 12


def test_groups_on_both_sides_are_counted(records):
    train, held, _ = rows(records, data_section())
    assert shared_groups(records, train, held) == (0, 6)  # {0,1} {4,5} {8,9} and {2,…} {6,…} {10,…}
    train, held, _ = rows(records, data_section(protocol="2"))
    assert shared_groups(records, train, held) == (3, 6)


def test_a_run_says_once_that_groups_are_on_both_sides(folder, records):
    c = tiny_run.config(folder)
    with c.unlocked():
        c.data.protocol, c.data.allow_leaky_split = "2", True
    said = run_data.shared(c, "teacher", records)
    assert said.startswith("twice-2-test: 3 of 6 groups are on both sides of this official split")
    assert "\n" not in said
    for quiet in ({"protocol": "1"}, {"split": "fold"}, {"split": "random"}):
        c.data.update({"protocol": "2"} | quiet)
        assert not run_data.shared(c, "teacher", records)


def refused(folder, card, match):
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=match) as error:
        Records(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(protocols="12"), "expected a list in the card.protocols"),
        (lambda c: c.update(protocols=["1", "1"]), r"expected protocols, each once; found \['1'"),
        (lambda c: c.update(protocols=["1", 2]), r"expected text in protocols\[1\]; found 2"),
        (lambda c: c.pop("protocols"), r"clips\[0\].assigned: 2 parts for 0 protocols"),
        (lambda c: c["clips"][4].pop("assigned"), r"clips\[4\].assigned: 0 parts for 2 protocols"),
        (lambda c: c["clips"][4]["assigned"].pop(), r"clips\[4\].assigned: 1 parts for 2"),
        (lambda c: c["clips"][4].update(assigned="ab"), r"expected a list in clips\[4\].assigned"),
        (lambda c: c["clips"][4].update(assigned=[1, 2]), r"text in clips\[4\].assigned\[0\]"),
        (lambda c: c["clips"][4].update(start=None), r"expected a number in clips\[4\].start"),
    ],
)
def test_a_damaged_card_is_one_line(tmp_path, folder, change, message):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = copy.deepcopy(card_file.read(folder))
    change(card)
    refused(tmp_path, card, message)


def test_the_digest_is_of_the_protocols_too(folder):
    card = card_file.read(folder)
    digest = card_file.digest(card)
    other = copy.deepcopy(card)
    other["protocols"] = ["1", "3"]
    assert card_file.digest(other) != digest
    other = copy.deepcopy(card)
    other["clips"][0]["assigned"][1] = "train"
    assert card_file.digest(other) != digest


def test_shards_of_before_are_taken_up():
    """The digest of clips without the later fields is what it was before there were any."""
    dataset = Noise(train=4, test=2)
    clips = dataset.clips(None)
    settings = shards.Settings()
    jobs = cli._plan(dataset, None, pathlib.Path("x"), clips, ("a", "b"), settings, 1)
    assert [shards._clips_digest(job) for job in jobs] == [
        "b5e7f8f113d2e2669127bd6a7066b44f811198bb8995b51cc34ca370c40c59ca",
        "8e55dca5219bc28b9118d9105e2c081fc82f61c6a50d91599775b6f3bdc6ee5b",
    ]
    cut = [dataclasses.replace(clip, start=1.0, end=2.0) for clip in clips]
    jobs = cli._plan(dataset, None, pathlib.Path("x"), cut, ("a", "b"), settings, 1)
    assert not any(shards._clips_digest(job).startswith(("b5e7", "8e55")) for job in jobs)


def test_a_cut_is_in_its_row(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Cut(Noise):
        def clips(self, root):
            first, *rest = super().clips(root)
            return [dataclasses.replace(first, start=0.5, end=2.25), *rest]

    convert(Cut(train=2, test=0), tmp_path)
    first, second = Records(tmp_path).clips
    assert (first["start"], first["end"]) == (0.5, 2.25) and "start" not in second


def test_enhanced_records_keep_the_protocols(records, tmp_path):
    convert(Enhanced("brighter", records, lambda frames: frames, "as they are"), tmp_path)
    found = Records(tmp_path)
    assert found.protocols == records.protocols
    assert sides(found, protocol="2")[0] == sides(records, protocol="2")[0]


def test_the_counts_of_the_authors_add_up():
    for name in ("arid", "ucf101", "hmdb51", "dark48", "infar", "xd145", "iitr_iar", "arid_ug2"):
        table = official(name)
        per_class = table.get("per_class")
        if per_class:
            assert len(per_class) == table["classes"] and sum(per_class) == table["clips"]
        for parts in table["splits"].values():
            assert sum(part["clips"] for part in parts.values()) <= table["clips"]
            for part in parts.values():
                assert sum(part.get("per_class", [part["clips"]])) == part["clips"]
    assert official("folder") is None
    arid = official("arid")
    assert arid["clips"] == 3784
    parts = {p: [arid["splits"][p][s]["clips"] for s in ("train", "test", "other")] for p in "123"}
    assert parts == {"1": [2288, 823, 673], "2": [2252, 859, 673], "3": [2259, 852, 673]}
    assert [sum(p) for p in parts.values()] == [3784] * 3
    ucf = official("ucf101")
    assert all(sum(p["clips"] for p in parts.values()) == 13320 for parts in ucf["splits"].values())
    dark = official("dark48")
    assert dark["splits"]["3"] == {"train": {"clips": 7052}, "test": {"clips": 1763}}
