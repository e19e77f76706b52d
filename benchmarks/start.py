"""Time from `python` to the first training step, with an empty compilation cache and a full one.

    python benchmarks/start.py [--config=configs/lift_arid.py:demo] [--stages=teacher] [--repeats=3]
    git worktree add /tmp/before COMMIT && python benchmarks/start.py --source=/tmp/before

Each row is the least of the repeats, in CPU seconds of the process and its children (of both cores:
what a busy machine does not change) and in wall seconds. "cold" begins with an empty cache folder,
"warm" with what the cold process left in it. The self-check of the oneDNN convolution is made
before the stages and has a row of its own; `--unknown_jaxlib` makes it as with a jaxlib that the
project was not tried on, in a second Python first. A stage's row ends when its first step has been
computed; later stages take the earlier ones' weights from memory.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/lift_arid.py:demo", help="inside the checkout")
    parser.add_argument("--stages", default="", help="joined by commas; default: all; ',': none")
    parser.add_argument("--data", default="", help="records; default: the config's are rendered")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--source", default=str(ROOT), help="a checkout, to measure another commit")
    parser.add_argument("--unknown_jaxlib", action="store_true")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        if not args.data:
            args.data = os.path.join(folder, "records")
            _run(args, "render", folder)
        found: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
        for repeat in range(args.repeats):
            for state, rows in found.items():
                rows.append(_run(args, state, os.path.join(folder, str(repeat))))
                print(f"{state} {repeat + 1}: {rows[-1]['total'][0]:.1f} CPU s", file=sys.stderr)
    print(
        f"{args.config}, {os.cpu_count()} cores, {datetime.date.today()}, "
        f"least of {args.repeats}: CPU seconds (wall seconds)"
    )
    print(f"| {'until the first step':<22} | {'cold':>15} | {'warm':>15} |\n|---|---|---|")
    for part in found["cold"][0]:
        cells = [
            "{:.1f} ({:.1f})".format(*(min(r[part][i] for r in rows) for i in (0, 1)))
            for rows in found.values()
        ]
        print(f"| {part:<22} | {cells[0]:>15} | {cells[1]:>15} |")


def _run(args: argparse.Namespace, child: str, cache: str) -> dict[str, Any]:
    """What one process measured, its compilation cache in the folder `cache`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    environment |= {"XDG_CACHE_HOME": cache, "PYTHONPATH": args.source, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, f"--child={child}", f"--config={args.config}"]
    command += [f"--data={args.data}", f"--stages={args.stages}"]
    command += ["--unknown_jaxlib"] if args.unknown_jaxlib else []
    run = subprocess.run(
        command, cwd=args.source, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(run.stdout.splitlines()[-1])


def _spent() -> tuple[float, float]:
    """CPU seconds of this process and its ended children, and the clock."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used), time.monotonic()


def _child(args: argparse.Namespace) -> None:
    before = (0.0, time.monotonic())
    rows: dict[str, Any] = {}

    def row(name: str) -> None:
        nonlocal before
        now = _spent()
        rows[name], before = [b - a for a, b in zip(before, now, strict=True)], now

    from darkjax import compilation, run_data, sharding, train
    from darkjax import config as configs
    from darkjax.ops import conv, conv_onednn

    compilation.use_compilation_cache()
    c = configs.load(args.config)
    c.data.dir = args.data
    c = configs.resolve(c)
    records = run_data.open_records(c.data, "")
    if args.child == "render":
        print("{}")
        return
    mesh = sharding.make_mesh(c.mesh)
    row("imports, data")
    if args.unknown_jaxlib:
        conv_onednn.CHECKED_JAXLIB = ()
    conv._platform_form()
    row("self-check")
    given: dict[str, Any] = {}
    for name in filter(None, args.stages.split(",")) if args.stages else c.stages:

        def landed(step: int, numbers: dict[str, float], name: str = name) -> None:
            row(name)

        with tempfile.TemporaryDirectory() as folder:
            outcome = train.run(
                c,
                name,
                records,
                workdir=folder,
                mesh=mesh,
                given=lambda: given,
                max_steps=1,
                on_step=landed,
            )
        given[name] = outcome.state.variables()
        before = _spent()  # the checkpoint is no part of a start
    rows["total"] = [sum(r[i] for r in rows.values()) for i in (0, 1)]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
