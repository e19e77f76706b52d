"""Flow as 8-bit pictures: for records and networks, and for people.

The flow image of Jiang et al. 2017: x and y centred on 128 and scaled into 0 to 255, and the
magnitude as third channel. The scale is `bound`, the largest component in pixels that is not
clipped; a component is then off by at most bound / 254.

Deviation: the paper does not say how the magnitude is scaled. Here 0 is no motion, and 255 what
two components of `bound` have.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from darkjax import channels
from darkjax.errors import UserError


def to_image(flow: Float[Array | np.ndarray, "*B 2"], bound: float) -> UInt8[Array, "*B 3"]:
    """Flow in pixels as an 8-bit image.

    Raises:
        UserError: a bound that is not above 0.
    """
    return jnp.round(levels(flow, bound)).astype(jnp.uint8)


def levels(flow: Float[Array | np.ndarray, "*B 2"], bound: float) -> Float[Array, "*B 3"]:
    """What `to_image` rounds: float32 from 0 to 255.

    Raises:
        UserError: a bound that is not above 0.
    """
    _check(bound)
    flow = jnp.clip(jnp.asarray(flow).astype(jnp.float32), -bound, bound)
    magnitude = jnp.sqrt(jnp.sum(flow * flow, -1, keepdims=True)) * (255 / (math.sqrt(2) * bound))
    return jnp.concatenate([channels.CENTRE + flow * (127 / bound), magnitude], -1)


def from_image(image: UInt8[Array | np.ndarray, "*B 3"], bound: float) -> Float[Array, "*B 2"]:
    """The flow of such an image, float32 in pixels.

    Raises:
        UserError: a bound that is not above 0.
    """
    _check(bound)
    return (jnp.asarray(image)[..., :2].astype(jnp.float32) - channels.CENTRE) * (bound / 127)


def mirrored(video: Float[Array, "*B W 6"]) -> Float[Array, "*B W 6"]:
    """A clip in [0, 1] with its flow image, seen in a mirror: what went right goes left."""
    x = video[..., ::-1, channels.FLOW_X : channels.FLOW_X + 1]
    turned = jnp.clip(2 * channels.CENTRE / 255 - x, 0.0, 1.0)
    rest = video[..., ::-1, :]
    return jnp.concatenate(
        [rest[..., : channels.FLOW_X], turned, rest[..., channels.FLOW_X + 1 :]], -1
    )


def _check(bound: float) -> None:
    if not bound > 0:
        raise UserError(f"flow bound: expected pixels above 0, found {bound}")


def wheel(flow: np.ndarray, bound: float) -> np.ndarray:
    """Flow [*B, 2] as colours, uint8 [*B, 3]: the hue is where to, white is no motion.

    Red is to the right, then yellow, green, blue in turn clockwise on the screen; motion of `bound`
    pixels or more has the full colour.
    """
    _check(bound)
    flow = np.asarray(flow, np.float32)
    sixths = np.arctan2(flow[..., 1], flow[..., 0])[..., None] * np.float32(3 / math.pi)
    # Of a hue, each of red, green, blue is full within a sixth of a turn from its own.
    away = np.abs((sixths - np.asarray([0, 2, 4], np.float32) + 3) % 6 - 3)
    hue = np.clip(2 - away, 0, 1)
    strength = np.minimum(np.linalg.norm(flow, axis=-1, keepdims=True) / bound, 1)
    return np.rint(255 * (1 - strength * (1 - hue))).astype(np.uint8)


def arrows(frame: np.ndarray, flow: np.ndarray, *, every: int = 8, times: int = 4) -> np.ndarray:
    """A frame with the flow of every so many pixels as arrows, enlarged to see them.

    Args:
        frame: uint8 [H, W, 3]; flow: [H, W, 2].
        every: pixels between arrows.
        times: enlargement of the frame; an arrow is as long as the motion in it.

    Returns:
        uint8 [times * H, times * W, 3], the frame in half brightness, arrows in yellow.
    """
    canvas = np.repeat(np.repeat(frame // 2, times, 0), times, 1)
    height, width = flow.shape[:2]
    y, x = np.mgrid[every // 2 : height : every, every // 2 : width : every]
    start = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) * times
    along = flow[y, x].reshape(-1, 2) * times
    steps = np.linspace(0, 1, 2 + int(np.ceil(np.abs(along).max(initial=0))))[:, None, None]
    points = [start + steps * along]
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    head = np.where(length > 2, along / np.maximum(length, 1e-6), 0) * np.minimum(length / 2, 6)
    for turn in (2.6, -2.6):  # radians from the arrow to the two strokes of its head
        c, s = math.cos(turn), math.sin(turn)
        stroke = np.stack([c * head[:, 0] - s * head[:, 1], s * head[:, 0] + c * head[:, 1]], -1)
        points.append(start + along + steps * stroke)
    at = np.floor(np.concatenate(points)).astype(int).reshape(-1, 2)
    at = at[((at >= 0) & (at < (width * times, height * times))).all(-1)]
    canvas[at[:, 1], at[:, 0]] = (255, 255, 0)
    return canvas
