"""2-D kernels for 3-D networks [Carreira and Zisserman 2017, Section 2.2.1].

Either way a video whose frames are all alike gives what the image gave (away from the ends, where
the padding is zero): "average" spreads the kernel evenly over time, "centre" puts it on the
middle tap, so that at first the network sees single frames.
"""

from __future__ import annotations

import numpy as np


def inflate(kernel: np.ndarray, frames: int, how: str) -> np.ndarray:
    """`[kh, kw, I, O]` -> `[frames, kh, kw, I, O]`; `how` is "centre" or "average"."""
    return {"centre": centre, "average": average}[how](kernel, frames)


def centre(kernel: np.ndarray, frames: int) -> np.ndarray:
    """The kernel at tap `frames // 2`, zeros elsewhere."""
    found = np.zeros((frames, *kernel.shape), kernel.dtype)
    found[frames // 2] = kernel
    return found


def average(kernel: np.ndarray, frames: int) -> np.ndarray:
    """The kernel divided by `frames` at every tap."""
    return np.repeat(kernel[None] / np.asarray(frames, kernel.dtype), frames, axis=0)
