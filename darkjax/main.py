"""Train, evaluate, report: `python -m darkjax.main --config=configs/lift_arid.py:demo`.

Flags only; the work is in `darkjax.experiment`, which notebooks call.
"""

import os
import re
import shlex
import signal
import sys

from absl import app, flags
from ml_collections import config_flags

from darkjax import config as configs
from darkjax import overrides
from darkjax.errors import Stopped, UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Experiment, e.g. configs/lift_arid.py:demo.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; by default runs/ and the config's name."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "all",
    ["all", "train", "evaluate", "report"],
    "all: train what is not trained yet, evaluate, report. evaluate, report: from what is there.",
)
_EXTEND = flags.DEFINE_bool(
    "extend", False, "Train a finished or stopped stage on to more epochs or steps than it had."
)
_EVAL_NAME = flags.DEFINE_string(
    "eval_name", "", "With --mode=evaluate: judge on other records, into STAGE/eval-NAME/."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes; found out by JAX on TPU, Slurm and GKE."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0, where JAX cannot find it out."
)
_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_PROCESS = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def main(argv: list[str]) -> None:
    """Run the experiment the flags describe; a user's error is one line and exit status 2."""
    if len(argv) > 1:
        _fail(f"expected flags only, found {argv[1:]}: write --name=value")
    if _CONFIG.value is None:
        _fail("no --config: try --config=configs/lift_arid.py:demo")
    file = str(getattr(flags.FLAGS["config"], "config_filename", "run"))
    name = os.path.basename(file).replace(".py", "").replace(":", "-").replace(",", "-")
    workdir = _WORKDIR.value or os.path.join("runs", name)
    try:
        from darkjax import experiment

        if not flags.FLAGS["verbosity"].present:
            experiment.quiet()
        if _DISTRIBUTED.value or _COORDINATOR.value:
            experiment.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        experiment.run(
            _CONFIG.value,
            workdir,
            _MODE.value,
            command=_command(),
            extend=_EXTEND.value,
            eval_name=_EVAL_NAME.value,
        )
    except UserError as e:
        _fail(str(e))
    except Stopped as e:
        sys.exit(128 + e.signal)  # not 0: a cluster must not take it for done
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.stderr.flush()
        os._exit(128 + signal.SIGINT)  # at once: nothing that is still being written is waited for


def _command() -> str:
    return " ".join(["python -m darkjax.main", *map(shlex.quote, sys.argv[1:])])


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _config_errors(error: Exception) -> str:
    """One line of what absl and ml_collections say about a field or a value."""
    nearest = re.search(r'Did you mean "[^"]*" instead of "[^"]*"\?', str(error))
    if nearest:
        return f"unknown field. {nearest[0]}"
    return " ".join(str(error).split())


def _parse(argv: list[str]) -> list[str]:
    """Parse the flags; absl would print the traceback of an error inside a config."""
    try:
        return flags.FLAGS(overrides.sections(argv))
    except flags.Error as e:
        lines = [line.strip() for line in str(e).splitlines() if line.strip()]
        ours = [line.partition("UserError: ")[2] for line in lines if "UserError: " in line]
        _fail(ours[-1] if ours else " ".join((lines[0], *lines[1:][-1:])))
        raise


def cli() -> None:
    """`python -m darkjax.main`: parse flags, with one-line errors for the config's fields."""
    for word in sys.argv[1:]:
        if word.startswith("--config="):
            file = word.removeprefix("--config=").partition(":")[0]
            if not os.path.isfile(file):
                _fail(f"expected a config file such as configs/lift_arid.py; found {file!r}")
            configs.add_root(file)
    try:
        app.run(main, flags_parser=_parse)
    except (AttributeError, KeyError) as e:
        # ml_collections raises these for a misspelt field, with the nearest name.
        if "Did you mean" not in str(e) and "does not exist" not in str(e):
            raise
        _fail(f"config: {_config_errors(e)}")
    except (UserError, FileNotFoundError) as e:
        _fail(_config_errors(e))


if __name__ == "__main__":
    cli()
