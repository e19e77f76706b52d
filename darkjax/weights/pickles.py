"""Pickles read without running anything: names that a file asks for become stand-ins of ours.

A pickle is a program that may call any Python function it names. Here a name is looked up in a
fixed table whose entries are written below: they keep shapes, bytes and plain containers, and
nothing of torch, numpy or any other library is called with what the file says. A name that is
not in the table is refused. What optimisers and argument parsers leave in checkpoints becomes
`Inert`, which keeps nothing. Attributes are set on stand-ins of arrays alone (opcode BUILD), and
numbered names (EXT) are refused.

Python's own `pickle._Unpickler` (not the C one) is the base because it lets both opcodes be
replaced, and because its memo is a dict: the C one's is an array as long as a file asks.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar

import numpy as np

from darkjax.errors import UserError

# Elements by our code: "bf16" has no numpy type of its own, "raw" storages are bytes whose type
# the tensor gives.
NUMBERS = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")
ITEM_BYTES = {code: int(code[1]) for code in NUMBERS} | {"bf16": 2, "raw": 1}


class Malformed(ValueError):
    """Not a pickle, or not a whole one."""


class Inert:
    """Stands for an object that is no tensor: takes anything, keeps nothing."""

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        return object.__new__(cls)

    def _ignore(self, *args: object) -> None: ...

    __setitem__ = append = extend = add = update = _ignore


class Storage:
    """The bytes behind torch tensors, read when one of them is wanted."""

    def __init__(self, code: str, count: int, read: Callable[[], bytes], order: str = "<"):
        self.code, self.count, self._read, self._order = code, count, read, order
        self._raw: bytes | None = None

    def raw(self) -> bytes:
        """All of it; a file that holds another number of bytes is refused."""
        if self._raw is None:
            found, expected = self._read(), self.count * ITEM_BYTES[self.code]
            if len(found) != expected:
                raise Malformed(f"a storage of {expected} bytes has {len(found)}")
            self._raw = found
        return self._raw

    def values(self, code: str) -> np.ndarray:
        """Its elements, flat."""
        return decode(self.raw(), code, self._order)


class Tensor:
    """A torch tensor, not read yet."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple, code: str):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        self.code = code

    def array(self) -> np.ndarray:
        """A copy of its elements; bfloat16 becomes float32."""
        numbers = (self.offset, *self.size, *self.stride)
        plain = all(type(n) is int and n >= 0 for n in numbers)
        if not plain or len(self.size) != len(self.stride) or len(self.size) > 32:
            raise Malformed(f"a tensor of size {self.size}, stride {self.stride}")
        if self.code == "raw":
            raise Malformed("a tensor of an unknown dtype")
        flat = self.storage.values(self.code)
        count = math.prod(self.size)
        last = self.offset + sum(
            (n - 1) * s for n, s in zip(self.size, self.stride, strict=True) if n
        )
        if count and (last >= len(flat) or count > len(flat)):
            raise Malformed(f"a tensor of size {self.size} outside its storage of {len(flat)}")
        if not count:
            return np.zeros(self.size, flat.dtype)
        steps = tuple(s * flat.itemsize for s in self.stride)
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.size, steps, writeable=False
        )
        return np.array(view, order="C")


class Array:
    """A numpy array: made empty, then told its shape, type and bytes."""

    def __init__(self) -> None:
        self.found: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """What `numpy.ndarray.__setstate__` takes."""
        shape, kind, fortran, data = state[-4:]
        if not isinstance(kind, Dtype):
            raise Malformed(f"an array of {type(kind).__name__}")
        self.found = kind.decode(data, shape, "F" if fortran else "C")

    def array(self) -> np.ndarray:
        """The array."""
        if self.found is None:
            raise Malformed("an array without its values")
        return self.found


class Dtype:
    """A numpy dtype of plain numbers."""

    def __init__(self, code: Any, *_: Any):
        self.order = "<"
        self.code = _text(code).lstrip("<>|=")
        if self.code == "?":
            self.code = "b1"

    def build(self, state: Any) -> None:
        """What `numpy.dtype.__setstate__` takes: a version, the byte order, parts of structures."""
        self.order = ">" if _text(state[1]) == ">" else "<"

    def decode(self, data: Any, shape: Any, order: str) -> np.ndarray:
        """Bytes as an array; objects, structures and strings are refused."""
        if self.code not in NUMBERS:
            raise Malformed(f"a numpy array of {self.code!r} instead of numbers")
        if isinstance(data, str):  # Python 2's strings were bytes
            data = data.encode("latin1")
        shape = tuple(shape)
        if not isinstance(data, bytes | bytearray) or not all(type(n) is int for n in shape):
            raise Malformed("a numpy array without plain bytes")
        if math.prod(shape) * ITEM_BYTES[self.code] != len(data) or min(shape, default=0) < 0:
            raise Malformed(f"a numpy array of shape {shape} with {len(data)} bytes")
        return decode(data, self.code, self.order).reshape(shape, order=order)  # type: ignore[call-overload]


