"""Where a network looked: Grad-CAM in space and time, attention roll-out, for any network.

Grad-CAM [Selvaraju et al. 2017, arXiv 1610.02391, Eq. 1-2] on the last map before the pooling:
`relu(sum_c w_c A_c)`, `w_c` the mean over the map of the slope of the class's score by `A_c`. The
maps of a network with several (SlowFast's two, DarkLight's of the dark and the bright view,
LIFT-Net's 3-D network and its ViT) are brought to one grid and added before the relu: all are in
units of the one score. Of a transformer it is the tokens that its last block is given. Where small
frames leave fewer than `LEAST` places along a side, it is the last map that has as many.

"attention" is roll-out [Abnar and Zuidema 2020, arXiv 2005.00928]: of the class token, through
`(A + I) / 2` of every block, A the mean over heads. It says where information comes from, whatever
the class. "rollout" is that of a class: each attention is weighted by the slope of the score by it
and what is negative dropped, `I + mean over heads of relu(slope * A)` [Chefer et al. 2021, arXiv
2103.15679, Eq. 5-6]. TimeSformer's attentions over space and over time are steps of their own.

Roll-out is defined where a class token meets every other token in each block: ViT and TimeSformer.
Swin's tokens meet in moving windows and no class token gathers them, MViT pools its queries so that
tokens of one block are not those of the next, LIFT-Net mixes tokens by a Fourier transform: these
get Grad-CAM.

Deviation: the slope by TimeSformer's attention over space is shared by the frames of the class
token's copies, as its updates are averaged.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax import methods
from darkjax.errors import UserError
from darkjax.eval import cut

Grid = tuple[int, int, int]
HOW = ("gradcam", "rollout", "attention")
LEAST = 4  # places along the shorter side of a map that is worth looking at


def stations(out: Mapping[str, Any], frames: int, size: tuple[int, int]) -> dict[str, Grid]:
    """The last maps or tokens before a network is done with places, by their names in `out`.

    Args:
      out: what a network gives for one clip; shapes are enough.
      frames, size: of the clip.

    Returns:
      The grid (t, h, w) of each: of `features` that of the map, `[1, t, h, w, C]`; of a
      transformer's tokens that of the patches, the class token aside.
    """
    found = {}
    for name, x in out.items():
        head, slash, last = name.rpartition("/")
        prefix = head + slash
        if last == "features" and x.ndim == 5 and f"{prefix}embedded" not in out:
            place = _fine(out, name, prefix)
            found[place] = tuple(out[place].shape[1:4])
        elif last == "embedded":
            tokens = _tokens(out, prefix)
            place = out[tokens]
            many = math.prod(place.shape[:-1])
            if place.ndim == 3:  # a class token in front of each row
                many -= place.shape[0]
            pooled = out.get(f"{prefix}features")
            times = frames if pooled is None else pooled.shape[1]
            found[tokens] = (times, *_sides(many // times, size))
    return found


def gradcam(
    out: Mapping[str, Array],
    rest: Callable[[dict[str, Array]], Array],
    video: tuple[int, ...],
    chosen: Array,
) -> Float[Array, "t u v"]:
    """Grad-CAM of class `chosen` for the one clip that `cut.at` was given, not scaled.

    Args:
      out, rest: of `cut.at`.
      video: the clip's shape, (1, T, H, W, C).
      chosen: a class, int32.
    """
    grids = stations(out, video[1], (video[2], video[3]))
    maps = {name: out[name] for name in grids}
    slopes = jax.grad(lambda values: rest(values)[0].astype(jnp.float32)[chosen])(maps)
    finest = tuple(max(grid[axis] for grid in grids.values()) for axis in range(3))
    total = jnp.zeros(finest, jnp.float32)
    for name, grid in grids.items():
        value, slope = (_placed(x[name], grid) for x in (maps, slopes))
        found = value @ slope.mean((0, 1, 2))
        # What a place of a coarser map adds to the score is that of all it covers together.
        total = total + jax.image.resize(found, finest, "linear") * math.prod(grid)
    return jax.nn.relu(total)


def rollout(
    out: Mapping[str, Array],
    rest: Callable[[dict[str, Array]], Array],
    video: tuple[int, ...],
    chosen: Array | None,
) -> Float[Array, "t u v"]:
    """Roll-out of the class token's attention for one clip, of a class or (None) of none."""
    names = [n for n in out if re.fullmatch(r"block\d+/(temporal_)?attention", n)]
    maps = {name: out[name] for name in names}
    if chosen is None:
        steps = {name: x.mean(1) / 2 for name, x in maps.items()}
        stays = 0.5
    else:
        slopes = jax.grad(lambda values: rest(values)[0].astype(jnp.float32)[chosen])(maps)
        steps = {name: jax.nn.relu(slopes[name] * x).mean(1) for name, x in maps.items()}
        stays = 1.0
    times = video[1]
    places = out["block0/attention"].shape[-1] - 1
    each = not any("temporal" in n for n in names)  # a class token of each frame, or of the clip
    cls = jnp.full((times,), 1 / times if each else 1.0)
    patches = jnp.zeros((times, places))
    for i in reversed(range(1 + max(map(_number, names)))):
        over = steps[f"block{i}/attention"]  # T 1+P 1+P: from the second to the first
        if each:
            row = jnp.concatenate([cls[:, None], patches], 1)
            row = stays * row + jnp.einsum("tp,tpq->tq", row, over)
            cls, patches = row[:, 0], row[:, 1:]
            continue
        # One class token, a copy in every frame, the mean of what the copies hear. A slope by a
        # copy's attention has that division in it already.
        share = 1 / times if chosen is None else 1.0
        row = jnp.concatenate([jnp.broadcast_to(cls[:1, None] * share, (times, 1)), patches], 1)
        heard = jnp.einsum("tp,tpq->tq", row, over)
        cls = stays * cls + heard[:, 0].sum()
        patches = stays * patches + heard[:, 1:]
        through = steps[f"block{i}/temporal_attention"]  # P T T
        patches = stays * patches + jnp.einsum("tp,pts->sp", patches, through)
    return patches.reshape(times, *_sides(places, (video[2], video[3])))


