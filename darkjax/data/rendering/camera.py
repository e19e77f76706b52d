"""From radiance to 8 bits: exposure, photon and read noise, response curve, compression.

The dark camera follows the usual chain of a raw noise model (Foi et al., "Practical
Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008,
eq. 1-3: signal-dependent Poisson plus signal-independent Gaussian noise), then what a phone and
its encoder do: smoothing over space and time, response curve, 8-bit levels, blocks that did not
change enough are repeated from the frame before.

Measured by ``benchmarks/synthetic.py --real`` on 120 x 160 clips of 32 frames, 10 / 50 / 90 %
quantiles over 80 clips, rendered against ARID's six-class subset, in grey levels: mean luma
9.5 / 19.8 / 30.5 against 7.5 / 18.4 / 29.8; 99 % quantile 22 / 56 / 105 against 24 / 69 / 99; frame
differences' 75 % quantile 0.00 / 0.89 / 1.30 against 0.29 / 0.71 / 1.23; temporal sigma of the
median pixel 0.14 / 0.47 / 0.88 against 0.36 / 0.44 / 1.01; gradient 1.0 / 1.8 / 2.9 against
0.9 / 2.5 / 4.1; no zero pixels in either. Rendered shadows are less deep: the median pixel is 17.1
against 11.9.
"""

from __future__ import annotations

import numpy as np

Vec = np.ndarray

DISPLAY_GAMMA = 2.2
_LINEAR = (np.linspace(0, 1, 256) ** DISPLAY_GAMMA).astype(np.float32)
# log-normal with ARID's median; 6.7 and 51 are its range
MEDIAN_LUMA, LUMA_SPREAD, LUMA_RANGE = 17.0, 0.5, (6.7, 51.0)
BLOCK = 8


def blur(video: Vec) -> Vec:
    """Binomial 1-2-1 smoothing in y and x of [T, H, W, C], edges repeated."""
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        wide = np.pad(video, pad, mode="edge")
        take = (slice(None),) * axis
        n = video.shape[axis]
        video = wide[(*take, slice(1, n + 1))] * 0.5
        video += 0.25 * wide[(*take, slice(0, n))]
        video += 0.25 * wide[(*take, slice(2, n + 2))]
    return video


def to_bytes(video: Vec) -> Vec:
    """Display values in [0, 1] as uint8, rounded."""
    return (np.clip(video, 0, 1) * 255 + 0.5).astype(np.uint8)


def repeat_still_blocks(video: Vec, threshold: float) -> Vec:
    """Blocks that differ from the shown frame by less than ``threshold`` are shown again.

    Args:
      video: uint8 [T, H, W, 3].
      threshold: mean absolute difference in grey levels, per block of 8 x 8.

    Returns:
      uint8 [T, H, W, 3], as an encoder's skipped macroblocks leave it.
    """
    frames, height, width, _ = video.shape
    down, right = -(-height // BLOCK), -(-width // BLOCK)
    out = video.copy()
    green = video[..., 1].astype(np.int16)
    shown = green[0].copy()
    pad = ((0, down * BLOCK - height), (0, right * BLOCK - width))
    for k in range(1, frames):
        change = np.pad(np.abs(green[k] - shown), pad)
        blocks = change.reshape(down, BLOCK, right, BLOCK).mean((1, 3))
        still = (blocks < threshold).repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]
        np.copyto(out[k], out[k - 1], where=still[..., None])
        shown = np.where(still, shown, green[k])
    return out


