"""The names a pickle may ask for, and what it gets: all that is called for a file is here.

A name that is not in `ALLOWED` is refused by `pickles`. What optimisers and argument parsers leave
in checkpoints becomes `Inert`.
"""

from __future__ import annotations

from typing import Any

from darkjax.weights.reading.standins import (
    ITEM_BYTES,
    Array,
    Dtype,
    Inert,
    Malformed,
    Storage,
    Tensor,
)


def _dict(*args: Any) -> dict:
    return dict(*args)


def _defaultdict(factory: Any = None, *args: Any) -> dict:
    return dict(*args)


def _bytes(*args: Any) -> bytes:
    """Python 3's empty bytes in a file for Python 2."""
    if args:
        raise Malformed("bytes made of something")
    return b""


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