@functools.lru_cache(maxsize=8)
def finder(method: methods.Method, how: str) -> Callable[..., Any]:
    """A compiled `(variables, batch of one clip, class) -> (scores [K], heat [t, u, v], Look)`.

    `class` -1 is the one with the largest score. The heat is in [0, 1]: Grad-CAM's over its
    largest value, roll-out's between its least and its largest; 0 where nothing speaks for the
    class. It is None where `how` is "" and there is nothing to find it by.

    Args:
      method: which judges classes.
      how: one of `HOW`; "": "rollout" where that is defined, else "gradcam".

    Raises (when it is called):
      UserError: what `how` names is not defined for the network.
    """

    def find(variables: Any, batch: Any, chosen: Array) -> Any:
        scores, out, rest = cut.at(method.predict, variables, batch)
        shape, look = batch["video"].shape, method.look(batch, out)
        attends = "block0/attention" in out
        grids = stations(out, shape[1], shape[2:4])
        way = how or ("rollout" if attends else "gradcam")
        if not (attends if way != "gradcam" else grids):
            if not how:
                return scores[0], None, look
            raise UserError(_undefined(method, how, bool(grids)))
        chosen = jnp.where(chosen < 0, scores[0].argmax().astype(jnp.int32), chosen)
        if way == "gradcam":
            found, low = gradcam(out, rest, shape, chosen), jnp.float32(0)
        else:
            found = rollout(out, rest, shape, None if way == "attention" else chosen)
            low = jnp.min(found)
        span = jnp.max(found) - low
        found = jnp.where(span > 0, (found - low) / jnp.where(span > 0, span, 1.0), 0.0)
        return scores[0], found, look

    return jax.jit(find)


def _undefined(method: methods.Method, how: str, maps: bool) -> str:
    """Why there is no such heat, and what there is."""
    section = method.config.get("model", {}) if hasattr(method.config, "get") else {}
    name = f"model {section['name']!r}" if "name" in section else f"{type(method).__name__}"
    if how == "gradcam":
        return f"{name} gives no map of places (`features`): there is no Grad-CAM of it"
    instead = ": take --how=gradcam" if maps else ""
    return f"{name} has no class token that meets all others in each block: no roll-out{instead}"


def _tokens(out: Mapping[str, Any], prefix: str) -> str:
    """The name of what the last block of a transformer is given."""
    order = _blocks(out, prefix)
    return [f"{prefix}embedded", *order][-2 if order else -1]


def _fine(out: Mapping[str, Any], last: str, prefix: str) -> str:
    """The last map up to `last` with `LEAST` places along its sides; `last` itself if none has."""
    for name in (last, *reversed(_blocks(out, prefix))):
        if out[name].ndim == 5 and min(out[name].shape[2:4]) >= LEAST:
            return name
    return last


def _blocks(out: Mapping[str, Any], prefix: str) -> list[str]:
    """The names of what blocks give, in their order."""
    blocks = [n for n in out if re.fullmatch(re.escape(prefix) + r"(block\d+|stage\d+/\d+)", n)]
    return sorted(blocks, key=lambda n: [int(d) for d in re.findall(r"\d+", n[len(prefix) :])])


def _placed(x: Float[Array, "..."], grid: Grid) -> Float[Array, "t h w C"]:
    """A map or tokens of one clip on their grid, without class tokens."""
    if x.ndim == 3:
        x = x[:, 1:]
    return x.astype(jnp.float32).reshape(*grid, x.shape[-1])


def _sides(places: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of so many places on a picture: the division nearest to its shape."""
    wanted = math.log(size[0] / size[1])
    heights = [h for h in range(1, places + 1) if places % h == 0]
    height = min(heights, key=lambda h: abs(math.log(h * h / places) - wanted))
    return height, places // height


def _number(name: str) -> int:
    return int(re.findall(r"\d+", name)[0])
