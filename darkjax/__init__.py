"""darkjax: human actions in dark, low-light and infrared video."""

from typing import Any

from darkjax.version import __version__

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`darkjax.load`, whose imports take a second."""
    if name == "load":
        from darkjax.loaded import load

        return load
    raise AttributeError(f"module 'darkjax' has no attribute {name!r}")
