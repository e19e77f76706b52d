"""An exported program says what `predict` says, without this library."""

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import types
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_families
import tiny_run

from darkjax import config as configs
from darkjax import exported, loaded, methods, models, spec
from darkjax.data import resize
from darkjax.data.rendering.dataset import ACTIONS
from darkjax.data.views import ViewConfig
from darkjax.errors import UserError
from darkjax.intake import Intake
from darkjax.methods import base
from darkjax.tools import export

RNG = np.random.default_rng(0)
CLIPS = RNG.integers(0, 60, (3, 20, 40, 48, 3), np.uint8)
HERE = """
import sys
sys.modules["darkjax"] = None  # importing it is an error
sys.argv = sys.argv[1:]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))
assert not any(name.startswith(("darkjax.", "flax")) for name in sys.modules)
"""


@pytest.fixture(scope="module")
def model():
    """The network of the box's kind, narrow and as initialised: gamma, six views a clip."""
    c = configs.load(f"{tiny_run.ROOT}/configs/real_arid6.py:gamma")
    c.data.frames, c.data.size = 4, (24, 24)
    c.data.views_clips, c.data.views_crops = 2, 3
    c.rendered.model.width = 4
    c = configs.resolve(c)
    method = methods.make(c.rendered, spec.bare(c, "rendered", ACTIONS))
    batch = {"video": np.zeros((1, 4, 24, 24, 3), np.uint8)}
    variables = jax.tree.map(np.asarray, method.init(jax.random.key(0), batch))
    own, views = Intake(32, 15.0, 3), ViewConfig.of(configs.data_of(c, "rendered"))
    return loaded.Model("runs/real/rendered", ACTIONS, c, method, variables, own, views)


@pytest.fixture(scope="module")
def program(model, tmp_path_factory):
    """Its archive, as the tool writes it."""
    path = tmp_path_factory.mktemp("exported") / "tiny.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "load", lambda run: model)
        assert export.main(["--run=runs/real", f"--output={path}"]) == 0
    return path


def judged(path, video):
    """By what is in the archive."""
    with zipfile.ZipFile(path) as file:
        read = exported.export.deserialize(bytearray(file.read(exported.PROGRAM)))
        weights = dict(np.load(io.BytesIO(file.read(exported.WEIGHTS))))
    return np.asarray(jax.jit(read.call)(weights, video)), read


def test_any_number_of_clips_and_views_is_judged_as_by_predict(model, program):
    views = np.stack([model.preprocess(clip) for clip in CLIPS])
    found, read = judged(program, views)
    np.testing.assert_allclose(found, model.judged(views), atol=1e-5)
    np.testing.assert_allclose(
        judged(program, views[:1, :2])[0], model.judged(views[:1, :2]), atol=1e-5
    )
    assert read.platforms == exported.PLATFORMS
    # What the calls are for: shapes that do not fit. None is private to a backend.
    assert set(re.findall(r"custom_call @([\w$]+)", read.mlir_module())) <= {"shape_assertion"}
    with pytest.raises(ValueError, match="shape"):
        judged(program, views[..., :20, :])


