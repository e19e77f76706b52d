"""Models with generated weights give the originals' outputs, through the real conversion path."""

import golden_weights as golden
import jax
import numpy as np
import pytest

from darkjax import models
from darkjax.optim import flatten, unflatten
from darkjax.weights import names, zoo


def converted(arch, source, **fields):
    """The model and its variables, by the path `weights.convert` takes."""
    clean = names.stripped(source, arch.names.strip)
    config = {**arch.model, **arch.infer(clean), **fields}
    classes = config.pop("num_classes")
    return models.build(config, classes), names.rename(source, arch.names)


def check_fit(model, found, x):
    """All four lists are empty but the first; returns the variables."""
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    variables = {}
    for kind in ("params", "batch_stats"):
        wanted = {k: v.shape for k, v in flatten(shapes.get(kind, {})).items()}
        fit = names.fit(getattr(found, kind), wanted)
        assert (fit.missing, fit.extra, fit.other_shape) == ([], [], [])
        variables[kind] = unflatten(fit.placed)
    assert found.unknown == []
    return variables


# entry -> architecture, where that has another name; all that are compared
NAMES = {"r3d18_A": "r3d18_a", "r3d50_B": "r3d50", "r3d_18_tv": "r3d18_tv"}
NAMES |= {"r2plus1d_18_tv": "r2plus1d18", "r2plus1d34_ig65m": "r2plus1d34"}
NAMES |= {"resnext101_B": "resnext101"}
ENTRIES = [*NAMES, "c3d", "i3d", "s3d", "mobilenet3d_v2", "slowfast_r50_4x16", "tsm_resnet50"]
ENTRIES += ["swin3d_t"]
TRANSFORMERS = ("swin3d_t",)
SLOW = ("r3d50_B", "resnext101_B", "c3d", "i3d", "slowfast_r50_4x16")


@pytest.mark.parametrize(
    "entry", [pytest.param(e, marks=pytest.mark.slow) if e in SLOW else e for e in ENTRIES]
)
def test_logits_are_the_originals(shared, entry):
    name = NAMES.get(entry, entry)
    share = 3e-5 if entry in TRANSFORMERS else 1e-4  # of the maximum, by which numbers may differ
    meta, arrays = golden.load(shared / "golden", entry)
    x = golden.inputs(meta)
    model, found = converted(zoo.get(name), golden.state_dict(meta))
    variables = check_fit(model, found, x)
    step = jax.jit(lambda v, x: model.apply(v, x, train=False))
    inputs = [("", x)] + ([("_b", golden.blocky(meta))] if meta["input_b"] else [])
    for suffix, clip in inputs:
        logits, out = step(variables, clip)
        features = out.get("frame_features", out["pre_logits"])
        for key, mine in (("logits", logits), ("features", features)):
            theirs = arrays[key + suffix]
            mine = np.asarray(mine)
            if mine.shape != theirs.shape:  # the original leaves an axis of length one
                theirs = theirs.reshape(mine.shape)
            assert np.abs(mine - theirs).max() <= share * np.abs(theirs).max(), key + suffix


def test_the_generator_gives_its_test_vector():
    meta = {"g": 2.0, "std_override": {"cls_token": 0.5}, "norm_scale_suffixes": ["a_2"]}
    kernel = golden.entry("conv1.weight", (8, 3, 3, 3, 3), meta)
    np.testing.assert_array_equal(kernel.ravel()[:2], np.float32([0.0199404936, 0.0854536891]))
    assert golden.entry("blk.norm.b_2", (6,), meta)[0] == np.float32(-0.019207226112484932)
    assert golden.entry("cls_token", (1, 1, 4), meta)[0, 0, 0] == np.float32(0.5031756162643433)
