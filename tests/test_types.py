"""Annotations hold while tests run: shapes, dtypes and plain types of all that computes."""

import dataclasses

import jax.numpy as jnp
import jaxtyping
import pytest

from darkjax import losses
from darkjax.errors import UserError
from darkjax.weights.arch import Preprocess, classes_of


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: losses.masked_mean(jnp.zeros(3), jnp.zeros(1)), "mask"),  # a shape
        (lambda: losses.masked_mean(jnp.zeros(3, jnp.int32), jnp.zeros(3)), "values"),  # a dtype
        (lambda: classes_of("head", 1), "keys"),  # a plain type
        (lambda: Preprocess(mean=(0.5,), std=(1.0,), frames="8"), "frames"),  # a field
    ],
)
def test_a_wrong_argument_is_found(call, named):
    with pytest.raises(jaxtyping.TypeCheckError, match=f"parameter '{named}'"):
        call()


def test_an_integer_may_stand_for_a_float():
    assert dataclasses.replace(Preprocess(mean=(0,), std=(1,)), scale=255).scale == 255


def test_bad_input_is_refused_in_the_words_of_the_function():
    with pytest.raises(UserError, match="expected mask of shape"):
        losses.masked_mean(jnp.zeros(3), jnp.zeros(1))
