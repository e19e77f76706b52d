"""Static bias: planted judges get the figures they must, masks, backgrounds, the program."""

import json

import numpy as np
import pytest

from darkjax.data.rendering.dataset import Synthetic
from darkjax.errors import UserError
from darkjax.eval import static_bias as sb
from darkjax.tools import static_bias as tool

FRAMES, SIDE = 8, 32


def square(label, group="a", name="", still=False):
    """A bright square on a dark ramp; of label 1 it goes right, of label 0 left. The ramp is
    brighter for label 1: the planted bias."""
    x = np.mgrid[:SIDE, :SIDE][1]
    room = (20 + 60 * label + x // 4).astype(np.uint8)
    mask = np.zeros((FRAMES, SIDE, SIDE), bool)
    for t in range(FRAMES):
        at = 12 if still else (2 + 3 * t if label else 23 - 3 * t)
        mask[t, 12:20, at : at + 6] = True
    frames = np.where(mask, np.uint8(220), room)[..., None].repeat(3, -1)
    shot = sb.Shot(frames, mask, 12.0)
    return sb.Entry(name or f"{group}{label}", label, group, lambda: shot)


def entries(count=6):
    return [square(k % 2, group=f"g{k}") for k in range(count)]


def sure(answers):
    return np.eye(2)[answers]


def by_background(clips, fps):
    """Class by the brightness of a corner: looks at nothing that moves."""
    return sure([int(clip[:, :6, :6].mean() > 50) for clip in clips])


def by_motion(clips, fps):
    """Class by where the brightest pixels go; what stands still is class 0."""
    assert fps == 12.0
    at = [[np.argwhere(frame[..., 0] == 220)[:, 1].mean() for frame in clip] for clip in clips]
    return sure([int(where[-1] > where[0]) for where in at])


def by_figure(clips, fps):
    """Always class 1: what somebody says who takes the figure's look for the action."""
    return sure([1 for _ in clips])


@pytest.mark.parametrize(("judge", "expected"), [
    # the other clip is of the other class: its place says the wrong one, moving or not
    (by_background, (1.0, 0.0, 0.0, 0.0)),
    # right on every SCUBA; as SCUFO nothing moves, which it calls class 0: half are that
    (by_motion, (1.0, 1.0, 0.5, 0.5)),
    (by_figure, (0.5, 0.5, 0.5, 0.0)),
])  # fmt: skip
def test_planted_judges(judge, expected):
    found = sb.measure(judge, entries(), ["other"])
    row = sb.figures(found.answers, "other")
    assert row.pop("clips") == 6 and tuple(row.values()) == expected
    assert list(row) == ["original", "scuba", "scufo", "contrasted"] and not found.left_out


def test_figures_by_hand():
    said = [(0, 0, 0, 1), (0, 0, 0, 0), (1, 0, 1, 1), (1, 1, 0, 1)]  # label, original, SCUBA, SCUFO
    answers = [sb.Answers("", label, o, {"noise": (a, b)}) for label, o, a, b in said]
    assert sb.figures(answers, "noise") == {
        "clips": 4, "original": 0.75, "scuba": 0.75, "scufo": 0.75, "contrasted": 0.25,
    }  # fmt: skip


@pytest.mark.parametrize("name", sb.PICTURES)
def test_the_figure_stays_and_all_else_is_one_still_picture(name):
    shot = square(1).read()
    other = np.full((16, 24, 3), 7, np.float32)  # of another size
    made = sb.make(shot, other, [name], np.random.default_rng(0))[name]
    np.testing.assert_array_equal(made.scuba[shot.mask], shot.frames[shot.mask])
    corner = made.scuba[:, :12]
    assert (corner == corner[0]).all() and not (corner == shot.frames[:, :12]).all()
    assert (made.scufo == made.scufo[0]).all() and len(made.scufo) == FRAMES
    assert any((made.scufo[0] == frame).all() for frame in made.scuba)
    if name == "other":
        assert (corner == 7).all()
    else:
        own = sb.place(shot.frames, shot.mask)
        drawn = sb.background(name, own, other, np.random.default_rng(1))
        assert abs(drawn.mean() - own.mean()) < 1 and abs(drawn.std() - own.std()) < 1


def test_a_place_has_no_figure_in_it_even_where_one_stands():
    shot = square(0, still=True).read()
    ramp = np.broadcast_to(20 + np.arange(SIDE)[:, None] // 4, (SIDE, SIDE, 3))
    assert np.abs(sb.place(shot.frames, shot.mask) - ramp).max() <= 1.0
    assert np.median(shot.frames, 0).max() == 220  # the median alone keeps it


def overlap(found, true):
    return (found & true).sum() / (found | true).sum()


def test_what_moves_is_found():
    shot = square(1).read()
    noise = np.random.default_rng(0).normal(0, 3, shot.frames.shape)
    noisy = np.clip(shot.frames + noise, 0, 255).astype(np.uint8)
    assert overlap(sb.motion_mask(noisy), shot.mask) > 0.75
    assert not sb.usable(sb.motion_mask(square(0, still=True).read().frames))
    world = Synthetic(
        clips_per_class={"test": 1}, groups={"test": 1}, frames=16, height=48, width=64, fps=12,
        domain="day", seed=3, static=1.0, classes=("Jump", "Run"),
    )  # fmt: skip
    drawn = [world.render(clip, 16) for clip in world.clips()]
    overlaps = [overlap(sb.motion_mask(r.video), r.mask) for r in drawn]
    assert min(overlaps) > 0.4, overlaps


def test_the_other_clip_is_of_another_class_and_group_where_there_is_one():
    rng = np.random.default_rng(0)
    two = [square(0, "a"), square(0, "b"), square(1, "a"), square(1, "b")]
    assert {sb.partner(two, 0, rng) for _ in range(9)} == {3}
    assert {sb.partner(two[:3], 0, rng) for _ in range(9)} == {1, 2}
    assert {sb.partner([two[0], two[0]], 0, rng)} == {1}


def test_clips_without_a_usable_mask_are_left_out_by_name():
    empty = sb.Entry("nothing", 0, "z", lambda: square(0).read()._replace(
        mask=np.zeros((FRAMES, SIDE, SIDE), bool)))  # fmt: skip
    found = sb.measure(by_motion, [*entries(2), empty], ["noise"])
    assert found.left_out == ["nothing"] and len(found.answers) == 2
    with pytest.raises(UserError, match="none of 2 clips has a mask"):
        sb.measure(by_motion, [empty, empty], ["noise"])
    with pytest.raises(UserError, match="two clips or more to exchange places; found 1"):
        sb.measure(by_motion, entries(1))


def test_the_same_seed_makes_the_same_clips():
    def collected(seed):
        kept = []
        sb.measure(by_motion, entries(2), seed=seed, seen=lambda e, s, made: kept.append(made))
        return [clip for made in kept for two in made.values() for clip in two]

    one, again, other = collected(0), collected(0), collected(1)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert not all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("flags", "said"), [
    (["--pictures=sky"], "--pictures=sky: expected some of other, stripes, noise"),
    (["--clips=-1"], "--clips=-1: expected 0 or more"),
    (["--clips=0"], "--clips=0 without --records=FOLDER"),
    (["--out=x.csv"], r"--out=x.csv: expected a .json in a folder that is there"),
    (["--sheet=nowhere/x.png"], r"--sheet=nowhere/x.png: expected a .png"),
    ([], "no folder gone"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(flags, said):
    with pytest.raises(UserError, match=said) as error:
        tool.main(["gone", *flags])
    assert "\n" not in str(error.value)


class Stub:
    """What the program asks of a model; judges by motion."""

    where, classes, fps = "runs/x/stage", ("Jump", "Run"), 12.0

    def __init__(self, config):
        self.config = config

    def preprocess(self, clip, fps=None):
        return clip[None]

    def judged(self, clips):
        return np.stack(
            [np.full(len(clips), 0.3), clips.astype(float).std(2).mean((1, 2, 3, 4))], 1
        )


@pytest.fixture
def stub(monkeypatch, tmp_path):
    import ml_collections

    from configs import common

    c = common.base()
    c.data.dir = str(tmp_path / "records")
    c.data.eval_split = "train"
    c.data.source_synthetic = ml_collections.ConfigDict(
        {"frames": 8, "height": 40, "width": 48, "fps": 12, "groups": {"train": 3}, "near": 0.0}
    )
    c.stages, c.stage = ("stage",), ml_collections.ConfigDict({"data": {}})
    monkeypatch.setattr(tool.loaded, "load", lambda run: Stub(c))
    return c


def test_the_program_on_rendered_clips_and_on_records(stub, tmp_path, capsys):
    from darkjax.data.catalog import get_dataset
    from darkjax.data.convert import convert

    options = {"frames": 8, "height": 40, "width": 48, "fps": 12, "static": 1.0, "domain": "day"}
    real = get_dataset(
        "synthetic", classes=("Run", "Sit"), clips_per_class={"train": 2}, groups={"train": 2},
        **options,
    )  # fmt: skip
    convert(real, stub.data.dir, workers=0)
    out, sheet = tmp_path / "bias.json", tmp_path / "bias.png"
    flags = ["run", "--clips=1", "--records=own", f"--out={out}", f"--sheet={sheet}"]
    assert tool.main(flags) == 0
    said = capsys.readouterr().out
    assert said.count("| rendered |") == 3 and "Chance is 0.500." in said
    assert said.count("| synthetic-train |") == 3  # of Run alone: Sit is no class of the run
    found = json.loads(out.read_text())
    assert found["figures"]["rendered"]["noise"]["clips"] == 2
    assert {a["label"] for a in found["answers"]["synthetic-train"]} == {"Run"}
    assert sheet.read_bytes().startswith(b"\x89PNG")
    drawn = tool.drawn(Stub(stub), 2, 0)
    assert {e.group for e in drawn} == {f"unseen_0{k}" for k in range(4)} and len(drawn) == 4
    stub.data.source_synthetic.groups.train = 1
    assert (drawn[0].read().frames != tool.drawn(Stub(stub), 2, 0)[0].read().frames).any()
    with pytest.raises(UserError, match="none is a class of runs/x/stage, which knows Jump, Run"):
        folder = tmp_path / "sits"
        sits = get_dataset("synthetic", classes=("Sit",), clips_per_class={"train": 1},
                           groups={"train": 1}, **options)  # fmt: skip
        convert(sits, str(folder), workers=0)
        tool.main(["run", "--clips=0", f"--records={folder}"])


@pytest.mark.slow
def test_the_box_is_measured(tmp_path, capsys):
    assert (
        tool.main(["box", "--clips=1", "--pictures=stripes", f"--out={tmp_path / 'b.json'}"]) == 0
    )
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["figures"]["rendered"]["stripes"]["clips"] == 6
    assert "| rendered | stripes | 6 |" in capsys.readouterr().out
