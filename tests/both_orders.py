"""Two words of a config, in both orders."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from darkjax import config as configs
from darkjax.errors import UserError


def agree(load: Callable[..., Any], pair: tuple[str, str], refused: bool) -> None:
    """They are one config, or both orders are refused in a line that names both words."""
    if not refused:
        one, other = load(*pair), load(*reversed(pair))
        assert one.to_json_best_effort() == other.to_json_best_effort()
        configs.resolve(one)
        return
    for order in (pair, pair[::-1]):
        with pytest.raises(UserError) as error:
            load(*order)
        line = str(error.value)
        assert all(re.search(rf"\b{word}\b", line) for word in pair), line
        assert "\n" not in line
