"""Why a stage says what it says of a video: where it looked, and what its enhancer did.

model = darkjax.load("box")
found = explain(model, "night.mp4", "Walk")
found.heat  # float32 [t, u, v] in [0, 1]
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from darkjax import methods
from darkjax.errors import UserError
from darkjax.eval import heat as heats
from darkjax.eval.enhancers import to_uint8
from darkjax.nearest import did_you_mean


class Explained(NamedTuple):
    """`video` uint8 [T', h, w, C]: what the network saw; `heat` float32 [t, u, v] in [0, 1]: where
    it looked for class `name`, of which `probability` is that of this view alone."""

    video: np.ndarray
    heat: np.ndarray
    name: str
    probability: float


class Curves(NamedTuple):
    """What an enhancer of curves did to a clip.

    Attributes:
      video, enhanced: uint8 [T, h, w, C], before and after.
      curves: float32 [T, h, w, n, C] in (-1, 1), r of each of the n iterations
        `x + r (x^2 - x)` (`ops.curves`): below 0 brightens, 0 changes nothing.
    """

    video: np.ndarray
    enhanced: np.ndarray
    curves: np.ndarray


def explain(
    model: Any, video: Any, name: str | None = None, how: str = "", fps: float | None = None
) -> Explained:
    """Where the network looked in the middle of a video (`eval.heat` says how that is found).

    Args:
      model: of `darkjax.load`.
      video, fps: as `model.preprocess` takes them.
      name: a class; None: the one that this view speaks for most.
      how: one of `heat.HOW`; "": roll-out for ViT and TimeSformer, Grad-CAM for all others.

    Raises:
      UserError: the stage names no classes, or not this one; `how` is not one of them, or not
        defined for its network; the video cannot be read.
    """
    method = model.method
    if how and how not in heats.HOW:
        raise UserError(f"how={how!r}: expected one of {', '.join(heats.HOW)}")
    if method.judge != "classes":
        raise UserError(f"{model.where} does not name classes: there is none to look for")
    if name is not None and name not in model.classes:
        near = did_you_mean(name, model.classes, otherwise=f"it has {', '.join(model.classes)}")
        raise UserError(f"{model.where} has no class {name!r}: {near}")
    batch = _middle(model, video, fps)
    chosen = -1 if name is None else model.classes.index(name)
    scores, found, look = heats.finder(method, how)(model.variables, batch, np.int32(chosen))
    if found is None:
        raise UserError(f"{model.where}: its method gives no map of places to look at")
    scores = np.asarray(scores, np.float64)
    shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    chosen = int(scores.argmax()) if chosen < 0 else chosen
    seen = to_uint8(np.asarray(look.video[0]))
    wide = beside(np.asarray(found, np.float32), seen.shape[2], batch["video"].shape[3])
    return Explained(seen, wide, model.classes[chosen], float(shares[chosen]))


def curves(model: Any, video: Any, fps: float | None = None) -> Curves:
    """The curves of an enhancer, or of the one before a classifier (DTCM), for a video's middle.

    Raises:
      UserError: it has no curves; the video cannot be read.
    """
    batch = _middle(model, video, fps)
    scores, out = _predicted(model.method)(model.variables, batch)
    if "curves" not in out:
        raise UserError(
            f"{model.where} has no enhancer of curves: expected Zero-DCE or DTCM "
            "(zero_dce, zero_dce_light)"
        )
    enhanced = np.asarray(out.get("enhanced", scores)[0])
    found = np.asarray(out["curves"][0], np.float32)
    channels = enhanced.shape[-1]
    found = found.reshape(*found.shape[:3], -1, channels)
    # Frames of a group share its curves: k of them, the last group what is left.
    length, groups = len(enhanced), len(found)
    each = _sharing(model.method) if groups < length else 1
    found = found[np.minimum(np.arange(length) // each, groups - 1)]
    return Curves(batch["video"][0][..., :channels], to_uint8(enhanced), found)


def looked(
    method: methods.Method, variables: Any, batch: Any, chosen: int = -1
) -> tuple[methods.Look, str]:
    """`Method.look` of a batch of one clip; Grad-CAM or roll-out where it has no heat of its own.

    Args:
      method, variables, batch: as `method.predict` takes them.
      chosen: the class; -1 is the one with the largest score.

    Returns:
      The look, and what its heat is: "Attention", of its own, or "Looked at", or "" without.
    """
    if method.judge != "classes":
        return _look(method)(variables, batch), ""
    _, found, look = heats.finder(method, "")(variables, batch, np.int32(chosen))
    if look.heat is not None or found is None:
        return look, "" if look.heat is None else "Attention"
    wide = beside(np.asarray(found, np.float32), look.video.shape[3], batch["video"].shape[3])
    return look._replace(heat=jnp.asarray(wide[None])), "Looked at"


def beside(heat: np.ndarray, shown: int, width: int) -> np.ndarray:
    """Heat [t, u, v] as often as views of `width` stand beside one another in `shown`."""
    return np.tile(heat, (1, 1, max(shown // width, 1)))


def _sharing(method: Any) -> int:
    """Frames that share curves."""
    return next(int(n.k) for n in vars(method).values() if hasattr(n, "k"))


def _middle(model: Any, video: Any, fps: float | None) -> dict[str, Any]:
    """The middle view of a video as a batch of one clip."""
    views = dataclasses.replace(model.views, views_clips=1, views_crops=1)
    none = np.zeros(1, np.int32)
    batch: dict[str, Any] = dict.fromkeys(("label", "clip", "view", "domain"), none)
    seen = model.preprocess(video, fps, views)
    return batch | {"video": seen, "mask": np.ones(1, np.float32)}


@functools.lru_cache(maxsize=4)
def _predicted(method: methods.Method) -> Any:
    return jax.jit(method.predict)


@functools.lru_cache(maxsize=4)
def _look(method: methods.Method) -> Any:
    return jax.jit(lambda v, b: method.look(b, method.predict(v, b)[1]))
