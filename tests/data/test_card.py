"""A card is checked before anything of it is used: it may be damaged, or come from anybody."""

import copy
import json
import os
import shutil

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tiny import Noise, converted

from darkjax import files
from darkjax.data import card as card_file
from darkjax.data import convert as cli
from darkjax.data import index
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.data.verify import verify
from darkjax.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    dataset = Noise(train=6, test=2, bad=(2,))
    return converted(tmp_path_factory, dataset, shards=2, max_bad_fraction=0.2)


@pytest.fixture(scope="module")
def whole(folder):
    return card_file.read(folder)


@pytest.fixture
def write(folder, whole):
    yield lambda card: (folder / "card.json").write_text(json.dumps(card))
    files.write_json(folder / "card.json", whole)


def refused(folder, match):
    with pytest.raises(UserError, match=match) as error:
        Records(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def shard(card):
    return card["splits"]["train"]["shards"][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("classes"), "expected 'classes' in the card"),
        (lambda c: c.update(classes=None), "expected a list in the card.classes; found None"),
        (lambda c: c.update(classes=[]), r"expected classes, each once; found \[\]"),
        (lambda c: c.update(classes=["a", "a"]), r"each once; found \['a', 'a'\]"),
        (lambda c: c.update(classes=["a", 1]), r"expected text in classes\[1\]; found 1"),
        (lambda c: c.update(classes={"a": 0}), "expected a list in the card.classes; found {'a'"),
        (lambda c: c.update(classes=["a", "\ud800"]), r"expected text in classes\[1\]"),
        (lambda c: c.update(splits=[]), "expected an object in the card.splits"),
        (lambda c: c["splits"].update(train=3), "expected an object in splits.train; found 3"),
        (lambda c: shard(c).pop("file"), r"'file' in splits.train.shards\[1\]"),
        (lambda c: c["decode"].pop("encoding"), "decode.encoding raw or jpeg; found None"),
        (lambda c: c["clips"][4].pop("fold"), r"expected 'fold' in clips\[4\]"),
        (lambda c: c["clips"][4].update(label=True), r"of 32 bits in clips\[4\].label; found True"),
        (lambda c: c["clips"][4].update(fold=2**40), r"of 32 bits in clips\[4\].fold"),
        (lambda c: c["clips"][4].update(fps=float("nan")), r"number in clips\[4\].fps; found nan"),
        (lambda c: c["bad"].append(7), r"expected an object in bad\[1\]; found 7"),
        (lambda c: c["clips"].pop(), "clip row 7, outside 0 to 6|split test counts 2 clips"),
        (lambda c: c["clips"][4].update(label=7), "label 7 of clip4 has no class"),
        (lambda c: c["clips"][4].update(label=1), "clip4 with label 0 .* the card with 1"),
        (lambda c: c["clips"][4].update(height=11), r"size \[9, 10, 12\], the card .*\[9, 11, 12"),
        (lambda c: c["clips"][4].update(split="test"), "split test counts 2 clips.* 3 rows"),
        (lambda c: c["bad"][0].update(clip=3), "clip2 is neither in a shard nor listed as bad"),
        (lambda c: c["clips"][4].update(clip=5), "row 4 says it is row 5"),
        (lambda c: c["splits"].pop("test"), "2 clips are of the split test, which is not listed"),
        (lambda c: c["splits"]["train"]["shards"].reverse(), "records in|with label .* in shard"),
        (lambda c: shard(c).update(records=9), "counts 5 clips, .* records"),
    ],
)
def test_a_damaged_card_is_one_line(folder, whole, write, change, message):
    card = copy.deepcopy(whole)
    change(card)
    write(card)
    refused(folder, message)


def test_counts_that_disagree_with_the_index(folder, whole, write):
    card = copy.deepcopy(whole)
    first, second = card["splits"]["train"]["shards"]
    first["records"], second["records"] = first["records"] + 1, second["records"] - 1
    write(card)
    refused(folder, r"the card has \d records in noise-train-.*, its index \d: .*--verify")


