"""How annotations are checked while tests run (`--jaxtyping-packages` in pyproject.toml)."""

import functools
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int may stand for a float


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """As beartype, whose check of a function is made when that is called first: making those of
    the whole package takes each worker seconds, and its tests call a part of it."""
    made: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not made:
            made.append(check(function))
        return made[0](*args, **kwargs)

    return call
