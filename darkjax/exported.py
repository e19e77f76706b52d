"""A trained stage as one program with its weights, for machines without this library.

`write` makes a zip archive, which `darkjax.tools.export` calls for:

    program.stablehlo   the network, what it does to frames and how views are concluded, as
                        `jax.export` serialises it: any number of clips, for CPU, CUDA and TPU
    weights.npz         float arrays by their paths
    card.json           classes, shape of the input, how a video becomes it, where it comes from
    run.py              `RUN`: how the other three are used, by jax alone

Convolutions are in the "portable" form of `ops.conv`, whatever this machine prefers: matrix
products and 2-D convolutions on a CPU, elsewhere XLA's own. The fastest is private to jaxlib.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from darkjax import channels, files, optim
from darkjax.data.resize import resize_matrix
from darkjax.data.shards import LUMA
from darkjax.errors import UserError
from darkjax.ops import conv
from darkjax.version import __version__

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, WEIGHTS, CARD, RUNS = "program.stablehlo", "weights.npz", "card.json", "run.py"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of the archive's files: the same export is the same bytes
RUN = '''\
"""What is done in videos, by an exported program: python run.py MODEL.zip VIDEO.npy"""

import io
import json
import sys
import zipfile

import jax
import numpy as np
from jax import export

with zipfile.ZipFile(sys.argv[1]) as file:
    card = json.loads(file.read("card.json"))
    program = export.deserialize(bytearray(file.read("program.stablehlo")))
    weights = dict(np.load(io.BytesIO(file.read("weights.npz"))))
video = np.load(sys.argv[2])  # uint8, of the shape that card["input"] says
for clip in np.asarray(jax.jit(program.call)(weights, video)):
    best = np.argsort(-clip)[:3]
    print(", ".join(f"{card['classes'][k]} {clip[k]:.6f}" for k in best))
'''
Weights = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Program:
    """What is exported of a model.

    Attributes:
      judge: `(weights, video) -> float32 [N, K]`, class probabilities, to be traced.
      weights: by their paths, numpy.
      shape: of the video, uint8; a name stands for any number.
    """

    judge: Callable[[Any, Any], Any]
    weights: Weights
    shape: tuple[str | int, ...]

    def arguments(self) -> tuple[Any, jax.ShapeDtypeStruct]:
        """Shapes of both, the named ones symbolic."""
        shape = export.symbolic_shape(", ".join(map(str, self.shape)))
        return self.weights, jax.ShapeDtypeStruct(shape, jnp.uint8)


def program(model: Any, frames: tuple[int, int, int] | None = None) -> Program:
    """The program of a `loaded.Model`.

    Args:
      model: of `darkjax.load`.
      frames: None: it takes the views that `Model.preprocess` gives, uint8 `[clips, views, T, h, w,
        C]`. (T, H, W): it takes whole videos of this size, uint8 `[clips, T, H, W, 3]` at the
        model's frame rate, and chooses frames, resizes and crops by itself.

    Raises:
      UserError: a stage that does not name classes, or one whose records had flow computed.
    """
    method = model.method
    if method.judge != "classes":
        raise UserError(
            f"{model.where} does not name classes (its evaluation is {method.judge!r}): a stage "
            "that does can be exported"
        )
    weights = {k: np.asarray(v) for k, v in optim.flatten(model.variables).items()}
    kinds = tuple(model.variables)

    def judge(weights: Any, video: Any) -> Any:
        tree = optim.unflatten(weights)
        variables = {kind: tree.get(kind, {}) for kind in kinds}  # a part may be empty
        clips, views = video.shape[:2]
        video = video.reshape(-1, *video.shape[2:])
        none = jnp.zeros(video.shape[:1], jnp.int32)
        batch = dict.fromkeys(("label", "clip", "view", "domain"), none)
        batch |= {"video": video, "mask": jnp.ones(video.shape[:1], jnp.float32)}
        seen = method.seen(*method.predict(variables, batch))
        means = {
            k: x.astype(jnp.float32).reshape(clips, views, *x.shape[1:]).mean(1)
            for k, x in seen.items()
        }
        found = next(iter(method.concluded(variables, means).values()))
        return jnp.asarray(found, jnp.float32)

    if frames is None:
        view = model.views
        shape = ("clips", "views", view.frames, *view.size, model.intake.channels)
        return Program(judge, weights, shape)
    if model.intake.flow is not None:
        raise UserError(
            f"{model.where} was trained on records with flow, which is made before: export it "
            "without --frames, and give it the views of Model.preprocess"
        )
    cut = _cutter(model, *frames)
    whole = ("clips", *frames, channels.COLOURS)
    return Program(lambda weights, video: judge(weights, cut(video)), weights, whole)


def exported(made: Program, where: str = "the model") -> export.Exported:
    """The program for all of `PLATFORMS`, by `jax.export`.

    Raises:
      UserError: jax cannot export it; its first line says why.
    """
    with conv.use_form("portable"):
        try:
            return export.export(jax.jit(made.judge), platforms=PLATFORMS)(*made.arguments())
        except UserError:
            raise
        except Exception as e:  # jax's refusals have no class in common
            raise UserError(f"{where} cannot be exported by jax: {_first_line(e)}") from e


def write(
    model: Any, path: str | os.PathLike[str], frames: tuple[int, int, int] | None = None
) -> tuple[int, int, int]:
    """Write the archive; `frames` is that of `program`.

    Returns:
      Bytes of the archive, of the weights and of the program.

    Raises:
      UserError: see `program` and `exported`; nothing is written then.
    """
    made = program(model, frames)
    try:
        code = bytes(exported(made, model.where).serialize())
    except ImportError as e:  # flatbuffers
        raise UserError(f"{e}: pip install flatbuffers, or darkjax[export]") from e
    arrays, named = io.BytesIO(), dict[str, Any](made.weights)
    np.savez(arrays, **named)
    about = (json.dumps(card(model, made), indent=1) + "\n").encode()
    parts = {CARD: about, RUNS: RUN.encode(), PROGRAM: code, WEIGHTS: arrays.getvalue()}
    with files.whole(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return pathlib.Path(path).stat().st_size, len(arrays.getvalue()), len(code)


def card(model: Any, made: Program) -> dict[str, Any]:
    """What `card.json` says."""
    stage = pathlib.Path(model.where)
    section = model.config[stage.name]
    own = model.intake.as_json()
    inside = ("luminous_input", "gamma", "mean", "std", "dtype")
    return {
        "kind": "darkjax program",
        "format": 1,
        "classes": list(model.classes),
        "input": {"dtype": "uint8", "shape": list(made.shape), "fps": own["fps"]},
        "output": {"dtype": "float32", "shape": ["clips", len(model.classes)]},
        # How a file becomes the input: `fps`, `short_side`, then frames and windows of a view.
        "video": {k: own[k] for k in ("fps", "short_side", "channels", "window", "flow")},
        "views": dataclasses.asdict(model.views),
        "inside": {k: section[k] for k in inside if k in section},
        "parameters": sum(v.size for v in made.weights.values()),
        "platforms": list(PLATFORMS),
        "made": {
            "run": "/".join(stage.parts[-2:]),
            "method": str(section.method),
            "darkjax": __version__,
            "jax": jax.__version__,
        },
    }


def _cutter(model: Any, count: int, height: int, width: int) -> Callable[[Any], Any]:
    """`Model.preprocess` of videos [N, count, height, width, 3], all its choices made."""
    sizes, views = model.plan(count, height, width)

    def cut(video: Any) -> Any:
        video = _resized(video, sizes[0])
        if model.intake.channels == 1:
            grey = (video.astype(jnp.float32) * LUMA.astype(np.float32)).sum(-1, keepdims=True)
            video = jnp.rint(grey).astype(jnp.uint8)
        for size in sizes[1:]:
            video = _resized(video, size)
        found = []
        for view in views:
            y, x, high, wide, flip = view.window
            seen = video[:, view.frames, y : y + high, x : x + wide]
            seen = _resized(seen, model.views.size)
            found.append(seen[..., ::-1, :] if flip else seen)
        return jnp.stack(found, 1)

    return cut


def _resized(video: Any, size: tuple[int, int]) -> Any:
    """`data.resize.resize_clip` of uint8 [N, T, H, W, C]."""
    height, width = video.shape[2:4]
    if (height, width) == tuple(size):
        return video
    exact = jax.lax.Precision.HIGHEST  # accelerators would round the products
    columns, rows = resize_matrix(width, size[1]), resize_matrix(height, size[0])
    narrow = jnp.einsum("wv,nthvc->nthwc", columns, video.astype(jnp.float32), precision=exact)
    small = jnp.einsum("hg,ntgwc->nthwc", rows, narrow, precision=exact)
    return jnp.clip(jnp.rint(small), 0, 255).astype(jnp.uint8)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0]}"
