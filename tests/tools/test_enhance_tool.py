"""The enhancing tool on tiny files: images, videos, and everything that can be wrong with them."""

import av
import enhancer_shapes
import numpy as np
import pytest
from PIL import Image

from darkjax.data import convert, decode, images
from darkjax.data.enhanced import Enhanced
from darkjax.data.records import Records
from darkjax.data.rendering.dataset import Synthetic
from darkjax.errors import UserError
from darkjax.eval import enhance as judged
from darkjax.eval import enhancers
from darkjax.tools import enhance


@pytest.fixture(scope="module")
def dce(tmp_path_factory):
    """A Zero-DCE whose curves are all tanh(-1): every pixel is brightened alike."""
    rng = np.random.default_rng(0)
    state = {}
    for i, (inputs, features) in enumerate(
        [(3, 32), (32, 32), (32, 32), (32, 32), (64, 32), (64, 32), (64, 24)], start=1
    ):
        state[f"e_conv{i}.weight"] = rng.normal(0, 0.02, (features, inputs, 3, 3))
        state[f"e_conv{i}.bias"] = np.zeros(features)
    state["e_conv7.weight"] *= 0
    state["e_conv7.bias"] -= 1
    path = tmp_path_factory.mktemp("weights") / "dce.npz"
    np.savez(path, **{k: v.astype(np.float32) for k, v in state.items()})
    return path


def brightened(x):
    """What that net does to values in [0, 1]."""
    for _ in range(8):
        x = x + np.tanh(-1) * (x**2 - x)
    return x


def picture(height, width, *channels, seed=0, high=60):
    return np.random.default_rng(seed).integers(0, high, (height, width, *channels), np.uint8)


def run(*flags, source, out):
    return enhance.main([*flags, f"--input={source}", f"--output={out}"])


