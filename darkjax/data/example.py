"""One clip as a `tf.train.Example`, written and read without TensorFlow.

The message type is described at run time in a private descriptor pool, so no generated code
can go stale or clash with TensorFlow's. The wire format is the same: any reader of
`tf.train.Example` reads these records.

Features of a clip: `video` (one bytes value of T·H·W·C raw frame bytes, or T values of one
JPEG each), `shape` (T, H, W, C), `label`, `clip` (row in the card), `clip_id`, `group`, `fps`,
`domain`, `encoding` ("raw" or "jpeg").
"""

import functools
import io
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from darkjax.errors import UserError

ENCODINGS = ("raw", "jpeg")
TEXTS = ("clip_id", "group", "domain", "encoding")


class Fields(NamedTuple):
    """Everything of a record but its frames."""

    shape: tuple[int, ...]  # T, H, W, C
    label: int
    clip: int
    clip_id: str
    group: str
    fps: float
    domain: str
    encoding: str


@functools.cache
def example_class() -> Any:
    """The message class of `tf.train.Example`, from a private descriptor pool."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="darkjax_example.proto", package="darkjax", syntax="proto3"
    )

    def message(name: str) -> Any:
        return file.message_type.add(name=name)

    def field(owner: Any, name: str, number: int, kind: int, type_name: str = "", **more: Any):
        owner.field.add(
            name=name, number=number, type=kind, label=more.pop("label", kinds.LABEL_OPTIONAL),
            type_name=type_name or None, **more,
        )  # fmt: skip

    for name, kind in (
        ("BytesList", kinds.TYPE_BYTES),
        ("FloatList", kinds.TYPE_FLOAT),
        ("Int64List", kinds.TYPE_INT64),
    ):
        field(message(name), "value", 1, kind, label=kinds.LABEL_REPEATED)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, type_name) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        field(feature, name, number, kinds.TYPE_MESSAGE, f".darkjax.{type_name}", oneof_index=0)
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    field(entry, "key", 1, kinds.TYPE_STRING)
    field(entry, "value", 2, kinds.TYPE_MESSAGE, ".darkjax.Feature")
    field(
        features, "feature", 1, kinds.TYPE_MESSAGE, ".darkjax.Features.FeatureEntry",
        label=kinds.LABEL_REPEATED,
    )  # fmt: skip
    field(message("Example"), "features", 1, kinds.TYPE_MESSAGE, ".darkjax.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("darkjax.Example"))


def encode(frames: np.ndarray, fields: Fields, jpeg_quality: int = 95) -> bytes:
    """Serialise a clip.

    Args:
      frames: uint8 [T, H, W, C].
      fields: the rest; `fields.shape` is the shape of `frames`.
      jpeg_quality: 1 to 100, for the encoding "jpeg".

    Returns:
      The same bytes for the same clip, always: map entries are sorted by name.
    """
    example = example_class()()
    feature = example.features.feature
    if fields.encoding == "raw":
        feature["video"].bytes_list.value.append(frames.tobytes())
    else:
        feature["video"].bytes_list.value.extend(_jpeg(frame, jpeg_quality) for frame in frames)
    feature["shape"].int64_list.value.extend(int(n) for n in fields.shape)
    for name in ("label", "clip"):
        feature[name].int64_list.value.append(int(getattr(fields, name)))
    for name in TEXTS:
        feature[name].bytes_list.value.append(getattr(fields, name).encode())
    feature["fps"].float_list.value.append(fields.fps)
    return example.SerializeToString(deterministic=True)


def split(data: Any) -> tuple[Fields, int, int]:
    """Read a record without touching its frames.

    Args:
      data: the record, bytes or a memoryview (of a memory map: only headers are read).

    Returns:
      The fields, and where the `video` values begin and end in `data`: for "raw" the T·H·W·C
      frame bytes, for "jpeg" the body of the list, see `jpeg_values`.

    Raises:
      UserError: the record is not an Example of a clip.
    """
    from google.protobuf.message import DecodeError

    try:
        found, (start, end) = _features(data)
        fields = Fields(
            shape=tuple(found["shape"].int64_list.value),
            label=found["label"].int64_list.value[0],
            clip=found["clip"].int64_list.value[0],
            fps=found["fps"].float_list.value[0],
            **{name: found[name].bytes_list.value[0].decode() for name in TEXTS},
        )
        if len(fields.shape) != 4 or min(fields.shape) < 1:
            raise ValueError(f"shape {fields.shape}")
        if fields.encoding == "raw":
            ((_, start, end),) = _fields(data, start, end)  # the list's only value: the frames
            if end - start != math.prod(fields.shape):
                raise ValueError(f"{end - start} frame bytes for shape {fields.shape}")
    except (ValueError, IndexError, DecodeError) as error:
        raise UserError(f"expected a tf.train.Example of a clip; {error}") from error
    return fields, start, end


def _features(data: Any) -> tuple[Any, tuple[int, int]]:
    """The feature map without `video`, and the span of the body of the video's list."""
    example, video = example_class()(), None
    for _, start, end in _fields(data, 0, len(data)):
        for _, entry_start, entry_end in _fields(data, start, end):
            key, value = _entry(data, entry_start, entry_end)
            if key == "video":
                ((_, *video),) = _fields(data, *value)  # the feature's only field: its list
            else:
                feature = example.features.feature[key]
                feature.MergeFromString(bytes(data[slice(*value)]))
    if video is None:
        raise ValueError("it has no feature `video`")
    return example.features.feature, (video[0], video[1])


def jpeg_values(data: Any, start: int, end: int) -> list[tuple[int, int]]:
    """Start and end of every JPEG in the body of a bytes list. UserError when it is damaged."""
    try:
        return [(first, last) for _, first, last in _fields(data, start, end)]
    except (ValueError, IndexError) as error:
        raise UserError(f"expected a list of JPEG frames: {error}") from error


def decode_jpeg(data: bytes) -> np.ndarray:
    """One JPEG as uint8 [H, W, C]. UserError when the data are damaged."""
    image = _import_pillow()
    try:
        with image.open(io.BytesIO(data)) as picture:
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, image.DecompressionBombError) as error:
        raise UserError(f"expected a JPEG frame: {error}") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    if frame.shape[-1] not in (1, 3):
        raise UserError(f"JPEG frames have 1 or 3 channels, found {frame.shape[-1]}: encoding raw")
    out = io.BytesIO()
    image = _import_pillow().fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    image.save(out, "JPEG", quality=quality, subsampling=0)  # dark colours are few already
    return out.getvalue()


def _import_pillow() -> Any:  # records of raw frames are read without it
    from PIL import Image

    return Image


def _entry(data: Any, start: int, end: int) -> tuple[str, tuple[int, int]]:
    """Key and span of the value of one entry of the feature map."""
    key, value = "", (end, end)
    for number, field_start, field_end in _fields(data, start, end):
        if number == 1:
            key = bytes(data[field_start:field_end]).decode()
        else:
            value = (field_start, field_end)
    return key, value


def _fields(data: Any, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the length-delimited fields of a protobuf message.

    https://protobuf.dev/programming-guides/encoding: tag = number << 3 | wire type, here
    always 2 (a length and so many bytes).
    """
    while start < end:
        tag, start = _varint(data, start)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} at byte {start}")
        length, start = _varint(data, start)
        if start + length > end:
            raise ValueError(f"a field of {length} bytes at byte {start} ends outside")
        yield tag >> 3, start, start + length
        start += length


def _varint(data: Any, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
