"""Pickles read without running anything: names that a file asks for become stand-ins of ours.

A pickle is a program that may call any Python function it names. Here a name is looked up in a
fixed table (`pickle_table`) whose entries are ours (`standins`): they keep shapes, bytes and plain
containers, and nothing of torch, numpy or any other library is called with what the file says. A
name that is not in the table is refused. Attributes are set on stand-ins of arrays alone (opcode
BUILD), and numbered names (EXT) are refused.

Python's own `pickle._Unpickler` (not the C one) is the base because it lets both opcodes be
replaced, and because its memo is a dict: the C one's is an array as long as a file asks.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar

from darkjax.errors import UserError
from darkjax.weights.reading.pickle_table import ALLOWED, PYTHON_2
from darkjax.weights.reading.standins import Array, Dtype, Inert, Malformed

File = IO[bytes] | io.BufferedIOBase  # the second: bytes in memory, which have no name


def load(file: File, where: str, storages: Callable[[Any], Any] | None = None) -> Any:
    """The next pickle of `file` as plain containers, `Tensor` and `Array`.

    Args:
      file: at the pickle's first byte; left behind its last.
      where: the file's name, for messages.
      storages: what a persistent id (torch's reference to a storage) stands for.

    Raises:
      UserError: it asks for a name that is not in the table.
      Malformed: it is not a whole pickle.
    """
    try:
        return _Unpickler(file, where, storages).load()
    except (UserError, Malformed):
        raise
    except Exception as error:  # what nonsense opcodes can raise is not a closed list
        raise Malformed(f"{type(error).__name__}: {error}") from error


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """See the module."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore
    stack: list[Any]
    readline: Callable[[], bytes]

    def __init__(self, file: File, where: str, storages: Callable[[Any], Any] | None):
        # latin1 leaves Python 2's byte strings as they are
        super().__init__(file, encoding="latin1")
        self._where, self._storages = where, storages

    def find_class(self, module: str, name: str) -> Any:
        module = PYTHON_2.get(module, module)
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module.startswith("torch.optim."):
            return Inert  # what else an optimiser left
        asked = f"{module}.{name}"[:80]
        raise UserError(
            f"{self._where}: expected tensors in plain containers, found a request for {asked!r}: "
            "refused, and nothing was executed; if you trust the file and it is a whole model "
            "(torch.save(model)), open it with the code it belongs to and save its state_dict()"
        )

    def get_extension(self, code: int) -> Any:
        raise UserError(
            f"{self._where}: expected tensors in plain containers, found a request for the "
            f"registered object {code}: refused, and nothing was executed"
        )

    def persistent_load(self, pid: Any) -> Any:
        if self._storages is None:
            raise Malformed("a reference to a storage outside the pickle")
        return self._storages(pid)

    def _build(self) -> None:
        """BUILD: the one on top of the stack is the state of the object below."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Array | Dtype):
            self.stack[-1].build(state)

    def _global(self) -> None:
        """GLOBAL: a module and a name, each a line; Python's own takes a line that is cut off."""
        lines = self.readline(), self.readline()
        if not all(line.endswith(b"\n") for line in lines):
            raise Malformed("it ends in the middle of a name")
        self.stack.append(self.find_class(*(line[:-1].decode() for line in lines)))

    dispatch[pickle.GLOBAL[0]] = _global
    dispatch[pickle.BUILD[0]] = _build
