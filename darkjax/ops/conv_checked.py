"""That the self-check of the oneDNN call passed here, remembered from process to process.

One small file in JAX's compilation cache folder for each (jaxlib, processor, XLA's flags, our own
code): its name is their digest, its content says them again. Whatever is not exactly that content
(damaged, empty, another program's) counts as absent, and so does a folder that cannot be read or
written: the check is then made again. Only passing is remembered, since a check may fail for a
passing reason. Without a cache folder nothing is read or written.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pathlib
import platform

import jax
import jaxlib

from darkjax import files

log = logging.getLogger(__name__)
# What the check runs through, and the check itself.
CODE = ("conv_onednn.py", "conv_gradient.py", "conv_pure.py")


def passed() -> bool:
    """Whether an earlier process checked the same and found nothing wrong."""
    file = _file()
    try:
        return file is not None and file.read_text() == _content()
    except (OSError, UnicodeDecodeError):
        return False


def remember() -> None:
    """Say so to later processes, if there is somewhere to write it."""
    file = _file()
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(file, _content())  # of several processes here at once the last one wins
    except OSError as e:
        log.debug("the oneDNN self-check is not remembered: %s", e)


def _file() -> pathlib.Path | None:
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or "://" in folder or not _enabled():
        return None
    digest = hashlib.sha256(_content().encode()).hexdigest()[:16]
    return pathlib.Path(folder, f"onednn-checked-{digest}.txt")


def _enabled() -> bool:
    return jax.config.values["jax_enable_compilation_cache"]


def _content() -> str:
    here = pathlib.Path(__file__).parent
    code = hashlib.sha256(b"".join((here / name).read_bytes() for name in CODE))
    rows = {
        "jaxlib": jaxlib.__version__,
        "processor": _processor(),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "code": code.hexdigest(),
    }
    return "".join(f"{k}: {v}\n" for k, v in rows.items()) + "the oneDNN self-check passed\n"


def _processor() -> str:
    """The processor's name and what it can do where Linux tells, else only its kind."""
    known = [platform.machine()]
    try:
        rows = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return known[0]
    wanted = ("model name", "flags", "CPU part", "Features")  # x86, then Arm
    known += sorted({r.partition(":")[2].strip() for r in rows if r.startswith(wanted)})
    return ", ".join(known)
