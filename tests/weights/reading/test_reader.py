"""Weight files of every layout are read; damaged ones and other files are named; nothing runs."""

import argparse
import collections
import copyreg
import datetime
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_files as tf

from darkjax import npy
from darkjax.errors import UserError
from darkjax.tools import forward
from darkjax.weights.reading import reader

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv.weight": RNG.standard_normal((4, 3, 2, 2)).astype(np.float32),
    "conv.bias": RNG.standard_normal(4).astype(np.float16),
    "double": RNG.standard_normal((2, 2)),
    "bn.num_batches_tracked": np.asarray(7, np.int64),
    "mask": np.asarray([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "empty": np.zeros((0, 3), np.float32),
}
NAMES = {
    "zip": "a.pth",
    "legacy": "a.checkpoint.pth.tar",
}


def same(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value)


def refused(path, match):
    with pytest.raises(UserError, match=match) as error:
        reader.read(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    return str(error.value)


# ---- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", NAMES)
def test_torch_layouts_whatever_the_name(layout, tmp_path):
    for name in (NAMES[layout], "b.pyth", "c.pkl", "no_extension"):
        tf.save(tmp_path / name, ARRAYS, layout)
        same(reader.read(tmp_path / name), ARRAYS)


def test_nested_folder_and_big_endian_zip(tmp_path):
    state, storages = tf.tensors(ARRAYS)
    tf.write_zip(tmp_path / "a.pt", state, storages, folder="deep/er/name", big=True)
    same(reader.read(tmp_path / "a.pt"), ARRAYS)


@pytest.mark.parametrize("layout", NAMES)
def test_tensors_that_share_a_storage_with_strides_and_offsets(layout, tmp_path):
    flat = np.arange(12, dtype=np.float32)
    storage = tf.Storage("77", flat)
    state = {
        "whole": tf.tensor(storage, (3, 4)),
        "transposed": tf.tensor(storage, (4, 3), (1, 4)),
        "corner": tf.tensor(storage, (2, 2), (4, 1), 6),
        "scalar": tf.tensor(storage, (), (), 5),
    }
    tf.WRITERS[layout](tmp_path / "a.pth", state, [storage])
    whole = flat.reshape(3, 4)
    expected = {"whole": whole, "transposed": whole.T, "corner": whole[1:, 2:]}
    same(reader.read(tmp_path / "a.pth"), {**expected, "scalar": np.asarray(5, np.float32)})


def test_a_legacy_view_of_a_storage(tmp_path):
    storage = tf.Storage("1", np.arange(10, dtype=np.int32))
    state = {"part": tf.tensor(storage, (2,), offset=1, view=(("1v", 4, 3),))}
    tf.write_legacy(tmp_path / "a.pth", state, [storage])
    same(reader.read(tmp_path / "a.pth"), {"part": np.asarray([5, 6], np.int32)})


def test_bfloat16_becomes_float32(tmp_path):
    bits = np.asarray([0x3F80, 0xC040, 0x7F80], np.uint16)  # 1, -3, inf
    storage = tf.Storage("0", bits, "BFloat16Storage")
    tf.write_zip(tmp_path / "a.pth", {"x": tf.tensor(storage, (3,))}, [storage])
    same(reader.read(tmp_path / "a.pth"), {"x": np.asarray([1, -3, np.inf], np.float32)})


def test_parameters_and_tensors_of_other_dtypes(tmp_path):
    raw = tf.Storage("0", np.arange(8, dtype=np.uint8), "UntypedStorage")
    plain = tf.Storage("1", np.ones(2, np.float32))
    rebuild = tf.name("torch._utils", "_rebuild_tensor_v3")
    dtype = tf.name("torch", "uint16")
    hooks = tf.call(tf.name("collections", "OrderedDict"))
    args = tf.put((plain, 0, (2,), (1,), False, hooks))
    typed = tf.Code(tf.name("torch._utils", "_rebuild_tensor_v2") + args)
    state = {
        "v3": tf.call(rebuild, raw, 0, (4,), (1,), False, hooks, dtype),
        "parameter": tf.call(
            tf.name("torch._utils", "_rebuild_parameter"), tf.tensor(plain, (2,)), True, hooks
        ),
        "with_attributes": tf.call(
            tf.name("torch._tensor", "_rebuild_from_type_v2"),
            tf.Code(typed[: -len(args)]),
            tf.name("torch.nn.parameter", "Parameter"),
            args,
            {"tag": 1},
        ),
    }
    tf.write_zip(tmp_path / "a.pth", state, [raw, plain])
    expected = np.frombuffer(bytes(range(8)), np.uint16)
    ones = np.ones(2, np.float32)
    found = reader.read(tmp_path / "a.pth")
    same(found, {"v3": expected, "parameter": ones, "with_attributes": ones})


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_numpy_of_every_protocol(protocol, tmp_path):
    arrays = {
        **ARRAYS,
        "fortran": np.asfortranarray(ARRAYS["double"]),
    }
    arrays["big"] = np.arange(3).astype(">i4")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": arrays, "lr": 0.1}, protocol))
    same(reader.read(tmp_path / "a.pkl"), {**arrays, "big": np.arange(3, dtype=np.int32)})


def test_python_2_pickles_of_numpy(tmp_path):
    """Byte strings, `__builtin__` and the state without a version."""
    values = np.asarray([1.5, -2.0], np.float32)

    def old(text):  # SHORT_BINSTRING
        return tf.Code(b"U" + bytes([len(text)]) + text)

    dtype = tf.call(tf.name("numpy", "dtype"), old(b"f4"), 0, 1)
    dtype = tf.Code(dtype + tf.put((3, old(b"<"), None, None, None, -1, -1, 0)) + b"b")
    empty = tf.call(
        tf.name("numpy.core.multiarray", "_reconstruct"),
        tf.name("numpy", "ndarray"),
        (0,),
        old(b"b"),
    )
    array = tf.Code(empty + tf.put((1, (2,), dtype, False, old(values.tobytes()))) + b"b")
    tags = tf.call(tf.name("__builtin__", "set"), [1, 2])
    body = tf.Code(b"}(" + old(b"conv1_w") + array + old(b"tags") + tags + b"u")
    (tmp_path / "a.pkl").write_bytes(tf.program({"blobs": body}))
    same(reader.read(tmp_path / "a.pkl"), {"conv1_w": values})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save, tmp_path):
    arrays = {**ARRAYS, "a/b": np.asfortranarray(ARRAYS["double"]), "big": np.arange(3.0)}
    arrays["big"] = arrays["big"].astype(">f8")
    with open(tmp_path / "a.bin", "wb") as file:
        save(file, **arrays)
    same(reader.read(tmp_path / "a.bin"), {**arrays, "big": np.arange(3.0)})


def array_header(shape):
    """The header of an .npy of float32 with nothing behind it."""
    buffer = io.BytesIO()
    what = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, what)
    return buffer.getvalue()