def dark(bright: Vec, light: Vec, lamp: Vec, rng: np.random.Generator) -> Vec:
    """A dark recording of a well-lit scene.

    Args:
      bright: uint8 [T, H, W, 3], display values of the scene in full light.
      light: float32 [T, H, W, 1], how much of the weak light arrives.
      lamp: float32 [T, H, W, 1], light of the scene's own lamps, relative to white.
      rng: decides exposure, gain, white balance and all noise.

    Returns:
      uint8 [T, H, W, 3] with a mean luma near a log-normal draw (median 17, 6.7 to 51).
    """
    target = float(np.clip(MEDIAN_LUMA * np.exp(LUMA_SPREAD * rng.normal()), *LUMA_RANGE))
    black = rng.uniform(1.5, 3.0)  # pedestal of the limited-range encoding
    gamma = rng.uniform(1.4, 1.9)
    wells = np.exp(rng.uniform(np.log(2500), np.log(12000)))  # electrons at white
    read = rng.uniform(0.8, 2.0)  # electrons
    balance = np.array([rng.uniform(1.0, 1.15), 1.0, rng.uniform(0.92, 1.08)], np.float32)

    linear = _LINEAR[mosaic(bright)] * light[..., 0] * mosaic(balance, bright.shape[1:3])
    peak = float(linear.mean()) * rng.uniform(5, 25)
    linear += lamp[..., 0] * np.float32(peak)
    # a power law scales: mean((k·L)^(1/g)) = k^(1/g) · mean(L^(1/g)), so the exposure is exact
    level = float((linear[::4] ** np.float32(1 / gamma)).mean())
    exposure = ((target - black) / 255 / level) ** gamma
    electrons = rng.poisson(linear * np.float32(exposure * wells)).astype(np.float32)
    electrons += read * rng.standard_normal(electrons.shape, np.float32)
    signal = develop(electrons, rng.uniform(0.2, 0.45), rng.uniform(0.3, 0.8)) / np.float32(wells)
    shown = np.maximum(signal, 0) ** np.float32(1 / gamma) + np.float32(black / 255)
    return repeat_still_blocks(to_bytes(shown), rng.uniform(0.3, 0.9))


def mosaic(video: Vec, size: tuple[int, int] | None = None) -> Vec:
    """What a Bayer sensor keeps of [..., H, W, 3]: one colour per pixel, R G / G B. [..., H, W].

    A single colour [3] is spread over ``size`` first.
    """
    if size is not None:
        video = np.broadcast_to(video, (*size, 3))
    out = video[..., 1].copy()
    out[..., ::2, ::2] = video[..., ::2, ::2, 0]
    out[..., 1::2, 1::2] = video[..., 1::2, 1::2, 2]
    return out


def develop(raw: Vec, keep: float, saturation: float = 1.0) -> Vec:
    """A Bayer mosaic [T, H, W] to colour [T, H, W, 3], with a phone's noise reduction.

    The 1-2-1 blur of a mosaic is (R + 2G + B)/4 at every pixel: that is the grey picture. Colour
    is left at half resolution, smoothed and weakened by ``saturation``. ``keep`` is the share of
    the past in a running mean.
    """
    height, width = raw.shape[1:]
    grey = blur(raw[..., None])
    even = np.pad(raw, ((0, 0), (0, height % 2), (0, width % 2)), mode="reflect")
    red, blue = even[:, ::2, ::2], even[:, 1::2, 1::2]
    green = 0.5 * (even[:, ::2, 1::2] + even[:, 1::2, ::2])
    colour = np.stack([red, green, blue], -1)
    colour -= (0.25 * (red + blue) + 0.5 * green)[..., None]
    colour = blur(blur(colour)).repeat(2, 1).repeat(2, 2)[:, :height, :width]
    video = grey + np.float32(saturation) * colour
    for k in range(1, len(video)):
        video[k] += np.float32(keep) * (video[k - 1] - video[k])
    return video


def day(bright: Vec, rng: np.random.Generator) -> Vec:
    """The same scene in daylight: exposure within a fifth, slight noise. uint8 as ``bright``."""
    noise = rng.uniform(0.5, 2.0) * rng.standard_normal(bright.shape, np.float32)
    return to_bytes((bright * np.float32(rng.uniform(0.8, 1.15)) + noise) / 255)


def thermal(heat: Vec, rng: np.random.Generator) -> Vec:
    """A long-wave infrared camera: no texture, soft optics, automatic gain, one grey channel x 3.

    Args:
      heat: float32 [T, H, W, 1], 0 cool to 1 skin.

    Returns:
      uint8 [T, H, W, 3], warm is white.
    """
    seen = blur(heat)
    low = float(np.quantile(seen[::4], 0.02))
    high = float(seen[::4].max())
    seen = (seen - low) / max(high - low, 1e-3)
    seen = rng.uniform(0.05, 0.2) + rng.uniform(0.6, 0.78) * seen
    noise = 0.012 * rng.standard_normal(seen.shape, np.float32)
    fixed = 0.004 * rng.standard_normal((1, 1, seen.shape[2], 1), np.float32)  # column pattern
    return to_bytes(np.repeat(blur(seen + noise) + fixed, 3, axis=-1))
