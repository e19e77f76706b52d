"""Compiled programs, kept from one start to the next."""

import os
import sys
import tempfile

import jax


def use_compilation_cache() -> None:
    """Keep compiled programs between runs, where the user has not said otherwise.

    In `$XDG_CACHE_HOME/darkjax/jax`, or `~/.cache/darkjax/jax`. Where that cannot be written
    nothing is kept, which one line on stderr says.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # its standard: empty or relative is as if it were not set
        home = os.path.expanduser("~/.cache")
    folder = os.path.join(home, "darkjax", "jax")
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        print(f"compiled programs are not kept for the next start: {e}", file=sys.stderr)
    else:
        jax.config.update("jax_compilation_cache_dir", folder)
