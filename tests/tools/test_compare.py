"""The comparison of runs: what differs, matching by name, flips by hand, the page, bad input."""

import html.parser
import re

import judged_runs
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.eval import compare as comparing
from darkjax.eval import compare_page, runs
from darkjax.tools import compare

# Truth 0, 1, 2, 0, 1, 2, 0, 1: the first is wrong of clip 7, the second of 0, 1 and 7.
FIRST = [0, 1, 2, 0, 1, 2, 0, 0]
SECOND = [1, 2, 2, 0, 1, 2, 0, 2]


@pytest.fixture
def names(monkeypatch):
    """What cards there are: (digest, ids) by folder."""
    cards = {"records": (judged_runs.DIGEST, tuple(f"film/{k}" for k in range(20)))}
    monkeypatch.setattr(runs, "_card", lambda folder: cards.get(folder, ("", ())))
    return cards


@pytest.fixture
def two(tmp_path, names):
    own = {"method": "supervised", "optim": {"lr": 0.2}, "data": {"frames": 8}}
    return [
        judged_runs.write(tmp_path / "runs" / "a", FIRST),
        judged_runs.write(tmp_path / "runs" / "b", SECOND, config={"train": own}, log=(2, 1, 0.5)),
    ]


def page_of(given, tmp_path, capsys):
    out = tmp_path / "page" / "c.html"
    assert compare.main([*map(str, given), f"--output={out}"]) == 0
    return out.read_text(), capsys.readouterr().out.splitlines()


def rows(page, title):
    """Cells of the tables of a section."""
    part = page.partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in part.split("<tr>")]
    return [[re.sub("<[^>]*>", "", cell) for cell in row] for row in found if row]


