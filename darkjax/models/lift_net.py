"""LIFT-Net: Light Invariant Fourier Transformer Network [Susladkar et al., "LIFT-Net: Dual Stream
Fourier Attention For Light Invariant Action Recognition"], Section III and Figure 2.

    dark clip  ── PViT per frame ── class tokens ── MLP, LN ─────┐
                                                                 LIFT ──(A)─┐
                                                                            fusion ── FoE ── next
    bright clip ── R(2+1)D ── 3-D adaptive pooling ── tokens ── critic ─(B)─┘
                                                     (critic, LIFT, fusion, FoE: N times)
    last FoE ── mean over tokens ── MLP, GELU, batch norm, MLP ── logits

Section III-B critic -> `Critic`; III-C LIFT module -> `Lift`; III-D, Eq. 1-2 -> `Fusion`;
III-E, Eq. 3-4 -> `FourierEnhancement`; N = 4, 6, 8 -> small, medium, large.

Deviations: the paper gives no widths, head counts or token grid, does not say how an MLP
acts on complex numbers, whether the N repetitions share weights or how tokens become one vector.
All are fields here; `darkjax/methods/lift.py` lists them with our choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax import models
from darkjax.errors import UserError
from darkjax.models import layers, vit
from darkjax.models.r2plus1d import R2Plus1D
from darkjax.models.resnet3d import ResNet3D
from darkjax.ops import fourier

LUMINOUS = (R2Plus1D, ResNet3D)


class Critic(nn.Module):
    """Self-attention over the luminous tokens (Section III-B, "Critic Module").

    `a = x + LN(MSA(x))`, then `a + LN(MLP(a))` with a GELU inside the MLP.
    """

    heads: int
    mlp_ratio: float
    dtype: Any

    @nn.compact
    def __call__(self, x: layers.Tokens) -> layers.Attended:
        y, weights = layers.Attention(self.heads, dtype=self.dtype, name="attention")(x, x)
        x = x + nn.LayerNorm(vit.LN_EPS, dtype=self.dtype, name="norm1")(y)
        y = layers.Mlp(int(x.shape[-1] * self.mlp_ratio), dtype=self.dtype, name="mlp")(x)
        return x + nn.LayerNorm(vit.LN_EPS, dtype=self.dtype, name="norm2")(y), weights


class Lift(nn.Module):
    """Self-attention over the main stream's tokens, `x + LN(MSA(x))` (III-C, "LIFT Module")."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: layers.Tokens) -> layers.Attended:
        y, weights = layers.Attention(self.heads, dtype=self.dtype, name="attention")(x, x)
        return x + nn.LayerNorm(vit.LN_EPS, dtype=self.dtype, name="norm")(y), weights


class Fusion(nn.Module):
    """Cross attention (III-D): luminous tokens ask, main-stream tokens answer.

    Eq. 1: `F = softmax(q(H_LS) k(H_MS)^T / sqrt(N_AH)) v(H_MS)`, N_AH the number of heads as
    printed (`scale="heads"`). Eq. 2: `FE = LN(F) + H_LS`, the residual on the query's side.
    """

    heads: int
    scale: str
    dtype: Any

    @nn.compact
    def __call__(
        self, luminous: Float[Array, "B S E"], main: Float[Array, "B N E"]
    ) -> tuple[Float[Array, "B S E"], Float[Array, "B heads S N"]]:
        attention = layers.Attention(self.heads, self.scale, dtype=self.dtype, name="attention")
        y, weights = attention(luminous, main)
        return luminous + nn.LayerNorm(vit.LN_EPS, dtype=self.dtype, name="norm")(y), weights


class FourierEnhancement(nn.Module):
    """The FoE block (III-E): transform, learn on the spectrum, transform back.

    Eq. 3: `Y = FFT2(FE)` over tokens and embedding, complex `[B, S, E]`, orthonormal. An MLP
    cannot act on complex numbers by itself; here it is a real MLP on the pair
    `[Re Y, Im Y]` (`[B, S, 2E]`), so that every output part sees both parts of the input and the
    phase can turn as well as the amplitude. Then the residual and LayerNorm over the same 2E
    numbers, and Eq. 4: `FE = IFFT2(Y)`, of which the real part is kept (the learnt spectrum need
    not be that of a real signal). Spectrum and MLP are float32.
    """

    mlp_ratio: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "B S E"]) -> Float[Array, "B S E"]:
        spectrum = fourier.fft2(x.astype(jnp.float32), norm="ortho")  # B S E, complex
        y = jnp.concatenate([spectrum.real, spectrum.imag], axis=-1)  # B S 2E
        y = y + layers.Mlp(int(y.shape[-1] * self.mlp_ratio), name="mlp")(y)
        y = nn.LayerNorm(vit.LN_EPS, name="norm")(y)
        real, imag = jnp.split(y, 2, axis=-1)
        return fourier.ifft2(jax.lax.complex(real, imag), norm="ortho").real.astype(self.dtype)


