"""What an architecture costs: `python -m darkjax.tools.profile --arch=resnext101`.

Prints parameters, multiply-accumulates (GMACs) of one clip and the size of each part, without
running anything. `--list` names every architecture, its paper and the weights it accepts.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from darkjax import program
from darkjax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Print the profile; 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.profile", description=__doc__.splitlines()[0]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--arch", help="one of --list")
    what.add_argument("--list", action="store_true", help="every architecture")
    parser.add_argument("--num_classes", type=int, default=400, help="0: the backbone alone")
    parser.add_argument("--input", help="T,H,W of the clip; by default the published weights'")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    try:
        if args.list:
            print(json.dumps(listed(), indent=1) if args.json else _listing())
            return 0
        found = profile(args.arch, args.num_classes, _size(args.input), args.channels)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(found) if args.json else _text(found))
    return 0


def profile(
    name: str,
    num_classes: int | None = 400,
    size: tuple[int, int, int] | None = None,
    channels: int = 3,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Parameters, GMACs and parts of an architecture, from shapes alone.

    Args:
      name: see `darkjax.weights.zoo`.
      num_classes: K; 0 or None for the backbone without its classifier.
      size: `(T, H, W)` of one clip, by default the one of the published weights.
      channels: of a frame.
      fields: of the model, in place of the architecture's own.

    Raises:
      UserError: an unknown name, or a clip the network cannot take.
    """
    import jax
    import jax.numpy as jnp

    from darkjax import models, optim
    from darkjax.eval import efficiency
    from darkjax.weights import zoo

    arch = zoo.get(name)
    size = size or arch.input
    if name in zoo.ENHANCERS:
        num_classes = None
        channels = len(arch.preprocess.mean)
    model = models.build({**arch.model, **(fields or {})}, num_classes or None)
    clip = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    clips = [clip] * arch.views
    try:
        variables = jax.eval_shape(
            lambda *x: model.init(jax.random.key(0), *x, train=False), *clips
        )
        macs = efficiency.macs(lambda v, *x: model.apply(v, *x, train=False)[0], variables, *clips)
    except (ValueError, TypeError) as e:
        shape = "x".join(map(str, size))
        usual = ",".join(map(str, arch.input))
        raise UserError(
            f"{name} cannot take clips of {shape}x{channels}: {str(e).splitlines()[0]}; its usual "
            f"clip is --input={usual}"
        ) from e
    parts: dict[str, int] = {}
    flat = optim.flatten(variables["params"])
    for path, leaf in flat.items():
        part = path.split("/")[0]
        parts[part] = parts.get(part, 0) + math.prod(leaf.shape)
    return {
        "arch": name,
        "num_classes": num_classes or None,
        "input": [*size, channels],
        "params": sum(parts.values()),
        "gmacs": macs / 1e9,
        "parts": parts,
        "paper": arch.paper,
    }


def listed() -> list[dict[str, Any]]:
    """Every architecture with its paper and the published files it accepts."""
    from darkjax.weights import zoo

    found = []
    for name in (*zoo.NAMES, *zoo.ENHANCERS):
        arch = zoo.get(name)
        found.append({"arch": name, "paper": arch.paper, "files": list(arch.files)})
    return found


def _listing() -> str:
    rows = []
    for row in listed():
        rows.append(f"{row['arch']:<22} {row['paper']}")
        rows += [f"{'':<22}   {file}" for file in row["files"]]
    return "\n".join(rows)


def _text(found: dict[str, Any]) -> str:
    t, h, w, c = found["input"]
    lines = [
        f"{found['arch']}, {found['num_classes'] or 'no'} classes, {t} frames of {h}x{w}x{c} "
        f"({found['paper']})",
        f"  {'parameters':<24} {found['params']:>13,}",
        f"  {'GMACs of one clip':<24} {found['gmacs']:>13.3f}",
    ]
    lines += [f"    {part:<22} {count:>13,}" for part, count in found["parts"].items()]
    return "\n".join(lines)


def _size(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    try:
        t, h, w = (int(n) for n in text.split(","))
        if min(t, h, w) < 1:
            raise ValueError
    except ValueError:
        raise UserError(f"--input={text}: expected T,H,W, three positive numbers") from None
    return t, h, w


if __name__ == "__main__":
    program.run(main)
