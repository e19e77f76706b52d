"""The one 3-D convolution every model uses, in the form that is fast on the platform.

On GPU and TPU this is `lax.conv_general_dilated`. XLA's CPU backend has no fast 3-D
convolution (its native one is 3-10 times slower than the exact forms below), so on the CPU
the common factorised kernels become matrix products and 2-D convolutions:

- 1x1x1: one matrix product;
- kx1x1: a sum over the k time taps of matrix products on shifted slices;
- 1xkxk: a 2-D convolution on the folded (batch, time) axis;
- kxkxk: a sum over the k time taps of such 2-D convolutions.

All forms compute the same sums; only the order of additions differs. The kernel's gradient of a
2-D convolution is a matrix product for each tap there: XLA's own is 3 to 5 times slower.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

FORMS = ("auto", "native", "taps")
Pads = Sequence[tuple[int, int]]


def conv3d(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "kt kh kw I O"],
    *,
    strides: Sequence[int] = (1, 1, 1),
    padding: Pads = ((0, 0), (0, 0), (0, 0)),
    groups: int = 1,
    form: str = "auto",
) -> Float[Array, "B t h w O"]:
    """Cross-correlate clips with a kernel (what deep learning calls convolution).

    Args:
      x: clips, channels last.
      kernel: `[kt, kh, kw, C // groups, O]`, same dtype as `x`.
      strides: over time, height and width.
      padding: zeros `(before, after)` for time, height and width.
      groups: channels are cut into this many independent groups.
      form: `"native"` is XLA's own convolution, `"taps"` the sums over time taps of the
        module's docstring, `"auto"` takes taps on the CPU and native elsewhere.

    Returns:
      The output clips, in the dtype of `x`.
    """
    if form not in FORMS:
        raise ValueError(f"conv3d: form must be one of {FORMS}, found {form!r}")
    if form == "auto":
        form = "taps" if jax.default_backend() == "cpu" and groups == 1 else "native"
    if form == "native":
        return lax.conv_general_dilated(
            x,
            kernel,
            tuple(strides),
            tuple(padding),
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
            feature_group_count=groups,
        )
    return _over_time_taps(x, kernel, tuple(strides), tuple(padding), groups)


def _over_time_taps(
    x: Array, kernel: Array, strides: tuple[int, ...], padding: tuple, groups: int
) -> Array:
    """Sum over the kernel's time taps of per-frame convolutions; no padded frame is computed."""
    kt, frames, stride = kernel.shape[0], x.shape[1], strides[0]
    before, after = padding[0]
    out_frames = (frames + before + after - kt) // stride + 1
    spatial, inputs = kernel.shape[1:3], kernel.shape[3]
    if kt > 1 and inputs <= (16 if spatial == (1, 1) else 4):
        # Few input channels (a stem): the taps become channels of one convolution.
        x = jnp.pad(x, ((0, 0), (before, after), (0, 0), (0, 0), (0, 0)))
        taps = [x[:, i : i + (out_frames - 1) * stride + 1 : stride] for i in range(kt)]
        kernel = jnp.moveaxis(kernel, 0, 2)  # kh kw kt I O
        kernel = kernel.reshape(1, *kernel.shape[:2], -1, kernel.shape[-1])
        return _per_frame(jnp.concatenate(taps, axis=-1), kernel[0], strides, padding, groups)
    pieces = []
    for tap in range(kt):
        # Output frame t reads input frame t * stride + tap - before: keep the t where it exists.
        first = max(0, -(-(before - tap) // stride))
        last = min(out_frames - 1, (frames - 1 + before - tap) // stride)
        if last < first:
            continue
        start = first * stride + tap - before
        piece = x[:, start : start + (last - first) * stride + 1 : stride]
        piece = _per_frame(piece, kernel[tap], strides, padding, groups)
        zeros = (first, out_frames - 1 - last)
        if zeros != (0, 0):
            piece = jnp.pad(piece, ((0, 0), zeros, (0, 0), (0, 0), (0, 0)))
        pieces.append(piece)
    return functools.reduce(jnp.add, pieces)


def _per_frame(x: Array, kernel: Array, strides: tuple, padding: tuple, groups: int) -> Array:
    """A 2-D convolution of every frame: `[B, T, H, W, C]` with `[kh, kw, C, O]`."""
    b, t = x.shape[:2]
    if kernel.shape[:2] == (1, 1) and tuple(padding[1:]) == ((0, 0), (0, 0)) and groups == 1:
        x = x[:, :, :: strides[1], :: strides[2]]
        # Two-dimensional, so that the kernel's gradient is a plain matrix product too.
        y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
        return y.reshape(*x.shape[:-1], -1)
    frames = x.reshape(b * t, *x.shape[2:])
    if groups == 1 and kernel.shape[2] >= 8:
        y = _conv2d(frames, kernel, tuple(strides[1:]), tuple(padding[1:]))
    else:
        y = _native2d(frames, kernel, tuple(strides[1:]), tuple(padding[1:]), groups)
    return y.reshape(b, t, *y.shape[1:])


def _native2d(x: Array, kernel: Array, strides: tuple, padding: tuple, groups: int = 1) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(x: Array, kernel: Array, strides: tuple, padding: tuple) -> Array:
    """XLA's 2-D convolution with a kernel gradient made of matrix products."""
    return _native2d(x, kernel, strides, padding)


def _forward(x: Array, kernel: Array, strides: tuple, padding: tuple) -> tuple[Array, tuple]:
    return _native2d(x, kernel, strides, padding), (x, kernel)


def _backward(strides: tuple, padding: tuple, saved: tuple, dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = jax.vjp(lambda x: _native2d(x, kernel, strides, padding), x)[1](dy)[0]
    (kh, kw, inputs, outputs), (rows, cols) = kernel.shape, dy.shape[1:3]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    dy = dy.reshape(-1, outputs)
    taps = []
    for i in range(kh):
        for j in range(kw):
            end_i, end_j = i + (rows - 1) * strides[0] + 1, j + (cols - 1) * strides[1] + 1
            piece = x[:, i : end_i : strides[0], j : end_j : strides[1]]
            taps.append(lax.dot_general(piece.reshape(-1, inputs), dy, (((0,), (0,)), ((), ()))))
    return dx, jnp.stack(taps).reshape(kernel.shape)


_conv2d.defvjp(_forward, _backward)
