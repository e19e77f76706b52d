"""Parameter counts, frozen names, shared layers."""

import pathlib

import frozen_shapes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax import models
from darkjax.errors import UserError
from darkjax.models import layers

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
VIDEO = jax.ShapeDtypeStruct((2, 8, 32, 32, 3), jnp.float32)
PAPER = jax.ShapeDtypeStruct((1, 30, 224, 224, 3), jnp.float32)


def test_lift_net_keeps_its_parameters():
    """Names and shapes at the paper's size, frozen in tests/golden/lift_net.json.

    To make the frozen file again: DARKJAX_WRITE_GOLDEN=1 python -m pytest tests/models
    """
    model = models.build({"name": "lift_net"}, 11)
    variables = jax.eval_shape(
        lambda *x: model.init(jax.random.key(0), *x, train=False), PAPER, PAPER
    )
    frozen_shapes.check("lift_net", variables)


@pytest.mark.parametrize("name", ["r2plus1d", "resnet3d"])
def test_a_backbone_has_no_head_and_names_its_maps(name):
    model = models.build({"name": name, "variant": "18"}, None)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), VIDEO)
    assert "head" not in variables["params"]
    features, out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, VIDEO)
    assert features.shape == (2, 512)
    blocks = [f"stage{s}/{i}" for s in (1, 2, 3, 4) for i in (0, 1)]
    assert set(out) == {"stem", *blocks, "features", "pre_logits"}


def test_rematerialisation_changes_no_number():
    config = {"name": "r2plus1d", "variant": (1, 1), "width": 4, "stem_mid": 4}
    x = jax.random.normal(jax.random.key(0), (2, 4, 16, 16, 3))
    results = []
    for remat in (False, True):
        model = models.build({**config, "remat": remat}, 3)
        v = model.init(jax.random.key(1), x, train=False)

        def loss(params, model=model, v=v):
            return model.apply({**v, "params": params}, x, train=False)[0].sum()

        results.append(jax.jit(jax.value_and_grad(loss))(v["params"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), *results)


def test_batch_norm_by_groups():
    x = jnp.concatenate([jnp.zeros((2, 3)), jnp.ones((2, 3)) * 4 + jnp.array([[0.0], [2.0]])])
    norm = layers.BatchNorm(momentum=0.1, group=2)
    v = norm.init(jax.random.key(0), x, train=False)
    y, new = norm.apply(v, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y[:2], 0, atol=1e-6)
    np.testing.assert_allclose(y[2:, 0], [-1, 1], atol=1e-4)
    # Means 0 and 5; unbiased variances 0 and 2; averaged over the groups.
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * 2.5, rtol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * 1.0, rtol=1e-6)
    with pytest.raises(UserError, match="bn_group=3 does not divide the batch of 4"):
        layers.BatchNorm(group=3).init(jax.random.key(0), x, train=True)


def test_adaptive_pooling_by_hand():
    x = jnp.arange(5.0).reshape(1, 5, 1, 1, 1)
    found = layers.adaptive_avg_pool3d(x, (3, 1, 1)).ravel()
    np.testing.assert_allclose(found, [0.5, 2.0, 3.5])  # cells 0-1, 1-3, 3-4
    found = layers.adaptive_avg_pool3d(x[:, :2], (4, 1, 1)).ravel()
    np.testing.assert_allclose(found, [0, 0, 1, 1])


def test_unknown_models_and_fields_name_the_nearest():
    with pytest.raises(UserError, match="did you mean 'r2plus1d'"):
        models.build({"name": "r2plusd"}, 3)
    with pytest.raises(UserError, match="has no field 'varient': did you mean 'variant'"):
        models.build({"name": "r2plus1d", "varient": "18"}, 3)
