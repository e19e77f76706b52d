"""A converted model on a clip array: `python -m darkjax.tools.forward --help`.

    python -m darkjax.tools.forward --weights=weights/r3d50 --input=x.npy --output=y.npz

x is `[B, T, H, W, C]` or one clip `[T, H, W, C]`, uint8 or float in [0, 1], RGB; it is normalised
as the weights expect unless `--already_normalised`. For architectures of two views (DarkLight)
x may be `[B, 2, T, H, W, C]`, the dark clip first. y holds `logits` `[B, K]` (not for
a backbone alone) and `pre_logits` `[B, E]`, float32; of an enhancer `enhanced` and every
intermediate.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from darkjax import files, npy, program
from darkjax.data import folders
from darkjax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the model; 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.forward", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--weights", required=True, help="folder of darkjax.weights.convert")
    parser.add_argument("--input", required=True, help=".npy of [B, T, H, W, C] or [T, H, W, C]")
    parser.add_argument("--output", required=True, help=".npz to write")
    parser.add_argument("--already_normalised", action="store_true")
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # orbax tells of what it reads
    try:
        found = forward(args.weights, _read(args.input), args.already_normalised)
        _write(pathlib.Path(args.output), found)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(f"{args.output}: " + ", ".join(f"{k} {v.shape}" for k, v in found.items()))
    return 0


def forward(
    directory: str | os.PathLike[str], video: np.ndarray, already_normalised: bool = False
) -> dict[str, np.ndarray]:
    """`{"logits", "pre_logits"}` of a batch of clips; see the module.

    Raises:
      UserError: no weights there, parts of them left out, or a clip they cannot take.
    """
    import jax
    import jax.numpy as jnp

    from darkjax.weights import load

    weights = load.load(directory)
    card = weights.card
    if card.left_out:
        raise UserError(
            f"{directory} leaves out {len(card.left_out)} arrays of {card.arch} (first: "
            f"{card.left_out[0]}): it is a start for training (init_from), not a model to run"
        )
    model = weights.model()
    views = getattr(model, "views", 1)
    clips: list[Any] = [
        _float(clip, card, already_normalised) for clip in _views(video, views, card)
    ]
    if not already_normalised:
        clips = [load.normalise_for(weights)(clip) for clip in clips]
    try:
        with jax.default_matmul_precision("highest"):  # no TF32: the originals' numbers
            apply = jax.jit(lambda v, *x: model.apply(v, *x, train=False))
            logits, out = apply(weights.variables, *map(jnp.asarray, clips))
    except (ValueError, TypeError) as e:  # flax's shape errors are ValueErrors
        raise UserError(
            f"{card.arch} cannot take clips of shape {video.shape}: {str(e).splitlines()[0]}; its "
            f"usual one is {[*card.input, card.in_channels]}"
        ) from e
    if "pre_logits" not in out:  # an enhancer
        found = {"enhanced": logits, **out}
    else:
        found = {"logits": logits} if card.num_classes is not None else {}
        found["pre_logits"] = out["pre_logits"]
    return {k: np.asarray(v) for k, v in found.items()}


def _views(video: np.ndarray, views: int, card: Any) -> list[np.ndarray]:
    """One batch of clips, or one for each view."""
    if video.ndim == 4:
        video = video[None]
    if video.ndim == 6 and video.shape[1] == views > 1:
        return list(np.moveaxis(video, 1, 0))
    if video.ndim != 5 or video.shape[-1] != card.in_channels or 0 in video.shape:
        raise UserError(
            f"expected an array [B, T, H, W, {card.in_channels}] or [T, H, W, {card.in_channels}] "
            f"for {card.arch}, found shape {video.shape}"
        )
    return [video]


def _float(clip: np.ndarray, card: Any, already_normalised: bool) -> np.ndarray:
    """Float32 in [0, 1], or as it is when normalised already."""
    if clip.dtype == np.uint8 and not already_normalised:
        return clip.astype(np.float32) / np.float32(255)
    if clip.dtype.kind != "f":
        wanted = "float" if already_normalised else "uint8 or float"
        raise UserError(f"expected {wanted} video for {card.arch}, found {clip.dtype}")
    if not np.isfinite(clip).all():
        raise UserError("the video holds NaN or infinite values")
    low, high = float(clip.min()), float(clip.max())
    if not already_normalised and (low < -1e-3 or high > 1 + 1e-3):
        raise UserError(
            f"expected float video in [0, 1], found {low:.4g} to {high:.4g}: give uint8, divide "
            "by 255, or say --already_normalised if it is"
        )
    return clip.astype(np.float32)


def _read(path: str) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            return npy.read(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise UserError(f"--input={path}: no such file") from None
    except (OSError, ValueError) as e:
        said = f"--input={path}: expected one array (.npy): {e}"
        if pathlib.Path(path).suffix.lower() in folders.VIDEO_SUFFIXES:
            said = (
                f"--input={path} is a video: expected one array (.npy) of decoded frames; a "
                "trained run takes videos, `python -m darkjax.tools.predict --run=RUN VIDEO`"
            )
        raise UserError(said) from e


def _write(path: pathlib.Path, found: dict[str, np.ndarray]) -> None:
    try:
        files.write_npz(path, found)
    except OSError as e:
        raise UserError(f"--output={path} cannot be written: {e.strerror or e}") from e


if __name__ == "__main__":
    program.run(main)
