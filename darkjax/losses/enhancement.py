"""Losses of low-light enhancement without references: free functions, one value per example.

SCI's are in `sci`. They are no part of `models` or `methods`, as networks (Zero-DCE), DTCM and the
evaluation (Eq. 4 as a metric) all use them. float32 inside, no reduction over examples: an example
is a frame, unless `T` is in the shape. Pictures are RGB in [0, 1].

Deviations:
- Zero-DCE's paper and its released code differ in every loss; `form` chooses ("paper", the
  default as in DTCM's text, or "code", which the golden outputs pin down).
- Neighbours outside the picture are left out in the paper's form of spatial consistency (neither
  paper says); the code compares border regions with zeros.
- Illumination smoothness in the paper's form averages over iterations and channels (the paper's
  sum over the channels is three times that: `sum_channels`) and over the pixels that have both a
  lower and a right neighbour.
- Rows and columns that do not fill a region are left out, as average pooling does.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from darkjax.errors import UserError
from darkjax.losses.common import absolute, expect

Form = Literal["paper", "code"]
Frame = Float[Array, "*B H W C"]
Clip = Float[Array, "*B T H W C"]
Curves = Float[Array, "*B H W D"]
Each = Float32[Array, "*B"]  # a value per example

_FOUR = ((0, -1), (0, 1), (-1, 0), (1, 0))
_EIGHT = (*_FOUR, (-1, -1), (-1, 1), (1, -1), (1, 1))


def spatial_consistency(
    enhanced: Frame, original: Frame, *, neighbours: int = 8, region: int = 4, form: Form = "paper"
) -> Each:
    """How much the contrast between neighbouring regions was changed (L_SCF).

    `1/K sum_i sum_{j in Omega(i)} (|Y_i - Y_j| - |P_i - P_j|)^2` with Y and P the mean intensity
    of the K regions of the enhanced and the original frame. "code": signed differences, and
    zeros around the picture.

    Args:
      enhanced, original: frames of the same shape.
      neighbours: 8 (DTCM) or 4 (Zero-DCE).
      region: pixels of a region's side.
      form: "paper" or "code"; Zero-DCE's own is `neighbours=4`.

    References:
      Tu et al., DTCM, TIP 2023, Eq. 1; Guo et al., Zero-DCE, CVPR 2020, Eq. 4; Myloss.py, L_spa.
    """
    return jnp.mean(
        spatial_consistency_map(
            enhanced, original, neighbours=neighbours, region=region, form=form
        ),
        axis=(-2, -1),
    )


def spatial_consistency_map(
    enhanced: Frame, original: Frame, *, neighbours: int = 8, region: int = 4, form: Form = "paper"
) -> Float32[Array, "*B h w"]:
    """`spatial_consistency` before the mean: one value per region."""
    _check_form(form)
    expect("spatial_consistency", "the original frames", original.shape, enhanced.shape)
    if neighbours not in (4, 8):
        raise UserError(f"spatial_consistency: expected 4 or 8 neighbours, found {neighbours}")
    new, old = (_regions(x, region) for x in (enhanced, original))
    height, width = new.shape[-2:]
    total = jnp.zeros_like(new)
    for di, dj in _EIGHT[:neighbours]:
        change_new, change_old = (x - _moved(x, di, dj) for x in (new, old))
        if form == "paper":
            # Only neighbours that are there: i + di and j + dj inside the picture.
            rows = (jnp.arange(height) + di >= 0) & (jnp.arange(height) + di < height)
            columns = (jnp.arange(width) + dj >= 0) & (jnp.arange(width) + dj < width)
            error = (absolute(change_new) - absolute(change_old)) ** 2
            total += jnp.where(rows[:, None] & columns, error, 0.0)
        else:
            total += (change_old - change_new) ** 2
    return total


def temporal_consistency(
    enhanced: Clip, original: Clip, *, neighbours: int = 8, region: int = 4, form: Form = "paper"
) -> Each:
    """How much the motion, as absolute RGB differences of frames, was changed (L_TC).

    `1/(T-1) sum_t L_SCF(|DY_{t+1} - DY_t|, |DI_{t+1} - DI_t|)`; 0 for a single frame.

    References:
      DTCM, Eq. 3.
    """
    expect("temporal_consistency", "the original frames", original.shape, enhanced.shape)
    if enhanced.shape[-4] < 2:
        return jnp.zeros(enhanced.shape[:-4], jnp.float32)
    moved, still = (rgb_difference(x) for x in (enhanced, original))
    per_frame = spatial_consistency(moved, still, neighbours=neighbours, region=region, form=form)
    return jnp.mean(per_frame, axis=-1)


def rgb_difference(video: Clip) -> Float32[Array, "*B t H W C"]:
    """`|frame t+1 - frame t|`, t = T - 1 of them."""
    video = video.astype(jnp.float32)
    return absolute(video[..., 1:, :, :, :] - video[..., :-1, :, :, :])


def spatio_temporal_consistency(
    enhanced: Clip, original: Clip, *, neighbours: int = 8, region: int = 4, form: Form = "paper"
) -> Each:
    """`L_STC = L_SC + L_TC`, and as a metric the spatio-temporal inconsistency of a video.

    L_SC is the mean of `spatial_consistency` over the frames.

    References:
      DTCM, Eq. 2 and 4.
    """
    space = spatial_consistency(enhanced, original, neighbours=neighbours, region=region, form=form)
    time = temporal_consistency(enhanced, original, neighbours=neighbours, region=region, form=form)
    return jnp.mean(space, axis=-1) + time


def exposure(
    enhanced: Frame, *, level: float = 0.6, region: int = 16, form: Form = "paper"
) -> Each:
    """Distance of the regions' mean intensity from a good exposure level.

    "paper": `mean |Y - E|`; "code": `mean (Y - E)^2`.

    References:
      Zero-DCE, Eq. 5; Myloss.py, L_exp(16, 0.6).
    """
    _check_form(form)
    off = _regions(enhanced, region) - level
    return jnp.mean(absolute(off) if form == "paper" else off**2, axis=(-2, -1))


def colour_constancy(enhanced: Frame, *, form: Form = "paper") -> Each:
    """How far the mean colour is from grey: over the three pairs of channel means.

    "paper": `sum (J_p - J_q)^2`; "code": `sqrt(sum (J_p - J_q)^4)`, gradient 0 at grey. One
    channel has no pairs: 0.

    References:
      Zero-DCE, Eq. 6; Myloss.py, L_color.
    """
    _check_form(form)
    mean = jnp.mean(enhanced.astype(jnp.float32), axis=(-3, -2))  # [*B, C]
    channels = mean.shape[-1]
    total = jnp.zeros(mean.shape[:-1], jnp.float32)
    for p in range(channels):
        for q in range(p + 1, channels):
            total += (mean[..., p] - mean[..., q]) ** (2 if form == "paper" else 4)
    if form == "paper":
        return total
    # The root's slope at 0 is infinite, and infinite times 0 is NaN.
    return jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1.0)), 0.0)


def illumination_smoothness(
    curves: Curves, *, form: Form = "paper", sum_channels: bool = False
) -> Each:
    """Total variation of the curve maps, D = 3 channels of each iteration.

    "paper": the mean of `(|d/dx| + |d/dy|)^2`; "code": `2 (sum dy^2 / ((H - 1) W) + sum dx^2 /
    (H (W - 1)))`, summed over all D maps.

    Args:
      curves: the maps, at least 2 x 2 pixels.
      form: "paper" or "code".
      sum_channels: in the paper's form, sum over the three channels of an iteration.

    References:
      Zero-DCE, Eq. 7; Myloss.py, L_TV.
    """
    _check_form(form)
    height, width, maps = curves.shape[-3:]
    if min(height, width) < 2:
        raise UserError(
            f"illumination_smoothness: expected at least 2 x 2 pixels, found {height} x {width}"
        )
    curves = curves.astype(jnp.float32)
    down = curves[..., 1:, :, :] - curves[..., :-1, :, :]
    right = curves[..., :, 1:, :] - curves[..., :, :-1, :]
    if form == "code":
        vertical = jnp.sum(jnp.mean(down**2, axis=(-3, -2)), axis=-1)
        horizontal = jnp.sum(jnp.mean(right**2, axis=(-3, -2)), axis=-1)
        return 2 * (vertical + horizontal)
    steepness = absolute(right[..., :-1, :, :]) + absolute(down[..., :, :-1, :])
    factor = min(3, maps) if sum_channels else 1
    return factor * jnp.mean(steepness**2, axis=(-3, -2, -1))


def dark_enhancement(
    enhanced: Clip,
    curves: Float[Array, "*B G H W D"],
    *,
    colour_weight: float = 0.5,
    smooth_weight: float = 20.0,
    level: float = 0.6,
    form: Form = "paper",
) -> Each:
    """`L_Dark = L_exp + W_col L_col + W_tv L_tv` of a clip: means over its frames and curves.

    G is the number of groups of frames that share their curves.

    References:
      DTCM, Eq. 5, with Zero-DCE's weights.
    """
    light = jnp.mean(exposure(enhanced, level=level, form=form), axis=-1)
    colour = jnp.mean(colour_constancy(enhanced, form=form), axis=-1)
    smooth = jnp.mean(illumination_smoothness(curves, form=form), axis=-1)
    return light + colour_weight * colour + smooth_weight * smooth


def zero_dce(enhanced: Frame, original: Frame, curves: Curves, *, form: Form = "paper") -> Each:
    """Zero-DCE's total loss of a frame, with the weights that belong to the form.

    "paper": `L_spa + L_exp + 0.5 L_col + 20 L_tv`; "code": `L_spa + 10 L_exp + 5 L_col +
    200 L_tv`.

    References:
      Zero-DCE, Eq. 8 and section 4; lowlight_train.py.
    """
    light, colour, smooth = (1.0, 0.5, 20.0) if form == "paper" else (10.0, 5.0, 200.0)
    return (
        spatial_consistency(enhanced, original, neighbours=4, form=form)
        + light * exposure(enhanced, form=form)
        + colour * colour_constancy(enhanced, form=form)
        + smooth * illumination_smoothness(curves, form=form)
    )


def _regions(frames: Array, size: int) -> Array:
    """Mean intensity of the regions: [*B, H, W, C] to [*B, H // size, W // size]."""
    height, width = frames.shape[-3] // size, frames.shape[-2] // size
    if not height or not width:
        found = f"{frames.shape[-3]} x {frames.shape[-2]}"
        raise UserError(
            f"enhancement loss: expected frames of at least {size} x {size} pixels, found {found}"
        )
    grey = jnp.mean(frames.astype(jnp.float32), axis=-1)[..., : height * size, : width * size]
    blocks = grey.reshape(*grey.shape[:-2], height, size, width, size)
    return jnp.mean(blocks, axis=(-3, -1))


def _moved(x: Array, di: int, dj: int) -> Array:
    """x[i + di, j + dj], 0 outside."""
    height, width = x.shape[-2:]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)])
    return padded[..., 1 + di : 1 + di + height, 1 + dj : 1 + dj + width]


def _check_form(form: str) -> None:
    if form not in ("paper", "code"):
        raise UserError(f"enhancement loss: expected form 'paper' or 'code', found {form!r}")
