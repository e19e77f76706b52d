"""Conversion of whole files: what is written, what is refused, and that nothing is left behind."""

import hashlib
import json
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_zoo
import torch_files as tf

from darkjax import models
from darkjax.errors import UserError
from darkjax.optim import flatten, unflatten
from darkjax.weights import convert, fitting, inflate, load, names, zoo

VIDEO = np.random.default_rng(1).standard_normal((2, *tiny_zoo.INPUT, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(zoo, "get", tiny_zoo.get)
    monkeypatch.setattr(zoo, "NAMES", {**zoo.NAMES, **tiny_zoo.TINY})


def file(tmp_path, state, name="tiny.pth", prefix="module."):
    path = tmp_path / name
    tf.save(path, {prefix + k: v for k, v in state.items()}, epoch=3)
    return path


def quiet(_):
    """Instead of print."""


def run(tmp_path, state=None, arch="tiny", out="out", **options):
    """Convert a state dict through a file and load the result."""
    path = file(tmp_path, tiny_zoo.state_dict() if state is None else state)
    options.setdefault("say", quiet)
    convert.convert(arch, path, tmp_path / out, **options)
    return load.load(tmp_path / out)


def refused(tmp_path, match, state=None, **options):
    """The error, after which the folder holds the checkpoint alone."""
    with pytest.raises(UserError, match=match) as error:
        run(tmp_path, state, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.pth"]
    assert "\n" not in str(error.value)
    return str(error.value)


def expected(state, classes=5):
    """The model's output with the weights put there by hand."""
    renamed = names.rename(state, tiny_zoo.TINY["tiny"].names)
    variables = {"params": unflatten(renamed.params), "batch_stats": unflatten(renamed.batch_stats)}
    return models.build(tiny_zoo.TINY["tiny"].model, classes).apply(variables, VIDEO, train=False)


def test_a_file_becomes_a_checkpoint_and_a_card(tmp_path):
    state = tiny_zoo.state_dict()
    lines = []
    weights = run(tmp_path, state, say=lines.append, num_classes=5)
    logits, out = weights.model().apply(weights.variables, VIDEO, train=False)
    logits_, out_ = expected(state)
    np.testing.assert_array_equal(logits, logits_)
    np.testing.assert_array_equal(out["pre_logits"], out_["pre_logits"])
    leaves = jax.tree.leaves(weights.variables)
    assert all(type(v) is np.ndarray and v.dtype == np.float32 for v in leaves)

    card = json.loads((tmp_path / "out" / "card.json").read_text())
    digest = hashlib.sha256((tmp_path / "tiny.pth").read_bytes()).hexdigest()
    assert card["source"]["file"] == "tiny.pth" and card["source"]["sha256"] == digest
    assert card["model"] == {"name": "resnet3d", "variant": "10", "width": 4}
    assert (card["num_classes"], card["in_channels"], card["input"]) == (5, 3, [4, 16, 16])
    assert card["preprocess"]["mean"] == [114.7748, 107.7354, 99.4750]
    assert card["licence"] == "none" and card["left_out"] == []
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["card.json", "variables"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "tiny.pth"]
    text = "\n".join(lines)
    matched = len(flatten(weights.variables["params"]) | flatten(weights.variables["batch_stats"]))
    assert re.search(rf"matched +{matched}  head/bias, head/kernel, stage1_0/bn1/bias", text)
    assert re.search(r"missing +0\n +extra +0\n +other shape +0\n", text)
    assert re.search(r"out: tiny, 5 classes, [\d,]+ parameters", lines[-1])


@pytest.mark.parametrize(
    ("arch", "file", "mean"),
    [
        ("r3d18", "r3d18_K_200ep.pth", 0.4345),
        ("r3d50", "r3d50_KM_200ep.pth", 0.4345),
        ("r3d50", "resnet-50-kinetics.pth", 114.7748),
        ("r3d50", "renamed.pth", 114.7748),
        ("resnext101", "resnext-101-64f-kinetics-ucf101_split1.pth", 114.7748),
    ],
)
def test_two_releases_of_one_network_expect_other_frames(arch, file, mean):
    # The files of 2018 take 0 to 255 less a mean, those of 2020 take 0 to 1.
    found = fitting._preprocess(zoo.get(arch), file, (16, 112, 112), 3)
    assert found.mean[0] == mean and found.scale == (255.0 if mean > 1 else 1.0)


def test_half_precision_files_become_float32(tmp_path):
    state = {k: v.astype(np.float16) for k, v in tiny_zoo.state_dict().items()}
    weights = run(tmp_path, state)
    kernel = weights.variables["params"]["head"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, state["fc.weight"].T.astype(np.float32))


def test_the_backbone_alone(tmp_path):
    state = tiny_zoo.state_dict()
    weights = run(tmp_path, state, skip="head/.*")
    assert weights.card.num_classes is None and weights.card.left_out == ()
    first, _ = weights.model().apply(weights.variables, VIDEO, train=False)
    np.testing.assert_array_equal(first, expected(state)[1]["pre_logits"])
    headless = {k: v for k, v in state.items() if not k.startswith("fc.")}
    again = run(tmp_path, headless, out="again")
    assert again.card.num_classes is None
    chex.assert_trees_all_equal(again.variables, weights.variables)


def test_what_is_skipped_of_the_body_is_on_the_card(tmp_path):
    state = {k: v for k, v in tiny_zoo.state_dict().items() if not k.startswith("layer4.0.bn2")}
    text = refused(tmp_path, r'--skip="stage4_0/bn2/\.\*"', state)
    regex = re.search(r'--skip="(.*)"$', text).group(1)
    weights = run(tmp_path, state, skip=regex)
    ours = ("stage4_0/bn2/bias", "stage4_0/bn2/mean", "stage4_0/bn2/scale", "stage4_0/bn2/var")
    assert weights.card.left_out == ours


# ---- what does not fit --------------------------------------------------------------------------


def test_another_class_count(tmp_path):
    refused(tmp_path, r'5 classes, --num_classes=11 .*--skip="head/\.\*"', num_classes=11)
    refused(tmp_path, "no classes, --num_classes=11", num_classes=11, skip="head/.*")


def test_a_new_head_of_another_shape(tmp_path):
    """The bias says other classes than the kernel."""
    state = tiny_zoo.state_dict() | {"fc.bias": np.zeros(7, np.float32)}
    lines = []
    refused(tmp_path, r'1 of another shape.*--skip="head/bias"', state, say=lines.append)
    assert any(re.search(r"other shape +1  head/bias \(file 7, model 5\)", x) for x in lines)


def test_half_the_keys(tmp_path):
    state = tiny_zoo.state_dict()
    half = dict(list(state.items())[: len(state) // 2])
    lines = []
    text = refused(tmp_path, "a part of a checkpoint", half, say=lines.append)
    missing = int(re.search(r"(\d+) missing, 0 extra, 0 of another shape", text).group(1))
    assert missing > 5 and any(re.search(rf"missing +{missing}  ", line) for line in lines)


@pytest.mark.parametrize("arch", ["r3d18", "r3d50", "tiny2d", "i3d", "vit_b16", "timesformer_b"])
def test_another_architecture(arch, tmp_path):
    match = rf"does not fit {arch}: .*another architecture \(tiny.pth is published for tiny\)"
    refused(tmp_path, match, arch=arch)


def test_the_published_name_is_recognised(tmp_path):
    tf.save(tmp_path / "resnet-18-kinetics.pth", tiny_zoo.state_dict())
    match = r"another architecture \(resnet-18-kinetics.pth is published for r3d18_a\)"
    with pytest.raises(UserError, match=match):
        convert.convert("r3d50", tmp_path / "resnet-18-kinetics.pth", tmp_path / "x", say=quiet)


def test_more_than_the_model_has_is_not_dropped_in_silence(tmp_path):
    """A deeper network's file has every name of a shallower one."""
    state = tiny_zoo.state_dict()
    deeper = {k.replace("layer4.0", "layer4.1"): v for k, v in state.items() if "layer4.0.c" in k}
    extra = {**state, **deeper, "aux.weight": np.ones(3, np.float32)}
    text = refused(tmp_path, "0 missing, 3 extra", extra)
    assert "first: aux.weight" in text
    regex = re.search(r'--skip="(.*)"$', text).group(1)
    weights = run(tmp_path, extra, skip=regex)
    assert weights.card.left_out == ()


@pytest.mark.parametrize("content", [b"", b"some text", b"\x80\x02}q\x00(X", b"PK\x03\x04 cut"])
def test_files_that_are_no_weights_write_nothing(content, tmp_path):
    path = tmp_path / "tiny.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"tiny\.pth"):
        convert.convert("tiny", path, tmp_path / "out", say=quiet)
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_line_is_one_line_and_status_2(tmp_path, capsys):
    path = file(tmp_path, tiny_zoo.state_dict())
    out = f"--out={tmp_path / 'new' / 'out'}"
    given = [f"--checkpoint={path}", out]
    assert convert.main(["--arch=tiny", *given, "--num_classes=11"]) == 2
    assert convert.main(["--arch=resnext102", *given]) == 2
    assert convert.main(["--arch=tiny", *given, "--skip=("]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and all(line.startswith("error: ") for line in errors)
    assert "nearest: resnext101" in errors[1] and "no regular expression" in errors[2]
    assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit):
        convert.main(["--arch=tiny", *given, "--input=4,16"])
    assert convert.main(["--arch=tiny", *given, "--num_classes=5", "--input=8,32,32"]) == 0
    weights = load.load(tmp_path / "new" / "out")
    assert (weights.preprocess.frames, weights.preprocess.size) == (8, 32)


def test_what_is_there_is_replaced_only_when_asked(tmp_path):
    run(tmp_path)
    before = (tmp_path / "out" / "card.json").read_text()
    with pytest.raises(UserError, match="out exists: give another folder, or --overwrite"):
        run(tmp_path)
    with pytest.raises(UserError, match="--num_classes=7"):
        run(tmp_path, overwrite=True, num_classes=7)
    assert (tmp_path / "out" / "card.json").read_text() == before
    other = tiny_zoo.state_dict(classes=7)
    assert run(tmp_path, other, overwrite=True).card.num_classes == 7
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="something else than converted weights"):
        run(tmp_path, out="mine", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "out", "tiny.pth"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    run(tmp_path)
    before = (tmp_path / "out" / "card.json").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert.cards, "write", full)
    with pytest.raises(UserError, match="No space left on device"):
        run(tmp_path, overwrite=True)
    assert (tmp_path / "out" / "card.json").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "tiny.pth"]


# ---- channels, inflation, frames ----------------------------------------------------------------


def test_grey_video_gives_what_it_gave_as_three_equal_channels(tmp_path):
    state = tiny_zoo.state_dict()
    weights = run(tmp_path, state, in_channels=1)
    grey = VIDEO[..., :1]
    mine, _ = weights.model().apply(weights.variables, grey, train=False)
    model, variables = (lambda w: (w.model(), w.variables))(run(tmp_path, state, out="rgb"))
    theirs, _ = model.apply(variables, np.repeat(grey, 3, axis=-1), train=False)
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    mean = np.mean([114.7748, 107.7354, 99.4750])
    np.testing.assert_allclose(weights.preprocess.mean, [mean])
    assert weights.preprocess.std == (1.0,) and weights.card.in_channels == 1


def test_flow_takes_the_mean_kernel_twice(tmp_path):
    state = tiny_zoo.state_dict()
    weights = run(tmp_path, state, in_channels=2)
    kernel = weights.variables["params"]["stem"]["kernel"]
    mean = np.moveaxis(state["conv1.weight"].mean(1), 0, -1)  # kt kh kw O
    for channel in (0, 1):
        np.testing.assert_allclose(kernel[..., channel, :], mean, rtol=1e-5, atol=1e-7)
    assert weights.preprocess.mean == (127.5, 127.5)  # no motion, of 0 to 255
    weights.model().apply(weights.variables, VIDEO[..., :2], train=False)


def test_a_file_for_two_channels_is_taken_as_it_is(tmp_path):
    state = tiny_zoo.state_dict(channels=2)
    weights = run(tmp_path, state)
    assert weights.card.in_channels == 2 and len(weights.preprocess.mean) == 2
    np.testing.assert_array_equal(
        weights.variables["params"]["stem"]["kernel"],
        np.transpose(state["conv1.weight"], (2, 3, 4, 1, 0)),
    )
    grey = run(tmp_path, state, out="grey", in_channels=1)
    kernel = grey.variables["params"]["stem"]["kernel"]
    assert kernel.shape[-2] == 1 and grey.card.in_channels == 1


@pytest.mark.parametrize("how", ["centre", "average"])
def test_2d_weights_into_a_3d_network(how, tmp_path):
    flat = tiny_zoo.state_dict(flat=True)
    assert flat["conv1.weight"].ndim == 4
    if how == "centre":
        refused(tmp_path, r"2-D kernels .* --inflate=centre or average", flat)
    weights = run(tmp_path, flat, inflate=how)
    params = weights.variables["params"]
    kernel = params["stage2_0"]["conv1"]["kernel"]
    theirs = np.transpose(flat["layer2.0.conv1.weight"], (2, 3, 1, 0))
    expected = [np.zeros_like(theirs), theirs, np.zeros_like(theirs)]
    if how == "average":
        expected = [theirs / 3] * 3
    np.testing.assert_allclose(kernel, np.stack(expected), rtol=1e-6)
    one = params["stage2_0"]["shortcut"]["kernel"]  # 1x1x1: nothing to inflate
    np.testing.assert_array_equal(
        one[0], np.transpose(flat["layer2.0.downsample.0.weight"], (2, 3, 1, 0))
    )


def test_inflated_weights_for_grey_video(tmp_path):
    flat = tiny_zoo.state_dict(flat=True)
    weights = run(tmp_path, flat, inflate="average", in_channels=1)
    kernel = weights.variables["params"]["stem"]["kernel"]
    theirs = np.transpose(flat["conv1.weight"], (2, 3, 1, 0)).sum(-2, keepdims=True) / 7
    np.testing.assert_allclose(kernel[3], theirs, rtol=1e-5, atol=1e-7)


def test_a_constant_video_gives_what_its_frame_gave():
    """Either inflation, away from the ends of the clip."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 2, 4)).astype(np.float32)
    frame = rng.standard_normal((1, 8, 8, 2)).astype(np.float32)
    video = np.repeat(frame[:, None], 7, axis=1)

    def conv(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC") if kernel.ndim == 4 else ("NDHWC", "DHWIO", "NDHWC")
        strides = (1,) * (kernel.ndim - 2)
        return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout)

    theirs = conv(jnp.asarray(frame), jnp.asarray(kernel))
    for how in fitting.HOW:
        for frames in (1, 3, 5):
            ours = conv(jnp.asarray(video), jnp.asarray(inflate.inflate(kernel, frames, how)))
            np.testing.assert_allclose(ours[:, 3], theirs, rtol=1e-5, atol=1e-5)


def test_frame_networks_take_2d_files(tmp_path):
    """ImageNet's ResNet into TSN: kernels [O, I, kh, kw]."""
    state = tiny_zoo.state_dict("tiny2d", flat=True)
    weights = run(tmp_path, state, "tiny2d", in_channels=1)
    assert weights.variables["params"]["stem"]["kernel"].shape == (1, 7, 7, 1, 4)


def test_the_frame_count_comes_from_the_weights(tmp_path):
    """TIN's parameters are as long as its clip."""
    state = tiny_zoo.state_dict("tiny_tin", clip=(16, 16, 16))
    weights = run(tmp_path, state, "tiny_tin")
    assert weights.card.input == (16, 16, 16) and weights.preprocess.frames == 16
    video = jnp.zeros((1, 16, 16, 16, 3))
    jax.eval_shape(lambda v: weights.model().apply(v, video, train=False), weights.variables)
    odd = tiny_zoo.state_dict("tiny_tin", clip=(5, 16, 16))
    assert run(tmp_path, odd, "tiny_tin", out="five", input=(5, 16, 16)).card.input[0] == 5
