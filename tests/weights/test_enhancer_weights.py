"""Enhancers with generated and real weights give the originals' outputs, as convert loads them."""

import enhancer_shapes
import golden_weights as golden
import jax
import numpy as np
import pytest

from darkjax import models
from darkjax.data import images
from darkjax.errors import UserError
from darkjax.weights import convert, fitting, load, zoo
from darkjax.weights.reading import reader

SHARE = 1e-4  # of the largest value


def loaded(name, state):
    """The model and its variables, by the path of `weights.convert`."""
    found = fitting.fitted(name, zoo.get(name), state, say=lambda line: None)
    return models.build(found.config, found.num_classes), found


def apply(model, variables, x, **options):
    return jax.jit(lambda v, x: model.apply(v, x, train=False, **options))(variables, x)


def agrees(mine, theirs):
    mine = np.asarray(mine)
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() <= SHARE * np.abs(theirs).max()


def last(array):
    return np.moveaxis(array, 1, -1)


def fixture(shared, name):
    with np.load(shared / "golden" / f"{name}.npz") as arrays:
        return {key: last(v) if v.ndim == 4 else v for key, v in arrays.items()}


def test_zero_dce_of_generated_weights(shared):
    meta, arrays = golden.load(shared / "golden", "zero_dce")
    model, found = loaded("zero_dce", golden.state_dict(meta))
    assert sum(v.size for v in found.params.values()) == meta["params"]
    enhanced, out = apply(model, found.variables, golden.inputs(meta))
    agrees(enhanced, arrays["enhanced"])
    agrees(out["enhanced_4"], arrays["enhanced_4"])
    agrees(out["curves"], arrays["curves"])


def test_zero_dce_of_the_published_file(shared, tmp_path):
    """Also through the converted folder."""
    arrays = fixture(shared, "zero_dce_io")
    path = shared / "weights" / "zero_dce" / "Epoch99.pth"
    convert.convert("zero_dce", path, tmp_path / "out", say=lambda line: None)
    weights = load.load(tmp_path / "out")
    assert weights.card.num_classes is None
    x = load.normalise_for(weights)(arrays["x"])
    np.testing.assert_array_equal(x, arrays["x"])  # these weights take [0, 1] as it is
    enhanced, out = apply(weights.model(), weights.variables, x)
    agrees(enhanced, arrays["enhanced"])
    agrees(out["enhanced_4"], arrays["enhanced_4"])
    agrees(out["curves"], arrays["curves"])


@pytest.mark.parametrize("name", ["easy", "medium", "difficult"])
def test_sci_of_the_published_files(shared, name):
    """The single pass of the test, and the three stages of training (with stored averages)."""
    arrays = fixture(shared, "sci_io")
    model, found = loaded("sci", reader.read(shared / "weights" / "sci" / f"{name}.pt"))
    assert sum(v.size for v in found.params.values()) == 258 + 5_619
    enhanced, out = apply(model, found.variables, arrays["x"])
    agrees(out["illumination"], arrays[f"{name}_illu"])
    agrees(enhanced, arrays[f"{name}_ref"])
    _, out = apply(model, found.variables, arrays["x"], cascade=True)
    agrees(out["stage0/reflectance"], arrays[f"{name}_ref"])
    for i in (1, 2):
        agrees(out[f"stage{i}/input"], arrays[f"{name}_stage{i}_in"])
        agrees(out[f"stage{i}/illumination"], arrays[f"{name}_stage{i}_illu"])
        agrees(out[f"stage{i}/reflectance"], arrays[f"{name}_stage{i}_ref"])


def test_sci_of_the_test_net_alone(shared):
    """A file without the calibration gives the same single pass."""
    arrays = fixture(shared, "sci_io")
    state = reader.read(shared / "weights" / "sci" / "easy.pt")
    alone = {key: v for key, v in state.items() if key.startswith("enhance.")}
    model, found = loaded("sci", alone)
    assert model.stages == 1
    enhanced, _ = apply(model, found.variables, arrays["x"])
    agrees(enhanced, arrays["easy_ref"])


def test_sci_aliases():
    """torch loads a block's names in order, so the last one counts where they differ."""
    from darkjax.weights.families import enhancers

    keys = ["calibrate.convs.0.bias"] + [f"calibrate.blocks.{i}.0.bias" for i in range(11)]
    state = {key: np.asarray(i, np.float32) for i, key in enumerate(keys)}
    found = enhancers._last_alias(state)
    assert found == {"calibrate.convs.0.bias": 11.0}


def kind_state(shared, *nets):
    found = {}
    for net in nets:
        found |= reader.read(shared / "weights" / "kind" / f"{net}.npz")
    return found


def test_kind_of_the_real_files(shared):
    """No outputs of the original here: what a decomposition must be, and layouts by hand."""
    state = kind_state(shared, "decom_net", "illumination_adjust_net")
    model, found = loaded("kind", state)
    assert model.restoration is False
    kernel = found.params["decomposition/conv2/kernel"]
    np.testing.assert_array_equal(kernel[0], state["DecomNet/g_conv2_1/weights"])
    up = found.params["decomposition/up1/kernel"]
    np.testing.assert_array_equal(up[1, 0].T, state["DecomNet/g_up_1/weights"][1, 0])

    still = images.read_image(shared / "data" / "stills" / "0016.png").pixels
    x = still[None, 100:161, 100:193]
    enhanced, out = apply(model, found.variables, x)
    # The net was trained so that reflectance x illumination is the picture again.
    again = np.asarray(out["reflectance"] * out["illumination"])
    assert np.abs(again - x).mean() < 0.01
    # A ratio of 5 brightens the illumination, and the picture.
    assert (out["adjusted"] > out["illumination"]).mean() > 0.99
    assert enhanced.mean() > 2 * x.mean()

    for name, net in (
        ("decomposition", "decom_net"),
        ("adjustment", "illumination_adjust_net"),
    ):
        part, alone = loaded(f"kind_{name}", kind_state(shared, net))
        inputs = x
        if name == "adjustment":
            light = np.asarray(out["illumination"])
            inputs = np.concatenate([light, np.full_like(light, 5.0)], axis=-1)
        first, _ = apply(part, alone.variables, inputs)
        expected = out["reflectance"] if name == "decomposition" else out["adjusted"]
        agrees(first, np.asarray(expected))


@pytest.mark.parametrize(
    ("name", "shapes", "parameters"),
    [
        ("kind_restoration", enhancer_shapes.kind_restoration(), 7_760_739),
        ("stable_llve", enhancer_shapes.stable_llve(), 4_316_259),
    ],
)
def test_every_name_finds_its_place(name, shapes, parameters):
    rng = np.random.default_rng(0)
    state = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    _, found = loaded(name, state)
    assert sum(v.size for v in found.params.values()) == parameters
    expected = sorted(v.sum(dtype=np.float64) for v in state.values())
    np.testing.assert_allclose(
        sorted(v.sum(dtype=np.float64) for v in found.params.values()), expected
    )
    if name == "stable_llve":
        assert found.preprocess.order == "BGR"


def test_another_file_is_refused():
    for name in zoo.ENHANCERS:
        with pytest.raises(UserError, match="does not fit"):
            loaded(name, {"fc.weight": np.zeros((2, 3), np.float32)})
    with pytest.raises(UserError, match="no classes"):
        models.build({"name": "sci"}, 11)
