"""Train, evaluate, report: `python -m darkjax.main --config=configs/lift_arid.py:demo`.

Flags only; the work is in `darkjax.experiment`, which notebooks call.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence

from darkjax import program
from darkjax.errors import Stopped

EXAMPLE = """\
any field of the config is set by --config.FIELD=VALUE:

    python -m darkjax.main --config=configs/lift_arid.py:small --config.data.dir=records/mine \\
        --config.student.optim.lr=3e-4 --config.data.size=112,112 --workdir=runs/mine

every field, its value, what it may be and what it is for:

    python -m darkjax.tools.describe --config=configs/lift_arid.py:small --fields

the words after the colon are explained at the top of the config's file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment the flags describe; a user's error is one line and exit status 2."""
    from darkjax import config as configs
    from darkjax import overrides

    arguments, fields = overrides.split(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(arguments)
    config = configs.load(args.config, fields)
    name = os.path.basename(args.config).replace(".py", "").replace(":", "-").replace(",", "-")

    from darkjax import experiment, process

    if args.verbosity is None:
        process.quiet()
    else:
        from absl import logging

        logging.set_verbosity(args.verbosity)
    if args.distributed or args.coordinator_address:
        process.join(args.coordinator_address, args.num_processes, args.process_id)
    try:
        experiment.run(
            config,
            args.workdir or os.path.join("runs", name),
            args.mode,
            command=_command(),
            extend=args.extend,
            eval_name=args.eval_name,
        )
    except Stopped as e:
        return 128 + e.signal  # not 0: a cluster must not take it for done
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.stderr.flush()
        os._exit(128 + signal.SIGINT)  # at once: nothing that is still being written is waited for
    return 0


def _parser() -> program.Parser:
    parser = program.Parser("darkjax.main", __doc__, EXAMPLE)
    parser.add_argument("--config", required=True, help="configs/FILE.py[:WORD,WORD]")
    parser.add_argument("--workdir", help="folder of the run; by default runs/ and the config's")
    parser.add_argument(
        "--mode",
        choices=program.MODES,
        default="all",
        help="all: train what is not trained yet, evaluate, report; evaluate, report: from what "
        "is there",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="train a finished or stopped stage on to more epochs or steps than it had",
    )
    parser.add_argument(
        "--eval_name",
        default="",
        help="with --mode=evaluate: judge on other records, into STAGE/eval-NAME/",
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="one of several processes; found out by JAX on TPU, Slurm and GKE",
    )
    parser.add_argument("--coordinator_address", help="host:port of process 0, where JAX cannot")
    parser.add_argument("--num_processes", type=int, help="how many processes there are")
    parser.add_argument("--process_id", type=int, help="which of them this is, from 0")
    parser.add_argument("--verbosity", type=int, help="of the libraries below: 1 tells all")
    return parser


def _command() -> str:
    return " ".join(["python -m darkjax.main", *map(shlex.quote, sys.argv[1:])])


if __name__ == "__main__":
    program.run(main, closed="stopped: nothing reads the output now; the same command continues")
