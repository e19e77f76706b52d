"""Convolutions for the CPU from matrix products, 2-D convolutions and multiply-adds.

XLA's native 3-D convolution is 3 to 10 times slower there, its grouped one 30 to 600 times.

- 1x1x1: one matrix product;
- kx1x1: a sum over the k time taps of matrix products on shifted slices;
- 1xkxk: a 2-D convolution on the folded (batch, time) axis;
- kxkxk: a sum over the k time taps of such 2-D convolutions;
- few input channels (a stem): the time taps become channels of one 2-D convolution, which makes
  output frames in pairs where that was measured to pay;
- depthwise: a sum of shifted multiply-adds;
- grouped: neighbouring groups are merged into blocks of some 64 channels, the kernel zero between
  them, and each block is a convolution without groups.

The input's gradient is the same form on the cotangent with the flipped kernel (`conv_gradient`),
the kernel's gradient one matrix product for each tap. Everything is summed in float32. Reverse mode
only. Not for loops (`lax.scan`) on the CPU: the 2-D convolutions are XLA's own.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from darkjax.ops import conv_gradient

Pads = Sequence[tuple[int, int]]
BLOCK = 64  # channels that merged groups should have
PAIRED = range(32, 65)  # output channels of a strided stem that makes frames in pairs


def conv3d(x: Array, kernel: Array, strides: tuple, padding: tuple, groups: int) -> Array:
    """The convolution of `ops.conv.conv3d`."""
    y = _conv3d(x.astype(jnp.float32), kernel.astype(jnp.float32), strides, padding, groups)
    return y.astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv3d(x: Array, kernel: Array, strides: tuple, padding: tuple, groups: int) -> Array:
    return _convolve(x, kernel, strides, padding, groups)


def _forward(x: Array, kernel: Array, *how: object) -> tuple[Array, tuple[Array, Array]]:
    return _conv3d(x, kernel, *how), (x, kernel)


def _backward(strides: tuple, padding: tuple, groups: int, saved: tuple, dy: Array) -> tuple:
    x, kernel = saved

    def convolve(dy: Array, kernel: Array, pads: Pads) -> Array:
        *taps, inputs, outputs = kernel.shape
        kernel = kernel.reshape(*taps, inputs, groups, outputs // groups)
        kernel = jnp.transpose(kernel, (0, 1, 2, 5, 4, 3))
        kernel = kernel.reshape(*taps, outputs // groups, groups * inputs)
        return _convolve(dy, kernel, (1, 1, 1), tuple(pads), groups)

    dx = conv_gradient.input_gradient(convolve, dy, kernel, x.shape, strides, padding)
    return dx, kernel_gradient(x, dy, kernel.shape[:3], strides, padding, groups)


_conv3d.defvjp(_forward, _backward)


def kernel_gradient(
    x: Array, dy: Array, taps: tuple, strides: tuple, padding: Pads, groups: int
) -> Array:
    """For every tap the product of the inputs it saw, transposed, and the cotangent."""
    inputs, outputs = x.shape[-1] // groups, dy.shape[-1] // groups
    if groups == 1 and taps[0] > 1 and inputs <= 4:  # wider products, as in `_over_time_taps`
        x = _taps_as_channels(x, taps[0], dy.shape[1], strides[0], padding[0])
        dk = kernel_gradient(
            x, dy, (1, *taps[1:]), (1, *strides[1:]), ((0, 0), *padding[1:]), groups
        )
        return jnp.moveaxis(dk.reshape(*taps[1:], taps[0], inputs, outputs), 2, 0)
    x = jnp.pad(x, ((0, 0), (0, 0), *padding[1:], (0, 0)))
    rows = []
    for piece, at in _slices(x, taps, dy.shape[1:4], strides, (padding[0], (0, 0), (0, 0))):
        if piece is None:
            rows.append(jnp.zeros((inputs, groups * outputs), dy.dtype))
            continue
        seen = dy[(slice(None), *at)]
        if inputs == outputs == 1:
            rows.append((piece * seen).sum((0, 1, 2, 3))[None])
        elif groups == 1:
            product = (((0,), (0,)), ((), ()))
            rows.append(
                lax.dot_general(piece.reshape(-1, inputs), seen.reshape(-1, outputs), product)
            )
        else:
            piece = piece.reshape(-1, groups, inputs)
            row = jnp.einsum("ngi,ngo->igo", piece, seen.reshape(-1, groups, outputs))
            rows.append(row.reshape(inputs, groups * outputs))
    return jnp.stack(rows).reshape(*taps, inputs, groups * outputs)


def _slices(
    x: Array, taps: Sequence[int], out: Sequence[int], strides: Sequence[int], padding: Pads
) -> Iterator[tuple[Array | None, tuple[slice, ...]]]:
    """For each tap, the inputs it sees and the outputs that see them; None where there are none.

    Output u of an axis reads input `u * stride + tap - before`: only the u where it exists.
    """

    def axis(i: int, tap: int) -> tuple[slice, slice] | None:
        s, before, size = strides[i], padding[i][0], x.shape[1 + i]
        first = max(0, -(-(before - tap) // s))
        last = min(out[i] - 1, (size - 1 + before - tap) // s)
        if last < first:
            return None
        start = first * s + tap - before
        return slice(start, start + (last - first) * s + 1, s), slice(first, last + 1)

    for tap in itertools.product(*(range(k) for k in taps)):
        found = [axis(i, a) for i, a in enumerate(tap)]
        if None in found:
            yield None, ()
        else:
            yield (
                x[(slice(None), *(f[0] for f in found if f))],
                tuple(f[1] for f in found if f),
            )


def _convolve(x: Array, kernel: Array, strides: tuple, padding: tuple, groups: int) -> Array:
    inputs, outputs = kernel.shape[3], kernel.shape[4] // groups
    if groups == 1:
        return _over_time_taps(x, kernel, strides, padding)
    if inputs == outputs == 1:
        return _depthwise(x, kernel, strides, padding)
    # The largest divisor of the groups whose block has at most BLOCK channels.
    merged = max(
        m
        for m in range(1, groups + 1)
        if groups % m == 0 and (m == 1 or m * max(inputs, outputs) <= BLOCK)
    )
    blocks = groups // merged
    between = jnp.eye(merged, dtype=kernel.dtype)  # zero from a group to another
    parts = kernel.reshape(*kernel.shape[:4], blocks, merged, outputs)
    y = []
    for block in range(blocks):
        part = jnp.einsum("abcimo,nm->abcnimo", parts[..., block, :, :], between)
        part = part.reshape(*kernel.shape[:3], merged * inputs, merged * outputs)
        piece = x[..., block * merged * inputs : (block + 1) * merged * inputs]
        y.append(_over_time_taps(piece, part, strides, padding))
    return jnp.concatenate(y, axis=-1)


def _depthwise(x: Array, kernel: Array, strides: tuple, padding: tuple) -> Array:
    taps = kernel.shape[:3]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], taps, strides, strict=True)]
    pieces = _slices(x, taps, out, strides, ((0, 0),) * 3)
    weights = kernel.reshape(-1, kernel.shape[-1])
    return functools.reduce(
        jnp.add, (p * w for (p, _), w in zip(pieces, weights, strict=True) if p is not None)
    )


def _over_time_taps(x: Array, kernel: Array, strides: tuple, padding: tuple) -> Array:
    """Sum over the kernel's time taps of per-frame convolutions; no padded frame is computed."""
    kt, frames, stride = kernel.shape[0], x.shape[1], strides[0]
    before, after = padding[0]
    out_frames = (frames + before + after - kt) // stride + 1
    spatial, inputs = kernel.shape[1:3], kernel.shape[3]
    if kt > 1 and inputs <= (16 if spatial == (1, 1) else 4):
        strided = min(strides[1:]) > 1
        if strided and out_frames > 1 and kernel.shape[-1] in PAIRED:
            return _paired_stem(x, kernel, strides, padding, out_frames)
        # Few input channels (a stem): the taps become channels of one convolution.
        x = _taps_as_channels(x, kt, out_frames, stride, padding[0])
        return _per_frame(x, _taps_first(kernel), strides, padding)
    pieces = []
    out = (out_frames, *x.shape[2:4])
    whole = ((0, 0), (0, 0))
    for tap, (piece, at) in enumerate(
        _slices(x, (kt, 1, 1), out, (stride, 1, 1), (padding[0], *whole))
    ):
        if piece is None:
            continue
        piece = _per_frame(piece, kernel[tap], strides, padding)
        zeros = (at[0].start, out_frames - at[0].stop)
        if zeros != (0, 0):
            piece = jnp.pad(piece, ((0, 0), zeros, (0, 0), (0, 0), (0, 0)))
        pieces.append(piece)
    if not pieces:  # every frame that a window sees is padding
        return _per_frame(
            jnp.zeros_like(x, shape=(x.shape[0], out_frames, *x.shape[2:])),
            kernel[0],
            strides,
            padding,
        )
    return functools.reduce(jnp.add, pieces)


