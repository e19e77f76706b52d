"""Layers that several families share: convolution, batch norm, attention, MLP, pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax.errors import UserError
from darkjax.ops import conv, pool

Video = Float[Array, "B T H W C"]  # what a network takes, normalised
Answer = tuple[Float[Array, "B K"], dict[str, Array]]  # logits; every intermediate by its name
Tokens = Float[Array, "B N E"]
Attended = tuple[Tokens, Float[Array, "B heads N N"]]  # tokens that looked at one another, how
Dtype = Any
kaiming_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


trunc_normal = nn.initializers.truncated_normal(0.02)


def chosen(field: str, value: Any, known: Mapping[Any, Any]) -> Any:
    """The entry of a table that a model's field names.

    Raises:
      UserError: there is no such entry; the message lists those that there are.
    """
    if value not in known:
        names = ", ".join(map(repr, known))
        raise UserError(f"the model's {field}={value!r}: expected one of {names}")
    return known[value]


def check_heads(heads: int, width: int) -> None:
    """Refuse heads that do not share an embedding evenly.

    Raises:
      UserError: they do not divide it.
    """
    if heads < 1 or width % heads:
        raise UserError(
            f"the model's {heads} heads do not divide the embedding of {width}: choose a divisor "
            "of it"
        )


def layer_norm(x: Float[Array, "*B E"], name: str, eps: float) -> Float[Array, "*B E"]:
    """Layer norm in float32, the result in the dtype of `x`; for use inside a compact module."""
    norm = nn.LayerNorm(eps, use_fast_variance=False, dtype=jnp.float32, name=name)
    return norm(x.astype(jnp.float32)).astype(x.dtype)


def dense(features: int, dtype: Dtype, name: str, *, use_bias: bool = True) -> nn.Dense:
    """A linear layer `[*B, I] -> [*B, features]` computed in `dtype`, begun from N(0, 0.02)."""
    return nn.Dense(features, use_bias, dtype=dtype, kernel_init=trunc_normal, name=name)


class Conv3D(nn.Module):
    """A 3-D convolution; `padding` is `k // 2` on both sides of each axis unless given.

    Parameters: `kernel [kt, kh, kw, C // groups, O]`, `bias [O]` when `use_bias`. A 2-D network
    uses `kt` 1: its frames are independent. `UserError` where a width leaves no channels, or
    channels that the groups do not divide.
    """

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int] = (1, 1, 1)
    groups: int = 1
    use_bias: bool = False
    padding: tuple[tuple[int, int], ...] | None = None  # (before, after) for T, H, W
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B t h w O"]:
        inputs = x.shape[-1]
        if self.features < 1:
            raise UserError(
                f"{self.name}: {self.features} channels: choose a larger width of the model"
            )
        if inputs % self.groups or self.features % self.groups:
            raise UserError(
                f"{self.name}: the model's {self.groups} groups do not divide {inputs} and "
                f"{self.features} channels: choose another width"
            )
        shape = (*self.kernel, inputs // self.groups, self.features)
        kernel = self.param("kernel", kaiming_out, shape, jnp.float32)
        x = conv.conv3d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            strides=self.strides,
            padding=self.padding or tuple((k // 2, k // 2) for k in self.kernel),
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            x = x + bias.astype(self.dtype)
        return x


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's running averages, over groups of examples.

    `new = (1 - momentum) * old + momentum * batch`, the running variance unbiased. `group` is
    how many consecutive examples are normalised together: 0 means the whole (global) batch,
    the papers' GPUs each normalised their own share. Statistics are float32. `UserError` where
    `group` does not divide the batch.

    Parameters: `scale [C]`, `bias [C]`; batch_stats: `mean [C]`, `var [C]`.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    group: int = 0
    dtype: Dtype = jnp.float32
    scale_init: Any = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "B *S C"], *, train: bool) -> Float[Array, "B *S C"]:
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if not train:
            factor = scale * jax.lax.rsqrt(var.value + self.eps)
            offset = bias - mean.value * factor
            return (x.astype(jnp.float32) * factor + offset).astype(self.dtype)
        group = self.group or x.shape[0]
        if x.shape[0] % group:
            raise UserError(
                f"bn_group={group} does not divide the batch of {x.shape[0]}: choose a divisor, "
                "or 0 for the whole batch"
            )
        grouped = x.reshape(-1, group, *x.shape[1:]).astype(jnp.float32)  # G g *S C
        axes = tuple(range(1, grouped.ndim - 1))
        # One pass over the data: mean and mean of squares.
        m = grouped.mean(axes, keepdims=True)
        v = jnp.maximum(jnp.square(grouped).mean(axes, keepdims=True) - jnp.square(m), 0.0)
        factor = scale * jax.lax.rsqrt(v + self.eps)
        y = grouped * factor + (bias - m * factor)
        if not self.is_initializing():
            count = grouped[0, ..., 0].size
            unbiased = v * (count / max(count - 1, 1))
            mix = self.momentum
            mean.value = (1 - mix) * mean.value + mix * m.reshape(-1, channels).mean(0)
            var.value = (1 - mix) * var.value + mix * unbiased.reshape(-1, channels).mean(0)
        return y.reshape(x.shape).astype(self.dtype)


class ConvNorm(nn.Module):
    """A convolution, batch norm and, unless `act` is None, an activation."""

    features: int
    kernel: int  # of all three axes
    norm: Any
    dtype: Any
    strides: tuple[int, int, int] = (1, 1, 1)
    groups: int = 1
    use_bias: bool = False
    act: Callable[[Array], Array] | None = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B t h w O"]:
        conv = Conv3D(
            self.features,
            (self.kernel,) * 3,
            self.strides,
            self.groups,
            self.use_bias,
            dtype=self.dtype,
            name="conv",
        )
        x = self.norm(name="bn")(conv(x), train=train)
        return x if self.act is None else self.act(x)


class DropPath(nn.Module):
    """Stochastic depth: leaves a branch out for some of the first axis, scales up the others.

    Acts where `train` and an rng "dropout" is given.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "N *S"], train: bool) -> Float[Array, "N *S"]:
        if not train or self.rate == 0 or not self.has_rng("dropout"):
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros_like(x))


