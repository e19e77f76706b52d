"""What a config's model costs: `python -m darkjax.tools.describe --config=configs/lift_arid.py`;
whether checkpoints are whole: `python -m darkjax.tools.describe --checkpoint=runs/NAME/STAGE`.

With --fields: every field of the config, its value, what it may be and what it is for. Else it
prints parameters by part for each stage (nothing is allocated), then, with --compile, what one
training step needs as the compiler counts it (nothing is run), and with --forward the time of
one real forward pass of a clip.

With --checkpoint=DIR (a stage's folder, its `checkpoints/` or one step in there) every file is
compared with its checksum, and each step is called whole, unverified (written without checksums,
and readable) or damaged; the exit code is 1 when one is damaged. Nothing is changed.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from darkjax import config as configs
from darkjax import program
from darkjax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Print the description; 1 when a checkpoint is damaged, 2 on a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m darkjax.tools.describe",
        description=" ".join(__doc__.split("\n\n")[0].split()),
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="configs/FILE.py[:ARGUMENT]")
    what.add_argument("--checkpoint", metavar="DIR", help="verify checkpoints instead")
    parser.add_argument("--fields", action="store_true", help="list every field of the config")
    parser.add_argument("--stage", help="only this stage")
    parser.add_argument("--batch_size", type=int, default=1, help="of the described step")
    parser.add_argument("--compile", action="store_true", help="compile one training step")
    parser.add_argument("--forward", action="store_true", help="run one forward pass of a clip")
    args = parser.parse_args(argv)
    try:
        if args.checkpoint is not None:
            return _verify(pathlib.Path(args.checkpoint))
        if args.fields:
            fields(args.config)
        else:
            _describe(args)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


def _verify(folder: pathlib.Path) -> int:
    from darkjax import checkpoint_steps as checkpoints

    inner = folder / "checkpoints"
    folder = inner if inner.is_dir() else folder
    if checkpoints.is_step(folder.absolute().name):
        paths = [folder.absolute()]
    else:
        paths = [folder / str(step) for step in checkpoints.steps(folder)]
    if not paths or not paths[0].exists():
        raise UserError(
            f"--checkpoint={folder}: expected a stage's folder, its folder 'checkpoints' or one "
            "step in there, found no checkpoint"
        )
    damaged = 0
    for path in paths:
        found = checkpoints.look(path)
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        print(f"{path}: {found.state}, {found.why or f'{size / 1e6:.1f} MB'}")
        damaged += found.state == checkpoints.DAMAGED
    if damaged:
        print(f"{damaged} of {len(paths)} damaged: a run that goes on sets them aside")
    return 1 if damaged else 0


def fields(path: str) -> None:
    """Print every field of a config: its path and value, what it may be, what it is for."""
    from darkjax import ranges

    config = configs.load(path)
    remarks = _remarks(str(configs.found(path.partition(":")[0])))
    for field in ranges.walk(config):
        check = field.check.text if field.check else "not a field that anything reads"
        remark = remarks.get(field.path.rpartition(".")[2])
        print(f"{field.path} = {field.value!r}\n    {check}{'; ' + remark if remark else ''}")


def _remarks(file: str) -> dict[str, str]:
    """The comments behind the fields, of a config's file and of those beside it that it shares."""
    found: dict[str, str] = {}
    beside, own = pathlib.Path(file).parent, pathlib.Path(file)
    imported = re.findall(r"^from configs import (.*)$", own.read_text(encoding="utf-8"), re.M)
    shared = [f"{name}.py" for name in ", ".join(imported).split(", ") if name != "common"]
    for source in (*(beside / name for name in ("common.py", *shared)), own):
        if source.is_file():
            text = source.read_text(encoding="utf-8")
            found |= dict(re.findall(r"^    \w+\.(\w+) = .*?\S  # (.*)$", text, re.MULTILINE))
    return found


def _describe(args: argparse.Namespace) -> None:
    import jax

    from darkjax import methods, sharding, spec
    from darkjax.eval import efficiency
    from darkjax.weights import preprocess

    config = preprocess.settle(configs.resolve(configs.load(args.config)), needed=False)
    classes = config.data.num_classes or 11
    stages = [args.stage] if args.stage else list(config.stages)
    for name in stages:
        if name not in config.stages:
            raise UserError(f"--stage={name}: the config has {', '.join(config.stages)}")
        stage, data = config[name], configs.data_of(config, name)
        method = methods.make(stage, spec.bare(config, name, [str(k) for k in range(classes)]))
        batch = method.spec.like(args.batch_size)
        print(
            f"{args.config}, stage {name}: {data.frames} frames of {data.size[0]}x{data.size[1]}, "
            f"{classes} classes, {config.dtype}, jax {jax.__version__} on {jax.default_backend()}"
        )
        for part, count, trained in efficiency.parameter_table(method, batch):
            print(f"  {part:<28} {count:>13,} parameters, {trained:>13,} trained")
        if args.compile:
            mesh = sharding.make_mesh((1, 1), jax.devices()[:1])
            start = time.monotonic()
            cost = efficiency.compiled_step(method, config, stage, args.batch_size, mesh)
            print(f"  one training step of batch {args.batch_size}, compiled and not run:")
            for key, value in cost.items():
                print(f"    {key:<26} {value:>13.2f}")
            print(f"    {'compile seconds':<26} {time.monotonic() - start:>13.1f}")
        if args.forward:
            _forward(method, batch)


def _forward(method: Any, batch: dict[str, Any]) -> None:
    """Initialise, run one batch through `predict` twice, print the second's time."""
    import jax
    import numpy as np

    rng = np.random.default_rng(0)
    video = rng.integers(0, 40, batch["video"].shape, np.uint8)  # a dark clip
    clip = {
        "video": video,
        **{k: np.ones(v.shape, v.dtype) for k, v in batch.items() if k != "video"},
    }
    one = {k: v[:1] for k, v in clip.items()}
    variables = jax.jit(method.init)(jax.random.key(0), one)
    step = jax.jit(lambda v, b: method.predict(v, b)[0])
    for attempt in ("with compilation", "again"):
        start = time.monotonic()
        logits = np.asarray(step(variables, clip))
        print(f"  forward pass, {attempt}: {time.monotonic() - start:.2f} s")
    print(f"  logits {logits.shape}, finite: {bool(np.isfinite(logits).all())}")


if __name__ == "__main__":
    program.run(main)
