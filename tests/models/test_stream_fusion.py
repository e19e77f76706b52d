"""Dynamic feature fusion: weights by hand, gradients, bfloat16."""

import family
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.models.stream_fusion import StreamFusion
from darkjax.optim import flatten, unflatten

LN4 = np.log(4)


def plain(streams, weighting="softmax"):
    """The fusion whose layers all pass on what they get: stream s speaks in channel s alone.

    Its logits are the streams' sum (local) plus the mean over the map of that (global).
    """
    streams = np.asarray(streams, np.float32)
    model = StreamFusion(weighting, reduction=1, bn_eps=0.0)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), streams)

    def leaf(path, like):
        if path.endswith("kernel"):
            return jnp.eye(like.shape[-1]).reshape(like.shape)
        return jnp.full(like.shape, float(path.endswith(("scale", "var"))))

    variables = {
        kind: unflatten({k: leaf(k, v) for k, v in flatten(shapes[kind]).items()})
        for kind in shapes
    }
    return family.evaluate(model, variables, streams)


def speaking(*values):
    """Two streams on a 1x1x2 map, stream s with its two numbers in channel s, 0 in the other."""
    x = np.zeros((1, len(values), 1, 1, 2, len(values)))
    for s, places in enumerate(values):
        x[0, s, 0, 0, :, s] = places
    return x


def test_weights_by_hand():
    """Stream 0 says ln 4 and 0, the silent stream nothing: logits 1.5 ln 4 = ln 8 and ln 2."""
    fused, out = plain(speaking((LN4, 0), (0, 0)))
    expected = [[8 / 9, 2 / 3], [1 / 9, 1 / 3]]
    np.testing.assert_allclose(out["weights"][0, :, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(fused[0, 0, 0], [[8 / 9 * LN4, 0], [0, 0]], rtol=1e-5)


def test_normalised_sigmoids_by_hand():
    """Sigmoids of ln 8 and 0 are 8/9 and 1/2, of ln 2 and 0 they are 2/3 and 1/2."""
    _, out = plain(speaking((LN4, 0), (0, 0)), "sigmoid")
    expected = [[16 / 25, 4 / 7], [9 / 25, 3 / 7]]
    np.testing.assert_allclose(out["weights"][0, :, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("weighting", ["softmax", "sigmoid"])
def test_streams_that_say_the_same_get_equal_parts(weighting):
    for streams in (2, 3):
        fused, out = plain(speaking(*[(0.7, 2.0)] * streams), weighting)
        np.testing.assert_allclose(out["weights"], 1 / streams, rtol=1e-6)
        np.testing.assert_allclose(fused[0, 0, 0, :, 0], np.array([0.7, 2.0]) / streams, rtol=1e-6)


@pytest.fixture(scope="module")
def silent():
    """Two streams of which the second says nothing, and a new fusion for them."""
    x = np.random.default_rng(0).standard_normal((3, 1, 2, 3, 3, 8)).astype(np.float32)
    x = jnp.asarray(np.concatenate([x, np.zeros_like(x)], axis=1))
    model = StreamFusion()
    return model, family.init(model, x), x


def test_it_begins_as_the_mean_and_its_weights_sum_to_one(silent):
    model, variables, x = silent
    fused, out = family.evaluate(model, variables, x)
    assert out["weights"].shape == x.shape[:-1] and out["weights"].dtype == jnp.float32
    np.testing.assert_allclose(out["weights"].sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(out["weights"], 0.5, atol=0.05)
    np.testing.assert_allclose(fused, x.mean(1), atol=0.1)


def test_a_silent_stream_learns_to_get_less(silent):
    """The other one is all that there is to say."""
    model, variables, x = silent

    def loss(params):
        (fused, out), new = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.square(fused - x[:, 0]).mean(), (out["weights"], new)

    @jax.jit
    def step(params):
        grads, (weights, _) = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), weights, grads

    params = variables["params"]
    for _ in range(20):
        params, weights, grads = step(params)
        for path, grad in flatten(grads).items():
            assert np.isfinite(grad).all() and np.abs(grad).max() > 0, path
    assert (np.asarray(weights[:, 1]) < np.asarray(weights[:, 0])).all()
    assert float(weights[:, 1].mean()) < 0.3


def test_bfloat16_is_near_and_black_clips_have_finite_gradients(silent):
    model, variables, x = silent
    half = model.clone(dtype=jnp.bfloat16)
    fused, out = family.evaluate(half, variables, x)
    exact, exact_out = family.evaluate(model, variables, x)
    assert fused.dtype == jnp.bfloat16 and out["weights"].dtype == jnp.float32
    np.testing.assert_allclose(fused.astype(jnp.float32), exact, atol=0.03)
    np.testing.assert_allclose(out["weights"], exact_out["weights"], atol=0.01)

    def loss(params, x):
        (fused, _), _ = half.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.square(fused.astype(jnp.float32)).sum()

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables["params"], jnp.zeros_like(x))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_what_it_cannot_be_is_one_line(silent):
    _, _, x = silent
    for fields, said in (
        ({"weighting": "mean"}, "fusion='mean': expected one of 'softmax', 'sigmoid'"),
        ({"kernel": 2}, "kernel=2: expected an odd number"),
        ({"reduction": 9}, "0 channels"),
    ):
        model = StreamFusion(**fields)
        with pytest.raises(UserError, match=said):
            jax.eval_shape(lambda x, m=model: m.init(jax.random.key(0), x, train=False), x)
