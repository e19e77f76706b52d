"""Features of a run's clips as a picture: `python -m darkjax.tools.embed RUN [RUN ...]`.

    python -m darkjax.tools.embed runs/source_only runs/dinet --out=embedding.svg

One panel a run, in that order: before and after an adaptation. Shown are the clips that a run is
judged on and, where it was trained on several sources, training clips of the first: its labelled
source. A colour is a class, a disc the source, a ring the target. `--by=tsne` wants scikit-learn.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from darkjax import program
from darkjax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture; 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.embed", description=__doc__.splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder (--workdir)")
    parser.add_argument("--out", default="embedding.svg")
    parser.add_argument("--by", default="pca", help="pca or tsne")
    parser.add_argument("--clips", type=int, default=300, help="of each domain, at most")
    args = parser.parse_args(argv)
    try:
        from darkjax.eval import embedding

        if args.by not in embedding.PLANES:
            raise UserError(f"--by={args.by}: expected one of {', '.join(embedding.PLANES)}")
        if args.clips < 2:
            raise UserError(f"--clips={args.clips}: expected at least 2")
        found = [of_run(run, args.by, args.clips) for run in args.runs]
        panels, classes, domains = zip(*found, strict=True)
        if len(set(classes)) > 1:
            raise UserError("the runs have different classes: one picture has one set of colours")
        pathlib.Path(args.out).write_text(embedding.picture(panels, classes[0], domains[0]))
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(f"{args.out}: " + ", ".join(f"{p.title} {len(p.points)} clips" for p in panels))
    return 0


def of_run(run: str, by: str, most: int) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    """(panel, classes, domains) of the last stage of a run.

    Raises:
      UserError: no run there, or one whose features have no name.
    """
    import jax
    import ml_collections
    import numpy as np

    from darkjax import config as configs
    from darkjax import process, run_data, trained
    from darkjax.data import pipeline, sources, split
    from darkjax.eval import embedding

    kept = pathlib.Path(run, "config.json")
    if not kept.exists():
        raise UserError(f"{run} has no config.json: expected the --workdir of a run")
    process.quiet()
    config = ml_collections.ConfigDict(_tuples(configs.read_json(kept)["config"]))
    records = run_data.open_stages(config, run)[config.stages[-1]]
    name, data = config.stages[-1], configs.data_of(config, config.stages[-1])
    method, variables, classes = trained.load(config, name, run, records)
    data.views_clips = data.views_crops = 1
    parts = sources.of(records, data, config[name].batch_size)
    shown = [(records, split.held_rows(records, data)[0], variables)]
    if len(parts) > 1:
        of_source = getattr(method, "of_source", lambda v: v)(variables)
        shown.insert(0, (parts[0].records, parts[0].rows, of_source))

    @jax.jit
    def features(variables: Any, batch: Any) -> Any:
        out = method.predict(variables, batch)[1]
        if "pre_logits" not in out:
            raise UserError(f"{run}: {config[name].method} gives no pre_logits: nothing to show")
        return out["pre_logits"]

    rows: dict[str, list[np.ndarray]] = {"codes": [], "label": [], "domain": []}
    for number, (own, clips, values) in enumerate(shown):
        chosen = clips[np.unique(np.linspace(0, len(clips) - 1, most).round().astype(int))]
        size = config.eval_batch_size
        with pipeline.eval_batches(own, chosen, cfg=data, batch_size=size) as batches:
            for batch in batches:
                known = batch["mask"] > 0
                names = [own.classes[k] for k in batch["label"][known]]
                rows["codes"].append(np.asarray(features(values, batch))[known])
                rows["label"].append(np.array([classes.index(n) for n in names]))
                rows["domain"].append(np.full(known.sum(), number))
    codes, label, domain = (np.concatenate(rows[k]) for k in ("codes", "label", "domain"))
    title = pathlib.Path(run).resolve().name
    domains = ("source", "target") if len(shown) > 1 else ("clips",)
    panel = embedding.Panel(title, embedding.plane(codes, by, config.seed), label, domain)
    return panel, classes, domains


def _tuples(value: Any) -> Any:
    """What JSON gives back of a config, its tuples as they were."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


if __name__ == "__main__":
    program.run(main)
