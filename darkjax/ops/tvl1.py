"""TV-L1 optical flow of Zach, Pock and Bischof (DAGM 2007), by duality.

    E(u) = sum lambda |I1(x + u) - I0| + |grad u_x| + |grad u_y|

The data term, linear about the flow at each warp, is held near the flow by (u - v)^2 / (2 theta):
v is a threshold at each pixel (Eq. 9), u is v + theta div p with a dual field p for each
component (Eq. 10, 11). The steps and their stop are those of Sanchez, Meinhardt-Llopis and
Facciolo, "TV-L1 optical flow estimation" (IPOL 2013), as OpenCV's DualTVL1: a warp ends when the
mean squared change of the flow is at most epsilon^2, and a median filter cleans the flow at each
outer iteration [Wedel et al. 2009].

Deviations:
- OpenCV's additional illumination term is there for `gamma` above 0 only, and not here at all.
- The data term is left out where the flow points out of the picture.
- The number of steps depends on the pictures, so reverse-mode gradients need `epsilon=0`: all the
  steps are then done, and every one of them is kept in memory.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkjax.ops import pyramid

_UNIT = 255.0  # lambda and epsilon belong to 8-bit values
_FLAT = 1e-9  # squared gradients below it say nothing about motion


@dataclasses.dataclass(frozen=True)
class TVL1:
    """Parameters, OpenCV's; and the flow of a pair by `pair`.

    Attributes:
        tau: step of the dual.
        lambda_: weight of the data term, for values in 0 to 255.
        theta: how near v is held to the flow.
        nscales: levels of the pyramid at most.
        warps: on each level.
        epsilon: change of the flow (root mean square, in pixels) that ends a warp; 0 never does.
        inner_iterations, outer_iterations: at most, for each warp.
        scale_step: of one level's size to the next.
        median_filtering: width of the median filter at each outer iteration; 1 is none.
        sigma: Gaussian blur of both pictures before, in pixels; 0 is none.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    nscales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    inner_iterations: int = 30
    outer_iterations: int = 10
    scale_step: float = 0.8
    median_filtering: int = 5
    sigma: float = 0.0

    def pair(
        self, first: Float[Array, "H W"], second: Float[Array, "H W"]
    ) -> Float[Array, "H W 2"]:
        """Flow (x, y) in pixels from a grey picture in [0, 1] to the next, float32."""
        both = jnp.stack([first, second]) * _UNIT
        levels = pyramid.sizes(first.shape, self.scale_step, self.nscales)
        return pyramid.descended(both, levels, self._level, margin=2, sigma=self.sigma)

    def _level(
        self, both: Float[Array, "2 h w"], flow: Float[Array, "2 H W"]
    ) -> Float[Array, "2 H W"]:
        """A better flow of two pictures (with margins of 2 pixels)."""
        first, second = both[:, 2:-2, 2:-2]
        x, y = pyramid.along_x(both[1, 2:-2]), pyramid.along_y(both[1, :, 2:-2])
        channels = jnp.stack([second, x, y])
        height, width = first.shape
        # Differences across the right and the lower edge are none.
        edge_x = (jnp.arange(width) < width - 1).astype(jnp.float32)
        edge_y = (jnp.arange(height) < height - 1).astype(jnp.float32)[:, None]
        bound, step = self.lambda_ * self.theta, self.tau / self.theta

        def warp(_: Any, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            flow = pyramid.inner(carry[0])
            there, inside = pyramid.moved(channels, flow)
            slope = there[1:] * inside
            constant = inside * (there[0] - first) - jnp.sum(slope * flow, 0)
            power = jnp.sum(slope * slope, 0)
            over = jnp.where(power > _FLAT, 1.0 / jnp.maximum(power, _FLAT), 0.0)

            def inner(carry: tuple[Array, Array, Array, Array]) -> Any:
                framed, dual_x, dual_y, _ = carry
                old = pyramid.inner(framed)
                rho = constant + slope[0] * old[0] + slope[1] * old[1]
                pull = jnp.clip(-rho * over, -bound, bound)
                p, q = pyramid.inner(dual_x), pyramid.inner(dual_y)
                divergence = p - dual_x[:, 1:-1, :-2] + q - dual_y[:, :-2, 1:-1]
                new = old + pull * slope + self.theta * divergence
                # Rows first: a sum of all pixels in one chain is slow on a CPU.
                change = jnp.sum(jnp.sum(jnp.square(new - old), (0, 1))) / (height * width)
                framed = pyramid.put(framed, new)
                new = pyramid.inner(framed)
                to_x = (framed[:, 1:-1, 2:] - new) * edge_x
                to_y = (framed[:, 2:, 1:-1] - new) * edge_y
                norm = 1.0 / (1.0 + step * _root(to_x * to_x + to_y * to_y))
                dual_x = pyramid.put(dual_x, (p + step * to_x) * norm)
                dual_y = pyramid.put(dual_y, (q + step * to_y) * norm)
                return framed, dual_x, dual_y, change

            def outer(carry: tuple[Array, Array, Array, Array]) -> Any:
                framed, *rest = carry
                clean = median(pyramid.inner(framed), self.median_filtering)
                return self._repeat(
                    self.inner_iterations, inner, (pyramid.put(framed, clean), *rest)
                )

            start = (*carry, jnp.float32(np.inf))
            return self._repeat(self.outer_iterations, outer, start)[:3]

        framed = pyramid.framed(flow)
        carry = framed, jnp.zeros_like(framed), jnp.zeros_like(framed)
        return pyramid.inner(jax.lax.fori_loop(0, self.warps, warp, carry)[0])

    def _repeat(self, times: int, body: Callable[[Any], Any], carry: Any) -> Any:
        """`body` so many times, or until the change that ends the carry is small."""
        if self.epsilon <= 0:
            return jax.lax.fori_loop(0, times, lambda _, c: body(c), carry)
        small = self.epsilon**2

        def more(state: tuple[Any, Array]) -> Array:
            return (state[0][-1] > small) & (state[1] < times)

        return jax.lax.while_loop(more, lambda s: (body(s[0]), s[1] + 1), (carry, jnp.int32(0)))[0]


def _root(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """The square root, with a gradient of 0 (not infinity) at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)


def median(x: Float[Array, "*B H W"], size: int) -> Float[Array, "*B H W"]:
    """The median of `size` x `size` pixels, the edge repeated; `size` is odd, 1 changes nothing."""
    if size <= 1:
        return x
    height, width = x.shape[-2:]
    reach = size // 2
    wide = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(reach, reach)] * 2, mode="edge")
    # A sorting network of whole pictures, of which XLA keeps what the middle one needs.
    near = [wide[..., i : i + height, j : j + width] for i in range(size) for j in range(size)]
    for low, high in _comparators(len(near)):
        a, b = near[low], near[high]
        near[low], near[high] = jnp.minimum(a, b), jnp.maximum(a, b)
    return near[len(near) // 2]


def _comparators(n: int) -> list[tuple[int, int]]:
    """Batcher's odd-even merge sort of n values [Knuth, vol. 3, 5.2.2, algorithm M]."""
    found = []
    top = 1 << (n - 1).bit_length()
    p = top // 2
    while p:
        q, r, d = top // 2, 0, p
        while True:
            found += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return found