def test_a_truncated_card(folder, write):
    text = (folder / "card.json").read_text()
    for end in range(0, len(text) - 2, 97):
        (folder / "card.json").write_text(text[:end])
        refused(folder, "expected JSON in .*: delete it and run the conversion again")
    for content in (b"\xff\xfe", b"[" * 100_000, b"null", b"[]"):
        (folder / "card.json").write_bytes(content)
        refused(folder, "expected JSON|card format 1, found")


NAMES = [
    "../x.tfrecord", "/etc/passwd", "sub/x.tfrecord", "..", ".", "", "a\\..\\b", "C:x", "C:\\x",
    "./x", "x/", "x\0y", "sub/../../x",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_shard_outside_the_folder(folder, whole, write, name):
    card = copy.deepcopy(whole)
    shard(card)["file"] = name
    write(card)
    refused(folder, r"a file name without folders in splits.train.shards\[1\].file")
    with pytest.raises(UserError, match="without folders"):
        verify(folder)


def test_a_shard_that_is_a_link(tmp_path, capsys):
    """Out of the folder: refused; within it, and a folder that is a link itself: as always."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    convert(Noise(train=2, test=0), inside)
    os.symlink(inside, tmp_path / "link")
    assert len(Records(tmp_path / "link")) == 2
    (name,) = [p.name for p in inside.glob("*.tfrecord")]
    (inside / name).rename(inside / "elsewhere")
    (inside / name).symlink_to("elsewhere")
    assert len(Records(inside)) == 2
    shutil.move(inside / "elsewhere", outside)
    (inside / name).unlink()
    (inside / name).symlink_to(outside)
    refused(inside, rf"found {name}, a link to {outside}: put the file itself there")
    assert cli.main(["--verify", str(inside)]) == 2
    assert capsys.readouterr().err.startswith("error: expected the shards of")


def places(value, path=()):
    """The path of every value inside a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


def test_any_wrong_value_anywhere(folder, whole, write):
    """Only UserError comes out; what is opened all the same is what the shards hold."""
    truth = Records(folder)
    paths = [path for path in places(whole) if path]

    @hypothesis.settings(max_examples=80, deadline=None, derandomize=True, database=None)
    @hypothesis.given(st.sampled_from(paths), JSON | st.just("delete"))
    def one(path, value):
        card = copy.deepcopy(whole)
        owner = card
        for key in path[:-1]:
            owner = owner[key]
        if value == "delete":
            del owner[path[-1]]
        else:
            owner[path[-1]] = value
        write(card)
        try:
            found = Records(folder)
        except UserError as error:
            assert "\n" not in str(error)
            return
        for name in ("label", "clip", "frames", "height", "width", "channels"):
            np.testing.assert_array_equal(found.meta[name], truth.meta[name])

    one()


def test_an_index_of_another_shard(folder, whole):
    """Its checksum is right; the card tells."""
    first, second = sorted(folder.glob("noise-train*.tfrecord"))
    rows = index.load(first)
    changed = rows.copy()
    changed["clip"][0] = whole["clips"].index(next(r for r in whole["clips"] if r["shard"] == 1))
    index.write(first, changed)
    refused(folder, rf"{first.name} has clip\d with label|{second.name} holds clip row \d, twice")
    index.write(first, rows)


def test_an_index_with_a_clip_twice(folder):
    first = max(folder.glob("noise-train*.tfrecord"), key=lambda path: len(index.load(path)))
    rows = index.load(first)
    changed = rows.copy()
    changed[0] = changed[1]
    index.write(first, changed)
    refused(folder, rf"{first.name} holds clip row \d, twice")
    index.write(first, rows)


def test_clips_of_the_same_shape_in_each_other_s_split(folder, whole, write):
    card = copy.deepcopy(whole)
    rows = [row for row in card["clips"] if row["shard"] >= 0]
    shards = {(row["split"], row["shard"]) for row in rows}
    number = next(n for split, n in sorted(shards) if ("train", n) in shards and split == "test")
    train, test = (
        next(r for r in rows if (r["split"], r["shard"]) == (split, number))
        for split in ("train", "test")
    )
    train["split"], test["split"] = "test", "train"
    write(card)
    refused(folder, r"has clip\d with label \d and size .* of test|has test\d with .* of train")
