"""darkjax: human actions in dark, low-light and infrared video."""

import os
from typing import Any

from darkjax.version import __version__

__all__ = ["__version__", "load"]

# Before numpy is imported, and for the processes that read clips. Its BLAS would divide small
# products among all cores and wait, spinning, for those that train: ten times as long and more
# (docs/training.md). Clips are read by many threads at once anyway.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def __getattr__(name: str) -> Any:
    """`darkjax.load`, whose imports take a second."""
    if name == "load":
        from darkjax.loaded import load

        return load
    raise AttributeError(f"module 'darkjax' has no attribute {name!r}")
