"""The two layouts of `torch.save`, read without torch.

Zip (1.6 and later): `NAME/data.pkl` refers to storages by key, `NAME/data/KEY` holds their bytes,
`NAME/byteorder` may say "big". Legacy: pickles one after another (a magic number, the protocol,
the machine's sizes, the object, the storages' keys), then for each key an int64 count and bytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import IO, Any

from darkjax.weights.reading import pickles
from darkjax.weights.reading.standins import ITEM_BYTES, Malformed, Storage

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def from_zip(archive: zipfile.ZipFile, folder: str, where: str) -> Any:
    """The object of a zip archive whose pickle is `{folder}data.pkl`; tensors are read later."""
    members = {info.filename: info for info in archive.infolist()}
    order = "<"
    if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") == b"big":
        order = ">"

    def member(name: str) -> bytes:
        """Stored bytes, their checksum verified by zipfile."""
        if name not in members:
            raise Malformed(f"{name} is missing")
        if members[name].compress_type != zipfile.ZIP_STORED:  # torch never compresses
            raise Malformed(f"{name} is compressed, which torch.save does not do")
        return archive.read(name)

    def make(key: str, code: str, count: int) -> Storage:
        return Storage(code, count, lambda: member(f"{folder}data/{key}"), order)

    file = io.BytesIO(member(f"{folder}data.pkl"))
    return pickles.load(file, where, _once(make))


def from_legacy(file: IO[bytes], where: str, size: int) -> Any:
    """The object of a legacy file that is open behind its magic number."""
    protocol, machine = (pickles.load(file, where) for _ in range(2))
    if protocol != LEGACY_PROTOCOL:
        raise Malformed(f"torch protocol {protocol!r} instead of {LEGACY_PROTOCOL}")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Malformed("it was not written on a little-endian machine")
    made: dict[str, Storage] = {}
    starts: dict[str, int] = {}

    def make(key: str, code: str, count: int) -> Storage:
        made[key] = Storage(code, count, lambda: read(key))
        return made[key]

    def read(key: str) -> bytes:
        file.seek(starts[key])
        return file.read(made[key].count * ITEM_BYTES[made[key].code])

    found = pickles.load(file, where, _once(make))
    keys = pickles.load(file, where)
    if not isinstance(keys, list) or set(keys) != set(made):
        raise Malformed("the list of storages is not what the tensors refer to")
    for key in keys:
        head = file.read(8)
        if len(head) < 8 or struct.unpack("<q", head)[0] != made[key].count:
            raise Malformed(f"storage {key} does not begin where it should")
        starts[key] = file.tell()
        end = starts[key] + made[key].count * ITEM_BYTES[made[key].code]
        if end > size:
            raise Malformed(f"storage {key} ends at byte {end:,}, the file at {size:,}")
        file.seek(end)
    return found


def _once(make: Callable[[str, str, int], Storage]) -> Callable[[Any], Storage]:
    """What torch's persistent ids stand for; a storage that several tensors share is one."""
    made: dict[str, Storage] = {}

    def find(pid: Any) -> Storage:
        # ("storage", type, key, device, count), in legacy files and a view of it or None
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise Malformed("a persistent id that is no storage's: a whole pickled model?")
        _, code, key, _, count, *view = pid
        if code not in ITEM_BYTES or not isinstance(key, str):
            raise Malformed("a storage of an unknown type")
        if type(count) is not int or count < 0:
            raise Malformed(f"a storage of {count!r} elements")
        if key not in made:
            made[key] = make(key, code, count)
        whole = made[key]
        if (code, count) != (whole.code, whole.count):
            raise Malformed(f"storage {key} is described in two ways")
        return _part(whole, view[0]) if view and view[0] is not None else whole

    return find


def _part(whole: Storage, view: Any) -> Storage:
    """A storage that is a piece `(key, first, count)` of another, in old legacy files."""
    _, first, count = view
    if type(first) is not int or type(count) is not int or min(first, count) < 0:
        raise Malformed("a view of a storage without plain bounds")
    size = ITEM_BYTES[whole.code]
    return Storage(whole.code, count, lambda: whole.raw()[first * size : (first + count) * size])