def test_image(dce, tmp_path, capsys):
    """PNG of the same name and size, .npy of the unrounded result, a line with the brightness."""
    frame = picture(11, 9, 3)
    Image.fromarray(frame).save(tmp_path / "a.png")
    flags = ("--method=zero_dce", f"--weights={dce}", "--float")
    assert run(*flags, source=tmp_path / "a.png", out=tmp_path / "out") == 0
    expected = brightened(frame / 255)
    found = np.load(tmp_path / "out" / "a.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    written = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    np.testing.assert_array_equal(written, np.rint(found * 255).astype(np.uint8))
    line = capsys.readouterr().out
    numbers = f"mean brightness {frame.mean() / 255:.4f} -> {expected.mean():.4f}"
    assert line.startswith(f"a.png: 9x11, {numbers}")
    sheet = np.asarray(Image.open(tmp_path / "out" / "before_after.png"))
    assert sheet.shape == (160 + 8, 2 * (131 + 4) + 4, 3)
    assert sheet[10:-10, 200:260].mean() > 2 * sheet[10:-10, 20:100].mean()
    assert not list((tmp_path / "out").glob(".*"))


def test_what_images_may_be(dce, tmp_path, capsys):
    """Grey, alpha, 16 bits and odd sizes are taken and said; what is unreadable is one line."""
    grey, colour = picture(7, 5), picture(6, 8, 4)
    deep = np.random.default_rng(1).integers(0, 60 * 256, (5, 6), np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(colour).save(tmp_path / "alpha.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(colour[..., :3]).save(tmp_path / "b.jpg", quality=95)
    Image.fromarray(colour[..., :3]).save(tmp_path / "b.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "alpha.png").read_bytes()[:60])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    assert run("--method=zero_dce", f"--weights={dce}", "--float", source=tmp_path, out=out) == 1
    said = capsys.readouterr()
    lines = {line.split(":")[0]: line for line in said.out.splitlines()}
    assert sorted(lines) == ["alpha.png", "b.jpg", "b.png", "deep.png", "grey.png"]
    assert "greyscale made RGB" in lines["grey.png"]
    assert "alpha channel dropped" in lines["alpha.png"]
    assert "16 bits scaled" in lines["deep.png"] and "greyscale" in lines["deep.png"]
    failures = [line for line in said.err.splitlines() if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in failures] == ["bad.png", "empty.png", "text.jpg"]
    assert "3 of 8 files failed" in said.err and "Traceback" not in said.err
    np.testing.assert_allclose(
        np.load(out / "deep.npy"),
        np.repeat(brightened(deep / 65535)[..., None], 3, axis=-1),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        np.load(out / "alpha.npy"), brightened(colour[..., :3] / 255), atol=1e-5
    )
    assert {p.name for p in out.iterdir()} == {
        *("alpha.png", "deep.png", "grey.png", "b.png", "b.png.png", "before_after.png"),
        *("alpha.npy", "deep.npy", "grey.npy", "b.npy", "b.png.npy"),
    }
    # What is there from before is no input of the next run.
    assert len(enhance.plan(tmp_path, out)) == 8


def test_deep_colour(tmp_path):
    """16 bits for each of three channels, which Pillow alone would make 8."""
    deep = np.random.default_rng(1).integers(0, 65536, (5, 6, 3), np.uint16)
    path = str(tmp_path / "deep.png")
    with av.open(path, "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", 1)
        stream.height, stream.width, stream.pix_fmt = 5, 6, "rgb48be"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(deep, format="rgb48be")))
        container.mux(stream.encode())
    found = images.read_image(path)
    np.testing.assert_allclose(found.pixels, deep / 65535, atol=1e-6)
    assert found.notes == ("16 bits scaled",)


@pytest.mark.parametrize("k", [1, 4])
def test_video(dce, tmp_path, capsys, k):
    """Frames, size and rate stay; the .npy is what the net makes of the decoded frames."""
    video = np.stack([picture(20, 24, 3, seed=i, high=40) for i in range(19)])
    decode.write_video(tmp_path / "v.avi", video, 12.0, lossless=True)
    frames = decode.read_video(tmp_path / "v.avi").frames
    flags = ("--method=zero_dce", f"--weights={dce}", "--float", f"--k={k}")
    out = tmp_path / "out"
    assert run(*flags, source=tmp_path / "v.avi", out=out) == 0
    found = np.load(out / "v.npy")
    np.testing.assert_allclose(found, brightened(frames / 255), atol=1e-5)
    written = decode.read_video(out / "v.mp4")
    assert written.frames.shape == frames.shape and written.fps == 12.0
    assert abs(written.frames.mean() - 255 * found.mean()) < 3
    line = capsys.readouterr().out
    assert line.startswith("v.avi: 24x20, 19 frames, mean brightness 0.0")
    sheet = np.asarray(Image.open(out / "before_after.png"))
    assert sheet.shape == (168, 6 * (192 + 4) + 4, 3)
    differences = np.asarray(Image.open(out / "differences.png"))
    assert differences.shape == (2 * (160 + 4) + 4, 6 * (192 + 4) + 4, 3)


def test_odd_and_short_videos(dce, tmp_path, capsys):
    """One frame is a video; mp4 has no odd sizes, so the last row and column are repeated."""
    with av.open(str(tmp_path / "one.mkv"), "w") as container:
        stream = container.add_stream("ffv1", 10)
        stream.height, stream.width, stream.pix_fmt = 7, 9, "yuv444p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(7, 9, 3), format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (tmp_path / "empty.avi").touch()
    out = tmp_path / "out"
    assert run("--method=zero_dce", f"--weights={dce}", "--float", source=tmp_path, out=out) == 1
    said = capsys.readouterr()
    assert "one.mkv: 9x7, 1 frame, " in said.out and "repeated" in said.out
    assert said.err.count("failed: ") == 2
    assert np.load(out / "one.npy").shape == (1, 7, 9, 3)
    with av.open(str(out / "one.mp4")) as container:
        (frame,) = container.decode(video=0)
        assert (frame.height, frame.width) == (8, 10)
    assert sorted(p.name for p in out.iterdir()) == ["before_after.png", "one.mp4", "one.npy"]


def test_converted_weights(dce, tmp_path):
    """A folder of weights.convert does what the file does, and is refused for another net."""
    from darkjax.weights import convert

    convert.convert("zero_dce", dce, tmp_path / "w", say=lambda line: None)
    x = picture(6, 7, 3)[None].astype(np.float32) / 255
    by_file, by_folder = (enhancers.enhancer("zero_dce", w)(x) for w in (dce, tmp_path / "w"))
    np.testing.assert_array_equal(by_file, by_folder)
    with pytest.raises(UserError, match="of zero_dce, not of sci"):
        enhancers.enhancer("sci", tmp_path / "w")


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """RUN/enhancer and RUN/dtcm as a run of DTCM leaves them, RUN/teacher of LIFT-Net."""
    import jax
    import jax.numpy as jnp
    from tiny_run import ROOT

    from darkjax import checkpoint, models
    from darkjax import config as configs
    from darkjax.state import TrainState

    folder = tmp_path_factory.mktemp("run")
    c = configs.load(f"{ROOT}/configs/dtcm_arid.py:demo")
    for stage in (c.enhancer, c.dtcm):
        stage.enhancer.k = 4
        with c.unlocked():
            stage.enhancer.width = 8
    with c.unlocked():
        c.teacher = configs.load(f"{ROOT}/configs/lift_arid.py:demo").teacher
    net = models.build(c.dtcm.enhancer, None)
    one = jax.jit(lambda: net.init(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)), train=False))()
    one["params"] = jax.tree.map(lambda x: x + 0.1, one["params"])  # else near the identity
    both = {
        kind: {"enhancer": tree, "classifier": {"w": np.zeros(3)}} for kind, tree in one.items()
    }
    for name, variables in (("enhancer", one), ("dtcm", both), ("teacher", one)):
        stage = folder / name
        params, stats = (jax.tree.map(jnp.asarray, variables[k]) for k in ("params", "batch_stats"))
        with checkpoint.Checkpointer(str(stage / "checkpoints")) as saver:
            state = TrainState(jnp.int32(7), params, {"batch_stats": stats}, {}, {})
            meta = {"seed": 0, "data": "", "config": c.to_json_best_effort(), "step": 7}
            saver.save(state, meta)
        (stage / "done.json").write_text("{}")
    return folder


