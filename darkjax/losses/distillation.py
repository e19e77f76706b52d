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


def knowledge_distillation(
    student: Float[Array, "*B K"], teacher: Float[Array, "*B K"], temperature: float
) -> Float32[Array, "*B"]:
    """How far the student's softened answer is from the teacher's: `t^2 KL(p_teacher | p_student)`.

    Both are softmaxes of logits divided by t; the factor keeps the slope's size as t grows. The
    cross entropy of the two, which Hinton et al. write, differs by a number without slope; this is
    0 where they agree. No gradient flows into the teacher.

    Args:
      student: logits, any float dtype.
      teacher: logits of the same shape.
      temperature: t > 0.

    Returns:
      float32, >= 0.

    References:
      Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2.
    """
    expect("knowledge_distillation", "teacher's logits", teacher.shape, student.shape)
    teacher = jax.lax.stop_gradient(teacher.astype(jnp.float32))
    told = jax.nn.log_softmax(teacher / temperature, axis=-1)
    said = jax.nn.log_softmax(student.astype(jnp.float32) / temperature, axis=-1)
    return temperature**2 * jnp.sum(jnp.exp(told) * (told - said), axis=-1)