class Attention(nn.Module):
    """Multi-head attention [Vaswani et al. 2017, Eq. 1] that also returns its weights.

    `scale`: `"head_dim"` divides the logits by the square root of the width of a head,
    `"heads"` by the square root of the number of heads (LIFT-Net Eq. 1 as printed).
    Softmax is float32. `UserError` for another scale, or heads that do not divide the width.
    """

    heads: int
    scale: str = "head_dim"
    qkv_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, query: Float[Array, "B Q E"], memory: Float[Array, "B N E"]
    ) -> tuple[Float[Array, "B Q E"], Float[Array, "B heads Q N"]]:
        width = query.shape[-1]
        check_heads(self.heads, width)
        scales = {"head_dim": width // self.heads, "heads": self.heads}
        divisor = chosen("scale of the attention", self.scale, scales)

        def split(x: Array, name: str) -> Array:
            x = nn.Dense(width, use_bias=self.qkv_bias, dtype=self.dtype, name=name)(x)
            return x.reshape(*x.shape[:2], self.heads, width // self.heads)

        q, k, v = split(query, "query"), split(memory, "key"), split(memory, "value")
        logits = jnp.einsum("bqhd,bnhd->bhqn", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits.astype(jnp.float32) / divisor**0.5, axis=-1)
        y = jnp.einsum("bhqn,bnhd->bqhd", weights.astype(self.dtype), v)
        return nn.Dense(width, dtype=self.dtype, name="out")(y.reshape(query.shape)), weights


class Mlp(nn.Module):
    """Dense, GELU, Dense. `gelu`: `"erf"` is exact, `"tanh"` the approximation."""

    hidden: int
    gelu: str = "erf"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*B E"]) -> Float[Array, "*B E"]:
        width, approximate = x.shape[-1], chosen("gelu", self.gelu, {"erf": False, "tanh": True})
        x = nn.Dense(self.hidden, dtype=self.dtype, name="fc1")(x)
        x = jax.nn.gelu(x, approximate=approximate)
        return nn.Dense(width, dtype=self.dtype, name="fc2")(x)


def adaptive_avg_pool3d(
    x: Float[Array, "B T H W C"], size: tuple[int, int, int]
) -> Float[Array, "B t h w C"]:
    """Average into a fixed grid: cell i of n covers `floor(i L / n)` to `ceil((i + 1) L / n)`.

    The rule of PyTorch's `AdaptiveAvgPool3d`; cells overlap where `n` does not divide `L` and
    repeat where `n > L`. Accumulates in float32, returns the dtype of `x`.
    """
    y = x.astype(jnp.float32)
    for axis, n in zip((1, 2, 3), size, strict=True):
        length = x.shape[axis]
        if length != n:
            y = jnp.moveaxis(jnp.tensordot(_cells(length, n), y, axes=(1, axis)), 0, axis)
    return y.astype(x.dtype)


def _cells(length: int, n: int) -> Float[Array, "n length"]:
    """The averaging matrix of one axis."""
    cell = jnp.arange(n)[:, None]
    at = jnp.arange(length)[None, :]
    inside = (at >= cell * length // n) & (at < -(-(cell + 1) * length // n))
    inside = inside.astype(jnp.float32)
    return inside / inside.sum(1, keepdims=True)


def max_pool3d(
    x: Float[Array, "B T H W C"],
    window: int | tuple[int, int, int],
    stride: int | tuple[int, int, int],
    pad: int | tuple[int, int, int] | tuple[tuple[int, int], ...] = 0,
) -> Float[Array, "B t h w C"]:
    """Max pooling over time, height and width, padded with minus infinity.

    Each of `window`, `stride` and `pad` is one number or one for each axis; a pad may be
    `(before, after)`.

    Raises:
      UserError: the padded map is smaller than the window.
    """
    windows, strides, pads = (_three(v) for v in (window, stride, pad))
    spread = tuple((p, p) if isinstance(p, int) else tuple(p) for p in pads)
    sizes = x.shape[1:4]
    if any(n + sum(p) < w for n, p, w in zip(sizes, spread, windows, strict=True)):
        raise UserError(
            f"a map of {'x'.join(map(str, sizes))} (frames, height, width) is smaller than the "
            f"pooling's {'x'.join(map(str, windows))}: give more or larger frames (data.frames, "
            "data.size)"
        )
    return pool.max_pool3d(x, windows, strides, spread)


def _three(value: Any) -> tuple:
    """One number, or one for each of time, height and width."""
    return (value,) * 3 if isinstance(value, int) else tuple(value)
