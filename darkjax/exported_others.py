"""A trained stage for TensorFlow and for ONNX, by the converters of others (`darkjax[export]`)."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

from darkjax import exported, files
from darkjax.errors import UserError
from darkjax.ops import conv


def saved_model(model: Any, path: pathlib.Path, frames: tuple[int, int, int] | None = None) -> int:
    """Write a folder that `tensorflow.saved_model.load` reads: `.f(video)` and `card.json`.

    It holds the same StableHLO as `exported.write` makes, any number of clips.

    Returns:
      Its bytes.

    Raises:
      UserError: TensorFlow is missing, or a program that cannot be exported.
    """
    made = exported.program(model, frames)
    try:
        import tensorflow as tf
        from jax.experimental import jax2tf
    except ImportError as e:
        raise UserError(
            f"--format=saved_model needs TensorFlow ({e}): pip install tensorflow"
        ) from e
    names = ", ".join(map(str, made.shape))
    with conv.use_form("portable"):
        judge = jax2tf.convert(
            made.judge,
            polymorphic_shapes=[None, f"({names})"],
            native_serialization_platforms=exported.PLATFORMS,
            with_gradient=False,
        )
        module = tf.Module()
        module.weights = {k: tf.Variable(v, trainable=False) for k, v in made.weights.items()}
        shape = [n if isinstance(n, int) else None for n in made.shape]
        module.f = tf.function(
            lambda video: judge(dict(module.weights), video),
            input_signature=[tf.TensorSpec(shape, tf.uint8, name="video")],
            autograph=False,
        )
        part = tempfile.mkdtemp(dir=path.absolute().parent, prefix=f".{path.name}.part-")
        try:
            tf.saved_model.save(module, part)
            about = exported.card(model, made)
            files.write_json(pathlib.Path(part, exported.CARD), about)
            os.chmod(part, 0o755)  # mkdtemp's is of the owner alone
            os.replace(part, path)
        except BaseException as e:
            shutil.rmtree(part, ignore_errors=True)
            if isinstance(e, UserError | KeyboardInterrupt):
                raise
            raise refused(model, "a SavedModel", e) from e
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def onnx(model: Any, path: pathlib.Path, frames: tuple[int, int, int] | None = None) -> int:
    """Write an ONNX file whose metadata hold the card.

    Returns:
      Its bytes.

    Raises:
      UserError: jax2onnx is missing, or does not know an operation of the network.
    """
    made = exported.program(model, frames)
    try:
        import onnx as onnx_format
        from jax2onnx import to_onnx
    except ImportError as e:
        raise UserError(f"--format=onnx needs jax2onnx ({e}): pip install jax2onnx") from e
    shape = [n if n != "views" else 1 for n in made.shape]  # one open number is what it carries
    try:
        with conv.use_form("pure"):  # jax2onnx knows no 3-D convolution
            proto = to_onnx(lambda video: made.judge(made.weights, video), [shape])
        entry = proto.metadata_props.add()
        entry.key, entry.value = "card", json.dumps(exported.card(model, made))
        with files.whole(path) as part:
            onnx_format.save(proto, os.fspath(part))
    except Exception as e:
        raise refused(model, "ONNX", e) from e
    return path.stat().st_size


def refused(model: Any, kind: str, error: BaseException) -> UserError:
    """The one line for a network that a converter does not take."""
    stage = pathlib.Path(model.where).name
    network = model.config[stage].get("model", {}).get("name", "its network")
    said = (str(error).strip().splitlines() or [""])[0]
    return UserError(
        f"{model.where}: {network!r} cannot be made {kind} ({type(error).__name__}: {said}): "
        "--format=stablehlo takes every network"
    )


WRITERS = {"saved_model": saved_model, "onnx": onnx}
