"""Published weights to ours: `python -m darkjax.weights.convert --help`.

    python -m darkjax.weights.convert --arch=resnext101 --checkpoint=resnext-101-kinetics.pth \\
        --out=weights/resnext101

Reads the file without executing it (`reader`), renames (`names`), takes class and frame counts
from it, compares with the model in four lists, and writes `--out`: an orbax checkpoint and a card
(`card`). What the model needs must be in the file and the other way round, except where
`--skip=REGEX` leaves out paths of ours or names of the file: `--skip="head/.*"` gives the backbone
alone. Nothing is written on any error.

`--inflate=centre` or `average` puts 2-D weights of the same names into a 3-D network
(`inflate`); `--in_channels` adapts the first kernel (`load.first_conv`) and the preprocessing:
1 takes the mean over channels of mean and deviation, 2 (flow, no motion at 0.5) centres on it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from darkjax import program
from darkjax.errors import UserError
from darkjax.weights import card as cards
from darkjax.weights import fitting, zoo
from darkjax.weights.reading import reader


def main(argv: Sequence[str] | None = None) -> int:
    """Convert; 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.weights.convert", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--arch", required=True, help="see darkjax.tools.profile --list")
    parser.add_argument("--checkpoint", required=True, help=reader.FORMATS)
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--num_classes", type=int, help="require this count")
    parser.add_argument("--in_channels", type=int, choices=(1, 2, 3), help="of the video")
    parser.add_argument("--input", type=_size, help="T,H,W of a clip, where not the usual one")
    parser.add_argument("--skip", help="regex of our paths (or the file's names) to leave out")
    parser.add_argument("--inflate", choices=fitting.HOW, help="2-D kernels into a 3-D network")
    parser.add_argument("--overwrite", action="store_true", help="replace --out")
    args = vars(parser.parse_args(argv))
    logging.set_verbosity(logging.ERROR)  # orbax tells of every file it writes
    try:
        convert(args.pop("arch"), args.pop("checkpoint"), args.pop("out"), **args)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


def convert(
    arch: str,
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
    **options: Any,
) -> cards.Card:
    """Convert a published file into the folder `out`; `options` are those of `fitting.fitted`.

    Raises:
      UserError: see `reader.read` and `fitting.fitted`, or `out` is there already; nothing is
        written then.
    """
    row, out = zoo.get(arch), pathlib.Path(out)
    _check_free(out, overwrite)
    state = reader.read(checkpoint)
    say(f"{checkpoint}: {len(state)} arrays")
    found = fitting.fitted(arch, row, state, say=say, file=pathlib.Path(checkpoint).name, **options)
    card = cards.Card(
        arch=arch,
        paper=row.paper,
        model=found.config,
        num_classes=found.num_classes,
        in_channels=found.in_channels,
        input=found.input,
        preprocess=found.preprocess,
        left_out=tuple(found.left_out),
        source=_source(pathlib.Path(checkpoint)),
        licence=row.licence,
    )
    _write(out, card, found.variables)
    count = sum(v.size for v in found.params.values())
    say(
        f"{out}: {arch}, {found.num_classes or 'no'} classes, {count:,} parameters; "
        f"licence of the weights: {row.licence}"
    )
    return card


def _check_free(out: pathlib.Path, overwrite: bool) -> None:
    """Refuse to write over something, before the long work."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UserError(f"--out={out} exists: give another folder, or --overwrite")
    if not cards.is_weights(out):
        raise UserError(f"--out={out} holds something else than converted weights: not replaced")


def _source(path: pathlib.Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _write(out: pathlib.Path, card: cards.Card, variables: Mapping[str, Any]) -> None:
    """The checkpoint and the card in a folder of another name, renamed when whole."""
    import orbax.checkpoint as ocp

    from darkjax import checksums
    from darkjax.weights.load import VARIABLES

    out = out.absolute()
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    try:
        part.mkdir(parents=True)
        with ocp.StandardCheckpointer() as saver:
            saver.save(part / VARIABLES, dict(variables))
            saver.wait_until_finished()
        checksums.write(part / VARIABLES)
        cards.write(part, card)
        if out.exists():
            os.replace(out, old)
        os.replace(part, out)
    except OSError as error:
        if old.exists() and not out.exists():
            os.replace(old, out)
        raise UserError(f"--out={out} cannot be written: {error.strerror or error}") from error
    finally:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)


def _size(text: str) -> tuple[int, int, int]:
    """`T,H,W`; argparse names what is no number."""
    t, h, w = (int(n) for n in text.split(","))
    if min(t, h, w) < 1:
        raise ValueError(text)
    return t, h, w


if __name__ == "__main__":
    program.run(main)
