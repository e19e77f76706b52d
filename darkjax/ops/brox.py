"""Optical flow of Brox, Bruhn, Papenberg and Weickert (ECCV 2004).

    E(w) = sum Psi(|I1(x + w) - I0|^2 + gamma |grad I1(x + w) - grad I0|^2)        (Eq. 5)
         + alpha sum Psi(|grad u|^2 + |grad v|^2),    Psi(s^2) = sqrt(s^2 + eps^2)  (Eq. 6)

Coarse to fine; on every level the second picture is warped once, both Psi' are held fixed and
found again `inner_iterations` times (Eq. 11), and each linear system is solved by
`solver_iterations` steps.

Deviations:
- The parameters are those of OpenCV's (CUDA) class, for values in [0, 1]; `outer_iterations` is,
  as there, the most levels that a pyramid may have.
- The paper's solver is SOR, which goes from pixel to pixel. Here all pixels change at once: Jacobi
  steps of the 2x2 system of each pixel, with Chebyshev's weights [Golub and Varga 1961], which is
  as fast as SOR with its best weight. `radius` is the spectral radius they are made for.
- |grad u|^2 is the mean of the squared differences to both sides.
- The data term is left out where the flow points out of the picture.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.ops import pyramid

_TINY = 1e-9  # a picture of one pixel has no neighbours


@dataclasses.dataclass(frozen=True)
class Brox:
    """Parameters, and the flow of a pair by `pair`.

    Attributes:
        alpha: weight of smoothness.
        gamma: weight of the constancy of gradients.
        scale_factor: of one level's size to the next.
        inner_iterations: how often the robust weights are found again on a level.
        outer_iterations: how many levels at most.
        solver_iterations: for each linear system.
        sigma: Gaussian blur of both pictures before, in pixels (the paper's 0.8); 0 is none.
        epsilon: of Psi.
        radius: of the Jacobi iteration, in [0, 1); nearer to 1 reaches further and settles later.
    """

    alpha: float = 0.197
    gamma: float = 50.0
    scale_factor: float = 0.8
    inner_iterations: int = 5
    outer_iterations: int = 150
    solver_iterations: int = 10
    sigma: float = 0.8
    epsilon: float = 1e-3
    radius: float = 0.995

    def pair(
        self, first: Float[Array, "H W"], second: Float[Array, "H W"]
    ) -> Float[Array, "H W 2"]:
        """Flow (x, y) in pixels from a grey picture in [0, 1] to the next, float32."""
        both = jnp.stack([first, second])
        levels = pyramid.sizes(first.shape, self.scale_factor, self.outer_iterations)
        return pyramid.descended(both, levels, self._level, margin=4, sigma=self.sigma)

    def _level(
        self, both: Float[Array, "2 h w"], flow: Float[Array, "2 H W"]
    ) -> Float[Array, "2 H W"]:
        """A better flow of two pictures (with margins of 4 pixels)."""
        tensor, towards = self._tensor(both, flow)

        def step(_: Any, new: Array) -> Array:
            change = pyramid.inner(new) - flow
            data = self._data_weight(tensor, change)
            return self._solved(new, data, tensor, towards, *self._weights(new))

        new = jax.lax.fori_loop(0, self.inner_iterations, step, pyramid.framed(flow))
        return pyramid.inner(new)

    def _tensor(
        self, both: Float[Array, "2 h w"], flow: Float[Array, "2 H W"]
    ) -> tuple[Float[Array, "6 H W"], Float[Array, "2 H W"]]:
        """The data term around `flow`: a quadratic form of the change (du, dv, 1).

        Returns:
            its xx, yy, xy, xt, yt and tt; and what it pulls the whole flow to, times its matrix.
        """
        x, y = pyramid.along_x(both), pyramid.along_y(both)
        values = jnp.stack(
            [
                both[:, 4:-4, 4:-4],
                x[:, 4:-4, 2:-2],
                y[:, 2:-2, 4:-4],
                pyramid.along_x(x)[:, 4:-4],
                pyramid.along_y(x)[:, 2:-2, 2:-2],
                pyramid.along_y(y)[..., 4:-4],
            ],
            1,
        )
        there, inside = pyramid.moved(values[1], flow)
        _, x, y, xx, xy, yy = there
        t, xt, yt = there[:3] - values[0, :3]

        def form(a: Array, b: Array, ga: Array, gb: Array, gc: Array, gd: Array) -> Array:
            return inside * (a * b + self.gamma * (ga * gb + gc * gd))

        tensor = jnp.stack(
            [
                form(x, x, xx, xx, xy, xy),
                form(y, y, xy, xy, yy, yy),
                form(x, y, xx, xy, xy, yy),
                form(x, t, xx, xt, xy, yt),
                form(y, t, xy, xt, yy, yt),
                form(t, t, xt, xt, yt, yt),
            ]
        )
        towards = tensor[:2] * flow + tensor[2] * flow[::-1] - tensor[3:5]
        return tensor, towards

    def _data_weight(
        self, tensor: Float[Array, "6 H W"], change: Float[Array, "2 H W"]
    ) -> Float[Array, "H W"]:
        """Psi' of the data term."""
        du, dv = change
        xx, yy, xy, xt, yt, tt = tensor
        error = du * (xx * du + 2 * (xy * dv + xt)) + dv * (yy * dv + 2 * yt) + tt
        return jax.lax.rsqrt(jnp.maximum(error, 0.0) + self.epsilon**2)

    def _weights(
        self, flow: Float[Array, "2 h w"]
    ) -> tuple[Float[Array, "H W1"], Float[Array, "H1 W"]]:
        """alpha Psi' between neighbours in a row and in a column; 0 across the picture's edge."""
        flow = pyramid.inner(flow)
        x = jnp.sum(jnp.square(flow[..., 1:] - flow[..., :-1]), 0)
        y = jnp.sum(jnp.square(flow[..., 1:, :] - flow[..., :-1, :]), 0)
        x, y = jnp.pad(x, ((0, 0), (1, 1))), jnp.pad(y, ((1, 1), (0, 0)))
        slope = (x[:, 1:] + x[:, :-1] + y[1:] + y[:-1]) / 2
        psi = self.alpha / 2 * jax.lax.rsqrt(slope + self.epsilon**2)
        across, down = psi[:, 1:] + psi[:, :-1], psi[1:] + psi[:-1]
        return jnp.pad(across, ((0, 0), (1, 1))), jnp.pad(down, ((1, 1), (0, 0)))

    def _solved(
        self,
        flow: Float[Array, "2 h w"],
        data: Float[Array, "H W"],
        tensor: Float[Array, "6 H W"],
        towards: Float[Array, "2 H W"],
        across: Float[Array, "H W1"],
        down: Float[Array, "H1 W"],
    ) -> Float[Array, "2 h w"]:
        """Chebyshev's iteration from `flow` on, framed by zeros."""

        def jacobi(flow: Array) -> Array:
            left, right, up, below = across[:, :-1], across[:, 1:], down[:-1], down[1:]
            pulled = data * towards + (
                left * flow[:, 1:-1, :-2]
                + right * flow[:, 1:-1, 2:]
                + up * flow[:, :-2, 1:-1]
                + below * flow[:, 2:, 1:-1]
            )
            own = data * tensor[:2] + (left + right + up + below) + _TINY
            mixed = data * tensor[2]
            determinant = own[0] * own[1] - mixed * mixed
            return (own[::-1] * pulled - mixed * pulled[::-1]) / determinant

        square = self.radius**2

        def step(_: Any, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            flow, before, weight = carry
            old = pyramid.inner(before)
            new = old + weight * (jacobi(flow) - old)
            return pyramid.put(before, new), flow, 1.0 / (1.0 - square / 4 * weight)

        first = pyramid.put(flow, jacobi(flow)), flow, jnp.float32(2.0 / (2.0 - square))
        return jax.lax.fori_loop(1, self.solver_iterations, step, first)[0]
