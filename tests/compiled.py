"""Functions as one program each: operation by operation, JAX compiles every one of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled; arguments that are no arrays are fixed."""
    programs: dict[str, Callable[..., Any]] = {}

    @functools.wraps(function)
    def call(*args: Any, **fields: Any) -> Any:
        given = {**{str(i): arg for i, arg in enumerate(args)}, **fields}
        arrays = {k: v for k, v in given.items() if _of_arrays(v)}
        fixed = {k: v for k, v in given.items() if k not in arrays}

        def whole(arrays: dict[str, Any]) -> Any:
            every = {**fixed, **arrays}
            first = [every.pop(str(i)) for i in range(len(args))]
            return function(*first, **every)

        key = f"{len(args)} {fixed}"
        return programs.setdefault(key, jax.jit(whole))(arrays)

    return call


class Compiled:
    """A module whose functions are compiled as they are called."""

    def __init__(self, module: Any) -> None:
        self._module, self._made = module, {}

    def __getattr__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = compiled(getattr(self._module, name))
        return self._made[name]


def _of_arrays(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(hasattr(leaf, "dtype") for leaf in leaves)
