"""Image files to arrays and back, by Pillow; colour of 16 bits by PyAV."""

from __future__ import annotations

import contextlib
import os
import pathlib
import struct
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from darkjax import files
from darkjax.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MOVING = (".webp", ".tif", ".tiff")  # pictures, or several of them in a file


class Still(NamedTuple):
    """Pixels float32 [H, W, 3] in [0, 1], red green blue, and what was done to have them."""

    pixels: np.ndarray
    notes: tuple[str, ...]


def read_image(path: str | os.PathLike[str]) -> Still:
    """An image file as RGB in [0, 1], upright.

    Grey becomes three equal channels, an alpha channel is dropped, 16 bits are scaled by 65535;
    `notes` says so.

    Raises:
      UserError: PyAV, for colour of 16 bits, is not installed; the file is missing,
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


def moves(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds several pictures. A damaged one may: reading it says what is wrong."""
    try:
        image_module, _ = _import_pillow()
    except UserError:
        return False
    try:
        with _quietly(), image_module.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except _damage(image_module):
        return True


def each(path: str | os.PathLike[str]) -> Iterator[tuple[float | None, np.ndarray]]:
    """Every picture of a file: an animated WebP, a TIFF of several, a PNG with its one.

    Yields:
      Seconds since the first picture (None when the file does not say), and uint8 [H, W, 3], or
      uint16 [H, W] of grey with more than 8 bits.

    Raises:
      UserError: the file is missing, empty or damaged, or has colour of
        another depth than 8 bits.
    """
    image_module, ops = _import_pillow()
    path, decoded, seconds = pathlib.Path(path), 0, 0.0
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"empty file: expected pictures, found 0 bytes in {path}")
    try:
        with _quietly(), image_module.open(path) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
                duration = image.info.get("duration")  # of this picture, milliseconds
                pixels = _pixels(image, path, ops)
                yield (None if not duration and not seconds else seconds), pixels
                decoded, seconds = decoded + 1, seconds + (duration or 0) / 1000
    except FileNotFoundError as error:
        raise UserError(f"missing file: expected pictures at {path}") from error
    except image_module.UnidentifiedImageError as error:
        raise UserError(f"expected an image, found something else in {path}") from error
    except _damage(image_module) as error:
        raise UserError(f"truncated: decoded {decoded} frames ({error}) in {path}") from error


def _pixels(image: Any, path: pathlib.Path, ops: Any) -> np.ndarray:
    """An opened picture as uint8 [H, W, 3], or as uint16 [H, W]."""
    if image.mode.startswith("I"):
        counts = np.asarray(image)
        if counts.min() < 0 or counts.max() > 65535:
            raise UserError(f"expected grey of at most 16 bits, found more in {path}")
        return counts.astype(np.uint16)
    if image.mode == "F" or "16" in _raw_mode(image):
        raise UserError(f"expected 8 bits for a channel, or 16 of grey, found others in {path}")
    upright = image if getattr(image, "n_frames", 1) > 1 else ops.exif_transpose(image)
    return np.asarray(upright.convert("RGBA").convert("RGB"))


def _damage(image_module: Any) -> tuple[type[Exception], ...]:
    """What Pillow raises over damaged files, by experience."""
    lookups = (KeyError, IndexError, TypeError, struct.error)
    return (OSError, SyntaxError, ValueError, *lookups, image_module.DecompressionBombError)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Pillow warns of a damaged file before it gives up; one line is enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _raw_mode(image: Any) -> str:
    """How the file itself stores pixels: Pillow quietly makes 8 bits of 16 in colour."""
    tile = image.tile[0] if image.tile else None
    args = tile[3] if tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _deep(path: pathlib.Path) -> np.ndarray:
    """16 bits for a channel, by PyAV."""
    from darkjax.data.decode import import_av

    av = import_av()
    try:
        with av.open(os.fspath(path)) as container:
            pixels = next(container.decode(video=0)).to_ndarray(format="rgb48le")
    except (av.FFmpegError, StopIteration, IndexError) as error:
        raise UserError(f"not an image, or only its beginning: {error} in {path}") from error
    return pixels.astype(np.float32) / np.float32(65535)


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write uint8 [H, W, 3] through a temporary name; the suffix chooses the format.

    Raises:
      UserError: the file cannot be written.
    """
    image_module, _ = _import_pillow()
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"expected uint8 [H, W, 3], found {pixels.dtype} {pixels.shape}")
    path = pathlib.Path(path)
    try:
        with files.whole(path, keep_suffix=True) as part:
            image_module.fromarray(np.ascontiguousarray(pixels)).save(part)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _import_pillow() -> tuple[Any, Any]:  # what reads no pictures starts without it
    from PIL import Image, ImageOps

    return Image, ImageOps
