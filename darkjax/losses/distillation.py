"""Losses of a student that follows a teacher. E embedding."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from darkjax.losses.common import absolute, expect


def l1_distillation(
    student: Float[Array, "*B E"], teacher: Float[Array, "*B E"]
) -> Float32[Array, "*B"]:
    """Distance of the student's vector from the teacher's: `sum_i |h1_i - h2_i|`.

    A sum over the embedding, as printed, not a mean: its weight against the cross
    entropy therefore grows with E. No gradient flows into the teacher.

    Args:
      student: h2, any float dtype.
      teacher: h1, of the same shape.

    Returns:
      float32, >= 0. The subgradient where the two agree is 0.

    References:
      Susladkar et al., LIFT-Net, section IV, Eq. 6, second term.
    """
    expect("l1_distillation", "teacher's vectors", teacher.shape, student.shape)
    teacher = jax.lax.stop_gradient(teacher.astype(jnp.float32))
    return jnp.sum(absolute(student.astype(jnp.float32) - teacher), axis=-1)
