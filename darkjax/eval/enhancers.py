"""Every enhancer by its name, with or without parameters, as one function of frames."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from darkjax import architectures
from darkjax.errors import UserError
from darkjax.nearest import did_you_mean

LEARNED = tuple(n for n in architectures.ENHANCERS if not n.startswith("kind_"))  # parts of KinD

Enhancer = Callable[[np.ndarray], np.ndarray]  # float32 [T, H, W, 3] in [0, 1], both


def methods() -> list[str]:
    """Every name that `--method` takes."""
    from darkjax.ops import enhance

    return [*enhance.METHODS, *LEARNED]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """An enhancer that is ready to be called, an `Enhancer`.

    Attributes:
      method: its name.
      k: how many frames share curves; give clips of a multiple of it.
      identity: everything that its result depends on, as JSON: method, options, and of a network
        its fields and the sha256 of its weights, wherever they came from.
    """

    method: str
    k: int
    identity: dict[str, Any]
    _run: Enhancer = dataclasses.field(repr=False)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return self._run(frames)


def enhancer(
    method: str | None,
    weights: str | os.PathLike[str] | None = None,
    *,
    gamma: float | None = None,
    k: int | None = None,
) -> Loaded:
    """A function from frames float32 [T, H, W, 3], RGB in [0, 1], to frames like them.

    It is compiled anew for each shape. The result is not clipped: StableLLVE's may be a little
    outside [0, 1].

    Args:
      method: one of `methods`; None takes what converted weights or a run say they are.
      weights: of a learned one: a published file, what `darkjax.weights.convert` wrote, or the
        stage of a run that trained it (RUN/STAGE).
      gamma: of a method that takes one.
      k: how many frames share curves (Zero-DCE); by default what the weights were trained with.

    Raises:
      UserError: an unknown method, weights that are missing or of something else, an option that
        the method does not have.
    """
    import jax
    import jax.numpy as jnp

    known = methods()
    if method is not None and method not in known:
        hint = did_you_mean(method, known, otherwise=f"known: {', '.join(known)}")
        raise UserError(f"--method={method!r} is not an enhancer; {hint}")
    if gamma is not None and not gamma > 0:
        raise UserError(f"--gamma={gamma}: expected a number above 0, 1 changes nothing")
    if method is None or method in LEARNED:
        if gamma is not None:
            raise UserError(f"--gamma: {method or 'a network'} has none")
        if method is not None:
            _check_k(method, k)
        net = _network(method, weights)
        _check_k(net.config["name"], k)
        config = {**net.config, **({} if k is None else {"k": k})}
        method, variables, function = net.config["name"], net.variables, _applied(net, config)
        identity = {"fields": config, "bgr": net.bgr, "weights": _sha256(variables)}
    else:
        _check_k(method, k)
        config, variables, function = {}, {}, _free(method, weights, gamma)
        identity = {} if gamma is None else {"gamma": gamma}
    apply = jax.jit(function)  # variables are an argument: as constants they would be compiled in

    def enhance(frames: np.ndarray) -> np.ndarray:
        try:
            with jax.default_matmul_precision("highest"):  # no TF32: the originals' numbers
                return np.asarray(apply(variables, jnp.asarray(frames, jnp.float32)))
        except ValueError as e:
            height, width = frames.shape[1:3]
            raise UserError(f"{method} cannot take {width}x{height}: {_first_line(e)}") from e

    return Loaded(str(method), config.get("k", 1), {"method": method, **identity}, enhance)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """[0, 1] as 8 bits, rounded to nearest, clipped."""
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)


def _check_k(method: str, k: int | None) -> None:
    if k is not None and not (method.startswith("zero_dce") and k >= 1):
        raise UserError(f"--k={k}: a count of frames from 1, for zero_dce and zero_dce_light")


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


@dataclasses.dataclass(frozen=True)
class _Network:
    """A network's config, weights, and whether they were trained on BGR."""

    config: dict[str, Any]
    variables: Any
    bgr: bool = False


def _applied(net: _Network, config: Mapping[str, Any]) -> Callable[[Any, Any], Any]:
    """The network for RGB, whatever order it was trained on."""
    from darkjax import models

    model = models.build(config, None)

    def apply(variables: Any, frames: Any) -> Any:
        if net.bgr:
            frames = frames[..., ::-1]
        frames, _ = model.apply(variables, frames, train=False)
        return frames[..., ::-1] if net.bgr else frames

    return apply


def _network(method: str | None, weights: str | os.PathLike[str] | None) -> _Network:
    """What is in `weights`: a run, converted weights or a published file."""
    from darkjax.eval import trained_enhancer
    from darkjax.weights import card as cards
    from darkjax.weights import fitting, load, zoo
    from darkjax.weights.reading import reader

    if weights is None:
        if method is None:
            raise UserError(
                f"expected --method ({', '.join(methods())}) or --weights of a run; found neither"
            )
        files = ", ".join(zoo.get(method).files)
        published = f" (published: {files})" if files else " (RUN/STAGE: none are published)"
        raise UserError(f"--method={method} needs --weights=FILE{published}")
    path = pathlib.Path(weights)
    if trained_enhancer.is_run(path):
        run = trained_enhancer.load(path)
        _check_name(path, run.config["name"], method)
        return _Network(run.config, run.variables)
    if cards.is_weights(path):
        loaded = load.load(path)
        _check_name(path, loaded.arch, method)
        return _Network(dict(loaded.config), loaded.variables, loaded.preprocess.order == "BGR")
    if method is None or (path.is_dir() and method != "kind"):
        found = "a folder with none of them" if path.is_dir() else "no such file or folder"
        if path.is_file():
            found = "a file: say what it is with --method"
        raise UserError(
            f"--weights={path}: expected a run's stage with its checkpoints (RUN/STAGE), a folder "
            f"of darkjax.weights.convert with its card.json, or a published file; found {found}"
        )
    state = _kind(path) if method == "kind" and path.is_dir() else reader.read(path)
    quiet = lambda line: None  # noqa: E731
    fitted = fitting.fitted(method, zoo.get(method), state, file=path.name, say=quiet)
    return _Network(dict(fitted.config), fitted.variables, fitted.preprocess.order == "BGR")


def _check_name(path: pathlib.Path, found: str, method: str | None) -> None:
    """Weights of the method that was asked for, and of an enhancer at all."""
    if found not in LEARNED:
        raise UserError(f"{path} holds weights of {found}, which is not an enhancer")
    if method not in (None, found):
        raise UserError(f"{path} holds weights of {found}, not of {method}")


def _sha256(variables: Any) -> str:
    """Of names, dtypes, shapes and bytes: equal for equal weights, whatever file they were in."""
    import jax

    sha = hashlib.sha256()
    for path, leaf in sorted(
        (jax.tree_util.keystr(p), np.asarray(v))
        for p, v in jax.tree_util.tree_leaves_with_path(variables)
    ):
        sha.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()


def _kind(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """KinD's nets, each a file; their names are below scopes of their own."""
    from darkjax.weights.reading import reader

    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError(f"expected KinD's .npz files or converted weights in {folder}; found none")
    return {name: value for file in files for name, value in reader.read(file).items()}


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