def test_a_run_s_folder_is_weights(stages, tmp_path, capsys):
    """Of an enhancer's own stage and of DTCM's, without --method; k is the run's."""
    video = np.stack([picture(20, 24, 3, seed=i, high=40) for i in range(11)])
    decode.write_video(tmp_path / "v.avi", video, 12.0, lossless=True)
    for stage in ("enhancer", "dtcm", "dtcm/checkpoints"):
        out = tmp_path / stage.replace("/", "-")
        flags = (f"--weights={stages / stage}", "--float")
        assert run(*flags, source=tmp_path / "v.avi", out=out) == 0
    x = decode.read_video(tmp_path / "v.avi").frames.astype(np.float32) / 255
    loaded = enhancers.enhancer(None, stages / "dtcm")
    assert (loaded.method, loaded.k) == ("zero_dce_light", 4)
    for out in ("enhancer", "dtcm", "dtcm-checkpoints"):
        np.testing.assert_allclose(np.load(tmp_path / out / "v.npy"), loaded(x), atol=1e-6)
    assert np.abs(loaded(x) - x).max() > 1e-3
    assert enhancers.enhancer("zero_dce_light", stages / "dtcm", k=2).k == 2


def test_what_a_result_depends_on_is_known(dce, stages, tmp_path):
    """Weights count by what they hold, not by their file; options and fields count."""
    from darkjax.weights import convert

    convert.convert("zero_dce", dce, tmp_path / "w", say=lambda line: None)
    state = dict(np.load(dce))
    np.savez(tmp_path / "same.npz", **state)
    state["e_conv7.bias"] = state["e_conv7.bias"] + np.float32(1e-6)
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / dce.name, **state)
    of = [
        enhancers.enhancer("zero_dce", w).identity
        for w in (dce, tmp_path / "same.npz", tmp_path / "w", tmp_path / "other" / dce.name)
    ]
    assert of[0] == of[1] == of[2] != of[3]
    assert enhancers.enhancer("zero_dce", dce, k=2).identity != of[0]
    assert enhancers.enhancer("gic").identity != enhancers.enhancer("gic", gamma=2.0).identity
    one, part = (enhancers.enhancer(None, stages / s).identity for s in ("enhancer", "dtcm"))
    assert one == part


