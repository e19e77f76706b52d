"""Gradient reversal: the analytic gradient, min-max by hand, every transformation of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkjax import losses
from darkjax.ops.reversal import reverse_gradient

X = jnp.asarray([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])


def through(x, scale):
    return jnp.sum(jnp.sin(reverse_gradient(x, scale)) * jnp.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_forward_is_the_identity_and_backward_minus_the_scale(scale, wrap):
    assert (wrap(reverse_gradient)(X, scale) == X).all()
    grads = wrap(jax.grad(through, argnums=(0, 1)))(X, jnp.float32(scale))
    expected = -scale * np.cos(X) * np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(grads[0], expected, rtol=1e-6, atol=1e-7)
    assert grads[1] == 0  # nobody learns lambda


def test_under_vmap_each_has_its_own_scale():
    scales = jnp.asarray([0.5, 2.0])
    grads = jax.vmap(jax.grad(lambda x, s: jnp.sum(reverse_gradient(x, s) ** 2)))(X, scales)
    np.testing.assert_allclose(grads, -scales[:, None] * 2 * X, rtol=1e-6)


def test_a_gradient_of_a_gradient_is_the_derivative_of_the_first():
    def first(x, scale):
        return jax.grad(lambda x: reverse_gradient(x, scale) ** 3)(x)

    assert first(2.0, 0.5) == -0.5 * 3 * 4
    by_x, by_scale = jax.grad(first, argnums=(0, 1))(2.0, 0.5)
    assert by_x == -0.5 * 6 * 2 and by_scale == -3 * 4


def test_bfloat16_stays_bfloat16_and_trees_are_reversed_leaf_by_leaf():
    tree = {"a": X.astype(jnp.bfloat16), "b": X[0]}
    grads = jax.grad(
        lambda t: sum(
            x.astype(jnp.float32).sum() for x in jax.tree.leaves(reverse_gradient(t, 0.5))
        )
    )(tree)
    assert grads["a"].dtype == jnp.bfloat16 and grads["b"].dtype == jnp.float32
    for leaf in jax.tree.leaves(grads):
        assert (leaf == -0.5).all()


def test_sharded_arrays_stay_where_they_are():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = jax.device_put(jnp.arange(16.0).reshape(8, 2), rows)
    y, g = jax.jit(jax.value_and_grad(lambda x: jnp.sum(reverse_gradient(x, 0.5) ** 2)))(x)
    assert y == jnp.sum(x**2) and g.sharding.is_equivalent_to(rows, 2)
    np.testing.assert_array_equal(g, -x)


def test_one_pass_is_the_two_of_min_max():
    """The domain head goes down its loss, the features up that loss times lambda: by hand, each
    with a backward pass of its own."""
    keys = jax.random.split(jax.random.key(0), 4)
    video, which = jax.random.normal(keys[0], (8, 5)), jnp.asarray([0.0, 1.0] * 4)
    features = jax.random.normal(keys[1], (5, 4))
    head = {"w": jax.random.normal(keys[2], (4,)), "b": jax.random.normal(keys[3], ())}
    scale = 0.7

    def loss(features, head, reverse):
        x = jnp.tanh(video @ features)
        x = reverse_gradient(x, scale) if reverse else x
        return losses.binary_cross_entropy(x @ head["w"] + head["b"], which).mean()

    down = jax.grad(lambda h: loss(features, h, False))(head)
    up = jax.grad(lambda f: scale * -loss(f, head, False))(features)
    once = jax.grad(lambda both: loss(*both, True))((features, head))
    np.testing.assert_allclose(once[0], up, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), once[1], down)
    assert np.abs(up).max() > 1e-3
