"""Antialiased bilinear resizing of clips, as two matrix products."""

import functools

import numpy as np


@functools.lru_cache(maxsize=512)
def resize_matrix(size: int, new_size: int) -> np.ndarray:
    """Weights float32 [new_size, size] of a bilinear resize along one axis.

    Pixel centres are at half integers. When shrinking, the triangle is widened by the scale so
    that every source pixel counts (antialiasing). Rows sum to one, also at the borders.
    """
    scale = size / new_size
    width = max(scale, 1.0)
    centre = (np.arange(new_size)[:, None] + 0.5) * scale - 0.5  # [new_size, 1]
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(size) - centre) / width)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def resize_clip(clip: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize every frame of a clip to a fixed size.

    Args:
      clip: uint8 or uint16 [T, H, W, C].
      size: (height, width) in pixels.

    Returns:
      [T, h, w, C] of the same dtype, rounded to nearest; the clip itself when the size is the same.
    """
    frames, height, width, channels = clip.shape
    if (height, width) == tuple(size):
        return clip
    # Channels come second so that each product is one large matrix multiplication.
    planes = np.ascontiguousarray(clip.transpose(0, 3, 1, 2), dtype=np.float32)
    narrow = planes.reshape(-1, width) @ resize_matrix(width, size[1]).T  # [T·C·H, w]
    narrow = narrow.reshape(frames * channels, height, size[1])
    small = np.matmul(resize_matrix(height, size[0]), narrow)  # [T·C, h, w]
    small = np.rint(small, out=small).reshape(frames, channels, *size)
    return np.clip(small, 0, np.iinfo(clip.dtype).max).astype(clip.dtype).transpose(0, 2, 3, 1)


def shrunk(clip: np.ndarray, short_side: int | None) -> np.ndarray:
    """Frames [T, H, W, C] with this short side, the aspect kept; None keeps the size."""
    if short_side is None:
        return clip
    height, width = clip.shape[1:3]
    scale = short_side / min(height, width)
    return resize_clip(clip, (round(height * scale), round(width * scale)))
