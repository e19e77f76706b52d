"""Fourier transforms: numpy's values, no gathering of a sharded batch, finite phase gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkjax.ops.fourier import fft2, ifft2, safe_angle


def batch(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def mesh_of(data, model):
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_equals_numpy_and_the_inverse_returns(norm):
    x = batch(3, 5, 8)
    z = fft2(jnp.asarray(x), norm=norm)
    assert z.dtype == jnp.complex64
    np.testing.assert_allclose(z, np.fft.fft2(x, norm=norm), atol=1e-4)
    np.testing.assert_allclose(ifft2(z, norm=norm), x, atol=1e-5)


def test_ortho_keeps_the_energy_and_low_precision_is_lifted():
    x = batch(2, 4, 6)
    np.testing.assert_allclose(
        np.sum(np.abs(fft2(jnp.asarray(x), norm="ortho")) ** 2), np.sum(x**2), rtol=1e-5
    )
    assert fft2(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.complex64


def test_two_axes_are_refused():
    with pytest.raises((ValueError, TypeError)):
        fft2(jnp.zeros((4, 4)))


def energy(x):
    return jnp.sum(jnp.abs(fft2(x)) ** 2)


def round_trip(x):
    return ifft2(fft2(x) * 2.0).real


@pytest.mark.parametrize("shape", [(8, 1), (4, 2)])
@pytest.mark.parametrize("function", [round_trip, jax.grad(energy)], ids=["value", "gradient"])
def test_a_sharded_batch_is_not_gathered(shape, function):
    x = batch(16, 6, 10)
    expected = jax.jit(function)(jnp.asarray(x))
    mesh = mesh_of(*shape)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
        compiled = jax.jit(function).lower(sharded).compile()
        text = compiled.as_text()
        assert "fft(" in text
        assert "all-gather" not in text and "all-to-all" not in text
        out = compiled(sharded)
    assert out.sharding.spec[0] == "data"
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-4)


def test_a_batch_that_does_not_divide_still_works_under_a_mesh():
    x = batch(3, 4, 4)
    with jax.set_mesh(mesh_of(8, 1)):
        out = jax.jit(fft2)(jnp.asarray(x))
    np.testing.assert_allclose(out, np.fft.fft2(x), atol=1e-4)


def test_inside_shard_map_it_is_plain():
    x = batch(8, 4, 4)
    mesh = mesh_of(8, 1)
    with jax.set_mesh(mesh):
        out = jax.jit(jax.shard_map(fft2, in_specs=P("data"), out_specs=P("data")))(jnp.asarray(x))
    np.testing.assert_allclose(out, np.fft.fft2(x), atol=1e-4)


def test_phase_values():
    z = jnp.asarray([1.0, 1j, -1.0, -1j, 1 + 1j, 0.0], jnp.complex64)
    expected = np.pi * np.asarray([0, 0.5, 1, -0.5, 0.25, 0])
    np.testing.assert_allclose(safe_angle(z), expected, atol=1e-6)


def test_phase_gradient_is_finite_on_a_constant_image():
    constant = jnp.full((1, 4, 4), 0.5)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(safe_angle(fft2(x))))))(constant)
    assert np.isfinite(slope).all()
    # and it is the true one elsewhere: d angle / d imag of 2 + 0i is 1/2
    slope = jax.grad(lambda y: safe_angle(jax.lax.complex(2.0, y)))(0.0)
    np.testing.assert_allclose(slope, 0.5, rtol=1e-6)
