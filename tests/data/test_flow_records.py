"""Records with flow: what they hold, being stopped, what is refused, and who reads them."""

import dataclasses
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Noise, converted, moving_ball

from darkjax.data import contents, example, pipeline, verify
from darkjax.data import flow as data_flow
from darkjax.data.convert import convert
from darkjax.data.decode import Video
from darkjax.data.enhanced import Enhanced
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import pictures
from darkjax.ops import flow as flows
from darkjax.ops import flow_image
from darkjax.ops.tvl1 import TVL1
from darkjax.tools import enhance

BOUND = 6.0
QUICK = ("--method=tvl1", "--options=nscales=1,warps=1,outer_iterations=1", f"--bound={BOUND}")
METHOD = TVL1(nscales=1, warps=1, outer_iterations=1)


@dataclasses.dataclass(frozen=True)
class Balls(Noise):
    """A blob that moves to the right, of 6 frames of 24 x 32."""

    train: int = 3
    test: int = 2

    def load(self, clip, root, *, short_side=None, max_frames=None):
        frames = moving_ball(6, 24, 32)
        return Video(frames[..., : self.channels] if self.channels < 3 else frames, 25.0)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return converted(tmp_path_factory, Balls())


@pytest.fixture(scope="module")
def made(colours, tmp_path_factory):
    """Records with flow, made in two goes: the first was stopped within the second shard."""
    folder = tmp_path_factory.mktemp("flow")
    load, seen = Enhanced.load, []

    def stopped(self, clip, root=None, **options):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(clip.id)
        return load(self, clip, root, **options)

    flags = [f"--records={colours}", f"--out={folder}", *QUICK]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Enhanced, "load", stopped)
        with pytest.raises(KeyboardInterrupt):
            data_flow.main(flags)
    assert not (folder / "card.json").exists() and len(seen) == 3
    again = []

    def counted(self, clip, root=None, **options):
        again.append(clip.id)
        return load(self, clip, root, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Enhanced, "load", counted)
        assert data_flow.main(flags) == 0
        assert len(again) == 3  # the split that was whole is not done again
        assert data_flow.main(flags) == 0 and len(again) == 3
    return folder


def test_values_are_the_flow_images_of_the_same_frames(colours, made):
    with Records(colours) as before, Records(made) as after:
        assert len(before) == len(after) == 5
        for one, other in zip(before.select(), after.select(), strict=True):
            rows = [r.clips[r.meta["clip"][n]] for r, n in ((before, one), (after, other))]
            for field in ("id", "label", "group", "split", "fold", "fps", "frames", "domain"):
                assert rows[0][field] == rows[1][field]
            assert rows[0]["mean_luma"] == rows[1]["mean_luma"]
            frames = np.arange(rows[0]["frames"])
            x, y = before.read_frames(one, frames), after.read_frames(other, frames)
            np.testing.assert_array_equal(y[..., :3], x)
            found = np.asarray(flow_image.to_image(flows.flow(jnp.asarray(x), METHOD), BOUND))
            np.testing.assert_array_equal(y[:-1, ..., 3:], found)
            np.testing.assert_array_equal(y[-1, ..., 3:], found[-1])
            assert (y[:-1, 8:16, 4:28, 3].max((1, 2)) > 140).all()  # to the right


