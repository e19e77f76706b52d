"""Records with optical flow from records: `python -m darkjax.data.flow --help`.

    python -m darkjax.data.flow --records=records/arid --out=records/arid_flow --bound=15
    python -m darkjax.data.flow --records=RECORDS --out=OUT --method=tvl1 --options=warps=2
    python -m darkjax.data.flow --records=RECORDS --out=OUT --enhance=lime

The clips of `--out` have six channels: the three colours, then the flow image of the infrared
two-stream paper: x and y from each frame to the next, centred on 128 and scaled by `--bound`, and
the magnitude (docs/flow.md). There are as many frames as before, the last flow stands twice. Grey
clips get three equal colours. Windows, crops and resizing treat a clip and its flow alike. Train on
them with data.channels=6.

Splits, groups, ids and labels are those of `--records`. The frames are stored as raw bytes: a JPEG
has no six channels. The card keeps the method, its parameters and the bound under `decode.flow`,
and they are in the data's digest. Stopped, the same command goes on; with another method or bound
it is refused.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from darkjax import channels, program
from darkjax.data import convert, stopping
from darkjax.data.enhanced import Enhanced
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.nearest import did_you_mean

BOUND = 15.0
# Pairs of frames in one program, the shape it is compiled for; on a CPU few of the last are lost.
PAIRS, PAIRS_ON_CPU = 64, 4


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How flow is computed and stored.

    Attributes:
      method: a name of `ops.flow.METHODS`.
      options: its parameters that are not the defaults.
      bound: pixels of the largest component; more is clipped.
      enhance: a method of `ops.enhance` that brightens the frames before; "" is none.
    """

    method: str = "brox"
    options: tuple[tuple[str, Any], ...] = ()
    bound: float = BOUND
    enhance: str = ""

    def __post_init__(self) -> None:
        from darkjax.ops import enhance

        if self.enhance and self.enhance not in enhance.METHODS:
            known = ", ".join(enhance.METHODS)
            raise UserError(f"--enhance={self.enhance}: expected one of {known}")
        if not 0 < self.bound < 1e6:
            raise UserError(f"--bound={self.bound:g}: expected pixels above 0")
        self.made()

    def made(self) -> Any:
        """The method with its parameters."""
        from darkjax.ops.flow import METHODS

        if self.method not in METHODS:
            raise UserError(f"--method={self.method}: expected one of {', '.join(METHODS)}")
        method = METHODS[self.method]()
        defaults = dataclasses.asdict(method)
        given = {}
        for name, text in self.options:
            if name not in defaults:
                hint = did_you_mean(name, defaults, lead=": ")
                raise UserError(
                    f"--options={name}=…: {self.method} has {', '.join(defaults)}{hint}"
                )
            kind = type(defaults[name])
            try:
                given[name] = kind(text)
                if not 0 <= given[name] < 1e6:
                    raise ValueError
            except ValueError:
                what = "a whole number" if kind is int else "a number"
                raise UserError(f"--options={name}={text}: expected {what}, 0 or more") from None
        return dataclasses.replace(method, **given)

    def described(self) -> dict[str, Any]:
        """What the card keeps: every parameter, also those that are the defaults of today."""
        found = {"method": self.method, "bound": self.bound, "enhance": self.enhance}
        return found | dataclasses.asdict(self.made())

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 [T, H, W, 1 or 3] with their flow, uint8 [T, H, W, 6].

        Raises:
          UserError: a single frame.
        """
        seen = np.broadcast_to(frames, (*frames.shape[:3], channels.COLOURS))
        flow = images(frames, self)
        return np.concatenate([seen, np.concatenate([flow, flow[-1:]])], -1)


def images(frames: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The flow images of frames uint8 [T, H, W, C], uint8 [T-1, H, W, 3], some pairs at a time.

    Raises:
      UserError: a single frame.
    """
    import jax
    import jax.numpy as jnp

    from darkjax.ops.flow import flow
    from darkjax.ops.flow_image import to_image

    if len(frames) < 2:
        raise UserError("flow is from a frame to the next: expected at least 2 frames, found 1")
    on_cpu = jax.default_backend() == "cpu"
    size = PAIRS_ON_CPU if on_cpu else PAIRS
    method, enhance = recipe.made(), recipe.enhance or None

    def part(start: int) -> np.ndarray:
        # One shape, one program: of a part that is short the last frame stands still.
        numbers = np.minimum(np.arange(start, start + size + 1), len(frames) - 1)
        found = flow(jnp.asarray(frames[numbers]), method, enhance=enhance)
        return np.asarray(to_image(found, recipe.bound))[: len(frames) - 1 - start]

    # A CPU works on one pair at a time, which keeps one core busy.
    with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) if on_cpu else 1) as pool:
        return np.concatenate(list(pool.map(part, range(0, len(frames) - 1, size))))


def add(
    records: Records, out: str | os.PathLike[str], recipe: Recipe, shards: int | None = None
) -> dict[str, Any] | None:
    """Write the records with flow to `out`, or continue; the new card.

    Raises:
      UserError: records of other than one or three channels, `out` was begun with another recipe,
        or what `convert.convert` raises.
    """
    found = sorted(set(records.meta["channels"].tolist()) - {1, channels.COLOURS})
    if found:
        said = "they have flow already" if found == [channels.WITH_FLOW] else "no colour, no grey"
        raise UserError(
            f"expected clips of 1 or 3 channels in {records.directory}; found {found[0]}: {said}"
        )
    described = recipe.described()
    made = Enhanced(
        f"{records.card['name']}-flow", records, recipe, json.dumps(described, sort_keys=True)
    )
    return convert.convert(made, out, shards=shards, flow=described)


def _options(text: str) -> tuple[tuple[str, str], ...]:
    """`warps=2,tau=0.2` as pairs. UserError."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise UserError(f"--options={text}: expected NAME=NUMBER,…")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def _parser() -> program.Parser:
    parser = program.Parser("darkjax.data.flow", __doc__)
    add = parser.add_argument
    add("--records", required=True, metavar="DIR", help="a folder of darkjax.data.convert")
    add("--out", required=True, metavar="DIR", help="where the records with flow go")
    add("--method", default=Recipe.method, help="brox or tvl1 (default: %(default)s)")
    add("--options", default="", metavar="NAME=NUMBER,…", help="parameters of the method")
    add("--bound", type=float, default=BOUND, help="pixels, more is clipped (default: %(default)s)")
    add("--enhance", default="", help="brighten the frames before: gic, lime, … (default: none)")
    add("--shards", type=int, help="per split (default: one per 64 clips, at most 256)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 good, 2 a user's error."""
    args = _parser().parse_args(argv)
    try:
        from darkjax.compilation import use_compilation_cache

        use_compilation_cache()
        recipe = Recipe(args.method, _options(args.options), args.bound, args.enhance)
        with stopping.raised(), Records(args.records) as records:
            card = add(records, args.out, recipe, args.shards)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except stopping.Stopped as stop:
        return stopping.said(stop)
    convert.print_summary(card, args.out)
    return 0


if __name__ == "__main__":
    program.run(main)
