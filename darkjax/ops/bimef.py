"""BIMEF: a frame fused with a brighter exposure of itself, made by a camera's response curve.

Deviations:
- The released code stops its solver at a residual of a tenth (MATLAB's `pcg(A, b, 0.1, 50)`);
  here it iterates until float32 cannot improve the result.
- No gradient flows through the illumination map and the exposure ratio k (the entropy it
  maximises is a step function).
- The result is clipped to [0, 1]; there it is left for `imwrite` to clip.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, ScalarLike

CAMERA_A, CAMERA_B = -0.3293, 1.1258
_SMALL = 50  # pixels of a side of the picture whose entropy is judged
_TOE = 1e-6  # below it the response curve is its chord: its slope at 0 is infinite


def bimef(
    video: Float[Array, "*B H W C"],
    mu: float = 0.5,
    k: float | None = None,
    a: float = CAMERA_A,
    b: float = CAMERA_B,
    lam: float = 0.5,
    sigma: int = 5,
    sharpness: float = 1e-3,
    iterations: int = 300,
) -> Float[Array, "*B H W C"]:
    """`I W + g(I, k) (1 - W)` with `W = T ** mu`, T the illumination, each frame on its own.

    g is the camera's response to k times the light. k maximises the entropy of the dark pixels
    (T < 0.5) of a 50 x 50 copy; a frame that has none stays as it is.

    Args:
      video: values in [0, 1]; 3 channels, or any other number, whose mean is then judged.
      mu: strength; 0 gives the frame itself.
      k: exposure ratio, or None to search it in [1, 7].
      a, b: the camera's response curve.
      lam, sigma, sharpness: smoothing of the illumination: weight, window in pixels, least
        product of slopes that counts as an edge.
      iterations: of the conjugate gradients.

    Returns:
      The same shape and dtype, clipped to [0, 1].

    References:
      Ying, Li, Gao, A bio-inspired multi-exposure fusion framework for low-light image
      enhancement, arXiv:1711.00591; baidut/BIMEF, lowlight/BIMEF.m.
    """
    x = video.astype(jnp.float32)
    height, width = x.shape[-3:-1]
    frames = x.reshape(-1, *x.shape[-3:])
    fixed = jax.lax.stop_gradient(frames)
    half = _resize(jnp.max(fixed, -1), math.ceil(height / 2), math.ceil(width / 2), 0.5)
    light = _resize(smooth_texture(half, lam, sigma, sharpness, iterations), height, width)
    if k is None:
        dark = light < 0.5
        ratio, any_dark = jax.vmap(best_ratio)(fixed, dark)
        brighter = response(frames, ratio[:, None, None, None], a, b) - 0.01
        brighter = jnp.where(any_dark[:, None, None, None], brighter, frames)
    else:
        brighter = jnp.minimum(response(frames, jnp.float32(k), a, b), 1)
    # The bicubic enlargement may undershoot 0, where a power is not real.
    weight = jnp.maximum(light, 0)[..., None] ** mu
    out = frames * weight + brighter * (1 - weight)
    return jnp.clip(out, 0, 1).reshape(video.shape).astype(video.dtype)


def response(
    x: Float[Array, "*B"], k: Float[Array, "..."], a: float = CAMERA_A, b: float = CAMERA_B
) -> Float[Array, "*B"]:
    """The picture taken with k times the exposure: `exp(b (1 - k^a)) x^(k^a)`."""
    power = k**a
    curve = jnp.maximum(x, _TOE) ** power
    toe = x * _TOE ** (power - 1)
    return jnp.exp(b * (1 - power)) * jnp.where(x > _TOE, curve, toe)


@jax.jit
def best_ratio(frame: Float[Array, "H W C"], dark: Array) -> tuple[Float[Array, ""], Array]:
    """The exposure ratio in [1, 7] of greatest entropy, and whether any pixel was dark."""
    small = jnp.maximum(_resize(jnp.moveaxis(frame, -1, 0), _SMALL, _SMALL), 0)
    channels = small.shape[0]
    grey = jnp.prod(small, 0) ** (1 / 3) if channels == 3 else jnp.mean(small, 0)
    # MATLAB resizes logical pictures as 8-bit ones.
    mask = jnp.round(_resize(dark.astype(jnp.float32), _SMALL, _SMALL) * 255) > 128
    mask = mask.astype(jnp.float32).ravel()
    count = jnp.maximum(jnp.sum(mask), 1)

    def minus_entropy(k: Array) -> Array:
        # The ratio is always searched with the default camera, as in the released code.
        levels = jnp.round(jnp.clip(response(grey.ravel(), k), 0, 1) * 255).astype(jnp.int32)
        share = jnp.zeros(256, jnp.float32).at[levels].add(mask) / count
        terms = jnp.where(share > 0, share * jnp.log2(jnp.where(share > 0, share, 1.0)), 0.0)
        return jnp.sum(terms)

    return bounded_minimum(minus_entropy, 1.0, 7.0), jnp.any(mask > 0)


def bounded_minimum(
    f: Callable[[Array], Array],
    low: float,
    high: float,
    tolerance: float = 1e-4,
    iterations: int = 60,
) -> Float[Array, ""]:
    """Brent's search of one minimum of f in [low, high]: MATLAB's `fminbnd`.

    Golden sections, and parabolas through the three best points where these shrink the interval
    faster; a fixed number of steps, of which those after convergence change nothing.

    References:
      Brent, Algorithms for minimization without derivatives, 1973, chapter 5.
    """
    golden = (3 - math.sqrt(5)) / 2
    tiny = float(np.sqrt(np.finfo(np.float64).eps))
    lo, hi = jnp.float32(low), jnp.float32(high)
    x = lo + golden * (hi - lo)
    fx = f(x)
    zero = jnp.float32(0)

    def step(_: Int[Array, ""], state: tuple[Array, ...]) -> tuple[Array, ...]:
        lo, hi, x, w, v, fx, fw, fv, last, before, done = state
        middle = (lo + hi) / 2
        least = tiny * jnp.abs(x) + tolerance / 3
        done = done | (jnp.abs(x - middle) <= 2 * least - (hi - lo) / 2)
        # The parabola's vertex is x + p / q.
        r, q = (x - w) * (fx - fv), (x - v) * (fx - fw)
        p, q = (x - v) * q - (x - w) * r, 2 * (q - r)
        p, q = jnp.where(q > 0, -p, p), jnp.abs(q)
        fits = (
            (jnp.abs(before) > least)
            & (jnp.abs(p) < jnp.abs(q * before / 2))
            & (p > q * (lo - x))
            & (p < q * (hi - x))
        )
        jump = p / jnp.where(q == 0, jnp.float32(1), q)
        near = (x + jump - lo < 2 * least) | (hi - x - jump < 2 * least)
        side = jnp.where(middle >= x, least, -least)
        section = jnp.where(x >= middle, lo - x, hi - x)
        before = jnp.where(fits, last, section)
        last = jnp.where(fits, jnp.where(near, side, jump), golden * section)
        move = jnp.where(last >= 0, jnp.maximum(last, least), jnp.minimum(last, -least))
        u = x + move
        fu = f(u)
        better = fu <= fx
        new_lo = jnp.where(better, jnp.where(u >= x, x, lo), jnp.where(u < x, u, lo))
        new_hi = jnp.where(better, jnp.where(u >= x, hi, x), jnp.where(u < x, hi, u))
        second = (fu <= fw) | (w == x)
        third = (fu <= fv) | (v == x) | (v == w)
        v, fv = (
            jnp.where(better | second, a, jnp.where(third, b, c))
            for a, b, c in ((w, u, v), (fw, fu, fv))
        )
        w, fw = (
            jnp.where(better, a, jnp.where(second, b, c)) for a, b, c in ((x, u, w), (fx, fu, fw))
        )
        x, fx = jnp.where(better, u, x), jnp.where(better, fu, fx)
        new = (new_lo, new_hi, x, w, v, fx, fw, fv, last, before, done)
        kept = (jnp.where(done, a, b) for a, b in zip(state[:-1], new[:-1], strict=True))
        return (*kept, done)

    start = (lo, hi, x, x, x, fx, fx, fx, zero, zero, jnp.bool_(False))
    return jax.lax.fori_loop(0, iterations, step, start)[2]


@functools.partial(jax.jit, static_argnames=("sigma", "iterations"))
def smooth_texture(
    light: Float[Array, "B H W"],
    lam: ScalarLike = 0.5,
    sigma: int = 5,
    sharpness: ScalarLike = 1e-3,
    iterations: int = 300,
) -> Float[Array, "B H W"]:
    """The illumination without its texture: `(1 + lam * Laplacian_w) T = light` on a torus.

    The weight of an edge is `1 / (|windowed sum of slopes| |slope| + sharpness)`. Conjugate
    gradients with the diagonal as preconditioner: the weights lie within [0, 1 / sharpness].
    """
    right = lam * _texture_weights(light, -1, sigma, sharpness)
    down = lam * _texture_weights(light, -2, sigma, sharpness)
    left, up = jnp.roll(right, 1, -1), jnp.roll(down, 1, -2)
    diagonal = 1 + left + right + up + down

    def apply(x: Array) -> Array:
        # Differences first: a flat region leaves no rounding error behind.
        return (
            x
            + left * (x - jnp.roll(x, 1, -1))
            + right * (x - jnp.roll(x, -1, -1))
            + up * (x - jnp.roll(x, 1, -2))
            + down * (x - jnp.roll(x, -1, -2))
        )

    def step(_: Int[Array, ""], carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, r, p, rz = carry
        ap = apply(p)
        alpha = _ratio(rz, _dot(p, ap))
        x, r = x + alpha * p, r - alpha * ap
        z = r / diagonal
        new = _dot(r, z)
        return x, r, z + _ratio(new, rz) * p, new

    r = light - apply(light)
    z = r / diagonal
    return jax.lax.fori_loop(0, iterations, step, (light, r, z, _dot(r, z)))[0]


def _texture_weights(light: Array, axis: int, sigma: int, sharpness: ScalarLike) -> Array:
    slope = jnp.roll(light, -1, axis) - light
    length = light.shape[axis]
    # A centred window, zeros outside; an even one reaches one further ahead, as `filter2` does.
    padding = [(0, 0)] * light.ndim
    padding[axis] = ((sigma - 1) // 2, sigma // 2)
    padded = jnp.pad(slope, padding)
    parts = [jax.lax.slice_in_dim(padded, i, i + length, axis=axis) for i in range(sigma)]
    return 1 / (jnp.abs(sum(parts[1:], parts[0])) * jnp.abs(slope) + sharpness)


def _dot(a: Array, b: Array) -> Array:
    """One inner product per picture, [B, 1, 1]."""
    return jnp.sum(a * b, axis=(-2, -1), keepdims=True)


def _ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where nothing is left to do."""
    return jnp.where(b == 0, jnp.zeros_like(a), a / jnp.where(b == 0, jnp.ones_like(b), b))


