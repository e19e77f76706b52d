"""The gradient of a convolution for its input, as convolutions of the cotangent.

The transpose that XLA derives is slow on the CPU; the same fast form applied to the cotangent
with the flipped kernel is not. A strided convolution is split into phases: the inputs of one phase
(index modulo the stride) meet only every s-th tap, so each phase is a small convolution without
stride.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array, lax

Pads = Sequence[tuple[int, int]]
# convolve(cotangent, kernel with its taps flipped but its channels not swapped, padding)
Convolve = Callable[[Array, Array, Pads], Array]


def input_gradient(
    convolve: Convolve,
    dy: Array,
    kernel: Array,
    shape: Sequence[int],
    strides: Sequence[int],
    padding: Pads,
) -> Array:
    """`[B, T, H, W, C]` of `shape` from the cotangent `[B, t, h, w, O]`.

    `convolve` is a stride-1 convolution from the kernel's outputs to its inputs.
    """
    zero = jnp.zeros((), dy.dtype)
    sizes = [-(-shape[1 + i] // strides[i]) for i in range(3)]  # inputs of each phase
    pieces = []
    for phase in itertools.product(*(range(s) for s in strides)):
        taps, pads, crop = [], [], []
        for i, at in enumerate(phase):
            # Input j = s * n + at meets tap a where a = j + before mod s, at output u:
            # u * s + a = j + before. With a = first + s * m that is u = n + shift - m.
            shift, first = divmod(at + padding[i][0], strides[i])
            count = len(range(first, kernel.shape[i], strides[i]))
            taps.append(slice(first, None, strides[i]))
            low = count - 1 - shift
            high = sizes[i] - 1 + shift - (dy.shape[1 + i] - 1)
            pads.append((max(low, 0), max(high, 0)))
            crop.append((min(low, 0), min(high, 0), 0))
        part = kernel[tuple(taps)]
        if 0 in part.shape:
            pieces.append(jnp.zeros((shape[0], *sizes, shape[-1]), dy.dtype))
            continue
        cropped = lax.pad(dy, zero, ((0, 0, 0), *crop, (0, 0, 0)))
        pieces.append(convolve(cropped, part[::-1, ::-1, ::-1], pads))
    if len(pieces) == 1:
        return pieces[0]
    # Phases are woven together: [st, sh, sw] pieces of [B, T, H, W, C].
    for axis, s in ((3, strides[2]), (2, strides[1]), (1, strides[0])):
        pieces = [_weave(pieces[i : i + s], axis) for i in range(0, len(pieces), s)]
    return pieces[0][:, : shape[1], : shape[2], : shape[3]]


def _weave(pieces: Sequence[Array], axis: int) -> Array:
    """`[a0, b0, a1, b1, ...]` along an axis."""
    if len(pieces) == 1:
        return pieces[0]
    shape = list(pieces[0].shape)
    shape[axis] *= len(pieces)
    return jnp.stack(pieces, axis=axis + 1).reshape(shape)
