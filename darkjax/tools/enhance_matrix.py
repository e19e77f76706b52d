"""Does enhancing help recognition? `python -m darkjax.tools.enhance_matrix --config=...`.

    python -m darkjax.tools.enhance_matrix --config=configs/enhance_matrix.py \
        --zero_dce=Epoch99.pth --sci=easy.pt

One table: a row for what the classifier was trained on, a column for what it is tested on, cells
are top-1 as the mean over seeds and, in brackets, lowest and highest. `raw` is the dark clip, then
the methods without parameters, Zero-DCE and SCI with fixed weights, and `joint`: enhancer and
classifier trained as one (DTCM). In the column `joint` the enhancer is the one of the same seed's
joint training; in the row `joint` the other columns feed its classifier. Behind the table the
inconsistency (DTCM Eq. 4) and brightness of each method's test clips.

`--zero_dce`, `--zero_dce_light` and `--sci` take published weights or the stage of a run that
trained them (RUN/STAGE). Without `--zero_dce` or `--sci` that enhancer is first trained on the
training clips, without labels.

Everything is kept in `--workdir`; the same command continues where it was stopped. Each file in it
records what it was made from: settings, seed, data, views, the enhancer's weights. With others the
enhanced clips and the cells are made again, and trainings with other settings are refused.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from darkjax import config as configs
from darkjax import files, identity, program
from darkjax.data import split, views
from darkjax.errors import Stopped, UserError

if TYPE_CHECKING:
    from darkjax.eval import classify
    from darkjax.eval.enhancers import Loaded

RAW, JOINT = "raw", "joint"
WEIGHTS = {"zero_dce": "Zero-DCE", "zero_dce_light": "DTCM's light net", "sci": "SCI"}
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
    for name, what in WEIGHTS.items():
        parser.add_argument(f"--{name}", help=f"weights of {what}: a file, a folder, or RUN/STAGE")
    args = parser.parse_args(argv)
    try:
        from darkjax import compilation, process

        process.quiet()
        compilation.use_compilation_cache()
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
        weights = {name: getattr(args, name) for name in WEIGHTS}
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
        from darkjax import run_data, sharding
        from darkjax.eval import enhancers
        from darkjax.ops import enhance

        fixed = (RAW, *enhance.METHODS, *WEIGHTS, JOINT)
        unknown = [row for row in config.rows if row not in fixed]
        if unknown or not config.rows:
            raise UserError(f"rows {unknown or '()'}: expected some of {', '.join(fixed)}")
        for name, file in weights.items():
            if file is not None and not os.path.exists(file):
                raise UserError(f"--{name}={file}: no such file")
            if name in config.rows and file is None and name not in config.enhancers:
                raise UserError(
                    f"row {name} has neither weights nor a stage in the config's enhancers: give "
                    f"--{name}=RUN/STAGE"
                )
        self.config, self.workdir = config, workdir
        # Weights that do not fit are refused before anything is trained.
        self.given: dict[str, enhancers.Loaded] = {
            row: enhancers.enhancer(row, weights.get(row))
            for row in config.rows
            if weights.get(row) is not None or row in enhance.METHODS
        }
        workdir.mkdir(parents=True, exist_ok=True)
        self.records = run_data.open_records(config.data, str(workdir / "records"))
        self.mesh = sharding.make_mesh(config.mesh)
        self._predict: dict[str, classify.Step] = {}

    def run(self) -> dict[str, Any] | None:
        """Rows, columns, `cells[row][column]` of seeds' top-1; None when training was stopped."""
        rows = list(self.config.rows)
        columns, judged = {RAW: Column(self.records, None)}, {RAW: self._judge(RAW, None)}
        for row in rows:
            if row in (RAW, JOINT):
                continue
            enhance = self._fixed(row)
            if enhance is None:
                return None
            columns[row] = self._enhanced(row, enhance)
            judged[row] = self._judge(row, enhance)
        cells: dict[str, dict[str, list[float]]] = {r: {c: [] for c in rows} for r in rows}
        for seed in range(self.config.seeds):
            if JOINT in rows:
                joint = self._taught(JOINT, JOINT, seed, self.config.joint)
                if joint is None:
                    return None
                name = f"{JOINT}-{seed}"
                columns[JOINT] = self._enhanced(name, joint, test_only=True)
                judged[name] = self._judge(name, joint)
            for row in rows:
                scores = self._row(row, seed, columns)
                if scores is None:
                    return None
                for column in rows:
                    cells[row][column].append(scores[column])
        found = {"rows": rows, "cells": cells, "judged": judged, "about": self._about()}
        _write(self.workdir / "matrix.json", found)
        files.write_text(self.workdir / "matrix.md", table(found) + "\n")
        return found

    def _about(self) -> str:
        data = self.config.data
        held, name = split.held_rows(self.records, data)
        return f"top-1@{views.named(data)} {name}, {len(held)} clips, {self.config.seeds} seeds"

    def _test(self, records: Any) -> np.ndarray:
        return split.held_rows(records, self.config.data)[0]

    def _fixed(self, row: str) -> Loaded | None:
        """An enhancer that is not trained with the classifier; None when training was stopped."""
        if row in self.given:
            return self.given[row]
        return self._taught("enhancer", row, 0, self.config.enhancers[row])

    def _taught(self, name: str, row: str, seed: int, stage: Any) -> Loaded | None:
        """The enhancer of a stage that is trained here."""
        from darkjax.eval import enhancers

        if self._trained(name, row, seed, stage, self.records) is None:
            return None
        return enhancers.enhancer(None, self.workdir / f"{row}-{seed}" / name)

    def _row(self, row: str, seed: int, columns: Mapping[str, Column]) -> dict[str, float] | None:
        """Top-1 of a row's classifier in every column."""
        together = row == JOINT
        stage = self.config.joint if together else self.config.classifier
        records = self.records if together else columns[row].records
        name = JOINT if together else "classifier"
        trained = self._trained(name, row, seed, stage, records)
        if trained is None:
            return None

        def scores() -> dict[str, float]:
            found = {c: self._cell(row, c, trained, columns[c].records) for c in self.config.rows}
            print(f"{row}, seed {seed}: " + ", ".join(f"{c} {v:.3f}" for c, v in found.items()))
            return found

        of = {
            "trained": trained.done,
            "classifier": identity.flat(self.config.classifier.to_dict()) if together else {},
            "data": self._looked_at(),
            "columns": {
                c: {"digest": columns[c].records.digest, "enhancer": columns[c].identity}
                for c in self.config.rows
            },
        }
        return _kept(self.workdir / f"{row}-{seed}" / "scores.json", of, scores)

    def _cell(self, row: str, column: str, trained: Trained, records: Any) -> float:
        if row == JOINT and column == JOINT:  # as it was trained: nothing rounded in between
            return self._top1("whole", trained.method, trained.variables, self.records)
        if row == JOINT:
            part = {kind: value["classifier"] for kind, value in trained.variables.items()}
            return self._top1("classifier", None, part, records)
        return self._top1("classifier", trained.method, trained.variables, records)

    def _top1(self, key: str, method: Any, variables: Any, records: Any) -> float:
        """`key` names the compiled step, which all seeds and columns share."""
        import jax

        from darkjax import methods, sharding, spec
        from darkjax.eval import classify

        if key not in self._predict:
            if key == "classifier":
                config = configs.resolve(_only(self.config, "classifier"))
                method = methods.make(config.classifier, spec.of(config, "classifier", records))
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

    def _trained(self, name: str, row: str, seed: int, stage: Any, records: Any) -> Trained | None:
        """One training, run if it is not finished yet, refused if its settings were others."""
        from darkjax import experiment, trained

        config = _only(self.config, name, stage)
        with config.unlocked():
            config.seed = seed
            config.data.dir = str(records.directory)
        folder = self.workdir / f"{row}-{seed}"
        done = {stage: folder / stage / "done.json" for stage in config.stages}
        quiet: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if all(file.exists() for file in done.values()):
            quiet = contextlib.redirect_stdout(io.StringIO())  # it only compares the settings
        else:
            print(f"training {row}, seed {seed}")
        try:
            with quiet:
                experiment.run(config, str(folder), "train")
        except Stopped:
            return None
        method, variables, _ = trained.load(configs.resolve(config), name, str(folder), records)
        of = {stage: configs.read_json(file) for stage, file in done.items()}
        return Trained(method, variables, of)

    def _enhanced(self, name: str, enhance: Loaded, test_only: bool = False) -> Column:
        """Records of the enhanced clips, written unless they are there."""
        from darkjax.data import convert
        from darkjax.data.enhanced import Enhanced, rounded
        from darkjax.data.records import Records

        data = self.config.data
        stored = data.split == "official" and not self.records.protocols
        splits = (data.eval_split,) if test_only and stored else ()
        of = {"enhancer": enhance.identity, "digest": self.records.digest, "splits": splits}
        described = json.dumps(of, sort_keys=True)
        mark = hashlib.sha256(described.encode()).hexdigest()[:8]
        folder = self.workdir / "records" / f"{name}-{mark}"  # another enhancer: another folder
        if not (folder / "card.json").exists():
            print(f"enhancing clips into {folder}")
        convert.convert(Enhanced(name, self.records, rounded(enhance), described, splits), folder)
        return Column(Records(folder, read=self.config.data.read), enhance.identity)

    def _judge(self, name: str, enhance: Loaded | None) -> dict[str, float]:
        """Inconsistency and brightness of the test clips; None leaves them as they are."""
        from darkjax.eval import enhance as enhancement

        def judged() -> dict[str, float]:
            apply = enhance or (lambda frames: frames)
            return enhancement.judge(apply, self.records, self._test(self.records))

        of = {
            "enhancer": enhance.identity if enhance else None,
            "digest": self.records.digest,
            "split": split.held_rows(self.records, self.config.data)[1],
        }
        return _kept(self.workdir / "judged" / f"{name}.json", of, judged)

    def _looked_at(self) -> dict[str, Any]:
        """What of a clip is seen, and which clips are judged."""
        data = self.config.data.to_dict()
        for field in ("dir", "synthetic", "read", "check_crc", "num_threads", "workers"):
            data.pop(field)
        return data


