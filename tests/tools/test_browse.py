"""The page shows what the pipeline yields, says where it was, and loads nothing from outside."""

import html.parser
import itertools
import pathlib
import re

import numpy as np
import pytest
import tiny_run
from data.tiny import Noise, converted

from darkjax.data import pipeline, sources, split
from darkjax.data.convert import convert
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.tools import browse


class Named(Noise):
    """Names that mean something in HTML."""

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        return ("<b>a&b</b>", "run")


class Tags(html.parser.HTMLParser):
    """Names and attributes of all tags; `open` are those that nobody closes."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes, self.open = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs
        if tag not in ("img", "br", "meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    with Records(converted(tmp_path_factory, Named(train=20, test=6))) as opened:
        yield opened


SMALL = {"frames": 4, "size": (6, 8), "crop": "random"}


def _with(data, fields):
    data.update(fields)
    return data


def _data(records, **changes):
    return _with(browse.defaults(records), SMALL | changes)


@pytest.fixture
def small(monkeypatch):
    """Default fields of few, small frames."""
    whole = browse.defaults
    monkeypatch.setattr(browse, "defaults", lambda records: _with(whole(records), SMALL))


def _batches(parts, data, steps):
    with pipeline.mixed_batches(parts, cfg=data, seed=5, num_threads=0) as batches:
        return list(itertools.islice(batches, steps))


@pytest.mark.parametrize(
    "changes",
    [{}, {"flip": True, "train_views": 2}, {"balance": "class_group", "train_views": 3}],
)
def test_training_is_shown_as_the_pipeline_yields_it(records, changes):
    data = _data(records, **changes)
    parts = sources.of(records, data, 6)
    steps = sources.steps_per_epoch(parts)
    truth = _batches(parts, data, 2 * steps)
    cards = list(browse.train(parts, data, 5, 7))
    assert len(cards) == 7
    clips = []
    for shown in cards:
        epochs = set()
        for one in shown:
            epoch, step, place = map(int, re.findall(r"\d+", one.where))
            assert epoch == 1 + step // steps
            epochs.add(epoch)
            np.testing.assert_array_equal(one.video, truth[step]["video"][place])
            assert one.label == truth[step]["label"][place]
            y, x, h, w, flip = one.view.window
            window = records.read_frames(one.view.record, one.view.frames, (y, y + h), (x, x + w))
            np.testing.assert_array_equal(one.video, window[:, :, :: -1 if flip else 1])
            clips.append((epoch, records.meta["clip"][one.view.record]))
        assert len({one.view.record for one in shown}) == 1 and 1 in epochs
        assert len(shown) == len(epochs) * data.train_views
    # 20 clips, batches of 6 (3 with two views): 2 clips of 20 are left out of an epoch
    assert sum(epoch == 2 for epoch, _ in clips) >= 5 * data.train_views
    first = [int(c) for batch in truth for c in batch["clip"][: len(batch["clip"])]]
    assert {c for epoch, c in clips if epoch == 1} == set(list(dict.fromkeys(first))[:7])
    assert len({one.video.tobytes() for shown in cards for one in shown}) > 7  # windows differ


def test_evaluation_is_shown_as_the_pipeline_yields_it(records):
    data = _data(records, views_clips=2, views_crops=3)
    rows, _ = split.held_rows(records, data)
    with pipeline.eval_batches(records, rows, cfg=data, batch_size=6) as batches:
        truth = {int(batch["clip"][0]): batch for batch in batches}
    cards = list(browse.evaluation(records, rows, data, 4))
    assert [len(shown) for shown in cards] == [6] * 4
    assert {int(records.meta["clip"][shown[0].view.record]) for shown in cards} <= truth.keys()
    for shown in cards:
        batch = truth[int(records.meta["clip"][shown[0].view.record])]
        for k, one in enumerate(shown):
            assert one.where == f"view {k}" and one.view.view == k
            np.testing.assert_array_equal(one.video, batch["video"][k])


def test_as_many_views_as_a_clip_has_room_for_are_shown(records):
    data = _data(records, views_clips=0, views_crops=1, frames=2)
    rows, _ = split.held_rows(records, data)
    cards = list(browse.evaluation(records, rows, data, len(rows)))
    frames = records.meta["frames"][rows]
    assert [len(shown) for shown in cards] == (frames // 2).tolist()
    for shown in cards:
        assert [one.view.view for one in shown] == list(range(len(shown)))
        assert len({one.view.record for one in shown}) == 1


def test_the_default_fields_are_those_of_the_configs(records):
    from configs import common

    found, known = browse.defaults(records).to_dict(), common.data().to_dict()
    assert found == {name: known[name] for name in found}


def test_what_there_is_is_judged(small, tmp_path):
    convert(Noise(train=10, test=0), tmp_path)
    with Records(tmp_path) as records:
        data = browse.defaults(records)
        assert (data.split, data.fold) == ("fold", 1)
        for row in records.clips:
            row["fold"] = -1
        records.meta["fold"][:] = -1
        page = browse.html(records, "", (), "", 2)
    assert "needs the split &#x27;test&#x27;" in page and "10 to train on, 0 to be" in page


def test_the_page_is_whole_and_loads_nothing(records, small, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert browse.main([str(records.directory), f"--out={out}", "--clips=3"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: ")
    text = out.read_text("utf-8")
    tags = Tags()
    tags.feed(text)
    assert not tags.open and "b>a" not in tags.names
    sources_of = [value for name, value in tags.attributes if name in ("src", "href")]
    assert len(sources_of) == 3 * 3 + 3 * 2 and all(s.startswith("data:image/") for s in sources_of)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "&lt;b&gt;a&amp;b&lt;/b&gt;" in text
    for row in records.clips:
        assert f"group {row['group']} " in text or f"{row['id']} ·" not in text
    assert "Evaluation: noise-test" in text and "epoch 2, step" in text and "view 0" in text
    assert "group other0 · split test · 5 frames of 10x12" in text


def test_a_config_says_what_is_seen(tmp_path, tiny_folder):
    folder = tiny_run.records(tiny_run.config(tiny_folder)).directory
    config = f"{tiny_run.ROOT}/tests/tiny_config.py:{tiny_folder}"
    flags = [str(folder), f"--config={config}", f"--out={tmp_path / 'a.html'}", "--clips=2"]
    assert browse.main([*flags, "--config.data.crop=centre", "--stage=teacher"]) == 0
    text = (tmp_path / "a.html").read_text()
    assert "32x32, centre windows" in text and "window 32x32 at y 2, x 4" in text
    assert "dense, stride 3<" in text
    assert browse.main([*flags, "--config.data.deltas=(1,2)", "--stage=teacher"]) == 0
    assert "dense, stride 1 or 2<" in (tmp_path / "a.html").read_text()
    for more, said in (
        (["--stage=student"], "--stage=student: "),
        (["--config.data.crop=center"], "data.crop=center: expected"),
        (["--config.data.eval_split=validate"], "needs the split 'validate'"),
        (["--clips=0"], "--clips=0: expected at least 1"),
        ([f"--out={tmp_path}/no/where.html"], "No such file or directory"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            browse.main([*flags, *more])
    for wrong, said in (
        ([str(folder), "--config.data.fold=2"], "--config.data.fold needs --config"),
        ([str(folder), "--stage=a"], "--stage=a needs --config"),
        ([str(tmp_path)], "expected a converted dataset with card.json"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            browse.main(wrong)


def test_an_unlabelled_source_shows_no_label(records):
    both = (("", 0.5, True), (str(records.directory), 0.5, False))
    data = _data(records, sources=both)
    parts = sources.of(records, data, 6)
    cards = [browse._card(parts, shown) for shown in browse.train(parts, data, 5, 6)]
    assert sum("(no label)" in card for card in cards) == 3


def test_many_views_are_counted(records):
    data = _data(records, views_clips=3, views_crops=10)
    rows, _ = split.held_rows(records, data)
    parts = sources.of(records, data, 6)
    card = browse._card(parts, next(browse.evaluation(records, rows, data, 2)))
    assert card.count("<img") == 1 + 12 and "and 18 views more" in card


def test_channels_of_any_number_are_drawn(small, tmp_path):
    for channels in (1, 2, 4):
        folder = tmp_path / str(channels)
        convert(Noise(train=8, test=2, channels=channels), folder)
        with Records(folder) as records:
            assert browse.html(records, "", (), "", 2).count("<img") == 2 * 3 + 2 * 2


def test_a_clip_that_an_epoch_leaves_out_is_shown_once(records):
    data = _data(records)
    parts = sources.of(records, data, 11)  # one batch an epoch: 9 of 20 are left out
    shown = list(browse.train(parts, data, 5, 11))
    assert {len(one) for one in shown} == {1, 2}
