"""Fusion of streams: means by hand, and small networks on codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax.errors import UserError
from darkjax.eval import fusion
from darkjax.models.code_layers import CodeLayers


def codes(seed, clips=24, width=6, classes=3):
    """Codes of two streams in which each class is seen in one stream alone, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    one, other = (rng.normal(0, 0.1, (clips, width)) for _ in range(2))
    one[:, 0] += labels == 0
    other[:, 1] += 50 * (labels == 1)  # in another scale
    return [one.astype(np.float32), other.astype(np.float32)], labels


def test_weighted_means_by_hand():
    ir = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    flow = np.array([[0.0, 0.9, 0.1], [0.5, 0.2, 0.3]])
    found = fusion.weighted_mean([ir, flow], [1, 2])  # the paper's: flow 2, infrared 1
    np.testing.assert_allclose(found, [[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]], rtol=1e-12)
    np.testing.assert_allclose(
        fusion.weighted_mean([ir, flow]), [[0.3, 0.6, 0.1], [0.35, 0.2, 0.45]], rtol=1e-12
    )
    three = fusion.weighted_mean([ir, flow, ir[::-1]], [0.5, 0, 1.5])
    np.testing.assert_allclose(three, [[0.3, 0.225, 0.475], [0.5, 0.275, 0.225]], rtol=1e-12)
    np.testing.assert_allclose(three.sum(1), 1)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1], "expected 2 weights, one a stream; found 1"),
        ([1, -2], "found 1, -2"),
        ([0, 0], "one above 0"),
        ([1, np.nan], "found 1, nan"),
    ],
)
def test_wrong_weights(weights, words):
    with pytest.raises(UserError, match=words):
        fusion.weighted_mean([np.ones((2, 3)) / 3] * 2, weights)


def test_the_two_layers_by_hand():
    params = {
        "convolution": {"kernel": [[1.0, -1.0], [2.0, 0.0]], "bias": [0.0, 0.5]},
        "head": {"kernel": [[1.0, 0.0, 2.0], [3.0, 1.0, 0.0]], "bias": [0.0, 1.0, 0.0]},
    }
    params = jax.tree.map(jnp.asarray, params, is_leaf=lambda x: isinstance(x, list))
    # [1, 1] -> [3, -0.5] -> relu [3, 0] -> [3, 1, 6]; tanh and none by the same products.
    for activation, hidden in (
        ("relu", [3.0, 0.0]),
        ("none", [3.0, -0.5]),
        ("tanh", [np.tanh(3.0), np.tanh(-0.5)]),
    ):
        layers = CodeLayers(3, 2, activation)
        a, b = hidden
        np.testing.assert_allclose(
            layers.apply({"params": params}, jnp.ones((1, 2))),
            [[a + 3 * b, b + 1, 2 * a]],
            rtol=1e-6,
        )
    only = CodeLayers(3).apply({"params": {"head": params["head"]}}, jnp.asarray([[1.0, 2.0]]))
    np.testing.assert_allclose(only, [[7.0, 3.0, 2.0]])
    with pytest.raises(UserError, match=r"activation='gelu': expected one of relu, tanh, none"):
        CodeLayers(3, 2, "gelu").init(jax.random.key(0), jnp.ones((1, 2)))


def test_the_loss_and_its_gradient():
    """Of the softmax layer: x^T (p - y) / N + decay W."""
    (one, other), labels = codes(0)
    x = jnp.asarray(np.concatenate([one, other], 1))
    layers = CodeLayers(3)
    variables = layers.init(jax.random.key(1), x[:1])
    value, grad = jax.value_and_grad(fusion.Net(decay=0.25).loss(layers, x, jnp.asarray(labels)))(
        variables
    )
    kernel = np.asarray(variables["params"]["head"]["kernel"], np.float64)
    p = np.asarray(jax.nn.softmax(layers.apply(variables, x)), np.float64)
    picked = -np.log(p[np.arange(24), labels]).mean() + 0.125 * np.square(kernel).sum()
    assert float(value) == pytest.approx(picked, rel=1e-5)
    by_hand = np.asarray(x, np.float64).T @ (p - np.eye(3)[labels]) / 24 + 0.25 * kernel
    np.testing.assert_allclose(grad["params"]["head"]["kernel"], by_hand, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("net", [fusion.Net(), fusion.Net(filters=5), fusion.Net(5, "tanh")])
def test_a_network_learns_what_neither_stream_shows_alone(net):
    known, labels = codes(0)
    trained = net.trained(known, labels, 3)
    shapes = {k: v["kernel"].shape for k, v in trained.variables["params"].items()}
    wide = {"convolution": (12, 5), "head": (5, 3)} if net.filters else {"head": (12, 3)}
    assert shapes == wide
    asked, truth = codes(1)
    found = trained.probabilities(asked)
    assert found.dtype == np.float64 and found.shape == (24, 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert (found.argmax(1) == truth).all() and found.max(1).min() > 0.5
    again = net.trained(known, labels, 3).probabilities(asked)
    np.testing.assert_array_equal(found, again)


def test_the_seed_and_the_scale_of_codes():
    known, labels = codes(0)
    asked, _ = codes(1)
    net = fusion.Net(filters=5)
    found = net.trained(known, labels, 3).probabilities(asked)
    other = fusion.Net(filters=5, seed=1).trained(known, labels, 3).probabilities(asked)
    assert np.abs(found - other).max() > 1e-6
    grown = net.trained([known[0] * 64, known[1] + 8], labels, 3)
    np.testing.assert_allclose(
        grown.probabilities([asked[0] * 64, asked[1] + 8]), found, rtol=0, atol=2e-2
    )