@pytest.fixture
def most_memory():
    """Peak of the memory that numpy and Python take while a function runs, in bytes."""

    def peak(function, *args):
        tracemalloc.start()
        try:
            function(*args)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return peak


@pytest.mark.parametrize("declared_by", ["archive", "header"])
def test_an_npz_that_unpacks_to_far_more_than_it_is(declared_by, tmp_path, most_memory):
    """Refused by what it declares, before any of it is unpacked."""
    count = 5 * 2**22  # 80 MiB of zeros in 80 KiB
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("w.npy", "w") as file,
    ):
        file.write(array_header((count if declared_by == "archive" else 2**40,)))
        for _ in range(20 if declared_by == "archive" else 0):
            file.write(bytes(2**22))
    says = "unpacks to 83,886,[0-9]+; weights never" if declared_by == "archive" else "shorter than"
    assert most_memory(refused, tmp_path / "a.npz", says) < 2**22


def test_an_npz_of_few_zeros_is_no_bomb(tmp_path):
    arrays = {"w": np.zeros((1000, 1000), np.float32)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    same(reader.read(tmp_path / "a.npz"), arrays)


@pytest.mark.parametrize("shape", [(2**36,), (2**70, 3), (3, -1), (True,)])
def test_an_npy_that_declares_more_than_it_holds(shape, tmp_path, capsys, most_memory):
    """numpy.load takes the memory first."""

    def read():
        with (tmp_path / "x.npy").open("rb") as file, pytest.raises(ValueError, match="shape"):
            npy.read(file, (tmp_path / "x.npy").stat().st_size)

    (tmp_path / "x.npy").write_bytes(array_header(shape) + bytes(8))
    assert most_memory(read) < 2**22
    assert forward.main(["--weights=w", f"--input={tmp_path}/x.npy", "--output=y.npz"]) == 2
    error = capsys.readouterr().err
    assert "x.npy: expected one array (.npy)" in error and error.count("\n") == 1
    (tmp_path / "x.npy").rename(tmp_path / "x.mp4")
    assert forward.main(["--weights=w", f"--input={tmp_path}/x.mp4", "--output=y.npz"]) == 2
    error = capsys.readouterr().err
    assert "x.mp4 is a video: " in error and "darkjax.tools.predict" in error


def safetensors(arrays, change=None, **types):
    header, body = {"__metadata__": {"format": "pt"}}, b""
    names = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64"}
    names |= {"bool": "BOOL", "uint8": "U8"}
    for key, value in arrays.items():
        kind = types.get(key, names.get(value.dtype.name))
        offsets = [len(body), len(body) + value.nbytes]
        header[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": offsets}
        body += value.tobytes()
    if change:
        change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_safetensors(tmp_path):
    arrays = {**ARRAYS, "half": np.asarray([0x3F80, 0xC040], np.uint16)}
    (tmp_path / "a").write_bytes(safetensors(arrays, half="BF16"))
    same(reader.read(tmp_path / "a"), {**ARRAYS, "half": np.asarray([1, -3], np.float32)})


@pytest.mark.parametrize(
    "around",
    [
        lambda s: {"epoch": 3, "arch": "resnet", "state_dict": s, "optimizer": {"state": {0: s}}},
        lambda s: {"best_prec1": s["conv.bias"], "state_dict": s},
        lambda s: {"model_state": s, "cfg": "A: 1"},
        lambda s: {"model": {"model_state_dict": s}, "epoch": 1},
        lambda s: {"state_dict_ema": {"x": s["conv.bias"]}, "state_dict": s},
        lambda s: {**s, "epoch": 1, "none": None},
    ],
)
def test_the_state_dict_is_found_in_its_container(around, tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps(around(ARRAYS)))
    same(reader.read(tmp_path / "a.pth"), ARRAYS)


def test_what_training_leaves_in_checkpoints_is_ignored(tmp_path):
    rest = {
        "args": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a")),
        "history": collections.defaultdict(list, {"loss": [1.0]}),
        "counts": collections.Counter("aab"),
        "when": datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        "best": np.float32(0.5),
        "tags": {1, 2},
        "fixed": frozenset({3}),
        "raw": b"",
    }
    for protocol in range(6):
        content = {**rest, "state_dict": collections.OrderedDict(ARRAYS)}
        (tmp_path / "a.pth").write_bytes(pickle.dumps(content, protocol))
        same(reader.read(tmp_path / "a.pth"), ARRAYS)


def test_a_state_dict_with_attributes_and_an_optimisers_state(tmp_path):
    """`_metadata` is set on the dict by BUILD."""
    state, storages = tf.tensors(ARRAYS)
    ordered = tf.Code(
        tf.call(tf.name("collections", "OrderedDict"))
        + b"("
        + b"".join(tf.put(k) + v for k, v in state.items())
        + b"u"
        + tf.put({"_metadata": {"": {"version": 1}}})
        + b"b"
    )
    device = tf.call(tf.name("torch", "device"), "cuda")
    optimizer = tf.Code(
        tf.call(tf.name("torch.optim.sgd", "SGD"), device) + tf.put({"a": 1}) + b"b"
    )
    tf.write_zip(tmp_path / "a", {"state_dict": ordered, "optimizer": optimizer}, storages)
    same(reader.read(tmp_path / "a"), ARRAYS)


def test_the_real_files(shared):
    counts = {
        "sci/easy.pt": (83, 20_390),
        "sci/medium.pt": (83, 20_390),
        "sci/difficult.pt": (83, 20_390),
        "zero_dce/Epoch99.pth": (14, 79_416),
        "kind/decom_net.npz": (18, 235_876),
        "kind/illumination_adjust_net.npz": (8, 19_393),
    }
    for name, (arrays, parameters) in counts.items():
        found = reader.read(shared / "weights" / name)
        assert (len(found), sum(v.size for v in found.values())) == (arrays, parameters), name
        assert all(np.isfinite(v).all() for v in found.values())
    kernel = reader.read(shared / "weights" / "zero_dce" / "Epoch99.pth")["e_conv1.weight"]
    assert kernel.shape == (32, 3, 3, 3) and 0.01 < kernel.std() < 1


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_the_real_torch(legacy, tmp_path):
    torch = pytest.importorskip("torch")
    kinds = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8")
    state = {
        k: torch.randint(-9, 9, (3, 4)).to(getattr(torch, k)) for k in (*kinds, "uint8", "bool")
    }
    base = torch.arange(24.0).reshape(4, 6)
    state |= {"t": base.T, "part": base[1:3, ::2], "scalar": torch.tensor(3.0)}
    state |= {"parameter": torch.nn.Parameter(base), "u16": base.to(torch.uint16)}
    module = torch.nn.BatchNorm3d(3)
    state = {**state, **module.state_dict(prefix="bn.")}
    adam = torch.optim.Adam(module.parameters())
    module(torch.ones(2, 3, 1, 2, 2)).sum().backward()
    adam.step()
    content = {"state_dict": state, "optimizer": adam.state_dict(), "size": base.shape}
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = reader.read(path)
    assert list(found) == list(state)
    for key, value in state.items():
        value = value.detach()
        expected = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        assert found[key].dtype == expected.dtype, key
        np.testing.assert_array_equal(found[key], expected)
    torch.save(module, path, _use_new_zipfile_serialization=not legacy)
    refused(path, r"torch.nn.modules.batchnorm.BatchNorm3d.*nothing was executed.*state_dict\(\)")


# ---- what is refused because it would run -------------------------------------------------------


class Evil:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def attacks(marker):
    """name -> (opcodes that would make the file `marker`, what the error names)."""
    shell = f"touch {marker}"
    python = f"__import__('os').mkdir({str(marker)!r})"
    system = tf.name("os", "system")

    def dumped(function, *args, protocol=4):
        return tf.Code(pickle.dumps(Evil(function, *args), protocol)[:-1])

    return {
        "GLOBAL": (tf.call(system, shell), "os.system"),
        "posix": (tf.call(tf.name("posix", "system"), shell), "posix.system"),
        "INST": (tf.Code(b"(" + tf.put(shell) + b"ios\nsystem\n"), "os.system"),
        "OBJ": (tf.Code(b"(" + tf.name("subprocess", "Popen") + tf.put(shell) + b"o"), "Popen"),
        "STACK_GLOBAL": (dumped(os.system, shell), "system"),
        "NEWOBJ": (tf.Code(tf.name("subprocess", "Popen") + tf.put((shell,)) + b"\x81"), "Popen"),
        "NEWOBJ_EX": (
            tf.Code(tf.name("subprocess", "Popen") + tf.put((shell,)) + b"}\x92"),
            "Popen",
        ),
        "Popen": (dumped(subprocess.Popen, shell, -1, None, None, None, None), "Popen"),
        "eval": (dumped(eval, python, protocol=2), "builtins.eval"),
        "exec": (tf.call(tf.name("__builtin__", "execfile"), python), "execfile"),
        "getattr": (
            tf.call(tf.name("builtins", "getattr"), tf.name("collections", "OrderedDict"), "x"),
            "builtins.getattr",
        ),
        "attribute": (
            tf.Code(tf.put("collections") + tf.put("OrderedDict.__init__") + b"\x93"),
            "OrderedDict.__init__",
        ),
        "torch.load": (tf.call(tf.name("torch", "load"), "x"), "torch.load"),
        "bytes": (tf.call(tf.name("torch.storage", "_load_from_bytes"), b"x"), "_load_from_bytes"),
        "numpy": (tf.call(tf.name("numpy", "load"), "x", None, True), "numpy.load"),
        "runstring": (
            tf.call(tf.name("numpy.testing._private.utils", "runstring"), python, {}),
            "runstring",
        ),
        "EXT1": (tf.Code(b"\x82\xf0" + tf.put((shell,)) + b"R"), "object 240"),
        "EXT2": (tf.Code(b"\x83\xf0\x00" + tf.put((shell,)) + b"R"), "object 240"),
        "EXT4": (tf.Code(b"\x84\xf0\x00\x00\x00" + tf.put((shell,)) + b"R"), "object 240"),
        "encode": (tf.call(tf.name("_codecs", "encode"), "x", "rot13"), "encoded as 'rot13'"),
        "objects": (
            tf.Code(pickle.dumps(np.asarray([Evil(os.system, shell)], object), 2)[2:-1]),
            "system",
        ),
    }


@pytest.fixture
def registered():
    """os.system as extension 240, used once so that pickle's cache holds it."""
    copyreg.add_extension("os", "system", 240)
    pickle.loads(b"\x80\x02\x82\xf0.")
    yield
    copyreg.remove_extension("os", "system", 240)


@pytest.mark.parametrize("kind", attacks("x"))
def test_a_malicious_file_is_refused_and_has_no_effect(kind, tmp_path, registered):
    marker = tmp_path / "made"
    code, named = attacks(marker)[kind]
    files = tmp_path / "files"
    files.mkdir()
    value = {"state_dict": {"w": code}}
    (files / "plain.pkl").write_bytes(tf.program(value))
    tf.write_zip(files / "zip.pth", value, [])
    tf.write_legacy(files / "legacy.pth.tar", value, [])
    (files / "magic.pth").write_bytes(tf.program(code))  # where the magic number should be
    (files / "set.pkl").write_bytes(tf.program(tf.Code(tf.put({}) + code + b"b")))
    for path in files.iterdir():
        text = refused(path, named.replace(".", r"\."))
        assert "nothing was executed" in text or "damaged" in text
    assert not marker.exists() and len(list(tmp_path.iterdir())) == 1


def test_the_attacks_would_work(tmp_path):
    """Python's own unpickler runs them: the test above tests something."""
    marker = tmp_path / "made"
    for kind in ("GLOBAL", "eval", "STACK_GLOBAL", "INST"):
        pickle.loads(tf.program(attacks(marker)[kind][0]))
        assert marker.exists(), kind
        marker.rmdir() if marker.is_dir() else marker.unlink()


def test_numpy_objects_are_refused(tmp_path):
    objects = np.asarray([1, "a"], object)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"w": objects}))
    refused(tmp_path / "a.pkl", "'O8' instead of numbers")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"w": np.asarray(["text"])}))
    refused(tmp_path / "b.pkl", "'U4' instead of numbers")
    np.savez(tmp_path / "c.npz", w=np.asarray([Evil(os.system, f"touch {tmp_path}/x")]))
    refused(tmp_path / "c.npz", "w.npy holds object instead of numbers")
    np.savez(tmp_path / "d.npz", w=np.zeros(2, [("a", "f4"), ("b", "i4")]))
    refused(tmp_path / "d.npz", "instead of numbers")
    assert not (tmp_path / "x").exists()


