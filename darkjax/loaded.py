"""A trained stage for any video: `darkjax.load(RUN)`.

model = darkjax.load("runs/lift")
for name, probability in model.predict("night.mp4"):
    print(name, probability)
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import numbers
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from darkjax import boxed, channels, checkpoint, intake, methods, run_data, spec, trained
from darkjax import config as configs
from darkjax.data import decode, sampling
from darkjax.data.flow import Recipe
from darkjax.data.resize import resize_clip
from darkjax.data.shards import LUMA
from darkjax.data.views import EvalViews, View, ViewConfig
from darkjax.errors import UserError
from darkjax.eval import explain
from darkjax.weights import card

MOST = 8  # views that go through the network together

Video = str | os.PathLike[str] | np.ndarray


class Answer(NamedTuple):
    """A class and its probability."""

    name: str
    probability: float


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A trained stage and how a video becomes what it was trained on.

    Attributes:
      where: the stage's folder.
      classes: in the order of the probabilities.
      config: of the run, resolved.
      method: of the stage.
      variables: of the method, numpy.
      intake: how videos are read.
      views: which frames and windows are judged: the evaluation's.
    """

    where: str
    classes: tuple[str, ...]
    config: Any
    method: methods.Method
    variables: dict[str, Any]
    intake: intake.Intake
    views: ViewConfig

    @property
    def fps(self) -> float:
        """Frames a second of the clips it was trained on; 0 is unknown."""
        return self.intake.fps

    @property
    def span(self) -> int:
        """Frames from the first to the last of a view (of the longest, by `deltas`), at `fps`."""
        if self.views.sampling == "segments":
            return self.views.frames
        stride = max(self.views.deltas, default=self.views.stride)
        return sampling.span(self.views.frames, stride)

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """The frames of a video file at `fps`, uint8 [T, H, W, C].

        Raises:
          UserError: it is missing, empty, damaged, not a video or of one frame.
        """
        side, window = self.intake.short_side, self.intake.window or None
        return decode.read_video(path, side, fps=self.fps or None, window=window).frames

    def preprocess(
        self, video: Video, fps: float | None = None, views: ViewConfig | None = None
    ) -> np.ndarray:
        """The views that are judged of a video, as the network is given them.

        Args:
          video: a file, or frames uint8 [T, H, W, 1 or 3].
          fps: of frames; None: they are at the model's own rate.
          views: other views than the evaluation's.

        Returns:
          uint8 [V, T', h, w, C].

        Raises:
          UserError: a file that cannot be read, or frames of another dtype or shape.
        """
        views = views or self.views
        frames = self._frames(video, fps)
        count, height, width = frames.shape[:3]
        sizes, cut = self.plan(count, height, width, views)
        for size in sizes:  # of which the first is the one they have
            frames = resize_clip(frames, size)
        found = []
        for view in cut:
            y, x, high, wide, flip = view.window
            seen = resize_clip(frames[view.frames, y : y + high, x : x + wide], views.size)
            found.append(_mirrored(seen) if flip else seen)
        return np.stack(found)

    def plan(
        self, count: int, height: int, width: int, views: ViewConfig | None = None
    ) -> tuple[list[tuple[int, int]], list[View]]:
        """How so many frames of this size become views: the sizes that they are resized to, one
        after the other, and what is cut out of the last (and resized to `views.size`)."""
        views = views or self.views
        scale = self.intake.short_side / min(height, width)
        sizes = [(round(height * scale), round(width * scale))]
        larger = max(n / m for n, m in zip(views.size, sizes[0], strict=True))
        if views.crop != "resized" and larger > 1:
            sizes.append((math.ceil(sizes[0][0] * larger), math.ceil(sizes[0][1] * larger)))
        meta = {"frames": count, "height": sizes[-1][0], "width": sizes[-1][1]}
        every = EvalViews({k: np.array([v]) for k, v in meta.items()}, views, np.array([0]))
        return sizes, every.part(range(len(every)))

    def probabilities(self, video: Video, fps: float | None = None) -> np.ndarray:
        """Of each class, float64 [K]: the mean over the views, as the evaluation's.

        Args and errors are those of `preprocess`; also UserError of a stage that does not classify.
        """
        return self.judged(self.preprocess(video, fps)[None])[0]

    def predict(self, video: Video, top: int = 5, fps: float | None = None) -> list[Answer]:
        """The `top` most probable classes, the first first.

        Args and errors are those of `probabilities`; also UserError of a `top` that is no number
        of classes.
        """
        if not isinstance(top, numbers.Integral) or top < 1:
            raise UserError(
                f"top={top!r}: expected how many classes, 1 or more; frames a second are fps="
            )
        found = self.probabilities(video, fps)
        return [Answer(self.classes[k], float(found[k])) for k in np.argsort(-found)[:top]]

    def embed(self, video: Video, fps: float | None = None) -> np.ndarray:
        """What the last layer is given, the mean over the views: float32 [E].

        Args and errors are those of `preprocess`; also UserError of a network without such.
        """
        _, features = self._run(self.preprocess(video, fps))
        if not features:
            raise UserError(f"{self.where}: its method gives no pre_logits: there is no embedding")
        return features["pre_logits"].mean(0)

    def judged(self, clips: np.ndarray) -> np.ndarray:
        """Class probabilities float64 [N, K] of clips of V views each, uint8 [N, V, T, h, w, C]."""
        if self.method.judge != "classes":
            raise UserError(
                f"{self.where} was trained by method {self._stage.method!r}, which does not name "
                "classes: take a stage that does, or embed()"
            )
        number, views = clips.shape[:2]
        seen, _ = self._run(clips.reshape(-1, *clips.shape[2:]))
        means = {
            k: x.astype(np.float64).reshape(number, views, *x.shape[1:]).mean(1)
            for k, x in seen.items()
        }
        concluded = self.method.concluded(self.variables, means)
        return np.asarray(next(iter(concluded.values())), np.float64)

    def look(self, video: Video, fps: float | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """What the network saw of the middle of a video, and where it looked (`explain.looked`).

        Args and errors are those of `preprocess`.

        Returns:
          uint8 [T', h, w, C], and float32 [t, u, v] in [0, 1], or None: nothing of it has places.
        """
        views = dataclasses.replace(self.views, views_clips=1, views_crops=1)
        batch = _batch(self.preprocess(video, fps, views))
        found, _ = explain.looked(self.method, self._placed, batch)
        shown = np.rint(np.clip(np.asarray(found.video[0]), 0, 1) * 255).astype(np.uint8)
        return shown, None if found.heat is None else np.asarray(found.heat[0], np.float32)

    @property
    def _stage(self) -> Any:
        return self.config[pathlib.Path(self.where).name]

    @functools.cached_property
    def _placed(self) -> Any:
        return jax.device_put(self.variables, jax.devices()[0])

    @functools.cached_property
    def _step(self) -> Any:
        def step(variables: Any, batch: Any) -> Any:
            scores, out = self.method.predict(variables, batch)
            seen = self.method.seen(scores, out) if self.method.judge == "classes" else {}
            features = {k: out[k].astype(jnp.float32) for k in ("pre_logits",) if k in out}
            return seen, features

        return jax.jit(step)

    def _run(self, views: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(`method.seen`, features) of views uint8 [N, T, h, w, C], a few at a time."""
        found = []
        for start in range(0, len(views), MOST):
            part = views[start : start + MOST]
            size = 1 << (len(part) - 1).bit_length()  # few sizes: each is compiled anew
            video = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
            found.append(jax.tree.map(np.asarray, self._step(self._placed, _batch(video))))
        return jax.tree.map(lambda *x: np.concatenate(x)[: len(views)], *found)

    def _frames(self, video: Video, fps: float | None) -> np.ndarray:
        """Frames at the model's rate, resized, with the channels it was trained on."""
        frames = video if isinstance(video, np.ndarray) else self.read(video)
        if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[-1] not in (1, 3):
            raise UserError(
                f"expected frames uint8 [T, H, W, 1 or 3], found {frames.dtype} "
                f"{list(frames.shape)}: give all frames of one video, 0 to 255, or a file's name"
            )
        if fps and self.fps and isinstance(video, np.ndarray):
            last = max(round(len(frames) * self.fps / fps), 1)
            nearest = np.rint(np.arange(last) * fps / self.fps).astype(int)
            frames = frames[np.minimum(nearest, len(frames) - 1)]
        return self.resized(frames)

    def resized(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 [T, H, W, 1 or 3] in the size and with the channels of the training's."""
        height, width = frames.shape[1:3]
        scale = self.intake.short_side / min(height, width)
        frames = resize_clip(frames, (round(height * scale), round(width * scale)))
        if self.intake.channels == 1 and frames.shape[-1] == channels.COLOURS:
            grey = frames.astype(np.float32) @ LUMA.astype(np.float32)
            return np.rint(grey)[..., None].astype(np.uint8)
        if self.intake.channels >= channels.COLOURS and frames.shape[-1] == 1:
            frames = np.repeat(frames, channels.COLOURS, -1)
        flow = self.intake.flow
        if flow is None:
            return frames
        own = {k: flow[k] for k in ("method", "bound", "enhance")}
        return Recipe(**own, options=tuple((k, v) for k, v in flow.items() if k not in own))(frames)


def _mirrored(video: np.ndarray) -> np.ndarray:
    """A view [T, h, w, C] with left and right exchanged; flow that went right goes left."""
    video = video[:, :, ::-1].copy()
    if video.shape[-1] == channels.WITH_FLOW:
        right = video[..., channels.FLOW_X]
        np.negative(right, out=right)  # 256 - x, as bytes wrap
    return video


def _batch(video: np.ndarray) -> dict[str, Any]:
    """Views uint8 [N, T, h, w, C] as a batch without labels."""
    none = np.zeros(len(video), np.int32)
    batch: dict[str, Any] = dict.fromkeys(("label", "clip", "view", "domain"), none)
    return batch | {"video": video, "mask": np.ones(len(video), np.float32)}


def load(run: str | os.PathLike[str]) -> Model:
    """The best checkpoint of a run.

    Args:
      run: a run's folder (`--workdir`), of which the last finished stage is taken, or RUN/STAGE;
        "box" is the network that comes with the library, or the folder of another box
        (`darkjax.tools.box`).

    Raises:
      UserError: no run there, no whole checkpoint, a damaged one, or one made by code or for
        records that are not here any more.
    """
    box = boxed.SHIPPED if str(run) == boxed.NAME else pathlib.Path(run)
    if str(run) == boxed.NAME or boxed.is_box(box):
        return Model(*boxed.open_box(box))
    stage = stage_of(pathlib.Path(run))
    folder = str(stage / "checkpoints")
    meta = checkpoint.read_meta(folder)
    config = ml_collections.ConfigDict(tuples(json.loads(meta["config"])))
    name = stage.name
    if name not in config:
        raise UserError(
            f"{stage} holds a checkpoint of the stages {', '.join(config.stages)}: a stage's "
            "folder keeps its name"
        )
    found = _intake(meta, config, name, str(stage.parent))
    classes = tuple(meta["classes"])
    made = spec.bare(config, name, classes, found.domains)
    made = dataclasses.replace(made, spread=found.spread, sources=found.sources)
    method = methods.make(config[name], made)
    trained.check_shapes(method, folder)
    views = ViewConfig.of(configs.data_of(config, name))
    return Model(
        str(stage), classes, config, method, checkpoint.load_variables(folder), found, views
    )


def stage_of(run: pathlib.Path) -> pathlib.Path:
    """The folder of a stage: this one, or the last finished one of the run."""
    run = run.parent if run.name == "checkpoints" else run
    if (run / "checkpoints").is_dir():
        return run.absolute()
    if boxed.is_box(run) or (str(run) == boxed.NAME and not run.is_dir()):
        raise UserError(
            f"{run} is a network without its run, and a run is needed here: `darkjax predict` and "
            f"`darkjax static_bias {run} --records=DIR` take it, and judge clips with it"
        )
    if card.is_weights(str(run)):
        raise UserError(
            f"{run} holds converted weights, which say no classes: python -m darkjax.tools.forward "
            "gives their logits, configs/supervised.py:NETWORK trains from them"
        )
    if not run.is_dir():
        raise UserError(f"no folder {run}: expected a run's folder (--workdir), or RUN/STAGE")
    there = [p for p in run.iterdir() if (p / "checkpoints").is_dir()]
    if not there:
        raise UserError(f"{run} holds no run: expected the --workdir of a training, or RUN/STAGE")
    order = json.loads(checkpoint.read_meta(there[0] / "checkpoints")["config"])["stages"]
    ready = [run / name for name in order if (run / name / "done.json").exists()]
    if not ready:
        names = ", ".join(p.name for p in there)
        raise UserError(
            f"no stage of {run} was trained to its end (there is {names}): the command that began "
            "it goes on from there; RUN/STAGE takes one as it is"
        )
    return ready[-1].absolute()


def _intake(meta: dict[str, Any], config: Any, name: str, workdir: str) -> Any:
    """What the checkpoint says; of an older one what its records say."""
    if "intake" in meta:
        return intake.of_json(meta["intake"])
    try:
        run_data.draw_sources(config, workdir)
        records = run_data.open_stages(config, workdir)[name]
    except UserError as e:
        raise UserError(
            f"{workdir}/{name} was trained before checkpoints said how videos are read, and its "
            f"records say it no more ({e}): give them back their place, or train it again"
        ) from e
    return intake.of(config, name, records)


def tuples(value: Any) -> Any:
    """What JSON gives back of a config, its tuples as they were."""
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