def _resize(x: Array, height: int, width: int, scale: float | None = None) -> Array:
    """MATLAB's `imresize` (bicubic, wider when shrinking) of the last two axes.

    MATLAB shortens the side first that shrinks most; the order of the two changes nothing here.
    """
    rows = _resize_matrix(x.shape[-2], height, scale or height / x.shape[-2])
    columns = _resize_matrix(x.shape[-1], width, scale or width / x.shape[-1])
    precise = jax.lax.Precision.HIGHEST
    x = jnp.einsum("ij,...jw->...iw", rows, x, precision=precise)
    return jnp.einsum("ij,...hj->...hi", columns, x, precision=precise)


@functools.lru_cache(64)
def _resize_matrix(length: int, size: int, scale: float) -> np.ndarray:
    """[size, length] of bicubic weights, the picture mirrored at its borders."""
    stretch = min(scale, 1.0)  # the kernel grows by 1 / scale when shrinking
    centre = (np.arange(size) + 0.5) / scale - 0.5
    support = 4 / stretch
    first = np.floor(centre - support / 2).astype(int)
    source = first[:, None] + np.arange(math.ceil(support) + 2)
    weight = _cubic((centre[:, None] - source) * stretch)
    weight /= weight.sum(1, keepdims=True)
    mirrored = source % (2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    matrix = np.zeros((size, length))
    np.add.at(matrix, (np.arange(size)[:, None], mirrored), weight)
    return matrix.astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' bicubic kernel with a = -1/2."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))
