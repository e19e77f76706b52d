"""Edge-preserving smoothing of an illumination map: one sparse linear system per picture.

    mass[p] x[p] + sum over the four neighbours q of p: w[p, q] (x[p] - x[q])  =  b[p]

The weights of LIME span seven orders of magnitude between an edge and a flat dark wall, and its
released code's are not symmetric: Krylov iterations do not converge there in any useful number
of steps, and float32 loses the mass of 1 beside weights of 1e7. So the system is solved exactly,
by nested dissection [George 1973]: the picture is cut into blocks, the unknowns inside a block
are eliminated, blocks are joined two by two, what has become inside is eliminated, and so on.
Nothing is ever subtracted [Grassmann, Taksar and Heyman 1985]: an eliminated unknown hands its
couplings, its mass and its right-hand side on in shares, so every digit of float32 is kept,
whatever the weights. All of it is batched products of small dense matrices: the same number of
steps for every picture, on any device.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Couplings(NamedTuple):
    """The system's weights, each [*B, H, W] and at least 0.

    `right[i, j]` couples pixel (i, j), in its own equation, with (i, j + 1), and so on; what
    would point out of the picture is not read.
    """

    left: Float[Array, "*B H W"]
    right: Float[Array, "*B H W"]
    up: Float[Array, "*B H W"]
    down: Float[Array, "*B H W"]


@jax.jit  # so that a call outside a program compiles once for a size
def solve(weights: Couplings, b: Float[Array, "*B H W"]) -> Float[Array, "*B H W"]:
    """The solution for a mass of 1 everywhere.

    Each x is a weighted mean of b: between its least and its largest value. A picture of
    256 x 256 takes a few tens of MB: they are solved one after the other on a CPU, where that is
    also fastest, and sixteen at a time elsewhere.

    Args:
      weights: float32.
      b: right-hand sides, at least 0, float32.

    Returns:
      float32 [*B, H, W].

    References:
      George, Nested dissection of a regular finite element mesh, SIAM J. Numer. Anal. 10 (1973).
      Grassmann, Taksar, Heyman, Regenerative analysis and steady state distributions for Markov
      chains, Operations Research 33 (1985).
    """
    height, width = b.shape[-2:]
    stack = jnp.stack([*weights, b], axis=-3).reshape(-1, 5, height, width)
    at_once = None if jax.default_backend() == "cpu" else 16
    x = jax.lax.map(lambda p: _solve(Couplings(*p[:4]), p[4]), stack, batch_size=at_once)
    return x.reshape(b.shape)


class _System(NamedTuple):
    """Dense systems of n unknowns each, one per block of a grid of blocks."""

    coupling: Array  # [bh, bw, n, n]
    mass: Array  # [bh, bw, n]
    b: Array  # [bh, bw, n]


class _Eliminated(NamedTuple):
    """How to find eliminated unknowns again: x = inverse (b + coupling x_kept)."""

    inverse: Array
    coupling: Array
    b: Array


def _solve(weights: Couplings, b: Array) -> Array:
    height, width = b.shape
    rows, columns = _blocks(height), _blocks(width)
    h, w = -(-height // rows), -(-width // columns)
    pad = ((0, rows * h - height), (0, columns * w - width))
    weights = _closed(weights, pad)
    b = jnp.pad(b, pad)
    points = np.indices((h, w)).reshape(2, -1).T  # a block's unknowns, by position
    system = _leaves(weights, b, h, w)
    leaf = points, h, w
    history: list[tuple[_Eliminated, np.ndarray, int]] = []
    while rows * columns > 1:
        inside = _inside(points, h, w, rows, columns)
        system, gone = _eliminate(system, inside)
        axis = 1 if (h >= w and columns > 1) or rows == 1 else 0
        history.append((gone, inside, axis))
        points = points[~inside]
        system = _join(system, points, weights, h, w, axis)
        step = np.array([h, 0]) if axis == 0 else np.array([0, w])
        points = np.concatenate([points, points + step])
        rows, columns = (rows // 2, columns) if axis == 0 else (rows, columns // 2)
        h, w = (h * 2, w) if axis == 0 else (h, w * 2)
    x = _dense(system.coupling, system.mass, system.b[..., None])[..., 0]
    for gone, inside, axis in reversed(history):
        x = _recover(gone, _part(x, axis), inside)
    return _picture(x, *leaf)[:height, :width]


def _blocks(length: int) -> int:
    """A power of two: how many blocks of 5 to 8 pixels (or fewer) span a side."""
    blocks = 1
    while length > 8 * blocks:
        blocks *= 2
    return blocks


def _closed(weights: Couplings, pad: tuple[tuple[int, int], ...]) -> Couplings:
    """The weights of the padded picture, none of them leading out of the real one."""
    left, right, up, down = weights
    return Couplings(
        jnp.pad(left.at[:, 0].set(0), pad),
        jnp.pad(right.at[:, -1].set(0), pad),
        jnp.pad(up.at[0].set(0), pad),
        jnp.pad(down.at[-1].set(0), pad),
    )


def _cut(x: Array, h: int, w: int) -> Array:
    """[H, W] as blocks [bh, bw, h, w]."""
    return x.reshape(x.shape[0] // h, h, x.shape[1] // w, w).transpose(0, 2, 1, 3)


def _leaves(weights: Couplings, b: Array, h: int, w: int) -> _System:
    """The smallest blocks, all their pixels as unknowns."""
    i, j = np.indices((h, w)).reshape(2, -1)
    b = _cut(b, h, w)
    b = b.reshape(*b.shape[:2], h * w)
    dense = jnp.zeros((*b.shape, h * w), b.dtype)
    for weight, down, right in zip(weights, (0, 0, -1, 1), (-1, 1, 0, 0), strict=True):
        neighbour = (i[:, None] + down == i) & (j[:, None] + right == j)
        dense += _cut(weight, h, w).reshape(b.shape)[..., None] * neighbour.astype(np.float32)
    return _System(dense, jnp.ones_like(b), b)


def _inside(points: np.ndarray, h: int, w: int, rows: int, columns: int) -> np.ndarray:
    """Which unknowns have all their neighbours in their own block, in every block.

    Where the blocks span the whole height or width, their ends have nothing outside.
    """
    i, j = points.T
    return ((i > 0) & (i < h - 1) | (rows == 1)) & ((j > 0) & (j < w - 1) | (columns == 1))


def _join(
    system: _System, points: np.ndarray, weights: Couplings, h: int, w: int, axis: int
) -> _System:
    """Blocks joined two by two, side by side (axis 1) or one above the other (axis 0)."""
    first, second = (
        jax.tree.map(lambda x, k=k: x[k::2] if axis == 0 else x[:, k::2], system) for k in (0, 1)
    )
    # The seam: the last line of the first block meets the first line of the second.
    size, along = (h, 1) if axis == 0 else (w, 0)
    last, begin = points[:, axis] == size - 1, points[:, axis] == 0
    meet = last[:, None] & begin & (points[:, None, along] == points[:, along])
    forth, back = (
        (_cut(weights.down, h, w)[::2, :, -1, :], _cut(weights.up, h, w)[1::2, :, 0, :])
        if axis == 0
        else (_cut(weights.right, h, w)[:, ::2, :, -1], _cut(weights.left, h, w)[:, 1::2, :, 0])
    )
    position = points[:, along]
    forth = forth[..., position, None] * meet.astype(np.float32)
    back = back[..., position, None] * meet.T.astype(np.float32)
    coupling = jnp.concatenate(
        [
            jnp.concatenate([first.coupling, forth], -1),
            jnp.concatenate([back, second.coupling], -1),
        ],
        -2,
    )
    mass = jnp.concatenate([first.mass, second.mass], -1)
    return _System(coupling, mass, jnp.concatenate([first.b, second.b], -1))


def _eliminate(system: _System, inside: np.ndarray) -> tuple[_System, _Eliminated]:
    """Eliminate the unknowns marked `inside`; the others inherit in shares."""
    keep, drop = np.flatnonzero(~inside), np.flatnonzero(inside)
    order, n = np.concatenate([keep, drop]), len(keep)
    coupling = system.coupling[..., order, :][..., order]
    kept, into = coupling[..., :n, :n], coupling[..., :n, n:]
    out, among = coupling[..., n:, :n], coupling[..., n:, n:]
    m, b = system.mass, system.b
    inverse = _inverse(among, m[..., drop] + jnp.sum(out, -1))
    share = _product(into, inverse)  # of each eliminated unknown, for each kept one
    kept = _hollow(kept + _product(share, out))
    mass = m[..., keep] + _apply(share, m[..., drop])
    left = _System(kept, mass, b[..., keep] + _apply(share, b[..., drop]))
    return left, _Eliminated(inverse, out, b[..., drop])


def _recover(gone: _Eliminated, x: Array, inside: np.ndarray) -> Array:
    """All unknowns of the blocks from the kept ones `x`."""
    found = _apply(gone.inverse, gone.b + _apply(gone.coupling, x))
    place = np.argsort(np.concatenate([np.flatnonzero(~inside), np.flatnonzero(inside)]))
    return jnp.concatenate([x, found], -1)[..., place]


def _part(x: Array, axis: int) -> Array:
    """The unknowns of joined blocks, given back to the two each was made of."""
    bh, bw, n = x.shape
    x = x.reshape(bh, bw, 2, n // 2)
    if axis == 0:
        return x.transpose(0, 2, 1, 3).reshape(bh * 2, bw, n // 2)
    return x.reshape(bh, bw * 2, n // 2)


def _picture(x: Array, points: np.ndarray, h: int, w: int) -> Array:
    """Blocks of all pixels as one picture."""
    bh, bw, _ = x.shape
    order = np.argsort(points[:, 0] * w + points[:, 1])
    return x[..., order].reshape(bh, bw, h, w).transpose(0, 2, 1, 3).reshape(bh * h, bw * w)


def _inverse(coupling: Array, out: Array) -> Array:
    """The inverse of `diag(out + row sums) - coupling`."""
    eye = jnp.eye(coupling.shape[-1], dtype=coupling.dtype)
    return _dense(coupling, out, jnp.broadcast_to(eye, coupling.shape))


def _dense(coupling: Array, out: Array, b: Array) -> Array:
    """The solutions of `diag(out + row sums) - coupling` for the columns of b.

    Gauss and Jordan's elimination without a subtraction, _BAND unknowns at a time: their rows
    are solved for, what all other rows had of them is replaced, and their columns are empty.
    """
    n = coupling.shape[-1]
    band = min(n, _BAND)
    more = -n % band  # unknowns that nothing is coupled with
    pad = [(0, 0)] * (coupling.ndim - 2)
    coupling = jnp.pad(coupling, [*pad, (0, more), (0, more)])
    out = jnp.pad(out, [*pad, (0, more)], constant_values=1)
    b = jnp.pad(b, [*pad, (0, more), (0, 0)])
    column = jnp.arange(n + more)

    def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        coupling, result, out = carry
        start = k * band
        rows = jax.lax.dynamic_slice_in_dim(coupling, start, band, -2)
        mine = jax.lax.dynamic_slice_in_dim(rows, start, band, -1)
        here = (column >= start) & (column < start + band)
        rows = jnp.where(here, jnp.zeros_like(rows), rows)
        exits = jax.lax.dynamic_slice_in_dim(out, start, band, -1)
        solved = _small_inverse(mine, exits + jnp.sum(rows, -1))
        rows = _product(solved, rows)
        known = _product(solved, jax.lax.dynamic_slice_in_dim(result, start, band, -2))
        share = jax.lax.dynamic_slice_in_dim(coupling, start, band, -1)
        share = jnp.where(here[:, None], jnp.zeros_like(share), share)
        coupling = jnp.where(here, jnp.zeros_like(coupling), coupling) + _product(share, rows)
        coupling = jax.lax.dynamic_update_slice_in_dim(coupling, rows, start, -2)
        result = result + _product(share, known)
        result = jax.lax.dynamic_update_slice_in_dim(result, known, start, -2)
        return _hollow(coupling), result, out + _apply(share, _apply(solved, exits))

    return jax.lax.fori_loop(0, (n + more) // band, step, (coupling, b, out))[1][..., :n, :]


def _small_inverse(coupling: Array, out: Array) -> Array:
    """The same, one unknown at a time."""
    n = coupling.shape[-1]
    eye = np.eye(n, dtype=np.float32)
    wide = jnp.concatenate([_hollow(coupling), jnp.broadcast_to(eye, coupling.shape)], -1)

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        wide, out = carry
        row = jax.lax.dynamic_index_in_dim(wide, k, -2)  # [..., 1, 2n]
        alone = jax.lax.dynamic_index_in_dim(out, k, -1)  # [..., 1]
        total = alone + jnp.sum(row[..., 0, :n], -1, keepdims=True)
        row, alone = row / total[..., None], alone / total
        share = jax.lax.dynamic_index_in_dim(wide, k, -1)  # [..., n, 1]; 0 at k itself
        here = jnp.arange(n) == k
        wide = jnp.where(here[:, None], row, wide + share * row)
        # A coupling with itself means nothing, and nobody refers to k any more.
        useless = jnp.concatenate([(eye > 0) | here, np.zeros((n, n), bool)], -1)
        return jnp.where(useless, jnp.zeros_like(wide), wide), out + share[..., 0] * alone

    return jax.lax.fori_loop(0, n, step, (wide, out))[0][..., n:]


_BAND = 64  # wide enough for the products to be most of the work


def _hollow(coupling: Array) -> Array:
    """Without the diagonal: an unknown's coupling with itself cancels."""
    return jnp.where(jnp.eye(coupling.shape[-1], dtype=bool), jnp.zeros_like(coupling), coupling)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _apply(a: Array, x: Array) -> Array:
    return _product(a, x[..., None])[..., 0]
