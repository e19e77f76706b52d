"""Image files to arrays and back, by Pillow; colour of 16 bits by PyAV."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from darkjax.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class Still(NamedTuple):
    """Pixels float32 [H, W, 3] in [0, 1], red green blue, and what was done to have them."""

    pixels: np.ndarray
    notes: tuple[str, ...]


def read_image(path: str | os.PathLike[str]) -> Still:
    """An image file as RGB in [0, 1], upright.

    Grey becomes three equal channels, an alpha channel is dropped, 16 bits are scaled by 65535;
    `notes` says so.

    Raises:
      UserError: Pillow (or, for colour of 16 bits, PyAV) is not installed; the file is missing,
        empty, damaged or no image.
    """
    image_module, ops = _import_pillow()
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"missing file: expected an image at {path}")
    if path.stat().st_size == 0:
        raise UserError(f"empty file: expected an image, found 0 bytes in {path}")
    notes = []
    try:
        with image_module.open(path) as image:
            deep = image.mode.startswith("I") or "16" in _raw_mode(image)
            if image.mode == "F":
                raise UserError(f"expected 8 or 16 bits for a channel, found floats in {path}")
            if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I"):
                notes.append("greyscale made RGB")
            if "A" in image.getbands() or "transparency" in image.info:
                notes.append("alpha channel dropped")
            if deep:
                notes.append("16 bits scaled")
                return Still(_deep(path), tuple(notes))
            image = ops.exif_transpose(image)
            if image.mode == "P":  # Pillow warns where a palette with alpha becomes RGB at once
                image = image.convert("RGBA")
            pixels = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    except UserError:
        raise
    except image_module.UnidentifiedImageError as error:
        raise UserError(f"expected an image, found something else in {path}") from error
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        raise UserError(f"not an image, or only its beginning: {error} in {path}") from error
    return Still(pixels, tuple(notes))


def _raw_mode(image: Any) -> str:
    """How the file itself stores pixels: Pillow quietly makes 8 bits of 16 in colour."""
    tile = image.tile[0] if image.tile else None
    args = tile[3] if tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _deep(path: pathlib.Path) -> np.ndarray:
    """16 bits for a channel, by PyAV."""
    from darkjax.data.decode import _import_av

    av = _import_av()
    try:
        with av.open(os.fspath(path)) as container:
            pixels = next(container.decode(video=0)).to_ndarray(format="rgb48le")
    except (av.FFmpegError, StopIteration, IndexError) as error:
        raise UserError(f"not an image, or only its beginning: {error} in {path}") from error
    return pixels.astype(np.float32) / np.float32(65535)


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write uint8 [H, W, 3] through a temporary name; the suffix chooses the format.

    Raises:
      UserError: Pillow is not installed, or the file cannot be written.
    """
    image_module, _ = _import_pillow()
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"expected uint8 [H, W, 3], found {pixels.dtype} {pixels.shape}")
    path = pathlib.Path(path)
    part = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        image_module.fromarray(np.ascontiguousarray(pixels)).save(part)
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _import_pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise UserError(
            "image files need Pillow, which is not installed: pip install 'darkjax[convert]'"
        ) from error
    return Image, ImageOps
