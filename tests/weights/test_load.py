"""Converted weights: loading, what they expect of a video, running them, training from them."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_zoo
import torch_files as tf

from darkjax import checkpoint, experiment
from darkjax.errors import UserError
from darkjax.optim import flatten
from darkjax.state import TrainState
from darkjax.tools import forward
from darkjax.weights import card, convert, load, zoo
from darkjax.weights.arch import Preprocess

RNG = np.random.default_rng(0)
VIDEO = RNG.integers(0, 256, (2, *tiny_zoo.INPUT, 3), np.uint8)


def make(folder, **options):
    """Converted weights of the tiny network in `folder/weights`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "get", tiny_zoo.get)
        tf.save(folder / "tiny.pth", tiny_zoo.state_dict())
        convert.convert(
            "tiny", folder / "tiny.pth", folder / "weights", say=lambda _: None, **options
        )
    return folder / "weights"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("load"))


def with_preprocess(folder, **fields):
    weights = load.load(folder)
    return dataclasses.replace(weights, preprocess=Preprocess(**fields))


def test_loading_gives_back_what_was_converted(folder):
    weights = load.load(folder)
    assert weights.arch == "tiny" and weights.config == dict(tiny_zoo.TINY["tiny"].model)
    assert weights.preprocess == tiny_zoo.TINY["tiny"].preprocess
    state = tiny_zoo.state_dict()
    params, stats = weights.variables["params"], weights.variables["batch_stats"]
    np.testing.assert_array_equal(params["head"]["kernel"], state["fc.weight"].T)
    np.testing.assert_array_equal(stats["stem_bn"]["var"], state["bn1.running_var"])
    assert weights.model(dtype=jnp.bfloat16).dtype == jnp.bfloat16


