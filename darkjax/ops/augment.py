"""The augmentation chain of LIFT-Net (section V-B) as pure functions on the device.

The paper names random flip, colour jitter, random affine, optical distortion, elastic
distortion, random rain, cutmix and frame shuffle, and gives no strengths. All are drawn once
per clip, so that a clip stays consistent over time; only the rain moves and only the frame
shuffle reorders.

Deviations (the paper is silent; each is a field of `default_config`):
- probabilities and strengths are ours, near the usual defaults of image libraries;
- "frame shuffle" permutes all frames of a clip, or each ``window`` frames among themselves;
- the order of the chain is flip, colour, warps, rain, frame shuffle, cutmix; `OPTIONAL` "still",
  which is not the paper's (`ops.still`), comes before cutmix;
- affine, optical and elastic warps are composed and the clip is resampled once.

A clip may bring its flow image (six channels, `darkjax.channels`). It goes where its pixels go,
a mirrored clip's x changes sign, and colour jitter and rain leave it alone. Warps move the vectors
but do not turn or stretch them, and shuffled frames keep the flow that they had.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from darkjax import channels
from darkjax.errors import UserError
from darkjax.ops import warp
from darkjax.ops.colour import colour_jitter
from darkjax.ops.rain import rain
from darkjax.ops.rearrange import cutmix, flip, frame_shuffle
from darkjax.ops.still import mix_still

__all__ = [
    "affine",
    "augment",
    "colour_jitter",
    "cutmix",
    "default_config",
    "elastic_distortion",
    "example_keys",
    "flip",
    "frame_shuffle",
    "optical_distortion",
    "rain",
]


# Fields that a config may have and need not: the chain is the same without them.
OPTIONAL = {"still": {"p": 0.5, "limit": 0.5}}

Fields = Any  # a dict or an ml_collections.ConfigDict, which is not a Mapping to Python


def default_config() -> dict[str, Any]:
    """Every field of the chain with its default; ``p`` is a probability per clip, 0 turns it off.

    flip.p; jitter: brightness, contrast, saturation (± factor), hue (± turns); affine: degrees,
    translate (share of the frame), scale (low, high), shear (degrees); optical.limit; elastic:
    alpha, sigma (pixels); rain: density (share of columns), length (pixels), brightness, slant;
    frame_shuffle.window (frames, 0 = all); cutmix.alpha; border: "reflect", "edge" or "zero".
    """
    return {
        "flip": {"p": 0.5},
        "jitter": {"p": 0.5, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.0},
        "affine": {"p": 0.5, "degrees": 10.0, "translate": 0.1, "scale": (0.9, 1.1), "shear": 5.0},
        "optical": {"p": 0.5, "limit": 0.05},
        "elastic": {"p": 0.25, "alpha": 40.0, "sigma": 6.0},
        "rain": {"p": 0.1, "density": 0.1, "length": 12.0, "brightness": 0.4, "slant": 0.2},
        "frame_shuffle": {"p": 0.1, "window": 0},
        "cutmix": {"p": 0.5, "alpha": 1.0},
        "border": "reflect",
    }


def augment(
    key: PRNGKeyArray,
    video: Float[Array, "B T H W C"],
    target: Float[Array, "B K"],
    cfg: Fields,
    index: Int[Array, "B"] | None = None,
) -> tuple[Float[Array, "B T H W C"], Float[Array, "B K"]]:
    """Apply the chain to a batch of clips.

    Example b draws from (key, index[b]) alone, so its result does not depend on how the batch
    is spread over devices; only still and cutmix look at another example (b - 1).

    Args:
        key: one key for the step.
        video: float32 in [0, 1].
        target: float32 one-hot or soft labels.
        cfg: the fields of `default_config`, as a dict or ConfigDict; read when tracing. A
            transform that is absent or has ``p`` 0 is off and leaves no trace in the program.
        index: place of each example in the global batch; by default 0 .. B-1, which is right
            under ``jit`` on global arrays.

    Returns:
        (video, target), same shapes and dtypes, video in [0, 1].

    Raises:
        UserError: an unknown field, or a probability or strength out of its range.
    """
    check_config(cfg)
    keys = example_keys(key, video.shape[0], index)
    video = jax.vmap(lambda k, v: _augment_clip(k, v, cfg))(keys, video)
    if _on(cfg, "still"):
        video = mix_still(jax.vmap(_STILL_KEY)(keys), video, **cfg["still"])
    if _on(cfg, "cutmix"):
        keys = jax.vmap(_CUTMIX_KEY)(keys)
        video, target = cutmix(keys, video, target, **cfg["cutmix"])
    return video, target


def example_keys(key: PRNGKeyArray, batch: int, index: Int[Array, "B"] | None = None) -> Array:
    """One key per example, folded from (key, place in the global batch); shape [batch]."""
    if index is None:
        index = jnp.arange(batch)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def _purpose(number: int):
    """A function from an example's key to the key of one transform."""
    return lambda key: jax.random.fold_in(key, number)


# Fixed numbers: turning one transform off must not change what the others draw.
_FLIP_KEY, _JITTER_KEY, _AFFINE_KEY, _OPTICAL_KEY = map(_purpose, range(4))
_ELASTIC_KEY, _RAIN_KEY, _SHUFFLE_KEY, _CUTMIX_KEY = map(_purpose, range(4, 8))
_STILL_KEY = _purpose(8)