class PartialViT(nn.Module):
    """The first ViT blocks on every frame; the class tokens become a sequence (III-C).

    Returns tokens `[B, T, E]` after MLP and LayerNorm, and the ViT's `out`, where the leading
    axis is `B * T`.
    """

    width: int
    vit: Mapping[str, Any]
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(
        self, video: layers.Video, *, train: bool
    ) -> tuple[Float[Array, "B T E"], dict[str, Array]]:
        b, t = video.shape[:2]
        frames = video.reshape(b * t, *video.shape[2:])
        options = {"depth": 5, "final_norm": False} | dict(self.vit)
        net = vit.ViT(None, **options, remat=self.remat, dtype=self.dtype, name="vit")
        cls, out = net(frames, train=train)
        x = nn.Dense(self.width, dtype=self.dtype, name="mlp")(cls.reshape(b, t, -1))
        return nn.LayerNorm(vit.LN_EPS, dtype=self.dtype, name="norm")(x), out


class LiftNet(nn.Module):
    """LIFT-Net on a dark clip and a luminous one (gamma-corrected, or optical flow).

    Args of `__call__`: `video`, `luminous` `[B, T, H, W, C]` float, each normalised as its
    pathway expects; `train` switches batch norm. `luminous_train=False` keeps the luminous
    network's batch norm on its running averages (a frozen pathway).

    `out`: `luminous/...` of the 3-D network, `pvit/...` of the ViT, `main` (tokens into the
    first LIFT module), `critic{n}`, `lift{n}`, `fusion{n}`, `foe{n}`, each with `/attention`
    where it attends, `pre_logits` (`[B, head_width]`, what is distilled).
    """

    num_classes: int | None
    repeats: int = 8
    width: int = 768
    heads: int = 8
    mlp_ratio: float = 4.0
    foe_ratio: float = 1.0
    fusion_scale: str = "heads"
    share_repeats: bool = False
    tokens: tuple[int, int, int] = (4, 7, 7)
    head_width: int = 512
    luminous_net: str = "r2plus1d"
    luminous: Mapping[str, Any] | None = None
    pvit: Mapping[str, Any] | None = None
    bn_group: int = 0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        video: layers.Video,
        luminous: Float[Array, "B T H W D"],
        *,
        train: bool,
        luminous_train: bool | None = None,
    ) -> layers.Answer:
        out: dict[str, Array] = {}
        m, pvit_out = PartialViT(
            self.width, dict(self.pvit or {}), self.remat, self.dtype, name="pvit"
        )(video, train=train)
        out |= {f"pvit/{k}": v for k, v in pvit_out.items()}
        cls, fields = models.resolve(
            self.luminous_net, self.luminous or {}, "model.luminous", "model.luminous_net"
        )
        if cls not in LUMINOUS:
            raise UserError(
                f"model.luminous_net={self.luminous_net!r}: expected one of r2plus1d, resnet3d and "
                "the names of their sizes, such as r3d18"
            )
        net = cls(
            None,
            **fields,
            bn_group=self.bn_group,
            remat=self.remat,
            dtype=self.dtype,
            name="luminous",
        )
        _, bright = net(luminous, train=train if luminous_train is None else luminous_train)
        out |= {f"luminous/{k}": v for k, v in bright.items()}
        c = layers.adaptive_avg_pool3d(bright["features"], self.tokens)  # B t h w D
        c = c.reshape(c.shape[0], -1, c.shape[-1])  # B S D
        c = nn.Dense(self.width, dtype=self.dtype, name="luminous_tokens")(c)
        out["main"], out["luminous_tokens"] = m, c

        repeat = None
        for n in range(self.repeats):
            if repeat is None or not self.share_repeats:
                repeat = self._modules(n)
            critic, lift, fusion, foe = repeat
            c, out[f"critic{n}/attention"] = critic(c)
            m, out[f"lift{n}/attention"] = lift(m)
            x, out[f"fusion{n}/attention"] = fusion(c, m)
            out[f"critic{n}"], out[f"lift{n}"], out[f"fusion{n}"] = c, m, x
            m = out[f"foe{n}"] = foe(x)
        x = m.astype(jnp.float32).mean(1)  # B E
        x = jax.nn.gelu(nn.Dense(self.head_width, name="head_mlp")(x), approximate=False)
        x = layers.BatchNorm(group=self.bn_group, name="head_bn")(x, train=train)
        out["pre_logits"] = x
        if self.num_classes is None:
            return x, out
        return nn.Dense(self.num_classes, name="head")(x), out

    def _modules(self, n: int) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
        """The four modules of repetition `n`."""
        wrap = nn.remat if self.remat else lambda module: module
        return (
            wrap(Critic)(self.heads, self.mlp_ratio, self.dtype, name=f"critic{n}"),
            wrap(Lift)(self.heads, self.dtype, name=f"lift{n}"),
            wrap(Fusion)(self.heads, self.fusion_scale, self.dtype, name=f"fusion{n}"),
            wrap(FourierEnhancement)(self.foe_ratio, self.dtype, name=f"foe{n}"),
        )
