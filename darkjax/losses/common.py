"""What the losses share: the masked mean, |x|, and the check of shapes."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Shaped

from darkjax.errors import UserError


def masked_mean(values: Float[Array, "*B"], mask: Shaped[Array, "*B"]) -> Float32[Array, ""]:
    """Mean of the values whose mask is not 0: `sum(mask * values) / max(sum(mask), 1)`.

    Args:
      values: one per example.
      mask: 1 = count, 0 = padding; bool, integer or float (a float weighs).

    Returns:
      float32 scalar; 0 when everything is masked. A masked value may be NaN or infinite.
    """
    expect("masked_mean", "mask", mask.shape, values.shape)
    mask = mask.astype(jnp.float32)
    kept = jnp.where(mask != 0, values.astype(jnp.float32), 0.0)  # NaN * 0 would be NaN
    return jnp.sum(mask * kept) / jnp.maximum(jnp.sum(mask), 1.0)


def absolute(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """|x| whose slope at 0 is 0 (JAX says 1): what agrees is not pushed apart."""
    return jnp.where(x == 0, 0.0, jnp.abs(x))


def expect(loss: str, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse what broadcasting would silently accept."""
    if found != expected:
        raise UserError(
            f"{loss}: expected {name} of shape {expected}, found {found}; "
            "make the two sides agree (classes, embedding width, size or batch)"
        )
