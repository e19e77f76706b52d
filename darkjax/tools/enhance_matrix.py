"""Does enhancing help recognition? `python -m darkjax.tools.enhance_matrix --config=...`.

    python -m darkjax.tools.enhance_matrix --config=configs/enhance_matrix.py \
        --zero_dce=Epoch99.pth --sci=easy.pt

One table: a row for what the classifier was trained on, a column for what it is tested on, cells
are top-1 as the mean over seeds and, in brackets, lowest and highest. `raw` is the dark clip, then
the methods without parameters, Zero-DCE and SCI with fixed weights, and `joint`: enhancer and
classifier trained as one (DTCM). In the column `joint` the enhancer is the one of the same seed's
joint training; in the row `joint` the other columns feed its classifier. Behind the table the
inconsistency (DTCM Eq. 4) and brightness of each method's test clips.

Without `--zero_dce` or `--sci` that enhancer is first trained on the training clips, without
labels. Everything is kept in `--workdir`; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from darkjax import config as configs
from darkjax import program
from darkjax.errors import Stopped, UserError

RAW, JOINT = "raw", "joint"
PARTS = ("rows", "seeds", "classifier", "joint", "enhancers")  # what such a config has


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 2 on a user's error, 1 when a signal stopped a training."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.enhance_matrix", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--config", required=True, help="configs/enhance_matrix.py[:ARGUMENT]")
    parser.add_argument("--workdir", default="runs/enhance_matrix")
    parser.add_argument("--rows", help="some of the config's rows, joined by commas")
    parser.add_argument("--seeds", type=int, help="how many, from 0; default: the config's")
    parser.add_argument("--data", help="records; default: the config's")
    parser.add_argument("--zero_dce", help="published weights of Zero-DCE")
    parser.add_argument("--sci", help="published weights of SCI")
    args = parser.parse_args(argv)
    try:
        from darkjax import experiment

        experiment.quiet()
        experiment.use_compilation_cache()
        config = configs.load(args.config)
        missing = [part for part in PARTS if part not in config]
        if missing:
            raise UserError(
                f"--config={args.config} has no {', '.join(missing)}: start from "
                "configs/enhance_matrix.py"
            )
        with config.unlocked():
            config.rows = tuple(args.rows.split(",")) if args.rows else tuple(config.rows)
            config.seeds = args.seeds or config.seeds
            config.data.dir = args.data or config.data.dir
        began = time.monotonic()
        weights = {"zero_dce": args.zero_dce, "sci": args.sci}
        found = Matrix(config, pathlib.Path(args.workdir), weights).run()
        if found is None:
            return 1
        print(f"\n{table(found)}\n\n{time.monotonic() - began:.0f} s")
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


class Matrix:
    """The trainings and tests of a table, each kept when it is done."""

    def __init__(self, config: Any, workdir: pathlib.Path, weights: Mapping[str, str | None]):
        from darkjax import enhancers, experiment, sharding
        from darkjax.ops import enhance

        fixed = (RAW, *enhance.METHODS, "zero_dce", "sci", JOINT)
        unknown = [row for row in config.rows if row not in fixed]
        if unknown or not config.rows:
            raise UserError(f"rows {unknown or '()'}: expected some of {', '.join(fixed)}")
        for name, file in weights.items():
            if file is not None and not os.path.exists(file):
                raise UserError(f"--{name}={file}: no such file")
        self.config, self.workdir, self.weights = config, workdir, weights
        workdir.mkdir(parents=True, exist_ok=True)
        self.records = experiment.open_records(config, str(workdir))
        self.mesh = sharding.make_mesh(config.mesh)
        self._enhancer = enhancers.enhancer
        self._predict: dict[str, Callable] = {}

    def run(self) -> dict[str, Any] | None:
        """Rows, columns, cells [row][column] of seeds' top-1; None when training was stopped."""
        rows = list(self.config.rows)
        data, judged = {RAW: self.records}, {RAW: self._judge(RAW, lambda frames: frames)}
        for row in rows:
            if row in (RAW, JOINT):
                continue
            enhance, described = self._fixed(row)
            data[row] = self._enhanced(row, enhance, described)
            judged[row] = self._judge(row, enhance)
        cells: dict[str, dict[str, list[float]]] = {r: {c: [] for c in rows} for r in rows}
        for seed in range(self.config.seeds):
            if JOINT in rows:
                joint = self._joint_enhancer(seed)
                if joint is None:
                    return None
                described = f"{JOINT} of seed {seed}"
                data[JOINT] = self._enhanced(f"{JOINT}-{seed}", joint, described, test_only=True)
                judged[f"{JOINT}-{seed}"] = self._judge(f"{JOINT}-{seed}", joint)
            for row in rows:
                scores = self._row(row, seed, data)
                if scores is None:
                    return None
                for column in rows:
                    cells[row][column].append(scores[column])
        found = {"rows": rows, "cells": cells, "judged": judged, "about": self._about()}
        _write(self.workdir / "matrix.json", found)
        (self.workdir / "matrix.md").write_text(table(found) + "\n")
        return found

    def _about(self) -> str:
        data, name = self.config.data, self.records.card["name"]
        count = len(self._test(self.records))
        views = f"{data.views_clips}x{data.views_crops}"
        return f"top-1@{views} {name}-{data.eval_split}, {count} clips, {self.config.seeds} seeds"

    def _test(self, records: Any) -> np.ndarray:
        return records.select(self.config.data.eval_split)

    def _fixed(self, row: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
        """An enhancer that is not trained with the classifier, and what it is."""
        if row not in self.weights:
            return self._enhancer(row), row
        file = self.weights[row]
        if file is not None:
            return self._enhancer(row, file), f"{row} of {os.path.basename(file)}"
        trained = self._trained("enhancer", row, 0, self.config.enhancers[row], self.records)
        if trained is None:
            raise UserError(f"the training of {row} was stopped: run the same command again")
        method, variables = trained
        return _applied(method, variables), f"{row} trained on {self.records.digest}"

    def _joint_enhancer(self, seed: int) -> Callable[[np.ndarray], np.ndarray] | None:
        from darkjax import models
        from darkjax.eval import enhance as enhancement

        trained = self._trained(JOINT, JOINT, seed, self.config.joint, self.records)
        if trained is None:
            return None
        _, variables = trained
        model = models.build(self.config.joint.enhancer, None)
        part = {kind: value["enhancer"] for kind, value in variables.items()}
        return enhancement.applied(
            lambda part, frames: model.apply(part, frames, train=False)[0], part
        )

    def _row(self, row: str, seed: int, data: Mapping[str, Any]) -> dict[str, float] | None:
        """Top-1 of a row's classifier in every column."""
        file = self.workdir / f"{row}-{seed}" / "scores.json"
        wanted = {c: d.digest for c, d in data.items()}
        if file.exists():
            kept = json.loads(file.read_text())
            if kept["data"] == wanted:
                return kept["scores"]
        stage = self.config.joint if row == JOINT else self.config.classifier
        trained = self._trained(
            JOINT if row == JOINT else "classifier",
            row,
            seed,
            stage,
            self.records if row == JOINT else data[row],
        )
        if trained is None:
            return None
        method, variables = trained
        scores = {}
        for column in self.config.rows:
            if row == JOINT and column == JOINT:  # as it was trained: nothing rounded in between
                scores[column] = self._top1("whole", method, variables, self.records)
                continue
            if row == JOINT:
                part = {kind: value["classifier"] for kind, value in variables.items()}
                scores[column] = self._top1("classifier", None, part, data[column])
            else:
                scores[column] = self._top1("classifier", method, variables, data[column])
        print(f"{row}, seed {seed}: " + ", ".join(f"{c} {v:.3f}" for c, v in scores.items()))
        _write(file, {"data": wanted, "scores": scores})
        return scores

    def _top1(self, key: str, method: Any, variables: Any, records: Any) -> float:
        """`key` names the compiled step, which all seeds and columns share."""
        import jax

        from darkjax import methods, sharding
        from darkjax.eval import classify

        if key not in self._predict:
            if key == "classifier":
                config = configs.resolve(_only(self.config, "classifier"))
                method = methods.make(config.classifier, len(records.classes))
            self._predict[key] = classify.make_predict(method, self.mesh)
        found = classify.predict(
            self._predict[key],
            jax.device_put(variables, sharding.replicated(self.mesh)),
            records,
            self._test(records),
            self.config.data,
            batch_size=self.config.eval_batch_size,
            mesh=self.mesh,
        )
        return classify.summarise(found)["top-1"]

    def _trained(
        self, name: str, row: str, seed: int, stage: Any, records: Any
    ) -> tuple[Any, Any] | None:
        """(method, variables) of one training, run if it is not finished yet."""
        from darkjax import experiment, trained

        config = _only(self.config, name, stage)
        with config.unlocked():
            config.seed = seed
            config.data.dir = str(records.directory)
        folder = str(self.workdir / f"{row}-{seed}")
        print(f"training {row}, seed {seed}")
        try:
            experiment.run(config, folder, "train")
        except Stopped:
            return None
        method, variables, _ = trained.load(configs.resolve(config), name, folder, records)
        return method, variables

    def _enhanced(
        self, name: str, enhance: Callable, described: str, test_only: bool = False
    ) -> Any:
        """Records of the enhanced clips, written unless they are there."""
        from darkjax.data import convert
        from darkjax.data.enhanced import Enhanced
        from darkjax.data.records import Records

        folder = self.workdir / "records" / name
        splits = (self.config.data.eval_split,) if test_only else ()
        if not (folder / "card.json").exists():
            print(f"enhancing clips into {folder}: {described}")
        convert.convert(Enhanced(name, self.records, enhance, described, splits), folder)
        return Records(folder, read=self.config.data.read)

    def _judge(self, name: str, enhance: Callable) -> dict[str, float]:
        """Inconsistency and brightness of the test clips."""
        from darkjax.eval import enhance as enhancement

        file = self.workdir / "judged" / f"{name}.json"
        if not file.exists():
            found = enhancement.judge(enhance, self.records, self._test(self.records))
            _write(file, found)
        return json.loads(file.read_text())


def _only(config: Any, name: str, stage: Any = None) -> Any:
    """The config with one stage, or two where an enhancer begins the joint training."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.stages = (name,)
        if name == JOINT and JOINT in config.enhancers:
            config.stages, config.enhancer = ("enhancer", JOINT), config.enhancers[JOINT]
        if stage is not None:
            config[name] = stage
        for other in ("rows", "seeds", "enhancers"):
            del config[other]
    return config


def _applied(method: Any, variables: Any) -> Callable[[np.ndarray], np.ndarray]:
    """An enhancer that `methods.enhancer` trained."""
    from darkjax.eval import enhance as enhancement

    def apply(variables: Any, frames: Any) -> Any:
        return method.predict(variables, {"video": frames[None]})[0][0]

    return enhancement.applied(apply, variables, levels=True)


def table(found: Mapping[str, Any]) -> str:
    """The matrix and what each method does to the test clips, as Markdown."""
    rows, cells = found["rows"], found["cells"]
    lines = [
        f"{found['about']}; mean (lowest to highest).",
        "",
        "| trained on \\ tested on | " + " | ".join(rows) + " |",
        "|---" * (len(rows) + 1) + "|",
    ]
    for row in rows:
        values = [_span(cells[row][column]) for column in rows]
        lines.append(f"| {row} | " + " | ".join(values) + " |")
    lines += ["", "| test clips | inconsistency (Eq. 4) | mean brightness |", "|---|---|---|"]
    for name, numbers in found["judged"].items():
        lines.append(
            f"| {name} | {numbers['inconsistency']:.6f} | {numbers['brightness after']:.3f} |"
        )
    return "\n".join(lines)


def _span(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def _write(path: pathlib.Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


if __name__ == "__main__":
    program.run(main)
