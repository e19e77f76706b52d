"""A state dict fitted to the model it belongs to, or a message that says what to do.

Class and frame counts come from the file, kernels are inflated and first kernels adapted where
that was asked for, and nothing is missing, unknown or of another shape unless `skip` says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from darkjax.errors import UserError
from darkjax.weights import inflate as inflation
from darkjax.weights import misfit, names
from darkjax.weights.arch import Arch, Preprocess

HOW = ("centre", "average")
FRAMES = (4, 8, 16, 32, 64, 96, 128)  # clip lengths to try where a parameter's shape has one
Shapes = dict[str, tuple[int, ...]]
Clip = tuple[int, int, int]  # T, H, W


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Weights that fit their model: flat parameters and statistics, and what goes on the card."""

    config: dict[str, Any]
    num_classes: int | None
    in_channels: int
    input: Clip
    preprocess: Preprocess
    params: dict[str, np.ndarray]
    batch_stats: dict[str, np.ndarray]
    left_out: list[str]

    @property
    def variables(self) -> dict[str, Any]:
        """As `model.apply` takes them."""
        from darkjax import optim

        flat: dict[str, Any] = {"params": self.params, "batch_stats": self.batch_stats}
        return {kind: optim.unflatten(v) for kind, v in flat.items() if v}


def fitted(
    name: str,
    arch: Arch,
    state: Mapping[str, np.ndarray],
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    input: Clip | None = None,
    skip: str | None = None,
    inflate: str | None = None,
    file: str = "",
    say: Callable[[str], None] = print,
) -> Fitted:
    """Rename a state dict and compare it with the model it belongs to.

    Args:
      name: of the architecture, for messages.
      arch: its row of the zoo.
      state: as `reader.read` gives it.
      num_classes: the count that the file must have; None takes any.
      in_channels: of the video; None takes the file's.
      input: `(T, H, W)` of a clip; None takes the usual one, with the file's frame count.
      skip: regex; our paths and the file's names that it matches whole are left out.
      inflate: "centre" or "average" for 2-D kernels where the model has 3-D ones.
      file: its name, for messages and for `Arch.releases`.
      say: gets the four lists, a line each.

    Raises:
      UserError: something is missing, unknown or of another shape; another class count.
    """
    leave = _pattern(skip)
    config, renamed = _renamed(name, arch, state, file)
    classes = config.pop("num_classes")
    found = {
        path: value.astype(np.float32)
        for path, value in {**renamed.params, **renamed.batch_stats}.items()
        if not leave(path)
    }
    if not any(path.startswith("head/") for path in found):
        classes = None
    if num_classes is not None and classes != num_classes:
        raise UserError(
            f"{file} has {classes or 'no'} classes, --num_classes={num_classes} asks for others: "
            'leave that out, or convert the backbone alone with --skip="head/.*" and train a new '
            "classifier"
        )

    found, shapes, clip, channels = _sized(
        arch, config, classes, found, leave, in_channels, input, inflate
    )
    fit = names.fit(found, shapes)
    left_out = [path for path in fit.missing if leave(path)]
    fit = fit._replace(
        missing=[path for path in fit.missing if not leave(path)],
        extra=sorted([*fit.extra, *(key for key in renamed.unknown if not leave(key))]),
    )
    for line in misfit.lists(fit):
        say(line)
    misfit.check(name, fit, file, len(shapes) - len(left_out))
    return Fitted(
        config=config,
        num_classes=classes,
        in_channels=channels,
        input=clip,
        preprocess=_preprocess(arch, file, clip, channels),
        params={k: v for k, v in fit.placed.items() if k not in renamed.batch_stats},
        batch_stats={k: v for k, v in fit.placed.items() if k in renamed.batch_stats},
        left_out=left_out,
    )


def _sized(
    arch: Arch,
    config: Mapping[str, Any],
    classes: int | None,
    found: dict[str, np.ndarray],
    leave: Callable[[str], bool],
    in_channels: int | None,
    input: Clip | None,
    inflate: str | None,
) -> tuple[dict[str, np.ndarray], Shapes, Clip, int]:
    """The arrays, the shapes they should have, the clip and its channels.

    Frames and channels come from the file unless asked for; kernels are inflated and adapted.
    """

    def shapes_of(clip: Clip, channels: int) -> Shapes:
        return _shapes(config, classes, clip, channels, arch.views)

    clip = input or _clip(arch, config)
    if input is not None and arch.resize is not None:
        found = {path: arch.resize(path, v, clip, config) for path, v in found.items()}
    usual = len(arch.preprocess.mean)
    shapes = shapes_of(clip, usual)
    if inflate is not None:
        found = {path: _inflated(v, shapes.get(path), inflate) for path, v in found.items()}
    channels = _file_channels(names.fit(found, shapes), usual)
    if channels != usual:
        shapes = shapes_of(clip, channels)
    if input is None and _may_be_frames(names.fit(found, shapes), leave):
        clip = _frames(found, clip, lambda clip: shapes_of(clip, channels))
        shapes = shapes_of(clip, channels)
    if in_channels not in (None, channels):
        shapes = shapes_of(clip, in_channels)
        found = {
            path: _adapted(v, shapes.get(path), channels, in_channels) for path, v in found.items()
        }
        channels = in_channels
    return found, shapes, clip, channels