def damaged(stages, folder, name):
    """A copy of RUN/dtcm with something wrong."""
    import shutil

    stage = folder / "dtcm"
    shutil.copytree(stages / "dtcm", stage)
    if name == "half":
        (stage / "done.json").unlink()
    elif name == "empty":
        shutil.rmtree(stage / "checkpoints" / "7")
    elif name == "renamed":
        stage = stage.rename(folder / "mine")
    elif name == "nothing":
        shutil.rmtree(stage / "checkpoints")
    return stage


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", "was not trained to its end (its last checkpoint is of step 7)"),
        ("empty", "holds no whole checkpoint"),
        ("renamed", "a stage's folder keeps its name"),
        ("nothing", "found a folder with none of them"),
    ],
)
def test_half_a_run_is_refused(stages, tmp_path, capsys, name, message):
    Image.fromarray(picture(8, 8, 3)).save(tmp_path / "a.png")
    stage = damaged(stages, tmp_path, name)
    assert run(f"--weights={stage}", source=tmp_path / "a.png", out=tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--weights={}/teacher",), "method 'supervised', which has no enhancer"),
        (("--weights={}",), "dtcm or "),
        (("--weights={}/dtcm", "--method=sci"), "holds weights of zero_dce_light, not of sci"),
        (("--weights={}/dtcm", "--gamma=2"), "a network has none"),
        (("--weights={}/dtcm/done.json",), "found a file: say what it is with --method"),
        (("--weights={}/nowhere",), "found no such file or folder"),
        ((), "expected --method (gic, "),
    ],
)
def test_a_run_s_folder_that_does_not_fit(stages, tmp_path, capsys, flags, message):
    Image.fromarray(picture(8, 8, 3)).save(tmp_path / "a.png")
    flags = [flag.format(stages) for flag in flags]
    assert run(*flags, source=tmp_path / "a.png", out=tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1


def test_gamma(tmp_path):
    """A method without weights comes from the table, with its gamma."""
    x = picture(4, 5, 3)[None].astype(np.float32) / 255
    y = enhancers.enhancer("gic", gamma=2.0)(x)
    np.testing.assert_allclose(y[x > 0], np.sqrt(x)[x > 0], rtol=1e-5)


def test_methods_without_weights_brighten(tmp_path, capsys):
    """Each of the table, as the tool calls it, on a picture of odd size."""
    source = tmp_path / "a.png"
    Image.fromarray(picture(33, 47, 3, high=40)).save(source)
    for method in sorted(set(enhancers.methods()) - set(enhancers.LEARNED)):
        assert run(f"--method={method}", source=source, out=tmp_path / method) == 0
        numbers = capsys.readouterr().out.split("brightness ")[1].split(",")[0].split(" -> ")
        assert float(numbers[1]) > float(numbers[0]), method
        assert images.read_image(tmp_path / method / "a.png").pixels.shape == (33, 47, 3)


@pytest.mark.parametrize("method", ["gic", "zero_dce"])
def test_records_become_brighter_records(dce, tmp_path, capsys, monkeypatch, method):
    """Every clip, its split, group and label; the same command goes on, another is refused."""
    clips = {"train": 2, "test": 1}
    dark = Synthetic(classes=("Walk", "Run"), clips_per_class=clips, groups=clips, frames=19,
                     height=16, width=24)  # fmt: skip
    convert.convert(dark, tmp_path / "dark", encoding="raw")
    learned = [f"--weights={dce}", "--method=zero_dce"]
    flags, others = (["--method=gic", "--gamma=2"], ["--method=gic", "--gamma=3"])
    if method == "zero_dce":
        flags, others = ([*learned, "--k=3"], [*learned, "--k=2"])
    folders = [f"--records={tmp_path / 'dark'}", f"--output={tmp_path / 'bright'}"]
    assert enhance.main([*flags, *folders]) == 0
    assert "6 clips converted (test 2, train 4), 0 bad, 2 classes" in capsys.readouterr().out
    with Records(tmp_path / "dark") as before, Records(tmp_path / "bright") as after:
        assert after.card["name"] == f"synthetic-{method}" and after.classes == ("Walk", "Run")
        for one, other in zip(before.select(), after.select(), strict=True):
            rows = [r.clips[r.meta["clip"][n]] for r, n in ((before, one), (after, other))]
            for field in ("id", "label", "group", "split", "fold", "fps", "frames"):
                assert rows[0][field] == rows[1][field]
            x, y = before.read_frames(one, range(19)) / 255, after.read_frames(other, range(19))
            wanted = np.sqrt(x) if method == "gic" else brightened(x)
            assert np.abs(y - 255 * wanted).max() < 0.51

    def again(self, clip, root=None, *, short_side=None, max_frames=None):
        raise AssertionError("enhanced again")

    monkeypatch.setattr(Enhanced, "load", again)
    assert enhance.main([*flags, *folders]) == 0
    assert enhance.main([*others, *folders]) == 2
    assert "options changed since: use another --out" in capsys.readouterr().err
    assert enhance.main([*flags, *folders, "--float"]) == 2
    assert "records hold 8 bits" in capsys.readouterr().err


def test_bgr_nets_get_and_give_rgb(tmp_path):
    """StableLLVE's weights are for BGR; here all zeros but a path for the first channel."""
    shapes = enhancer_shapes.stable_llve()
    state = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for name in ("inc", "up4.conv"):
        for i in (0, 2):
            state[f"{name}.double_conv.{i}.weight"][0, 0, 1, 1] = 1
    state["outc.conv.weight"][0, 0] = 1
    np.savez(tmp_path / "u.npz", **state)
    x = picture(16, 16, 3)[None].astype(np.float32) / 255
    y = enhancers.enhancer("stable_llve", tmp_path / "u.npz")(x)
    # Their channel 0 is blue, of what comes in and of what goes out.
    np.testing.assert_allclose(y[..., 2], x[..., 2], atol=1e-6)
    np.testing.assert_array_equal(y[..., :2], 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--method=zero_dec",), "did you mean 'zero_dce'"),
        (("--method=zero_dce",), "needs --weights=FILE (published: Epoch99.pth)"),
        (("--method=zero_dce", "--weights=nowhere.pth"), "nowhere.pth"),
        (("--method=zero_dce", "--weights=nowhere.pth", "--gamma=2"), "zero_dce has none"),
        (("--method=gic", "--weights=x.pth", "--gamma=2"), "gic has none"),
        (("--method=gic", "--gamma=0"), "--gamma=0.0"),
        (("--method=he", "--gamma=2"), "he has none"),
        (("--method=sci", "--k=2"), "--k=2"),
        (("--method=zero_dce", "--k=0"), "--k=0"),
    ],
)
def test_wrong_flags(tmp_path, capsys, flags, message):
    Image.fromarray(picture(4, 4, 3)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    assert run(*flags, source=tmp_path / "a.png", out=out) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not (out / "a.png").exists()


def test_wrong_paths(tmp_path, capsys):
    flags = ("--method=gic", "--gamma=2")
    Image.fromarray(picture(4, 4, 3)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "none").mkdir()
    for source, out, message in (
        ("nowhere", "out", "no such file or folder"),
        ("a.txt", "out", "expected one of .png"),
        ("none", "out", "no image or video below it"),
        ("a.png", "a.txt", "is a file, expected a folder"),
        ("a.png", ".", "would overwrite its own source"),
    ):
        assert run(*flags, source=tmp_path / source, out=tmp_path / out) == 2
        assert message in capsys.readouterr().err


def test_spread_keeps_both_ends():
    for length in (1, 2, 5, 12, 13, 100, 1000):
        cells = judged.Spread()
        for i in range(length):
            cells.add(i)
        found = cells.pairs()
        assert found[0] == 0 and len(found) == min(3, length)
        assert found[-1] >= 0.75 * (length - 1)


def test_inconsistency_does_not_depend_on_the_pieces():
    """Sums of clips joined one frame apart are those of the whole video."""
    rng = np.random.default_rng(0)
    dark = rng.uniform(0, 0.2, (7, 8, 12, 3)).astype(np.float32)
    bright = np.sqrt(dark)
    whole, pieces = judged.Sums(), judged.Sums()
    whole.add(dark, bright)
    for part in (slice(0, 3), slice(3, 4), slice(4, 7)):
        pieces.add(dark[part], bright[part])
    np.testing.assert_allclose(pieces.inconsistency(), whole.inconsistency(), rtol=1e-5)
    same = judged.Sums()
    same.add(dark, dark)
    assert same.inconsistency() == 0.0
