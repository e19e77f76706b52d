"""The tiny experiment as a config file: `--config=tests/tiny_config.py:FOLDER` of its records."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parent))


def get_config(arg: str = ""):
    """The teacher alone, from records in the folder that `arg` names."""
    import tiny_run

    c = tiny_run.config(pathlib.Path(arg))
    c.stages = ("teacher",)
    return c.lock()
