"""Every enhancer by its name, with or without parameters, as one function of frames."""

from __future__ import annotations

import difflib
import inspect
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from darkjax.errors import UserError

LEARNED = ("zero_dce", "zero_dce_light", "sci", "kind", "stable_llve")

Enhancer = Callable[[np.ndarray], np.ndarray]  # float32 [T, H, W, 3] in [0, 1], both


def methods() -> list[str]:
    """Every name that `--method` takes."""
    from darkjax.ops import enhance

    return [*enhance.METHODS, *LEARNED]


def enhancer(
    method: str,
    weights: str | os.PathLike[str] | None = None,
    *,
    gamma: float | None = None,
    k: int | None = None,
) -> Enhancer:
    """A function from frames float32 [T, H, W, 3], RGB in [0, 1], to frames like them.

    It is compiled anew for each shape. The result is not clipped: StableLLVE's may be a little
    outside [0, 1].

    Args:
      method: one of `methods`.
      weights: of a learned one: a published file, or what `darkjax.weights.convert` wrote.
      gamma: of a method that takes one.
      k: how many frames share curves (Zero-DCE).

    Raises:
      UserError: an unknown method, weights that are missing or of something else, an option that
        the method does not have.
    """
    import jax
    import jax.numpy as jnp

    known = methods()
    if method not in known:
        near = difflib.get_close_matches(method, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise UserError(f"--method={method!r} is not an enhancer; {hint}")
    if gamma is not None and not gamma > 0:
        raise UserError(f"--gamma={gamma}: expected a number above 0, 1 changes nothing")
    if k is not None and not (method.startswith("zero_dce") and k >= 1):
        raise UserError(f"--k={k}: a count of frames from 1, for zero_dce and zero_dce_light")
    if method in LEARNED:
        if gamma is not None:
            raise UserError(f"--gamma: {method} has none")
        variables, function = _learned(method, weights, k)
    else:
        variables, function = {}, _free(method, weights, gamma)
    apply = jax.jit(function)  # variables are an argument: as constants they would be compiled in

    def enhance(frames: np.ndarray) -> np.ndarray:
        try:
            with jax.default_matmul_precision("highest"):  # no TF32: the originals' numbers
                return np.asarray(apply(variables, jnp.asarray(frames, jnp.float32)))
        except ValueError as e:
            height, width = frames.shape[1:3]
            raise UserError(f"{method} cannot take {width}x{height}: {_first_line(e)}") from e

    return enhance


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """[0, 1] as 8 bits, rounded to nearest, clipped."""
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)


def _free(method: str, weights: Any, gamma: float | None) -> Callable[[Any, Any], Any]:
    """A method without parameters, called like one that has some."""
    from darkjax.ops import enhance

    function = enhance.METHODS[method]
    if weights is not None:
        raise UserError(f"--weights: {method} has none")
    field = inspect.signature(function).parameters.get("gamma")
    if gamma is None:
        if field is not None and field.default is field.empty:
            raise UserError(f"--method={method} needs --gamma, above 1 to brighten")
    elif field is None:
        raise UserError(f"--gamma: {method} has none")
    options = {} if gamma is None else {"gamma": gamma}
    return lambda _, frames: function(frames, **options)


def _learned(
    method: str, weights: str | os.PathLike[str] | None, k: int | None
) -> tuple[Any, Callable[[Any, Any], Any]]:
    """The weights of a network and the network, for RGB whatever order they were trained on."""
    from darkjax import models
    from darkjax.weights import card as cards
    from darkjax.weights import fitting, load, reader, zoo

    if weights is None:
        files = ", ".join(zoo.get(method).files)
        published = f" (published: {files})" if files else ""
        raise UserError(f"--method={method} needs --weights=FILE{published}")
    path = pathlib.Path(weights)
    found: load.Weights | fitting.Fitted
    if cards.is_weights(path):
        found = load.load(path)
        if found.arch != method:
            raise UserError(f"{path} holds weights of {found.arch}, not of {method}")
    else:
        state = _kind(path) if method == "kind" and path.is_dir() else reader.read(path)
        quiet = lambda line: None  # noqa: E731
        found = fitting.fitted(method, zoo.get(method), state, file=path.name, say=quiet)
    model = models.build({**found.config, **({} if k is None else {"k": k})}, None)
    bgr = found.preprocess.order == "BGR"

    def apply(variables: Any, frames: Any) -> Any:
        if bgr:
            frames = frames[..., ::-1]
        frames, _ = model.apply(variables, frames, train=False)
        return frames[..., ::-1] if bgr else frames

    return found.variables, apply


def _kind(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """KinD's nets, each a file; their names are below scopes of their own."""
    from darkjax.weights import reader

    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError(f"expected KinD's .npz files or converted weights in {folder}; found none")
    return {name: value for file in files for name, value in reader.read(file).items()}


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