def test_the_card_and_the_digest_keep_how_it_was_made(colours, made, tmp_path, capsys):
    card = json.loads((made / "card.json").read_text())
    assert card["name"] == "noise-flow" and card["decode"]["encoding"] == "raw"
    kept = dict(card["decode"]["flow"])
    assert (kept.pop("method"), kept.pop("bound"), kept.pop("enhance")) == ("tvl1", BOUND, "")
    assert kept == dataclasses.asdict(METHOD)
    assert "flow" not in json.loads((colours / "card.json").read_text())["decode"]
    assert verify.report(made) == 0
    other = ["--records", str(colours), "--out", str(tmp_path), *QUICK, "--bound=7"]
    assert data_flow.main(other) == 0
    assert Records(tmp_path).digest != Records(made).digest
    assert "5 clips converted (test 2, train 3), 0 bad" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", ["--bound=7", "--method=brox", "--enhance=gic", "--options=warps=2"]
)
def test_another_recipe_in_the_same_folder_is_refused(colours, made, change, capsys):
    before = {p.name: p.read_bytes() for p in made.iterdir()}
    flags = [f"--records={colours}", f"--out={made}", *QUICK, change]
    if change == "--method=brox":
        flags.append("--options=")
    assert data_flow.main(flags) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and "expected the settings that" in said and "another --out" in said
    )
    assert {p.name: p.read_bytes() for p in made.iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bound=0"], "--bound=0: expected pixels above 0"),
        (["--bound=nan"], "expected pixels above 0"),
        (["--method=farneback"], "--method=farneback: expected one of brox, tvl1"),
        (["--enhance=gamma"], "--enhance=gamma: expected one of gic"),
        (["--method=tvl1", "--options=warp=2"], "did you mean 'warps'"),
        (["--options=alpha=x"], "--options=alpha=x: expected a number"),
        (["--options=inner_iterations=1.5"], "expected a whole number"),
        (["--options=alpha"], "expected NAME=NUMBER"),
        (["--records=/nowhere"], "expected a converted dataset"),
    ],
)
def test_wrong_flags_are_one_line(colours, tmp_path, capsys, flags, message):
    out = tmp_path / "out"
    assert data_flow.main([f"--records={colours}", f"--out={out}", *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ") and not out.exists()
    assert message in said


def test_grey_becomes_colours_and_what_is_neither_is_refused(made, tmp_path, capsys):
    for count in (1, 2):
        convert(Balls(channels=count, train=1, test=0), tmp_path / f"from{count}")
    flags = [f"--records={tmp_path / 'from1'}", f"--out={tmp_path / 'grey'}", *QUICK]
    assert data_flow.main(flags) == 0
    grey = Records(tmp_path / "grey").read_frames(0, range(6))
    assert grey.shape == (6, 24, 32, 6)
    np.testing.assert_array_equal(grey[..., :3], np.repeat(moving_ball(6, 24, 32)[..., :1], 3, -1))
    for source, said in ((tmp_path / "from2", "no colour, no grey"), (made, "have flow already")):
        assert data_flow.main([f"--records={source}", f"--out={tmp_path / 'no'}", *QUICK]) == 2
        assert said in capsys.readouterr().err


def test_batches_are_cut_and_mirrored_with_their_flow(made):
    cfg = types.SimpleNamespace(frames=4, size=(24, 32), crop="random", flip=True)
    with Records(made) as records:
        rows = records.select("train")
        seen = set()
        with pipeline.train_batches(
            records, rows, cfg=cfg, batch_size=3, seed=0, num_threads=0
        ) as batches:
            for _, batch in zip(range(4), batches, strict=False):
                for video in batch["video"]:
                    moved = video[:, 8:16, 4:28, 3].astype(int) - 128
                    right, shade = moved.sum() > 0, video[..., 0].argmax(2)
                    # The blob goes where its flow says, whichever way the clip is turned.
                    assert right == (shade[-1, 12] > shade[0, 12])
                    seen.add(bool(right))
        assert seen == {True, False}


def test_what_looks_at_channels_looks_at_the_colours(made):
    with Records(made) as records:
        video = records.read_frames(0, range(6))
        assert contents.of(records, 0).brightest == video[..., :3].max() < video.max()
    np.testing.assert_array_equal(pictures.colour_frames(video), video[..., :3])
    both = pictures.beside_flow(video)
    np.testing.assert_array_equal(both, np.concatenate([video[..., :3], video[..., 3:]], 1))
    with pytest.raises(UserError, match=r"have flow \(6 channels\): enhance the records that"):
        enhance.enhance_records(str(made), "nowhere", None)
    fields = example.Fields(video.shape, 0, 0, "a", "b", 25.0, "day", "jpeg")
    with pytest.raises(UserError, match="JPEG frames have 1 or 3 channels, found 6"):
        example.encode(video, fields)
