"""Max pooling over time, height and width, in the form that is fast on the platform.

On GPU and TPU it is XLA's `reduce_window`. On the CPU XLA makes its gradient from index arrays as
large as the input, which costs many times as much as the pooling itself. There one axis is pooled
after another and no index is kept: the gradient finds the maximum again by comparing values.
Both give the gradient of a window to its first maximum in the order of time, height, width, as
PyTorch does.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

FORMS = ("auto", "native", "separable")


def max_pool3d(
    x: Float[Array, "B T H W C"],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    form: str = "auto",
) -> Float[Array, "B t h w C"]:
    """The largest value of each window, padded with minus infinity.

    Args:
      x: clips, channels last.
      window: length over time, height and width.
      strides: likewise.
      padding: `(before, after)` likewise.
      form: `"native"`, `"separable"` or, chosen by the platform, `"auto"`.
    """
    if form not in FORMS:
        raise ValueError(f"max_pool3d: form must be one of {FORMS}, found {form!r}")
    if form == "native" or (form == "auto" and jax.default_backend() != "cpu"):
        return nn.max_pool(x, tuple(window), tuple(strides), tuple(padding))
    # The last axis first: the gradient then meets time first, and ties go to the first in time.
    for axis in (3, 2, 1):
        length, stride, pad = window[axis - 1], strides[axis - 1], tuple(padding[axis - 1])
        if (length, stride, pad) != (1, 1, (0, 0)):
            outputs = (x.shape[axis] + sum(pad) - length) // stride + 1
            x = _pool(x, Window(axis, length, stride, pad[0], outputs))
    return x


class Window(NamedTuple):
    """Windows along one axis; `before` of the first one's places are padding."""

    axis: int
    length: int
    stride: int
    before: int
    outputs: int


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool(x: Array, window: Window) -> Array:
    axis, length, stride, before, outputs = window
    size = x.shape[axis]
    # Outputs first to last see no padding: long slices. The few at the ends are made one by one,
    # which is three times faster than padding the input.
    first = min(-(-before // stride), outputs)
    last = max(min((size + before - length) // stride + 1, outputs), first)

    def largest(u: int, count: int) -> Array:
        start = u * stride - before
        taps = range(max(start, 0), min(start + length, size))
        reach = (count - 1) * stride + 1
        pieces = [lax.slice_in_dim(x, i, i + reach, stride, axis) for i in taps]
        if not pieces:
            shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
            return jnp.full(shape, -jnp.inf, x.dtype)
        return functools.reduce(jnp.maximum, pieces)

    parts = [largest(u, 1) for u in range(first)]
    parts += [largest(first, last - first)] if last > first else []
    parts += [largest(u, 1) for u in range(last, outputs)]
    return jnp.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def _forward(x: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    y = _pool(x, window)
    return y, (x, y)


def _backward(window: Window, saved: tuple[Array, Array], dy: Array) -> tuple[Array]:
    x, y = saved
    axis, length, stride, before, outputs = window
    size, reach = x.shape[axis], (outputs - 1) * stride + 1
    # As many places before and after as the windows reach over.
    x = _placed(x, axis, before, max(before + size, length + reach - 1), -jnp.inf)
    free = jnp.ones(y.shape, bool)
    parts = []
    for i in range(length):
        here = free & (lax.slice_in_dim(x, i, i + reach, stride, axis) == y)
        free &= ~here
        parts.append(jnp.where(here, dy, 0))
    # The inputs of one phase are p, p + stride, p + 2 stride ...; each tap serves one phase.
    rows = -(-x.shape[axis] // stride)
    zero = jnp.zeros((*dy.shape[:axis], rows, *dy.shape[axis + 1 :]), dy.dtype)
    phases = [
        functools.reduce(
            jnp.add, [_placed(parts[i], axis, i // stride, rows) for i in range(p, length, stride)]
        )
        if p < length
        else zero
        for p in range(stride)
    ]
    dx = jnp.stack(phases, axis + 1)
    dx = dx.reshape(*dx.shape[:axis], rows * stride, *dx.shape[axis + 2 :])
    return (lax.slice_in_dim(dx, before, before + size, axis=axis),)


_pool.defvjp(_forward, _backward)


def _placed(part: Array, axis: int, before: int, size: int, value: float = 0.0) -> Array:
    """`size` times `value` along `axis`, with `part` in them from `before` on."""
    ends = [(0, 0, 0)] * part.ndim
    ends[axis] = (before, size - before - part.shape[axis], 0)
    return lax.pad(part, jnp.asarray(value, part.dtype), ends)