def _augment_clip(key: PRNGKeyArray, video: Array, cfg: Fields) -> Array:
    """The transforms that look at one clip only."""
    if _on(cfg, "flip"):
        video = flip(_FLIP_KEY(key), video, **cfg["flip"])
    if _on(cfg, "jitter"):
        video = _of_colours(colour_jitter, _JITTER_KEY(key), video, cfg["jitter"])
    if any(_on(cfg, name) for name in ("affine", "optical", "elastic")):
        points = _warp_points(key, video.shape[1], video.shape[2], cfg)
        still = _still(video.shape[-1])  # where the border is "zero", nothing moves in it
        video = warp.sample(video - still, points, border=cfg.get("border", "reflect")) + still
    if _on(cfg, "rain"):
        video = _of_colours(rain, _RAIN_KEY(key), video, cfg["rain"])
    if _on(cfg, "frame_shuffle"):
        video = frame_shuffle(_SHUFFLE_KEY(key), video, **cfg["frame_shuffle"])
    return video


def _of_colours(change: Any, key: PRNGKeyArray, video: Array, fields: Fields) -> Array:
    """The clip with its colours changed; the flow that it may have stays."""
    if video.shape[-1] != channels.WITH_FLOW:
        return change(key, video, **fields)
    seen, flow = video[..., : channels.COLOURS], video[..., channels.COLOURS :]
    return jnp.concatenate([change(key, seen, **fields), flow], -1)


def _still(count: int) -> Any:
    """What the channels of a black clip hold."""
    if count != channels.WITH_FLOW:
        return 0.0
    centre = channels.CENTRE / 255
    return jnp.asarray([0.0] * channels.COLOURS + [centre, centre, 0.0], jnp.float32)


def _warp_points(key: PRNGKeyArray, height: int, width: int, cfg: Fields) -> Array:
    """Source points of the affine, then optical, then elastic warp of a picture.

    Points are traced back from the output, so the maps come in the reverse order.
    """
    points = warp.pixel_points(height, width)
    if _on(cfg, "elastic"):
        points = warp.random_elastic_points(_ELASTIC_KEY(key), points, **cfg["elastic"])
    if _on(cfg, "optical"):
        points = warp.random_optical_points(_OPTICAL_KEY(key), points, **cfg["optical"])
    if _on(cfg, "affine"):
        points = warp.random_affine_points(_AFFINE_KEY(key), points, **cfg["affine"])
    return points


def affine(
    key: PRNGKeyArray,
    video: Float[Array, "T H W C"],
    *,
    degrees: float = 10.0,
    translate: float = 0.1,
    scale: tuple[float, float] = (0.9, 1.1),
    shear: float = 5.0,
    border: str = "reflect",
    p: float = 1.0,
) -> Float[Array, "T H W C"]:
    """Random rotation, shift, scale and shear of a clip; see `warp.random_affine_points`."""
    points = warp.random_affine_points(
        key,
        warp.pixel_points(*video.shape[1:3]),
        degrees=degrees,
        translate=translate,
        scale=scale,
        shear=shear,
        p=p,
    )
    return warp.sample(video, points, border=border)


def optical_distortion(
    key: PRNGKeyArray,
    video: Float[Array, "T H W C"],
    *,
    limit: float = 0.05,
    border: str = "reflect",
    p: float = 1.0,
) -> Float[Array, "T H W C"]:
    """Random barrel or pincushion distortion of a clip; see `warp.optical_points`."""
    points = warp.pixel_points(*video.shape[1:3])
    return warp.sample(
        video, warp.random_optical_points(key, points, limit=limit, p=p), border=border
    )


def elastic_distortion(
    key: PRNGKeyArray,
    video: Float[Array, "T H W C"],
    *,
    alpha: float = 40.0,
    sigma: float = 6.0,
    border: str = "reflect",
    p: float = 1.0,
) -> Float[Array, "T H W C"]:
    """Random smooth distortion of a clip; see `warp.elastic_displacement`."""
    points = warp.pixel_points(*video.shape[1:3])
    points = warp.random_elastic_points(key, points, alpha=alpha, sigma=sigma, p=p)
    return warp.sample(video, points, border=border)


def _on(cfg: Fields, name: str) -> bool:
    return name in cfg and cfg[name]["p"] > 0


# (low, high) of the numbers whose wrong value would give nonsense rather than an error.
_RANGES = {
    "p": (0.0, 1.0),
    "brightness": (0.0, 1.0),
    "density": (0.0, 1.0),
    "hue": (0.0, 0.5),
    "translate": (0.0, 1.0),
}


def check_config(cfg: Fields) -> None:
    """Raise a UserError for an unknown field or a number out of its range."""
    known = default_config() | OPTIONAL
    for name in cfg:
        if name not in known:
            raise UserError(f"augment.{name}: unknown; expected one of {', '.join(known)}")
        if name == "border":
            continue
        fields = cfg[name]
        if "p" not in fields:
            raise UserError(f"augment.{name}.p: expected a probability, found none; 0 turns it off")
        for field in fields:
            if field not in known[name]:
                options = ", ".join(known[name])
                raise UserError(f"augment.{name}.{field}: unknown; expected one of {options}")
            low, high = _RANGES.get(field, (0.0, float("inf")))
            value = fields[field]
            values = value if isinstance(value, tuple | list) else (value,)
            if not all(low <= v <= high for v in values):
                raise UserError(f"augment.{name}.{field}: expected {low} to {high}, found {value}")