def test_stand_ins_cannot_be_changed_for_the_next_file(tmp_path):
    """BUILD on a function or class of the table would leave something behind."""
    for name in (("argparse", "Namespace"), ("collections", "OrderedDict"), ("numpy", "dtype")):
        code = tf.Code(tf.name(*name) + tf.put((None, {"append": 1, "build": 2})) + b"b")
        (tmp_path / "a.pkl").write_bytes(tf.program({"x": code}))
        refused(tmp_path / "a.pkl", "no tensors")
    tf.save(tmp_path / "b.pth", ARRAYS, "zip", args=tf.call(tf.name("argparse", "Namespace")))
    same(reader.read(tmp_path / "b.pth"), ARRAYS)


# ---- what is refused because it is no weight file -----------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello weights\n", "is a text file"),
        (b"import os\nimport sys\n", "is a text file"),
        ("Gewichte für später …".encode(), "is a text file"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00abc", "compressed"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x80\x02", "damaged one or another format"),
        (b"\x80\x02}q\x00.", "holds no tensors"),
        (b"\x00\x01\x02\x03" * 100, "damaged one or another format"),
        (pickle.dumps([np.ones(2)]), r"holds no tensors by name \(list\)"),
        (pickle.dumps({"epoch": 1, "x": "y"}), r"no tensors by name \(epoch, x\)"),
        (pickle.dumps({"encoder": {"w": np.ones(2)}}), r"\(encoder\); expected a state dict"),
        (pickle.dumps(np.ones(2)), "one tensor without a name"),
        (b"\x80\x02}q\x00(X\x05\x00\x00\x00modelh\x00u.", "holds no tensors"),  # holds itself
        (tf.program({"m": tf.name("torch.nn.modules.conv", "Conv3d")}), "torch.nn.modules.conv"),
        (tf.program({"m": tf.name("models.resnet", "Net")}), r"models.resnet.Net.*state_dict\(\)"),
        (b"\x80\x02U\x01a\x82\x01.", "registered object 1"),
        (b"\x80\x04r\xff\xff\xff\xff.", "damaged"),  # a memo of 4 G entries
    ],
)
def test_other_files_are_named(content, message, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    refused(path, message)


def test_missing_files_tar_and_other_zips(tmp_path):
    refused(tmp_path / "none.pth", "found nothing")
    refused(tmp_path, "a folder: give the file in it")
    with tarfile.open(tmp_path / "old.pth.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
    refused(tmp_path / "old.pth.tar", "tar archive.*save its state_dict")
    with zipfile.ZipFile(tmp_path / "docs.zip", "w") as archive:
        for name in ("readme.txt", "a/weights.pth", "b", "c"):
            archive.writestr(name, "x")
    refused(tmp_path / "docs.zip", "no checkpoint: it holds readme.txt, a/weights.pth, b, …")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("net/data.pkl", "net/constants.pkl", "net/code/x.py"):
            archive.writestr(name, "x")
    refused(tmp_path / "script.pt", "TorchScript")
    state, storages = tf.tensors(ARRAYS)
    tf.write_zip(tmp_path / "z.pth", state, storages, compression=zipfile.ZIP_DEFLATED)
    refused(tmp_path / "z.pth", "is compressed, which torch.save does not do")


def whole(kind, path):
    """The bytes of a good file of each layout."""
    if kind in tf.WRITERS:
        tf.save(path, ARRAYS, kind)
        return path.read_bytes()
    buffer = io.BytesIO()
    np.savez(buffer, **ARRAYS)
    others = {"npz": buffer.getvalue(), "pickle": pickle.dumps(ARRAYS)}
    return {**others, "safetensors": safetensors(ARRAYS)}[kind]


@pytest.mark.parametrize("kind", ["zip", "legacy", "npz", "safetensors", "pickle"])
def test_a_truncated_file_is_always_an_error(kind, tmp_path):
    path = tmp_path / "a.pth"
    content = whole(kind, path)
    for end in {*np.linspace(1, len(content) - 1, 60).astype(int).tolist(), len(content) - 1}:
        path.write_bytes(content[:end])
        refused(path, "damaged|text file")


@pytest.mark.parametrize("kind", ["zip", "legacy", "npz", "safetensors", "pickle"])
def test_a_file_with_other_bytes_never_ends_in_another_exception(kind, tmp_path):
    path = tmp_path / "a.pth"
    content = whole(kind, path)
    rng = np.random.default_rng(1)
    for _ in range(250):
        bad = bytearray(content)
        for at in rng.integers(0, len(bad), rng.integers(1, 4)):
            bad[at] = rng.integers(256)
        path.write_bytes(bad)
        try:
            found = reader.read(path)
        except UserError:
            continue
        assert all(isinstance(v, np.ndarray) for v in found.values())


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((4,), (1,), 1),
        ((2, 2), (3, 1), 0),
        ((4,), (-1,), 3),
        ((-1,), (1,), 0),
        ((2,), (1, 1), 0),
        ((2,), (1,), -1),
        ((10**12,), (0,), 0),
        ((2,), (1,), 0.5),
        ((True,), (1,), 0),
    ],
)
def test_tensors_outside_their_storage_are_refused(size, stride, offset, tmp_path):
    storage = tf.Storage("0", np.arange(4, dtype=np.float32))
    state = {"x": tf.tensor(storage, size, stride, offset)}
    for layout, write in tf.WRITERS.items():
        write(tmp_path / layout, state, [storage])
        refused(tmp_path / layout, "a tensor of size")