def decode(data: bytes | bytearray, code: str, order: str = "<") -> np.ndarray:
    """Bytes as a flat array in this machine's byte order."""
    if code == "bf16":  # the upper half of a float32
        return (np.frombuffer(data, f"{order}u2").astype(np.uint32) << 16).view(np.float32)
    kind = np.dtype(code)
    return np.frombuffer(data, kind.newbyteorder(order)).astype(kind)  # type: ignore[arg-type]


def load(file: IO[bytes], where: str, storages: Callable[[Any], Any] | None = None) -> Any:
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

    def __init__(self, file: IO[bytes], where: str, storages: Callable[[Any], Any] | None):
        # latin1 leaves Python 2's byte strings as they are
        super().__init__(file, encoding="latin1")
        self._where, self._storages = where, storages

    def find_class(self, module: str, name: str) -> Any:
        module = PYTHON_2.get(module, module)
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module.startswith("torch.optim."):
            return Inert
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


# ---- the table: what a file may ask for, and what it gets -----------------------------------


def _dict(*args: Any) -> dict:
    return dict(*args)


def _defaultdict(factory: Any = None, *args: Any) -> dict:
    return dict(*args)


def _bytes(*args: Any) -> bytes:
    """Python 3's empty bytes in a file for Python 2."""
    if args:
        raise Malformed("bytes made of something")
    return b""


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise Malformed(f"a name of type {type(value).__name__}")
    return value


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How files for Python 2 hold bytes."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise Malformed(f"text encoded as {encoding!r}")
    return text.encode("latin1")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise Malformed("a tensor without a storage")
    return Tensor(storage, offset, tuple(size), tuple(stride), storage.code)


def _tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    found = _tensor(storage, offset, size, stride)
    if dtype not in ITEM_BYTES:
        raise Malformed("a tensor of an unknown dtype")
    found.code = dtype
    return found


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _from_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes: the tensor."""
    if function not in (_tensor, _tensor_of_dtype, _parameter):
        raise Malformed("a tensor made by something else")
    return function(*args)


def _array(*_: Any) -> Array:
    return Array()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Array:
    """Protocol 5's arrays."""
    made = Array()
    made.build((shape, kind, order == "F", data))
    return made


PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
TORCH = {  # storages and dtypes
    "f8": ("DoubleStorage", "float64", "double"),
    "f4": ("FloatStorage", "float32", "float"),
    "f2": ("HalfStorage", "float16", "half"),
    "bf16": ("BFloat16Storage", "bfloat16"),
    "i8": ("LongStorage", "int64", "long"),
    "i4": ("IntStorage", "int32", "int"),
    "i2": ("ShortStorage", "int16", "short"),
    "i1": ("CharStorage", "int8"),
    "u8": ("uint64",),
    "u4": ("uint32",),
    "u2": ("uint16",),
    "u1": ("ByteStorage", "uint8"),
    "b1": ("BoolStorage", "bool"),
    "raw": ("UntypedStorage",),
}
INERT = {
    "argparse": "Namespace",
    "builtins": "bool complex dict float frozenset int list object set slice str tuple",
    "copyreg": "_reconstructor",
    "datetime": "date datetime time timedelta timezone",
    "easydict": "EasyDict",
    "fvcore.common.config": "CfgNode",
    "mmcv.utils.config": "Config ConfigDict",
    "numpy": "ndarray bool bool_ float16 float32 float64 int8 int16 int32 int64 uint8",
    "numpy._core.multiarray": "scalar",
    "numpy.core.multiarray": "scalar",
    "pathlib": "Path PosixPath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePosixPath PureWindowsPath WindowsPath",
    "torch": "Size Tensor device Generator strided",
    "torch.nn.parameter": "Buffer Parameter",
    "torch.serialization": "_get_layout",
    "types": "SimpleNamespace",
    "yacs.config": "CfgNode",
}
ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, name): Inert for module, names in INERT.items() for name in names.split()},
    **{
        (module, name): code
        for code, names in TORCH.items()
        for name in names
        for module in ("torch", "torch.cuda", "torch.storage")
    },
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _bytes,
    ("collections", "Counter"): _dict,
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): _defaultdict,
    ("numpy", "dtype"): Dtype,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
}
