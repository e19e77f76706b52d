"""Pictures of the report: attention over a frame, strips of frames, pictures inside HTML."""

import base64
import io

import numpy as np

from darkjax import channels

STRIP_FRAMES = 6
_STRIP_HEIGHT = 112  # pixels; sample clips are looked at, not measured


def heat_colours() -> np.ndarray:
    """uint8 [256, 3]: dark violet over red to pale yellow, lightness rising evenly.

    Made in OKLCH (Ottosson 2020), where equal steps look equal, so that twice the attention
    does not look like ten times; readable also in grey print and to colour-blind people.
    """
    t = np.linspace(0.0, 1.0, 256)
    lightness = 0.18 + 0.76 * t
    chroma = 0.16 * np.sin(np.pi * (0.12 + 0.78 * t))
    hue = np.deg2rad(295.0 + 170.0 * t)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    cone = lab @ np.array(
        [[1.0, 1.0, 1.0], [0.3963377774, -0.1055613458, -0.0894841775],
         [0.2158037573, -0.0638541728, -1.2914855480]]
    )  # fmt: skip
    linear = cone**3 @ np.array(
        [[4.0767416621, -1.2684380046, -0.0041960863], [-3.3077115913, 2.6097574011, -0.7034186147],
         [0.2309699292, -0.3413193965, 1.7076147010]]
    )  # fmt: skip
    linear = np.clip(linear, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * srgb).astype(np.uint8)


def overlay(
    frame: np.ndarray,
    attention: np.ndarray,
    *,
    low: float | None = None,
    high: float | None = None,
    strength: float = 0.65,
) -> np.ndarray:
    """A heat map of ``attention`` blended over ``frame``.

    Where attention is low the frame shows through unchanged; constant attention leaves the
    frame as it is.

    Args:
        frame: uint8 [H, W, 3].
        attention: float [h, w], any size; it is enlarged to the frame by bilinear interpolation.
        low, high: the attention shown as nothing and as the brightest colour; by default this
            map's own extremes. Give a clip's extremes to make its frames comparable.
        strength: opacity of the brightest colour.

    Returns:
        uint8 [H, W, 3].
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"frame: expected uint8 [H, W, 3], got {frame.dtype} {frame.shape}")
    if attention.ndim != 2:
        raise ValueError(f"attention: expected [h, w], got shape {attention.shape}")
    attention = np.nan_to_num(np.asarray(attention, np.float32))
    low = float(attention.min()) if low is None else low
    high = float(attention.max()) if high is None else high
    share = (attention - low) / (high - low) if high > low else np.zeros_like(attention)
    share = np.clip(_enlarge(share, *frame.shape[:2]), 0.0, 1.0)
    colour = heat_colours()[np.round(255 * share).astype(int)].astype(np.float32)
    opacity = (strength * share)[..., None]
    return np.round(frame * (1.0 - opacity) + colour * opacity).astype(np.uint8)


def _enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation of [h, w] to [height, width], pixel areas aligned."""
    for axis, size in ((0, height), (1, width)):
        last = values.shape[axis] - 1
        at = np.clip((np.arange(size) + 0.5) * (last + 1) / size - 0.5, 0, last)
        first = np.floor(at).astype(int)
        share = (at - first).reshape((-1, 1) if axis == 0 else (1, -1)).astype(np.float32)
        below = np.take(values, first, axis)
        above = np.take(values, np.minimum(first + 1, last), axis)
        values = below * (1.0 - share) + above * share
    return values


def overlay_clip(frames: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """`overlay` for frames [T, H, W, 3] and attention [t, h, w], on one scale for the clip.

    With fewer attention maps than frames each map serves the frames of its stretch of time.
    """
    index = np.arange(len(frames)) * len(attention) // len(frames)
    low, high = float(np.nanmin(attention)), float(np.nanmax(attention))
    return np.stack(
        [
            overlay(frame, attention[i], low=low, high=high)
            for frame, i in zip(frames, index, strict=True)
        ]
    )


def colour_frames(video: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, 3] from any channels: grey is repeated, two get an empty third, of more the
    first three are shown (of clips with flow the colours)."""
    if video.ndim != 4 or video.dtype != np.uint8:
        raise ValueError(f"expected uint8 [T, H, W, C], got {video.dtype} {video.shape}")
    video = video[..., : channels.COLOURS]
    if video.shape[-1] == 1:
        return np.repeat(video, 3, axis=-1)
    return np.concatenate([video, np.zeros_like(video[..., : 3 - video.shape[-1]])], axis=-1)


def beside_flow(video: np.ndarray) -> np.ndarray:
    """`colour_frames`, and below each its flow image where the clip has one."""
    parts = [colour_frames(video)]
    if video.shape[-1] == channels.WITH_FLOW:
        parts.append(video[..., channels.COLOURS :])
    return np.concatenate(parts, axis=1)


def spread(count: int, wanted: int = STRIP_FRAMES) -> np.ndarray:
    """Indices of at most ``wanted`` frames, evenly spread over ``count`` with both ends."""
    return np.unique(np.round(np.linspace(0, count - 1, min(wanted, count))).astype(int))


def strip_html(frames: np.ndarray, alt: str) -> str:
    """Frames [n, H, W, 3] side by side as one <img> that carries its own data."""
    from html import escape

    from PIL import Image, features

    gap = np.full((frames.shape[1], 2, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)][:-1]
    picture = Image.fromarray(np.concatenate(parts, axis=1))
    height = min(_STRIP_HEIGHT, picture.height)
    width = max(1, round(picture.width * height / picture.height))
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    kind, options = ("webp", {"quality": 82}) if features.check("webp") else ("png", {})
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img src="data:image/{kind};base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}">'
    )
