"""Gradient reversal: the layer between features and a head that they are to deceive."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def reverse_gradient(x: Any, scale: Float[Array, ""] | float) -> Any:
    """`x` as it is; on the way back its gradient times `-scale`.

    What lies behind learns to lower a loss, what lies before to raise it, by one backward pass.
    For reverse mode only (no `jvp`): what it does is no derivative. `grad` of `grad` is the
    derivative of what the first one gave.

    Args:
      x: an array `[*S]` of any float dtype, or a tree of them.
      scale: lambda, at least 0; may be traced. Its own gradient is 0.

    References:
      Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, 2015, Eq. 16-17;
      3D-DiNet, Section II, "inverting the effect of domain classification loss".
    """
    del scale
    return x


def _forward(x: Any, scale: Float[Array, ""] | float) -> tuple[Any, Array]:
    return x, jnp.asarray(scale, jnp.float32)


def _backward(scale: Float[Array, ""], g: Any) -> tuple[Any, Array]:
    return jax.tree.map(lambda g: -scale.astype(g.dtype) * g, g), jnp.zeros_like(scale)


reverse_gradient.defvjp(_forward, _backward)