def test_storages_of_another_size_than_the_file_says(tmp_path):
    storage = tf.Storage("0", np.arange(4, dtype=np.float32))
    longer = tf.Storage("0", np.arange(5, dtype=np.float32))
    state = {"x": tf.tensor(storage, (2,))}
    tf.write_zip(tmp_path / "a", state, [longer])
    refused(tmp_path / "a", "a storage of 16 bytes has 20")
    tf.write_zip(tmp_path / "b", state, [])
    refused(tmp_path / "b", "archive/data/0 is missing")
    tf.write_legacy(tmp_path / "c", state, [longer])
    refused(tmp_path / "c", "does not begin where it should")
    tf.write_legacy(tmp_path / "d", state, [])
    refused(tmp_path / "d", "list of storages")
    two = {"x": tf.tensor(storage, (2,)), "y": tf.tensor(longer, (2,))}
    tf.write_zip(tmp_path / "e", two, [storage])
    refused(tmp_path / "e", "described in two ways")


def test_a_flipped_bit_in_a_zip_is_found(tmp_path):
    path = tmp_path / "a.pth"
    tf.save(path, {"w": np.ones(100, np.float32)})
    content = bytearray(path.read_bytes())
    content[content.find(np.ones(4, np.float32).tobytes()) + 40] ^= 1
    path.write_bytes(content)
    refused(path, "CRC")


def test_safetensors_headers_that_lie(tmp_path):
    def row(**change):
        return lambda header: header["double"].update(change)

    cases = {
        "ends at byte": row(data_offsets=[0, 10**6], shape=[125_000]),
        r"double \(3, 3\)": row(shape=[3, 3]),
        "no plain shape": row(shape=[-2, -2]),
        "'F128'": row(dtype="F128"),
        "does not parse": lambda header: header.update(double=3),
    }
    for match, change in cases.items():
        (tmp_path / "a").write_bytes(safetensors(ARRAYS, change))
        refused(tmp_path / "a", match)
