"""A trained run judged on other records: `python -m darkjax.tools.evaluate --help`.

    python -m darkjax.tools.evaluate --run=runs/mine --records=records/winter
    python -m darkjax.tools.evaluate --run=runs/mine --records=records/mine --name=wide \\
        --set=data.views_clips=5 --set=data.views_crops=3
    python -m darkjax.tools.evaluate --run=runs/mine/student --records=s3://bucket/night \\
        --set=data.eval_split=train
    python -m darkjax.tools.evaluate --run=runs/mine --records=records/mine --brightness=1,0.5,0.25

--brightness judges the same clips darker (or brighter): every level times that, rounded to 8 bits,
each to eval-NAME-xFACTOR/, and a row each in the end. Flow in the records stays as it is.

Classes are matched by name; what does not match is left out and listed. Everything else is as the
run was trained: its own config is read, and `--set` changes fields of it for this evaluation, such
as the split or the views. A field that the weights depend on is refused. RUN/STAGE/eval-NAME/ takes
results.json and predictions.npz; nothing else of the run is touched.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from darkjax import channels, program
from darkjax import config as configs
from darkjax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, and print the table of `darkjax.main`."""
    parser = program.Parser("darkjax.tools.evaluate", __doc__)
    parser.add_argument("--run", required=True, help="a run's folder, or RUN/STAGE")
    parser.add_argument("--records", required=True, help="a folder of darkjax.data.convert")
    parser.add_argument("--name", help="of the results; by default that of the records' folder")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the run's config, such as data.eval_split=train",
    )
    parser.add_argument("--brightness", default="1", help="levels times this: 1,0.5,0.25")
    args = parser.parse_args(argv)
    factors = brightness(args.brightness)
    fields = {}
    for given in args.set:
        field, equals, value = given.partition("=")
        if not equals:
            raise UserError(f"--set={given}: expected FIELD=VALUE, such as data.eval_split=train")
        fields[field] = value
    from darkjax import process

    process.quiet()
    found = {n: evaluate(args.run, args.records, args.name, fields, n) for n in factors}
    if len(found) > 1:
        names = [k for k in next(iter(found.values()))["numbers"] if k != "n"]
        print(f"\n| brightness | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
        for factor, result in found.items():
            row = " | ".join(f"{result['numbers'][k]:.4f}" for k in names)
            print(f"| x{factor:g} | {row} |")
    if factors != [1.0] and recorded_flow(args.run):
        print("flow was computed beforehand, of clips as they are: only the colours change")
    return 0


def recorded_flow(run: str) -> bool:
    """Whether a stage of a run is given flow that is in its records."""
    config, _ = config_of(run)
    return any(
        configs.data_of(config, stage).channels == channels.WITH_FLOW for stage in config.stages
    )


def brightness(text: str) -> list[float]:
    """`--brightness`: factors above 0, at most 16.

    Raises:
      UserError: anything else.
    """
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < factor <= 16 for factor in found):
        raise UserError(f"--brightness={text}: expected factors up to 16, such as 1,0.5,0.25")
    return list(dict.fromkeys(found))


def evaluate(
    run: str | os.PathLike[str],
    records: str | os.PathLike[str],
    name: str | None = None,
    fields: Mapping[str, str] | None = None,
    brightness: float = 1.0,
) -> dict[str, Any]:
    """A run judged on other records; `experiment.run` with mode "evaluate" and its own config.

    Args:
      run: its folder, of which every stage that was trained is judged; or RUN/STAGE, that alone.
      records: folder of the converted clips.
      name: RUN/STAGE/eval-NAME/ takes the results; None is the name of the records' folder.
      fields: of the config, and values as they are written on a command line.
      brightness: what levels are multiplied by; not 1: the results are eval-NAME-xBRIGHTNESS/.

    Returns:
      The results of the last of these stages (`results.json`).

    Raises:
      UserError: no such run, records or field, a field that the weights depend on, or no class in
        common.
    """
    from darkjax import experiment, overrides

    config, workdir = config_of(run)
    with config.unlocked(), config.ignore_type():
        for section in (config.data, *(config[stage].get("data", {}) for stage in config.stages)):
            for field, value in (("dir", os.fspath(records)), ("synthetic", None)):
                if field in section:
                    section[field] = value
    config.lock()
    overrides.apply_all(config, (fields or {}).items())
    name = name or re.sub(r"[^\w.-]", "_", pathlib.PurePath(os.fspath(records)).name)
    name += f"-x{brightness:g}" if brightness != 1.0 else ""
    return experiment.run(config, workdir, "evaluate", eval_name=name, brightness=brightness)


def config_of(run: str | os.PathLike[str]) -> tuple[Any, str]:
    """(config of the stages that were trained, folder of the run), by the last one's checkpoint.

    Args:
      run: its folder, or RUN/STAGE: that stage alone.

    Raises:
      UserError: there is no run, or no whole checkpoint.
    """
    import json

    import ml_collections

    from darkjax import checkpoint, loaded

    stage = loaded.stage_of(pathlib.Path(run))
    kept = json.loads(checkpoint.read_meta(stage / "checkpoints")["config"])
    config = ml_collections.ConfigDict(loaded.tuples(kept))
    alone = pathlib.Path(run).absolute().name in (stage.name, "checkpoints")
    ready = [s for s in config.stages if (stage.parent / s / "checkpoints").is_dir()]
    config.stages = (stage.name,) if alone else tuple(ready)
    for name in ready:  # set when the config was resolved, and to be set again
        for field in ("dtype", "bn_group"):
            del config[name][field]
    return config, str(stage.parent)


if __name__ == "__main__":
    program.run(main)
