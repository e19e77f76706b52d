"""What is closed at the end of a `with` block."""

from __future__ import annotations

import abc
from typing import TypeVar

Own = TypeVar("Own", bound="Closing")


class Closing(abc.ABC):
    """Use it in a `with` block, or call `close`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of what is held."""

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