def test_twenty_lines_without_the_library_use_it(model, program, tmp_path):
    views = np.stack([model.preprocess(clip) for clip in CLIPS])
    np.save(tmp_path / "video.npy", views)
    with zipfile.ZipFile(program) as file:
        file.extract(exported.RUNS, tmp_path)
        card = json.loads(file.read(exported.CARD))
    assert len(exported.RUN.splitlines()) <= 20
    assert exported.RUN in (tiny_run.ROOT / "docs" / "deploy.md").read_text("utf-8")
    found = subprocess.run(
        [sys.executable, "-c", HERE, exported.RUNS, str(program), "video.npy"],
        cwd=tmp_path,
        env={"JAX_PLATFORMS": "cpu", "XLA_FLAGS": os.environ["XLA_FLAGS"]},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stderr
    for line, expected in zip(found.stdout.splitlines(), model.judged(views), strict=True):
        said = [part.rsplit(" ", 1) for part in line.split(", ")]
        assert [name for name, _ in said] == [ACTIONS[k] for k in np.argsort(-expected)[:3]]
        np.testing.assert_allclose(
            [float(share) for _, share in said], np.sort(expected)[::-1][:3], atol=1e-5
        )
    assert card["classes"] == list(ACTIONS) and card["input"]["fps"] == 15.0
    assert card["input"]["shape"] == ["clips", "views", 4, 24, 24, 3]
    assert card["inside"]["luminous_input"] == "gamma" and card["made"]["run"] == "real/rendered"


@pytest.mark.parametrize("size", [(64, 50), (20, 30)])
def test_whole_videos_are_cut_as_by_preprocess(model, monkeypatch, size):
    """Smaller and larger than the clips it was trained on, of other shapes, all windows."""

    def resized(video, size):
        return jnp.stack([resize.resize_clip(np.asarray(clip), size) for clip in video])

    monkeypatch.setattr(exported, "_resized", resized)
    clips = RNG.integers(0, 256, (2, 9, *size, 3), np.uint8)
    for crop, crops in (("random", 10), ("resized", 1)):
        views = dataclasses.replace(model.views, crop=crop, views_crops=crops)
        other = dataclasses.replace(model, views=views)
        found = exported._cutter(other, 9, *size)(clips)
        np.testing.assert_array_equal(found, [other.preprocess(clip) for clip in clips])


@pytest.mark.parametrize("size", [(64, 50), (20, 30), (30, 28)])
def test_whole_videos_are_resized_as_by_preprocess(size):
    """Where the exact product is a half, rounding may go either way, and nowhere else."""
    clip, new = RNG.integers(0, 256, (9, *size, 3), np.uint8), (24, 24)
    rows, columns = (
        resize.resize_matrix(*pair).astype(float) for pair in zip(size, new, strict=True)
    )
    exact = np.einsum("hg,wv,tgvc->thwc", rows, columns, clip, optimize=True)
    half = np.abs(exact % 1 - 0.5) < 1e-4
    assert half.mean() < 0.05
    ours = exported._resized(jnp.asarray(clip[None]), new)[0]
    for found in (ours, resize.resize_clip(clip, new)):
        np.testing.assert_array_equal(np.asarray(found)[~half], np.rint(exact)[~half])
        assert np.abs(np.asarray(found) - exact).max() < 0.5001


def test_ten_views_are_mirrored_as_the_evaluation_does(model):
    views = dataclasses.replace(model.views, views_crops=10, views_clips=1)
    found = model.preprocess(CLIPS[0], views=views)
    np.testing.assert_array_equal(found[5:], found[:5, :, :, ::-1])


def test_a_program_of_whole_videos(model, tmp_path):
    path, clips = tmp_path / "camera.zip", CLIPS[:, :, :32]  # as high as what it was trained on
    model = dataclasses.replace(model, views=dataclasses.replace(model.views, crop="centre"))
    exported.write(model, path, (20, 32, 48))
    found, read = judged(path, clips)
    np.testing.assert_allclose(found, [model.probabilities(clip) for clip in clips], atol=1e-5)
    assert str(read.in_avals[-1].shape) == "(clips, 20, 32, 48, 3)"


class Bare(methods.Method):
    """A network of the zoo on frames in [0, 1]."""

    def predict(self, variables, batch):
        video = base.to_float(batch["video"])
        return self.config.net.apply(variables, *[video] * self.config.views, train=False)


FAST = ("vit",)


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=() if f in FAST else pytest.mark.slow) for f in tiny_families.TINY],
)
def test_every_family_is_exported(family):
    """To 1e-5 of what the compiled network says, for any number of clips and views."""
    config, clip = tiny_families.TINY[family]
    config = types.SimpleNamespace(
        net=models.build(config, 5), views=2 if family == "darklight" else 1, method="bare"
    )
    video = RNG.integers(0, 256, (2, 2, *clip, 3), np.uint8)
    shown = [jax.ShapeDtypeStruct((1, *clip, 3), np.float32)] * config.views
    variables = tiny_families.filled(
        jax.eval_shape(lambda *x: config.net.init(jax.random.key(0), *x, train=False), *shown)
    )
    made = loaded.Model(
        "runs/zoo/only",
        tuple("abcde"),
        {"only": config},
        Bare(config, methods.Spec(tuple("abcde"))),
        jax.tree.map(np.asarray, variables),
        Intake(min(clip[1:]), 0.0, 3),
        ViewConfig(frames=clip[0], size=clip[1:]),
    )
    read = exported.exported(exported.program(made))
    found = np.asarray(jax.jit(read.call)(exported.program(made).weights, video))
    np.testing.assert_allclose(found, made.judged(video), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output=FOLDER",), "is a folder: give a file in it, such as model.zip"),
        (("--output=FOLDER/none/x.zip",), "there is no folder .*none: make it"),
        (("--output=FOLDER/x.zip", "--frames=8,x"), "expected frames, height and width"),
        (("--output=FOLDER/x.zip", "--frames=8,0,4"), "expected frames, height and width"),
        (("--output=FULL", "--format=saved_model"), "is there already: give a new folder's name"),
        (("--output=FOLDER/x", "--format=saved_model"), "needs TensorFlow"),
        (("--output=FOLDER/x.onnx", "--format=onnx"), "needs jax2onnx"),
    ],
)
def test_bad_requests_are_one_line(model, words, said, tmp_path, monkeypatch):
    monkeypatch.setattr(loaded, "load", lambda run: model)
    for name in ("tensorflow", "jax2onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("")
    places = {"FOLDER": str(tmp_path), "FULL": str(tmp_path / "full")}
    flags = [re.sub("FOLDER|FULL", lambda m: places[m[0]], word) for word in words]
    with pytest.raises(UserError, match=said):
        export.main(["--run=runs/real", *flags])
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_what_names_no_classes_or_does_not_export_is_refused(model, monkeypatch, tmp_path):
    class Enhancing(type(model.method)):
        judge = "frames"

    enhancing = Enhancing(
        **{f.name: getattr(model.method, f.name) for f in dataclasses.fields(model.method)}
    )
    with pytest.raises(UserError, match="does not name classes"):
        exported.program(dataclasses.replace(model, method=enhancing))
    flow = dataclasses.replace(model.intake, flow={"method": "brox", "bound": 20.0, "enhance": ""})
    with pytest.raises(UserError, match="export it without --frames"):
        exported.program(dataclasses.replace(model, intake=flow), (8, 40, 48))

    class Host(type(model.method)):
        def predict(self, variables, batch):
            return np.asarray(batch["video"]).mean((1, 2, 3)), {}

    host = Host(**{f.name: getattr(model.method, f.name) for f in dataclasses.fields(model.method)})
    with pytest.raises(UserError, match="cannot be exported by jax: TracerArrayConversionError"):
        exported.write(dataclasses.replace(model, method=host), tmp_path / "x.zip")
    assert not list(tmp_path.iterdir())
