"""The HTML report: whole, self-contained, escaped, with the right numbers; its small parts."""

import base64
import dataclasses
import html.parser
import io
import re

import numpy as np
import pytest

from darkjax.eval import charts, pictures
from darkjax.eval.report import ClipPicture, Results, StageLog, run_facts, write_report

VOID = {"meta", "img", "br"}


class Reader(html.parser.HTMLParser):
    """Collects tags and text and checks that every tag that opens also closes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def stage(name="teacher", steps=50):
    rows = [{"step": s, "loss": 3.0 / (1 + s), "lr": 1e-3, "steps/s": 2.0} for s in range(steps)]
    rows[10] |= {"val/top-1": 0.25, "val/loss": float("nan")}
    rows[30] |= {"val/top-1": 0.75, "accuracy": None}
    return StageLog(name, rows)


def results(
    classes=("Walk", "Run <fast> & far", "Sit"), confusion=((6, 2, 0), (1, 3, 0), (0, 0, 0))
):
    return Results(
        classes=classes,
        confusion=np.asarray(confusion),
        numbers={"top-1": 0.75, "top-5": 1.0, "parameters": "31.4 M"},
        views="top1@1x1 synthetic-test",
        terciles=[("darkest", 4, 0.5), ("brightest", 8, 0.875)],
    )


def sample(**changes):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 40, (9, 16, 20, 3), np.uint8)
    clip = ClipPicture(
        "set/a<b>.mp4", "Walk", "Walk", 0.625, frames, frames * 4, rng.random((3, 4, 5))
    )
    return dataclasses.replace(clip, **changes)


def written(path, **changes):
    arguments = {
        "title": "run <1> & more",
        "config": {"seed": 3, "model": {"name": "a<b>&c"}},
        "stages": [stage(), stage("student")],
        "results": results(),
        "clips": [sample(), sample(predicted="Sit", attention=None)],
        "facts": {"Date": "2026-01-02", "Command": "python -m x --a='<'"},
    }
    write_report(path, **(arguments | changes))
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report") / "report.html")


def test_self_contained(text):
    assert not re.search(r"https?://", text)
    reader = Reader(text)
    assert not reader.all("script") and not reader.all("link") and not reader.all("iframe")
    sources = [a["src"] for a in reader.all("img")]
    assert sources and all(s.startswith("data:image/") for s in sources)
    assert "url(" not in text and "@import" not in text


def test_accessible(text):
    reader = Reader(text)
    assert reader.all("html") == [{"lang": "en"}]
    assert all(a["alt"] for a in reader.all("img"))
    assert all(a["role"] == "img" and a["aria-label"] for a in reader.all("svg"))
    assert all(a["scope"] in ("col", "row") for a in reader.all("th"))
    assert len(reader.all("caption")) == len(reader.all("table")) == 3
    assert len(reader.all("h1")) == 1


def test_curves_of_norms_are_folded_and_the_others_are_not(tmp_path):
    rows = [{"step": s, "loss": 1.0 / (1 + s), "norms/a": 1.0 * s, "lambda": 0.1} for s in range(3)]
    both = written(tmp_path / "both.html", stages=[StageLog("t", rows)])
    seen, folded = both.split("<details>", 1)
    assert 'aria-label="Loss' in seen and "norms/a" not in seen and "2 more curves" in folded
    assert folded.split("</details>", 1)[0].count("<svg") == 2
    plain = [{"step": row["step"], "loss": row["loss"]} for row in rows]
    assert "more curve" not in written(tmp_path / "plain.html", stages=[StageLog("t", plain)])


def test_numbers_and_names(text):
    words = Reader(text).text
    for expected in (
        "run <1> & more",
        "python -m x --a='<'",
        "75.0 %",  # top-1
        "31.4 M",
        "top1@1x1 synthetic-test: 12 clips, 3 classes",
        "best val/top-1 75.0 % at step 30",
        "Run <fast> & far",
        "darkest 4 50.0 %",
        "brightest 8 87.5 %",
        "✓ right : predicted Walk (62.5 %), truth Walk",
        "✗ wrong : predicted Sit (62.5 %), truth Walk",
        "1 of these 2 clips are classified correctly",
        '"name": "a<b>&c"',
    ):
        assert expected in words, expected


def test_everything_is_escaped(text):
    assert "a<b>" not in text and "<fast>" not in text and "& far" not in text
    assert "<1>" not in text


def test_per_class_by_hand():
    assert results().per_class() == [
        ("Walk", 8, 6 / 8, 6 / 7),
        ("Run <fast> & far", 4, 3 / 4, 3 / 5),
        ("Sit", 0, None, None),
    ]


def test_most_frequent_mistakes_come_first(text):
    words = Reader(text).text
    first, second = "Walk Run <fast> & far 2 25.0 %", "Run <fast> & far Walk 1 25.0 %"
    assert 0 < words.index(first) < words.index(second)


def test_no_mistakes_no_clips_no_stages_no_results(tmp_path):
    perfect = results(confusion=np.diag([3, 4, 5]))
    bare = written(tmp_path / "a.html", clips=[], stages=[], results=perfect)
    words = Reader(bare).text
    assert "No clip was misclassified" in words
    assert "Sample clips" not in words and "Training" not in words
    words = Reader(written(tmp_path / "b.html", results=None, clips=[])).text
    assert "Confusion" not in words and "teacher" in words
    empty = [StageLog("empty", []), StageLog("odd", [{"step": 1, "loss": float("nan")}])]
    words = Reader(written(tmp_path / "c.html", stages=empty, clips=[])).text
    assert "No step was logged" in words and "No finite value was logged" in words


@pytest.mark.parametrize(("count", "cell_text", "axis"), [(25, True, "c24"), (40, False, "c39")])
def test_confusion_text_up_to_25_classes(count, cell_text, axis):
    confusion = np.eye(count, dtype=int) * 7
    svg = charts.confusion_matrix([f"c{i}" for i in range(count)], confusion)
    reader = Reader(svg)
    assert ("100%" in svg) == cell_text
    assert svg.count(">7<") == (count if cell_text else 0)
    assert reader.text.count(axis) >= 2
    assert f"{7 * count} of {7 * count} clips on the diagonal" in svg


def test_many_classes_stay_small_and_numbered(tmp_path):
    count = 155
    rng = np.random.default_rng(0)
    classes = [f"class {i}" for i in range(count)]
    confusion = rng.poisson(0.05, (count, count)) + np.diag(rng.integers(1, 9, count))
    big = written(tmp_path / "r.html", results=results(classes, confusion), clips=[])
    reader = Reader(big)
    matrix = next(a for a in reader.all("svg") if a.get("class") == "confusion")
    assert float(matrix["width"]) < 1000
    assert "154 class 154" in reader.text and "Classes are numbered" in reader.text
    assert len(big) < 1_000_000


def test_cell_shade_is_the_share_of_the_row():
    svg = charts.confusion_matrix(["a", "b"], np.asarray([[3, 1], [0, 0]]))
    assert re.findall(r'fill-opacity="([\d.]+)"', svg) == ["0.77", "0.31"]  # 0.08 + 0.92 * share
    assert "a taken for b: 1 (25.0 %)" in svg


def test_wrong_shapes(tmp_path):
    with pytest.raises(ValueError, match=r"confusion: expected \[3, 3\], got \(2, 2\)"):
        written(tmp_path / "r.html", results=results(confusion=np.eye(2, dtype=int)))
    with pytest.raises(ValueError, match="expected uint8"):
        written(tmp_path / "r.html", clips=[sample(frames=np.zeros((2, 4, 4, 3)))])
    assert list(tmp_path.iterdir()) == []


def test_write_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    written(path)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    before = path.read_text()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        written(path, title="another")
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_run_facts_name_the_versions_and_the_device():
    facts = run_facts()
    assert set(facts) == {"Date", "Command", "Versions", "Device"}
    assert re.search(r"jax \d", facts["Versions"]) and "8 × cpu" in facts["Device"]


def test_ticks_are_round_and_inside():
    assert charts.ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.ticks(0, 3000) == [0, 500, 1000, 1500, 2000, 2500, 3000]
    assert charts.ticks(0.013, 0.027) == [0.014, 0.016, 0.018, 0.02, 0.022, 0.024, 0.026]
    assert charts.ticks(2.0, 2.0) == [2.0]


def test_line_chart_maps_data_to_the_frame_and_breaks_at_nan():
    nan = float("nan")
    series = charts.Series("a & b", [0, 1, 2, 3, 4], [0.0, 0.5, nan, 1.0, 0.5])
    svg = charts.line_chart("Loss", [series])
    Reader(svg)
    assert "a &amp; b" in svg
    path = re.search(r'<g class="curve s0"><path d="([^"]+)"', svg)[1]
    # The frame is 52..408 by 8..204: the curve starts at its lower left and touches the top.
    assert path == "M52.0 204.0L141.0 106.0M319.0 8.0L408.0 106.0"
    assert svg.count("<circle") == 4


def test_long_curves_are_binned_without_moving_their_mean():
    y = np.random.default_rng(0).random(3000)
    svg = charts.line_chart("Loss", [charts.Series("loss", list(range(3000)), list(y))])
    assert len(re.findall(r"[ML]\d", svg.split('class="curve')[1])) == charts.MAX_POINTS
    _, means = charts._binned(charts.Series("loss", np.arange(3000), y))
    np.testing.assert_allclose(means.mean(), y.mean(), rtol=1e-12)


def test_constant_curve_and_one_point():
    for y in ([0.0], [2.0, 2.0]):
        assert "nan" not in charts.line_chart("t", [charts.Series("a", range(len(y)), y)])


def test_overlay_shows_the_frame_where_attention_is_low_and_heat_where_high():
    frame = np.full((8, 8, 3), 50, np.uint8)
    attention = np.zeros((2, 2))
    attention[0, 0] = 1.0
    out = pictures.overlay(frame, attention, strength=1.0)
    assert out.shape == frame.shape and out.dtype == np.uint8
    np.testing.assert_array_equal(out[-1, -1], [50, 50, 50])
    np.testing.assert_array_equal(out[0, 0], pictures.heat_colours()[255])
    np.testing.assert_array_equal(pictures.overlay(frame, np.ones((3, 3))), frame)
    half = pictures.overlay(frame, np.full((1, 1), 0.5), low=0.0, high=1.0, strength=1.0)
    expected = (50 + pictures.heat_colours()[128].astype(float)) / 2
    np.testing.assert_allclose(half[0, 0], expected, atol=1.0)


def test_overlay_errors():
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"frame: expected uint8 \[H, W, 3\]"):
        pictures.overlay(frame.astype(np.float32), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"attention: expected \[h, w\]"):
        pictures.overlay(frame, np.zeros((2, 2, 2)))


def test_heat_colours_become_evenly_lighter():
    linear = (pictures.heat_colours() / 255.0) ** 2.2
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.cbrt(luminance)
    steps = np.diff(lightness[::16])
    assert (steps > 0).all() and steps.max() < 2.5 * steps.min()


def test_enlarge_is_bilinear_with_aligned_areas():
    np.testing.assert_allclose(
        pictures._enlarge(np.asarray([[0.0, 1.0]]), 1, 4)[0], [0, 0.25, 0.75, 1]
    )
    np.testing.assert_array_equal(pictures._enlarge(np.eye(3), 3, 3), np.eye(3))


def test_clip_overlay_has_one_scale_and_serves_all_frames():
    frames = np.full((4, 4, 4, 3), 10, np.uint8)
    attention = np.stack([np.eye(2), np.eye(2) * 0.5])
    out = pictures.overlay_clip(frames, attention).astype(int)
    np.testing.assert_array_equal(out[0], out[1])
    np.testing.assert_array_equal(out[2], out[3])
    assert out[0, 0, 0].sum() > out[2, 0, 0].sum()


def test_frames_of_one_two_and_three_channels():
    for channels in (1, 2, 3):
        video = np.full((2, 4, 4, channels), 9, np.uint8)
        assert pictures.colour_frames(video).shape == (2, 4, 4, 3)
    assert pictures.spread(16).tolist() == [0, 3, 6, 9, 12, 15]
    assert pictures.spread(2).tolist() == [0, 1]


def test_strip_is_a_picture_of_its_frames():
    from PIL import Image

    frames = np.full((3, 20, 30, 3), 200, np.uint8)
    tag = pictures.strip_html(frames, 'a "b"')
    data = re.search(r'src="data:image/\w+;base64,([^"]+)"', tag)[1]
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (3 * 30 + 2 * 2, 20)
    assert abs(int(np.asarray(picture.convert("L"))[10, 15]) - 200) < 4
    assert "a &quot;b&quot;" in tag
