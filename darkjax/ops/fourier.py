"""2-D Fourier transforms that stay on their device, and a phase with a finite gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Complex, Float

# Under this magnitude a spectral value is rounding noise and its phase means nothing;
# above it, the squares in atan2's derivative do not underflow in float32.
_NO_PHASE = 1e-12


def fft2(
    x: Float[Array, "B *N S E"] | Complex[Array, "B *N S E"], *, norm: str | None = None
) -> Complex[Array, "B *N S E"]:
    """2-D discrete Fourier transform over the last two axes, in float32/complex64.

    Under ``jit`` with ``jax.set_mesh`` and a mesh axis "data" of more than one device, each
    device transforms its own examples under ``shard_map``: jax 0.10.2 would otherwise gather
    the whole batch on every device. The values do not depend on the mesh.

    Args:
        x: batch first, at least three axes, real or complex, any floating dtype.
        norm: "backward" (None), "ortho" or "forward", as in numpy.

    Returns:
        complex64, the shape of ``x``.
    """
    return on_own_examples(lambda v: jnp.fft.fft2(v, norm=norm), _single(x))


def ifft2(
    x: Float[Array, "B *N S E"] | Complex[Array, "B *N S E"], *, norm: str | None = None
) -> Complex[Array, "B *N S E"]:
    """Inverse of `fft2` with the same ``norm``; complex64."""
    return on_own_examples(lambda v: jnp.fft.ifft2(v, norm=norm), _single(x))


def safe_angle(z: Complex[Array, "*S"]) -> Float[Array, "*S"]:
    """Phase of ``z`` in radians, (-pi, pi]; 0 with gradient 0 where ``|z|`` < 1e-12.

    ``jnp.angle`` has a NaN gradient at 0, which every constant image meets: all its Fourier
    coefficients but the first are 0.
    """
    real, imag = jnp.real(z), jnp.imag(z)
    noise = jnp.maximum(jnp.abs(real), jnp.abs(imag)) < _NO_PHASE
    # Both branches of a where are differentiated: the unused one must be harmless too.
    real = jnp.where(noise, jnp.ones_like(real), real)
    imag = jnp.where(noise, jnp.zeros_like(imag), imag)
    return jnp.arctan2(imag, real)


def _single(x: Array) -> Array:
    return x.astype(jnp.complex64 if jnp.iscomplexobj(x) else jnp.float32)


def on_own_examples(
    transform: Callable[[Array], Array], x: Array, *, check_vma: bool = True
) -> Array:
    """``transform(x)``, per shard of the batch when the mesh in force splits it.

    ``check_vma`` is `jax.shard_map`'s; it refuses loops that begin with constants.
    """
    if x.ndim < 3:
        raise ValueError(f"expected [B, ..., S, E] with at least 3 axes, found shape {x.shape}")
    mesh = jax.sharding.get_abstract_mesh()
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    splits = types.get("data") == AxisType.Auto and mesh.shape["data"] > 1
    if not splits or x.shape[0] % mesh.shape["data"]:
        return transform(x)
    # Only "data" is taken over: another mesh axis stays with the compiler.
    return jax.shard_map(
        transform,
        in_specs=P("data"),
        out_specs=P("data"),
        axis_names={"data"},
        check_vma=check_vma,
    )(x)
