"""darkjax: human actions in dark, low-light and infrared video."""

from darkjax.version import __version__

__all__ = ["__version__"]
