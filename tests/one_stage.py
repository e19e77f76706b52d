"""The loop alone: one stage trained, on as many devices as a test asks for."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import numpy as np

from darkjax import optim, sharding, train


def trained(
    config: Any, name: str, records: Any, workdir: pathlib.Path, devices: int = 1, **options: Any
) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
    """(metrics of each step, flat variables at the end)."""
    rows: list[dict[str, float]] = []
    outcome = train.run(
        config, name, records, workdir=workdir,
        mesh=sharding.make_mesh((devices, 1), jax.devices()[:devices]),
        on_step=lambda _, numbers: rows.append(numbers), **options,
    )  # fmt: skip
    return rows, optim.flatten(jax.device_get(outcome.state.variables()))