def _taps_as_channels(x: Array, kt: int, frames: int, stride: int, pad: tuple[int, int]) -> Array:
    """`[B, t, H, W, kt * C]`: the frames that each of the output's `frames` sees."""
    x = jnp.pad(x, ((0, 0), pad, (0, 0), (0, 0), (0, 0)))
    taps = [x[:, i : i + (frames - 1) * stride + 1 : stride] for i in range(kt)]
    return jnp.concatenate(taps, axis=-1)


def _taps_first(kernel: Array) -> Array:
    """`[kh, kw, kt * I, O]`, the channels in the order of `_taps_as_channels`."""
    kernel = jnp.moveaxis(kernel, 0, 2)
    return kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])


def _paired_stem(x: Array, kernel: Array, strides: tuple, padding: tuple, frames: int) -> Array:
    """A stem that makes two neighbouring output frames as the channels of one.

    Both see the taps of either, their kernels are zero for the other's: more products, but twice
    as many for every input that is read. R3D-18's stem takes 0.6 of the time.
    """
    kt, stride, outputs = kernel.shape[0], strides[0], kernel.shape[-1]
    before, after = padding[0]
    after += stride * (frames % 2)  # an odd number has an empty partner
    x = _taps_as_channels(x, kt + stride, -(-frames // 2), 2 * stride, (before, after))
    both = [((0, stride), *((0, 0),) * 4), ((stride, 0), *((0, 0),) * 4)]
    kernel = jnp.concatenate([jnp.pad(kernel, ends) for ends in both], axis=-1)
    y = _per_frame(x, _taps_first(kernel), strides, padding)
    y = jnp.moveaxis(y.reshape(*y.shape[:-1], 2, outputs), 4, 2)  # b pair frame h w o
    return y.reshape(y.shape[0], -1, *y.shape[3:])[:, :frames]


def _per_frame(x: Array, kernel: Array, strides: tuple, padding: tuple) -> Array:
    """A 2-D convolution of every frame: `[B, T, H, W, C]` with `[kh, kw, C, O]`."""
    b, t = x.shape[:2]
    if kernel.shape[:2] == (1, 1) and tuple(padding[1:]) == ((0, 0), (0, 0)):
        x = x[:, :, :: strides[1], :: strides[2]]
        # Two-dimensional, so that it is one plain matrix product.
        y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
        return y.reshape(*x.shape[:-1], -1)
    y = lax.conv_general_dilated(
        x.reshape(b * t, *x.shape[2:]),
        kernel,
        tuple(strides[1:]),
        tuple(padding[1:]),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(b, t, *y.shape[1:])
