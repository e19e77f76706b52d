"""Fuse what several runs said of the same clips: `python -m darkjax.tools.fuse --help`.

    python -m darkjax.tools.fuse runs/ir_dcl/ir runs/ir_dcl/flow --weights=1,2
    python -m darkjax.tools.fuse runs/ir_dcl/ir runs/ir_dcl/flow --weights=1,2 --use=knn
    python -m darkjax.tools.fuse runs/ir_dcl/ir runs/ir_dcl/flow --how=two_layer --out=runs/fused
    python -m darkjax.tools.fuse runs/lift/student runs/dtcm/dtcm

Each RUN_OR_SCORES is a stage's folder, a run's folder with one judged stage, or a
`predictions.npz`; two or more, of any methods, judged on the same clips of the same records.

--how=late       the weighted mean of their class probabilities (default; --weights default to
                 equal ones). --use=NAME takes `probabilities_NAME`, such as those of k-NN.
--how=layer      a softmax layer on their codes beside one another, trained on the training clips
--how=two_layer  the same after a 1 x 1 convolution of --filters filters

The infrared two-stream paper (arXiv:1705.06709) calls them late fusion 1 (the softmax's
probabilities, infrared 1 : flow 2), late fusion 2 (those of k-NN), single-layer and two-layer
fusion. Its "AP" is `mean-class`: the mean over classes of the share of their clips that are
recognised. `mean-precision` is the mean over classes of the share of the answers that are right; a
class that is never answered counts 0.

With --out, `results.json` and `predictions.npz` as an evaluation writes them: what is fused can be
fused again. The exit status is 2 on a user's error, and nothing is written then.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import metrics, program
from darkjax.errors import UserError
from darkjax.eval import classify, fusion, streams

HOW = ("late", "layer", "two_layer")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, write what is fused; 2 on a user's error."""
    parser = program.Parser("darkjax.tools.fuse", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN_OR_SCORES", help="two or more")
    parser.add_argument("--how", default="late", help=f"one of {', '.join(HOW)} (default: late)")
    parser.add_argument("--weights", default="", help="of late fusion, one a run: 1,2")
    parser.add_argument("--use", default="", help="an array of predictions.npz, such as knn")
    parser.add_argument("--filters", type=int, default=fusion.FILTERS, help="of two_layer")
    parser.add_argument("--activation", default="relu", help="of two_layer: relu, tanh, none")
    parser.add_argument("--decay", type=float, default=fusion.Net.decay, help="of the networks")
    parser.add_argument("--seed", type=int, default=0, help="of the networks' first weights")
    parser.add_argument(
        "--other_records", action="store_true", help="match clips of other records by number"
    )
    parser.add_argument("--out", help="a folder for results.json and predictions.npz")
    args = parser.parse_args(argv)
    try:
        print("\n".join(run(args)))
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


def run(args: argparse.Namespace) -> list[str]:
    """Do what the flags say; the lines of the table.

    Raises:
      UserError: flags or files that do not fit; nothing is written then.
    """
    if args.how not in HOW:
        raise UserError(f"--how={args.how}: expected one of {', '.join(HOW)}")
    if len(args.runs) < 2:
        raise UserError(f"expected two runs or more to fuse; found {args.runs[0]} alone")
    found = [streams.read(given) for given in args.runs]
    streams.check_same(found, args.other_records)
    if args.out:
        _check_free(pathlib.Path(args.out), found)
    fused, how = (late if args.how == "late" else network)(found, args)
    use = args.use if args.how == "late" and args.use else streams.PROBABILITIES
    rows = [(stream.name, numbers(said(stream, stream.judged.take(use)))) for stream in found]
    own = numbers(fused)
    split = found[0].split
    if args.out:
        try:
            classify.save(args.out, fused, results(found, fused, own, how))
        except OSError as e:
            raise UserError(f"--out={args.out} cannot be written: {e.strerror or e}") from e
    return table(f"{split}, {len(fused.clip)} clips", [*rows, (how, own)])


def late(
    found: Sequence[streams.Stream], args: argparse.Namespace
) -> tuple[classify.Predictions, str]:
    """The weighted mean of probabilities, and what it is called."""
    use = args.use or streams.PROBABILITIES
    if use == "codes":
        raise UserError("--use=codes: codes have no mean: take --how=layer or --how=two_layer")
    weights = _weights(args.weights)
    mean = fusion.weighted_mean([stream.judged.take(use) for stream in found], weights)
    shown = " : ".join(f"{w:g}" for w in weights or [1.0] * len(found))
    return said(found[0], mean), f"late fusion of {use}, {shown}"


def network(
    found: Sequence[streams.Stream], args: argparse.Namespace
) -> tuple[classify.Predictions, str]:
    """What a network on codes says that has learnt from the training clips, and its name."""
    if args.weights:
        raise UserError(f"--weights={args.weights} is of --how=late: a network learns its own")
    if not (0 < args.filters <= 65536 and args.decay >= 0):
        raise UserError(
            f"--filters={args.filters}, --decay={args.decay:g}: expected filters from 1 to 65536 "
            "and a decay of 0 or more"
        )
    use, two = args.use or "codes", args.how == "two_layer"
    asked = [stream.judged.take(use) for stream in found]
    known = [stream.training() for stream in found]
    for other in known[1:]:
        streams.match(known[0], other)
    learnt = [clips.take(use) for clips in known]
    for mine, theirs, stream in zip(learnt, asked, found, strict=True):
        if mine.shape[1] != theirs.shape[1]:
            raise UserError(
                f"expected {use} as wide as in training ({mine.shape[1]}); found {theirs.shape[1]} "
                f"in {stream.judged.path}: judge the run again (--mode=evaluate)"
            )
    net = fusion.Net(args.filters if two else 0, args.activation, args.decay, args.seed)
    trained = net.trained(learnt, known[0].label, len(found[0].classes))
    name = f"two-layer network of {use}, {args.filters} filters" if two else f"layer of {use}"
    return said(found[0], trained.probabilities(asked)), name


def said(stream: streams.Stream, probabilities: np.ndarray) -> classify.Predictions:
    """Probabilities of a stream's clips."""
    return classify.Predictions(stream.judged.clip, stream.judged.label, probabilities)


def numbers(found: classify.Predictions) -> dict[str, float]:
    """Those of an evaluation, and `mean-precision`."""
    confusion = metrics.Confusion.from_logits(found.probabilities, found.label)
    precision = [row.precision for row in confusion.per_class()]
    return {
        **classify.summarise(found),
        "mean-precision": float(np.mean(np.nan_to_num(precision))),
    }


def results(
    found: Sequence[streams.Stream],
    fused: classify.Predictions,
    own: Mapping[str, float],
    how: str,
) -> dict[str, Any]:
    """The results.json of a fusion: what `classify.results` has but the clips' brightness."""
    first = found[0]
    return {
        "name": f"top-1@fused {first.split}",
        "classes": first.classes,
        "numbers": dict(own),
        **classify.tables(fused, first.classes),
        "brightness": [],
        "fusion": how,
        "streams": [{"name": s.name, "weights": s.results.get("weights")} for s in found],
        "records": first.digest,
    }


def table(title: str, rows: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
    """A line of numbers for each stream and for the fusion."""
    width = max(len(name) for name in (title, *(name for name, _ in rows)))
    names = ("top-1", "mean-class", "mean-precision")
    head = f"{title:<{width}}" + "".join(f"  {name:>14}" for name in names)
    return [head] + [
        f"{name:<{width}}" + "".join(f"  {of[n]:>14.4f}" for n in names) for name, of in rows
    ]


def _check_free(out: pathlib.Path, found: Sequence[streams.Stream]) -> None:
    """`out` holds nothing but an earlier fusion, and none of what is fused."""
    path = out / "results.json"
    if any(stream.judged.path.parent.resolve() == out.resolve() for stream in found):
        raise UserError(f"--out={out} would overwrite its own source: give another folder")
    if path.exists() and "fusion" not in configs.read_json(path):
        raise UserError(f"--out={out} holds the results of an evaluation: give another folder")


def _weights(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError:
        raise UserError(f"--weights={text}: expected numbers joined by commas, as 1,2") from None


if __name__ == "__main__":
    program.run(main)