class Outside(html.parser.HTMLParser):
    """What a page would load."""

    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]
        if tag not in ("meta", "circle", "path", "line", "rect", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_flips_by_hand_and_what_differs(two, tmp_path, capsys):
    page, printed = page_of(two, tmp_path, capsys)
    assert printed[0] == "A a: top-1@1x1 tiny-test top-1 0.8750, mean-class 0.8750"
    assert printed[2].startswith("A to B: top-1 -0.2500 [")
    assert printed[2].endswith("8 common clips; 0 became right, 2 wrong, McNemar p 0.5")
    (head, row) = rows(page, "Two by two")
    assert row[0] == "A → B" and row[1] == "-25.0" and row[3:] == ["0", "2", "5", "1", "0.5"]
    assert head[3:5] == ["Wrong, then right", "Right, then wrong"]
    assert rows(page, "Flipped clips")[1:] == [
        ["film/0", "A", "Jump", "✓ Jump 80.0 %", "✗ Sit 80.0 %"],
        ["film/1", "A", "Sit", "✓ Sit 80.0 %", "✗ Turn 80.0 %"],
    ]
    by_class = rows(page, "By class")
    assert by_class[1] == ["Jump", "3", "100.0 %", "66.7 %", "-33.3"]
    assert by_class[2] == ["Sit", "3", "66.7 %", "33.3 %", "-33.3"]
    assert rows(page, "What differs")[1:] == [
        ["data.frames", "4", "8"],
        ["train.optim.lr", "0.1", "0.2"],
    ]
    assert "Everything matches." in page
    seen = Outside()
    seen.feed(page)
    assert not seen.found and not seen.open  # one file, every tag closed
    assert page.count("<svg") == 2 and "B b from 2 at step 10 to 0.5 at step 30" in page


def test_the_interval_is_of_second_less_first(two):
    found = comparing.compare([str(run) for run in two])
    (pair,) = found.pairs
    assert pair.difference == -0.25 and pair.interval[0] < -0.25 < pair.interval[1] <= 0
    assert pair.counts.tolist() == [[1, 0], [2, 5]]


def test_clips_and_classes_of_other_records_are_matched_by_name(two, tmp_path, names, capsys):
    names["others"] = ("e" * 64, ("film/9", "film/3", "film/1", "film/0", "film/2"))
    other = judged_runs.write(
        tmp_path / "runs" / "c", [2, 2, 0, 0], labels=[2, 2, 1, 1], clip=[1, 2, 3, 4],
        classes=("Sit", "Turn", "Jump"), digest="e" * 64, data="others", stage="student",
    )  # fmt: skip
    # film/3 Jump, film/1 Jump (there Sit), film/0 Turn (there Jump), film/2 Turn.
    page, printed = page_of([two[0], other], tmp_path, capsys)
    assert "on 2 common clips; 0 became right, 1 wrong" in "".join(printed)
    assert rows(page, "Flipped clips")[1] == [
        "film/2",
        "A",
        "Turn",
        "✓ Turn 80.0 %",
        "✗ Sit 80.0 %",
    ]
    unmatched = page.partition("<h2>What does not match</h2>")[2]
    assert "Clips of A, not of all: 4" in unmatched and "film/4, film/5, film/6" in unmatched
    assert "give different classes: 2" in unmatched and "film/0, film/1" in unmatched
    fields = [row[0] for row in rows(page, "What differs")]
    assert {"the stage", "classes", "digest", "dir"} <= set(fields)
    assert not any(field.startswith(("train.", "student.")) for field in fields)


def test_classes_of_one_alone_are_listed(two, tmp_path, capsys):
    more = judged_runs.write(
        tmp_path / "runs" / "c", [0, 3], labels=[0, 3], clip=[0, 9],
        classes=(*judged_runs.CLASSES, "Wave"),
    )  # fmt: skip
    page, _ = page_of([*two, more], tmp_path, capsys)
    assert "Classes of C, not of all: Wave." in page and "Clips of C, not of all: 1" in page
    assert [row[0] for row in rows(page, "Two by two")[1:]] == ["A → B", "A → C", "B → C"]
    assert rows(page, "Flipped clips")[1][:3] == ["film/0", "A, C", "Jump"]


def test_the_same_records_need_no_names(two, tmp_path, names, capsys):
    names.clear()
    page, _ = page_of(two, tmp_path, capsys)
    assert [row[0] for row in rows(page, "Flipped clips")[1:]] == ["clip 0", "clip 1"]


def test_an_evaluation_elsewhere_and_a_stage_are_runs_too(two, tmp_path):
    folder = two[0] / "train"
    (folder / "eval-winter").mkdir()
    for name in ("results.json", "predictions.npz"):
        (folder / "eval-winter" / name).write_bytes((folder / name).read_bytes())
    found = comparing.compare([str(folder / "eval-winter"), str(folder)])
    assert [stage.name for stage in found.stages] == ["train/eval-winter", "train"]
    assert [stage.stage for stage in found.stages] == ["train", "train"]
    assert found.stages[0].names is None and found.pairs[0].p == 1.0
    assert found.settings == {"config": {}, "data": {}, "run": {}}


def test_runs_that_classify_nothing_have_a_page_of_settings_and_curves(two, tmp_path, capsys):
    for run in two:
        (run / "train" / "predictions.npz").unlink()
    page, printed = page_of(two, tmp_path, capsys)
    assert "train.optim.lr" in page and page.count("<svg") == 2 and "Flipped" not in page
    assert len(printed) == 3


def test_what_is_wrong_is_one_line(two, tmp_path, names):
    out = tmp_path / "c.html"

    def refused(match, *given, output=out):
        with pytest.raises(UserError, match=match) as error:
            compare.compare([str(run) for run in given], output)
        assert "\n" not in str(error.value) and not out.exists()

    apart = judged_runs.write(tmp_path / "runs" / "c", [0, 1], clip=[11, 12])
    refused("expected 2 to 26 runs to compare; found 1", two[0])
    refused(r"a \(tiny-test\) and .*c \(tiny-test\) have no clips in common", two[0], apart)
    refused("with results.json in .*gone; found none: judge it first", two[0], tmp_path / "gone")
    refused("expected a name that ends in .html", *two, output=tmp_path / "c.pdf")
    (tmp_path / "file").touch()
    refused("cannot be written: ", *two, output=tmp_path / "file" / "c.html")
    other = judged_runs.write(tmp_path / "runs" / "d", FIRST, digest="e" * 64, data="moved")
    refused(r"the records of .*d \(moved\) are not there any more", two[0], other)
    (two[1] / "train" / "predictions.npz").unlink()
    refused("a classified clips and .*b did not", *two)
    (two[1] / "train" / "results.json").write_text("[]")
    refused("expected 'numbers' in .*results.json", *two)
    (two[1] / "config.json").write_text("{")
    refused("config.json cannot be read", *two)


def test_names_are_escaped(tmp_path, names, capsys):
    bad = ("<b>Jump</b>", "Sit & Turn")
    given = [
        judged_runs.write(tmp_path / name, answers, labels=[0, 1], classes=bad)
        for name, answers in (("x<i>", [0, 0]), ("y", [1, 1]))
    ]
    page, _ = page_of(given, tmp_path, capsys)
    assert "<b>" not in page and "<i>" not in page and "Sit &amp; Turn" in page


def test_names_come_from_the_card_of_the_same_records(tmp_path, monkeypatch):
    from darkjax.data import card

    clips = [{"id": f"film/{k}"} for k in range(9)]
    monkeypatch.setattr(card, "read", lambda folder: {"clips": clips})
    monkeypatch.setattr(card, "digest", lambda found: judged_runs.DIGEST)
    runs._card.cache_clear()
    try:
        run = judged_runs.write(tmp_path / "a", FIRST, data=str(tmp_path))
        assert runs.read(run).names == tuple(f"film/{k}" for k in range(8))
        other = judged_runs.write(tmp_path / "b", FIRST, data=str(tmp_path), digest="e" * 64)
        assert runs.read(other).names is None  # converted anew since
    finally:
        runs._card.cache_clear()


def test_many_flips_are_not_all_listed(tmp_path, names, monkeypatch):
    monkeypatch.setattr(compare_page, "MOST", 3)
    answers = np.arange(8) % 3
    given = [
        judged_runs.write(tmp_path / name, a)
        for name, a in (("a", answers), ("b", (answers + 1) % 3))
    ]
    page = compare_page.write(comparing.compare([str(run) for run in given]))
    assert "8 of 8 clips are right in some runs and wrong in others, the first 3 of them" in page
    assert len(rows(page, "Flipped clips")) == 4