class Column(NamedTuple):
    """Test clips (and for a row's training, training clips), and the identity of what made them."""

    records: Any
    identity: dict[str, Any] | None


class Trained(NamedTuple):
    """A finished training; `done`: for each of its stages what its weights depend on."""

    method: Any
    variables: Any
    done: dict[str, Any]


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


def table(found: Mapping[str, Any]) -> str:
    """The matrix and what each method does to the test clips, as Markdown."""
    rows, cells = found["rows"], found["cells"]
    apart = [max(v) - min(v) for row in cells.values() for v in row.values()]
    seeds = f" Seeds are {np.mean(apart):.3f} apart on average, {max(apart):.3f} at most."
    lines = [
        f"{found['about']}; mean (lowest to highest).{seeds if max(apart) else ''}",
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


def _kept(file: pathlib.Path, of: Mapping[str, Any], make: Callable[[], Any]) -> dict[str, float]:
    """What is in `file` when it was made of the same, else what `make` gives now."""
    of = json.loads(json.dumps(of))
    before = _read(file)
    if before.get("of") == of:
        return before["found"]
    if before:
        old, new = identity.flat(before.get("of", {})), identity.flat(of)
        changed = [k for k in sorted(old.keys() | new) if old.get(k, ...) != new.get(k, ...)]
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        print(f"{file} is of other settings ({', '.join(changed[:3])}{more}): made again")
    found = make()
    _write(file, {"of": of, "found": found})
    return found


def _read(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object; {} where there is none or it is damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: pathlib.Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, content)


if __name__ == "__main__":
    program.run(main)
