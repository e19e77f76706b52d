"""`--config.STAGE.model=NAME`: a whole section of a config in one word."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

# A section that `models.build` reads; a dict, which ml_collections takes, is left alone.
SECTION = re.compile(r"--?(config(?:\.\w+)+\.(?:model|enhancer))=([\w.-]+)")
FIELD = re.compile(r"--?(config(?:\.\w+)+)\.(\w+)=(.*)", re.DOTALL)


def sections(argv: Sequence[str]) -> list[str]:
    """The command line with such sections written out, `--config.STAGE.model={'name': 'NAME'}`.

    The section is begun anew: nothing that stood in it before contradicts the name. Whatever else
    is said of it on the command line, before or after, is in it too.
    """
    anew = {m[1]: {"name": m[2]} for m in map(SECTION.fullmatch, argv) if m}
    rest = []
    for word in argv:
        field = FIELD.fullmatch(word)
        if field and field[1] in anew:
            section = anew[field[1]]
            section[field[2]] = _value(section["name"], field[2], field[3])
        elif not SECTION.fullmatch(word):
            rest.append(word)
    return rest + [f"--{path}={section}" for path, section in anew.items()]


def _value(name: str, field: str, text: str) -> Any:
    """A field's value as Python; where the model's own is a string, a number stays one."""
    from darkjax import models

    if text in ("true", "false"):
        return text == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    default = models.default(name, field) if name in models.ARCHITECTURES else None
    return text if isinstance(default, str) and isinstance(value, int) else value