def _renamed(
    name: str, arch: Arch, state: Mapping[str, np.ndarray], file: str
) -> tuple[dict[str, Any], names.Renamed]:
    """The model's config as the file has it, and its arrays under our paths."""
    clean = names.stripped(state, arch.names.strip)
    try:
        config = {"num_classes": None, **arch.model, **arch.infer(clean)}
        return config, names.rename(state, arch.names)
    except UserError:
        raise
    except (KeyError, IndexError, ValueError) as error:  # a family looks for what another has not
        raise UserError(
            f"{file} does not fit {name}: it is not named or shaped as that family is ({error!r}), "
            f"its arrays are {', '.join(list(clean)[:3])}, …; is it another architecture"
            f"{misfit.published(file)}?"
        ) from error


def _shapes(
    config: Mapping[str, Any], classes: int | None, clip: Clip, channels: int, views: int
) -> Shapes:
    """Shape by path of the model's parameters and statistics, without making them."""
    import jax
    import jax.numpy as jnp

    from darkjax import models, optim

    model = models.build(config, classes)
    video = jax.ShapeDtypeStruct((1, *clip, channels), jnp.float32)
    try:
        found = jax.eval_shape(
            lambda *x: model.init(jax.random.key(0), *x, train=False), *[video] * views
        )
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{config['name']} cannot take a clip of {misfit.times(clip)} with {channels} "
            f"channels: {str(error).splitlines()[0]}; give the weights' own with --input=T,H,W"
        ) from error
    return {
        path: tuple(leaf.shape)
        for kind in ("params", "batch_stats")
        for path, leaf in optim.flatten(found.get(kind, {})).items()
    }


def _clip(arch: Arch, config: Mapping[str, Any]) -> Clip:
    """The usual clip, with the frames and the grid of patches that the file has embeddings for."""
    t, h, w = arch.input
    if config.get("grid") and config.get("patch"):
        h, w = (n * config["patch"] for n in config["grid"])
    return config.get("frames") or t, h, w


def _may_be_frames(fit: names.Fit, leave: Callable[[str], bool]) -> bool:
    """Whether nothing but lengths differ, as where a parameter is as long as the clip."""
    alike = all(len(theirs) == len(ours) for _, theirs, ours in fit.other_shape)
    return bool(fit.other_shape) and alike and not fit.extra and all(map(leave, fit.missing))


def _frames(
    found: Mapping[str, np.ndarray], clip: Clip, shapes_of: Callable[[Clip], Shapes]
) -> Clip:
    """The clip length at which most shapes agree."""
    scores = {}
    for frames in (clip[0], *FRAMES):
        longer = (frames, *clip[1:])
        with contextlib.suppress(UserError):  # too short for this network
            scores[longer] = len(names.fit(found, shapes_of(longer)).other_shape)
    return min(scores, key=scores.__getitem__)


def _file_channels(fit: names.Fit, usual: int) -> int:
    """Input channels of the file's first kernels, compared with a model of the usual count."""
    for _, theirs, ours in fit.other_shape:
        alike = len(theirs) >= 4 and ours[-2] == usual and theirs[-1] == ours[-1]
        if alike and theirs[-2] in (1, 2):
            return theirs[-2]
    return usual


def _inflated(value: np.ndarray, shape: tuple[int, ...] | None, how: str) -> np.ndarray:
    """A 2-D kernel over time, where the model has a 3-D one."""
    if shape is None or (value.ndim, len(shape)) != (4, 5):
        return value
    return inflation.inflate(value, shape[0], how)


def _adapted(
    value: np.ndarray, shape: tuple[int, ...] | None, channels: int, wanted: int
) -> np.ndarray:
    """A first kernel with the input channels that the model asks for; other arrays as they are."""
    from darkjax.weights.load import first_conv

    if shape is None or value.ndim < 4 or value.shape[-1] != shape[-1]:
        return value
    first = (value.shape[-2], shape[-2]) == (channels, wanted)
    return first_conv(value, wanted) if first else value


def _preprocess(arch: Arch, file: str, clip: Clip, channels: int) -> Preprocess:
    """The published preprocessing, for the file, the clip and the channels that were chosen."""
    released = (p for name, p in arch.releases if re.search(name, file))
    p = next(released, arch.preprocess)
    if clip[0] != arch.input[0]:
        p = dataclasses.replace(p, frames=clip[0])
    if clip[1:] != arch.input[1:]:
        size = min(clip[1:])
        short = max(p.short_side, size) if p.short_side else 0
        p = dataclasses.replace(p, size=size, short_side=short)
    if len(p.mean) == channels:
        return p
    mean = sum(p.mean) / len(p.mean) if channels == 1 else 0.5 * p.scale
    std = sum(p.std) / len(p.std)
    return dataclasses.replace(p, mean=(mean,) * channels, std=(std,) * channels, order="RGB")


def _pattern(skip: str | None) -> Callable[[str], bool]:
    try:
        pattern = re.compile(skip or r"(?!)")  # nothing matches it
    except re.error as error:
        raise UserError(f"--skip={skip!r} is no regular expression: {error}") from error
    return lambda path: pattern.fullmatch(path) is not None
