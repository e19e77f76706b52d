"""Where arrays live: the device mesh, parameters by rule, batches over "data"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from darkjax.errors import UserError

AXES = ("data", "model")
Rules = Sequence[tuple[str, tuple[str | None, ...]]]


def make_mesh(shape: Sequence[int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with axes ("data", "model") over all devices.

    Args:
      shape: `(data, model)`; -1 once, for "what is left".
      devices: by default all of `jax.devices()`.

    Raises:
      UserError: the shape does not use exactly the devices there are.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = tuple(shape)
    if len(shape) != 2 or shape.count(-1) > 1 or any(n == 0 or n < -1 for n in shape):
        raise UserError(f"mesh={shape}: expected (data, model), positive, -1 at most once")
    known = math.prod(n for n in shape if n != -1)
    full = tuple(len(devices) // known if n == -1 else n for n in shape)
    if math.prod(full) != len(devices):
        raise UserError(
            f"mesh={shape} does not use the {len(devices)} devices: choose numbers whose "
            "product is that, or -1 for one of them"
        )
    # Auto axes: flax linen's dropout fails on the Explicit ones that make_mesh defaults to.
    return jax.make_mesh(full, AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rules(mesh: Mesh, tree: Any, rules: Rules) -> Any:
    """A NamedSharding for every leaf: the first rule whose pattern matches the end of its path.

    Paths join dictionary keys with "/", so one rule fits a parameter, its moments and its
    average. A rule is `(regex, axes)`, e.g. `(".*/fc1/kernel", (None, "model"))`; it is skipped
    for a leaf of another rank or of a length that the mesh does not divide.
    """

    def one(path: Any, leaf: Any) -> NamedSharding:
        name = "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path)
        for pattern, axes in rules:
            if re.fullmatch(pattern, name) and _fits(mesh, leaf.shape, axes):
                return NamedSharding(mesh, PartitionSpec(*axes))
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(one, tree)


def _fits(mesh: Mesh, shape: Sequence[int], axes: Sequence[str | None]) -> bool:
    sizes = [mesh.shape[a] if a else 1 for a in axes]
    return len(sizes) == len(shape) and all(n % s == 0 for n, s in zip(shape, sizes, strict=True))


def check_batch(mesh: Mesh, batch_size: int, name: str = "batch_size") -> None:
    """Raise when a global batch cannot be spread evenly over the mesh's "data" axis."""
    if batch_size % mesh.shape["data"]:
        raise UserError(
            f"{name}={batch_size} is not a multiple of the {mesh.shape['data']} devices on the "
            f"mesh's data axis: choose {-(-batch_size // mesh.shape['data']) * mesh.shape['data']}"
        )


def to_global(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's share of a batch as global arrays, split over "data"."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def to_host(tree: Any) -> Any:
    """Replicated global arrays as numpy, from this process's own copy."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)
