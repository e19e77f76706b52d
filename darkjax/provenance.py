"""Where a run comes from: `config.json` in its folder."""

from __future__ import annotations

import datetime
import json
import pathlib
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

from darkjax import config as configs
from darkjax import version
from darkjax.data import sources
from darkjax.data.records import Records
from darkjax.files import write_json

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def write(
    config: Any, workdir: str, records: Mapping[str, Records], mode: str, command: str
) -> None:
    """Write `workdir/config.json`: the resolved config of this start, and every start's conditions.

    Under "starts", oldest first: when, what was typed, mode, versions, devices, and for each stage
    the digest of its data. A file that cannot be read is kept as `config.json.damaged`.

    Args:
      config: resolved.
      workdir: of the run.
      records: of every stage.
      mode: of this start.
      command: what was typed; sys.argv where that is empty.
    """
    path = pathlib.Path(workdir, "config.json")
    device = jax.devices()[0]
    start = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command or " ".join(sys.argv),
        "mode": mode,
        "versions": {
            "darkjax": version.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "devices": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
        },
        "data": {
            name: {
                "dir": str(own.directory),
                "digest": sources.digest(own, configs.data_of(config, name)),
            }
            for name, own in records.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    resolved = json.loads(config.to_json_best_effort())
    write_json(path, {"config": resolved, "starts": [*_earlier(path), start]})


def _earlier(path: pathlib.Path) -> list[Any]:
    if not path.exists():
        return []
    try:
        found = configs.read_json(path)["starts"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, list):
        path.replace(path.with_name("config.json.damaged"))
        return []
    return found