def test_folders_that_are_no_weights(folder, tmp_path):
    assert card.is_weights(folder) and not card.is_weights(tmp_path)
    with pytest.raises(UserError, match=r"found none: make them with `python -m darkjax.weights"):
        load.load(tmp_path)
    (tmp_path / "card.json").write_text('{"format": 1, "name": "a dataset"}')
    assert not card.is_weights(tmp_path)
    content = json.loads((folder / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"no whole checkpoint .*convert the weights again.*tiny"):
        load.load(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(UserError, match="expected card format 1, found 99"):
        load.load(tmp_path)
    for name in ("arch", "preprocess"):
        fewer = {key: value for key, value in content.items() if key != name}
        (tmp_path / "card.json").write_text(json.dumps(fewer))
        with pytest.raises(UserError, match=f"expected the fields of a weights' card.*{name}"):
            load.load(tmp_path)


def test_a_flipped_bit_is_noticed(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in sorted(p for p in (copy / "variables").rglob("*") if p.is_file()):
        whole = path.read_bytes()
        bit = int(RNG.integers(8 * len(whole)))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=r"no whole checkpoint \(.*convert the weights again"):
            load.load(copy)
        path.write_bytes(whole)
    assert load.load(copy).arch == "tiny"


def test_normalising_scales_reorders_and_centres(folder):
    video = np.asarray([[0.0, 0.5, 1.0]], np.float32)  # R, G, B
    rgb = with_preprocess(folder, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    np.testing.assert_allclose(load.normalise_for(rgb)(video), [[-1.0, 1.0, 0.5]])
    bgr = with_preprocess(
        folder, mean=(100.0, 27.5, 1.0), std=(1.0, 2.0, 1.0), scale=255.0, order="BGR"
    )
    np.testing.assert_allclose(load.normalise_for(bgr)(video), [[155.0, 50.0, -1.0]])
    half = load.normalise_for(rgb)(jnp.asarray(video, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="divide by 255"):
        load.normalise_for(rgb)(VIDEO)
    with pytest.raises(ValueError, match=r"expects 3 channels last, found shape \(1, 2\)"):
        load.normalise_for(rgb)(video[:, :2])


def test_first_kernels_for_other_channels():
    kernel = RNG.standard_normal((3, 3, 3, 5)).astype(np.float32)
    assert load.first_conv(kernel, 3) is kernel
    x = RNG.standard_normal((3, 3, 1)).astype(np.float32)

    def response(kernel, channels):  # of a patch whose channels are alike
        return np.einsum("hwi,hwio->o", np.repeat(x, channels, -1), kernel)

    grey = load.first_conv(kernel, 1)
    np.testing.assert_allclose(response(grey, 1), response(kernel, 3), rtol=1e-5, atol=1e-5)
    back = load.first_conv(grey, 3)
    np.testing.assert_allclose(response(back, 3), response(kernel, 3), rtol=1e-5, atol=1e-5)
    flow = load.first_conv(kernel, 2)
    np.testing.assert_allclose(flow[:, :, 1], kernel.mean(2), rtol=1e-6, atol=1e-7)
    assert flow.shape == (3, 3, 2, 5) and flow.dtype == np.float32


# ---- the forward tool ---------------------------------------------------------------------------


def apply(folder, video):
    weights = load.load(folder)
    logits, out = weights.model().apply(weights.variables, video, train=False)
    return np.asarray(logits), np.asarray(out["pre_logits"])


def test_forward_writes_logits_and_pre_logits(folder, tmp_path, capsys):
    mean = np.asarray([114.7748, 107.7354, 99.4750], np.float32)
    clean = VIDEO.astype(np.float32) - mean  # 0-255, no deviation
    expected = apply(folder, clean)
    inputs = {
        "uint8": (VIDEO, []),
        "float": (VIDEO / np.float32(255), []),
        "double": (VIDEO / 255, []),
        "ready": (clean, ["--already_normalised"]),
    }
    for name, (video, flags) in inputs.items():
        np.save(tmp_path / f"{name}.npy", video)
        arguments = [f"--weights={folder}", f"--input={tmp_path / name}.npy"]
        output = tmp_path / f"{name}.out"  # the name is kept
        assert forward.main([*arguments, f"--output={output}", *flags]) == 0
        with np.load(output) as found:
            assert set(found.files) == {"logits", "pre_logits"}
            for key, theirs in zip(("logits", "pre_logits"), expected, strict=True):
                assert found[key].dtype == np.float32 and found[key].shape == theirs.shape
                scale = np.abs(theirs).max()
                assert np.abs(found[key] - theirs).max() <= 1e-5 * scale, (name, key)
    assert "logits (2, 5)" in capsys.readouterr().out
    one = forward.forward(folder, VIDEO[0])
    assert one["logits"].shape == (1, 5)


def test_forward_names_what_is_wrong(folder, tmp_path, capsys):
    cases = {
        "found shape (2, 4, 16, 16, 1)": VIDEO[..., :1],
        "found shape (4, 16)": VIDEO[0, :, :, 0, 0],
        "expected uint8 or float video": VIDEO.astype(np.int32),
        "in [0, 1], found 0 to 255": VIDEO.astype(np.float32),
        "NaN": np.full(VIDEO.shape, np.nan, np.float32),
        "found shape (0, 4, 16, 16, 3)": VIDEO[:0],
    }
    path, output = tmp_path / "x.npy", tmp_path / "y.npz"
    arguments = [f"--weights={folder}", f"--input={path}", f"--output={output}"]
    for message, video in cases.items():
        np.save(path, video)
        assert forward.main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    np.save(path, VIDEO)
    assert forward.main([*arguments, "--already_normalised"]) == 2
    assert "expected float video" in capsys.readouterr().err
    assert forward.main([f"--weights={tmp_path}", *arguments[1:]]) == 2
    assert "expected converted weights" in capsys.readouterr().err
    assert forward.main([*arguments[:2], f"--output={tmp_path}/none/y.npz"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    path.write_text("no array")
    assert forward.main(arguments) == 2
    path.unlink()
    assert forward.main(arguments) == 2
    assert "no such file" in capsys.readouterr().err
    assert not output.exists()


def test_forward_of_a_backbone_and_of_a_part(tmp_path):
    folder = make(tmp_path, skip="head/.*")
    assert set(forward.forward(folder, VIDEO)) == {"pre_logits"}
    folder = make(tmp_path, skip="stage4_0/bn2/.*", overwrite=True)
    with pytest.raises(UserError, match=r"leaves out 4 arrays .*stage4_0/bn2/bias.*init_from"):
        forward.forward(folder, VIDEO)


def test_forward_of_two_views(monkeypatch, tmp_path):
    """`[B, 2, T, H, W, C]` is the dark and the bright clip."""
    views = forward._views(np.stack([VIDEO, 255 - VIDEO], axis=1), 2, None)
    np.testing.assert_array_equal(views[0], VIDEO)
    np.testing.assert_array_equal(views[1], 255 - VIDEO)


# ---- a start for training -----------------------------------------------------------------------


def test_init_from_takes_converted_weights_but_for_the_head(folder, capsys):
    weights = load.load(folder)
    model = weights.model()
    like = jax.eval_shape(
        lambda: model.clone(num_classes=3).init(
            jax.random.key(0), jnp.ones(VIDEO.shape), train=False
        )
    )
    fresh = jax.tree.map(lambda x: jnp.full(x.shape, 0.5, x.dtype), like)
    state = TrainState(jnp.zeros((), jnp.int32), fresh.pop("params"), fresh, (), {})
    sources = {"w": experiment.source_variables(str(folder))}
    assert "tiny, trained on Preprocess(mean=(114.7748" in capsys.readouterr().out
    rules = (("w", r"(?!head/)(.*)", r"\1"),)
    state, line = checkpoint.place(state, sources, rules)
    placed, theirs = flatten(state.params), flatten(weights.variables["params"])
    for path, value in placed.items():
        if path.startswith("head/"):
            assert (value == 0.5).all()
        else:
            np.testing.assert_array_equal(value, theirs[path])
    np.testing.assert_array_equal(
        state.collections["batch_stats"]["stem_bn"]["mean"],
        weights.variables["batch_stats"]["stem_bn"]["mean"],
    )
    count = len(theirs) - 2 + len(flatten(weights.variables["batch_stats"]))
    assert line.startswith(f"{count} arrays taken from w")
    with pytest.raises(UserError, match=r"init_from: w's head/.* the models differ"):
        checkpoint.place(state, sources, (("w", r"(.*)", r"\1"),))
