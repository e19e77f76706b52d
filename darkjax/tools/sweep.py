"""Many runs of a config and their table: `python -m darkjax.tools.sweep --help`.

    python -m darkjax.tools.sweep --config=configs/lift_arid.py:demo --seeds=0,1,2 \\
        --grid teacher.optim.lr=1e-3,3e-3 --workdir=runs/rates
    python -m darkjax.tools.sweep --config=configs/supervised.py:r3d18,arid6 --seeds=0,1 \\
        --folds=1,2,3,4,5 --grid model=r3d18,i3d --config.data.dir=records/arid6 \\
        --workdir=runs/nets --jobs=2
    python -m darkjax.tools.sweep --config=configs/supervised.py:r3d18,demo --trials=20 \\
        --search optim.lr=log:1e-4,1e-2 --search batch_size=choice:16,24,48 --workdir=runs/search

A row of the table is a config and a grid point; seeds, folds (data.fold) and splits (data.protocol)
are its repetitions. --config.FIELD=VALUE sets a field of all runs. A grid field without a stage is
one of the only stage; values are joined by commas, tuples in brackets.

Every run is a `python -m darkjax.main` of its own, WORKDIR/runs/NAME its --workdir. The same
command goes on: what is finished is not run again, what was stopped continues, what failed is tried
again, a larger grid finds the runs of a smaller one; with changed settings it is refused. A run
that fails is a row with its error, and the exit status is 1. WORKDIR takes table.md, table.csv and
table.tex, cells.csv (every run) and pairs.csv (rows against rows).

--list prints the runs with their numbers, --task=K (or SLURM_ARRAY_TASK_ID) runs the K-th alone,
--table writes the table of what is there: launch/slurm_sweep.sh. --search draws the points by
Optuna (pip install 'darkjax[sweep]') instead of a grid; WORKDIR/study.db is its study.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from darkjax import lock, program
from darkjax.errors import Stopped, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not finished, write the tables; 1 where a run failed or, of --table, is not
    there."""
    from darkjax import overrides

    arguments, fields = overrides.split(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(arguments)
    from darkjax.sweeps import plan, running, search, tables

    running.leave_devices()
    if args.jobs < 1:
        raise UserError(f"--jobs={args.jobs}: expected 1 or more")
    workdir = pathlib.Path(args.workdir)
    names = ("seeds", "folds", "splits")
    repeated = {k: plan.listed(getattr(args, k)) for k in names if getattr(args, k)}
    gpus = plan.listed(args.gpus) if args.gpus else ()
    if args.search or args.trials:
        if args.grid or args.list or args.table or args.task is not None:
            raise UserError("--search: leave out --grid, --list, --task and --table")
        space = search.Space(args.config, tuple(fields), args.search, repeated, args.metric)
        with lock.held(workdir):
            outcomes, ended = search.run(space, args.trials, workdir, args.jobs, gpus)
        return _told(tables.of(outcomes), workdir, ended, search.NOTE)
    cells = plan.cells(args.config, fields, args.grid, repeated)
    if args.list:
        for number, cell in enumerate(cells):
            print(f"{number}  {shlex.join(running.command(cell, workdir)[1:])}")
        print(f"{program.counted(len(cells), 'run')}: sbatch --array=0-{len(cells) - 1}")
        return 0
    if args.table:
        found = [running.outcome(cell, workdir) for cell in cells]
        workdir.mkdir(parents=True, exist_ok=True)
        return _told(tables.of(found), workdir, None) or int(any(not f.results for f in found))
    task = args.task if args.task is not None else os.environ.get("SLURM_ARRAY_TASK_ID")
    if task is not None:
        found, ended = running.run([_task(task, cells)], workdir, gpus=gpus)
        if ended is not None:
            raise Stopped("the run was stopped", ended)
        return int(not found[0].results)
    with lock.held(workdir):
        outcomes, ended = running.run(cells, workdir, args.jobs, gpus)
    return _told(tables.of(outcomes), workdir, ended)


def sweep(
    config: str | Sequence[str],
    workdir: str | os.PathLike[str],
    grid: Mapping[str, Sequence[object]] | None = None,
    fields: Mapping[str, object] | None = None,
    jobs: int = 1,
    **repeated: Sequence[object],
) -> Any:
    """The same in a notebook: `sweep("lift_arid:demo", "runs/s", {"seed": [0]}, folds=[1, 2])`.

    Args:
      config: `FILE:words`, one or more.
      workdir: of the sweep.
      grid: values by field.
      fields: set in all runs.
      jobs: processes at a time.
      repeated: `seeds`, `folds`, `splits`.

    Returns:
      `sweeps.tables.Table`.

    Raises:
      UserError: what the program would say; also another argument than these.
      Stopped: Ctrl-C; the same call goes on.
    """
    from darkjax.sweeps import plan, running, tables

    strange = repeated.keys() - plan.REPEATED.keys()
    if strange:
        raise UserError(f"expected {', '.join(plan.REPEATED)}; found {', '.join(sorted(strange))}")
    axes = [f"{field}={','.join(map(str, values))}" for field, values in (grid or {}).items()]
    own = [(field, str(value)) for field, value in (fields or {}).items()]
    again = {k: [str(value) for value in values] for k, values in repeated.items()}
    files = [config] if isinstance(config, str) else list(config)
    folder = pathlib.Path(workdir)
    cells = plan.cells(files, own, axes, again)
    with lock.held(folder):
        outcomes, ended = running.run(cells, folder, jobs)
    table = tables.of(outcomes)
    tables.write(table, folder)
    if ended is not None:
        raise Stopped("the sweep was stopped", ended)
    return table


def _told(table: Any, workdir: pathlib.Path, ended: int | None, note: str = "") -> int:
    """Write and print the table; the exit status."""
    from darkjax.sweeps import tables

    print("\n" + tables.write(table, workdir, note))
    print(f"written to {workdir}/table.md, .csv, .tex, cells.csv and pairs.csv")
    if ended is not None:
        raise Stopped(f"stopped with {program.counted(table.missing, 'run')} to do", ended)
    return int(bool(table.failed))


def _task(text: str | int, cells: Sequence[Any]) -> Any:
    """The cell of an array task."""
    number = int(text) if str(text).isdigit() else -1
    if not 0 <= number < len(cells):
        raise UserError(
            f"--task={text}: expected 0 to {len(cells) - 1}: the sweep has "
            f"{program.counted(len(cells), 'run')} (--list names them)"
        )
    return cells[number]


def _parser() -> program.Parser:
    parser = program.Parser("darkjax.tools.sweep", __doc__)
    parser.add_argument(
        "--config", action="append", required=True, help="FILE[:words]; several are rows each"
    )
    parser.add_argument("--workdir", required=True, help="folder of the sweep")
    parser.add_argument("--seeds", default="", help="repetitions: 0,1,2")
    parser.add_argument("--folds", default="", help="repetitions: values of data.fold")
    parser.add_argument("--splits", default="", help="repetitions: values of data.protocol")
    parser.add_argument(
        "--grid", action="append", default=[], metavar="FIELD=VALUE,VALUE", help="of the rows"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--gpus", default="", help="0,1: each run sees one of them, in turn")
    parser.add_argument("--list", action="store_true", help="print the runs and their numbers")
    parser.add_argument("--task", type=int, help="run this one alone; no table")
    parser.add_argument("--table", action="store_true", help="write the table of what is there")
    parser.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="FIELD=KIND:VALUES",
        help="log:LOW,HIGH, float:LOW,HIGH, int:LOW,HIGH or choice:VALUE,VALUE",
    )
    parser.add_argument("--trials", type=int, default=0, help="of the search, in all")
    parser.add_argument("--metric", default="top-1", help="of the search (default: top-1)")
    return parser


if __name__ == "__main__":
    program.run(main)
