"""What a method is: pure functions over pytrees, and what is to be known of them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkjax import channels
from darkjax.errors import UserError
from darkjax.ops import augment, enhance, flow, flow_image, fourier, motion

Variables = dict[str, Any]
Batch = Mapping[str, Array]
JUDGES = ("classes", "frames", "codes", "none")
MOTION = {"motion": motion.less_median, "difference": motion.difference}
LUMINOUS = ("gamma", "dark", *MOTION, "flow")  # and the methods of `ops.enhance`


class Part(NamedTuple):
    """What one of several sources gives to every batch: how many clips (each with all its views),
    whether with their labels, and the names of its classes."""

    clips: int
    labelled: bool
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a method is made for: the classes and the batches, as the pipeline gives them.

    Attributes:
      classes: names, in the order of the labels.
      domains: names, in the order of `batch["domain"]`: of the sources, where there are several.
      batch: shapes and dtypes of a whole batch, by name.
      views: augmented views of each clip, V: a batch is V blocks of B / V clips, one after another.
      spread: of each class, the standard deviation of its training clips' mean luma (0 to 255); ()
        where that is not known.
      sources: what `data.sources` give, in the order of their positions in each block; () where
        there is one dataset alone, or nothing is known of it.
    """

    classes: tuple[str, ...]
    domains: tuple[str, ...] = ()
    batch: Mapping[str, jax.ShapeDtypeStruct] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({})
    )
    views: int = 1
    spread: tuple[float, ...] = ()
    sources: tuple[Part, ...] = ()

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    def like(self, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a batch of that many examples."""
        return {
            k: jax.ShapeDtypeStruct((examples, *v.shape[1:]), v.dtype)
            for k, v in self.batch.items()
        }

    @classmethod
    def numbered(cls, num_classes: int) -> Spec:
        """K classes without names, for tests and notebooks."""
        return cls(tuple(map(str, range(num_classes))))


class Aux(NamedTuple):
    """What a loss returns beside its value: scalars to log, and the collections that it changed."""

    metrics: dict[str, Array]
    collections: dict[str, Any] = {}  # noqa: RUF012 (nobody writes into it)


class Look(NamedTuple):
    """What a report shows of a batch: `video` `[B, T, H, W, C]` in [0, 1], the clips as the model
    saw them; `heat` `[B, T, h, w]` in [0, 1], where it looked, or None."""

    video: Array
    heat: Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """How a paper trains a model: the base of a frozen dataclass for each paper.

    Its members are what it was made of (config, models); its methods are pure. A method of one's
    own may live outside this package: `docs/extending.md`.

    Attributes:
      config: the stage's section, resolved.
      spec: classes and batches.
      frozen: regular expressions of parameter paths (`a/b/kernel`) that get no gradient and no
        optimiser state.
      judge: what its evaluation is (`eval.judges`): "classes" (scores are logits `[B, K]`),
        "frames" (enhanced clips `[B, T, H, W, C]` in [0, 1]), "codes" (embeddings `[B, E]`),
        "none".
      fits: whether it has `fit`.
      fits_views: whether `fit` sees the views that the evaluation does, not one of each clip.
      keeps_training: whether its evaluation also writes `predictions-train.npz`, those of the
        training clips, for a fusion that learns.
    """

    config: Any
    spec: Spec
    judge: ClassVar[str] = "classes"
    fits: ClassVar[bool] = False
    fits_views: ClassVar[bool] = False
    keeps_training: ClassVar[bool] = False

    @property
    def frozen(self) -> tuple[str, ...]:
        return tuple(self.config.freeze)

    def init(self, rng: Array, batch: Batch) -> Variables:
        """`params`, and any other collection: batch statistics, a momentum teacher, a queue.

        What is not `params` has no gradient; the loop carries it under its own name.
        """
        raise NotImplementedError

    def loss(
        self, variables: Variables, batch: Batch, rng: Array, progress: Array
    ) -> tuple[Array, Aux]:
        """The scalar to lower; `progress` in [0, 1] is the share of training done, traced."""
        raise NotImplementedError

    def predict(self, variables: Variables, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """Scores, by `judge`, and everything else by name."""
        raise NotImplementedError

    def fit(self, variables: Variables, batches: Iterable[Batch]) -> dict[str, Any]:
        """What is made of the trained weights before they are judged, such as the codes of a k-NN.

        `batches` are unaugmented training clips in a fixed order, one view each or those of the
        evaluation (`fits_views`); `collect` and `means_of_clips` run through them. `predict` finds
        the result, nested dicts of arrays, in `variables["fitted"]`, and every checkpoint that is
        judged carries it.
        """
        raise NotImplementedError

    def seen(self, scores: Array, out: Mapping[str, Array]) -> dict[str, Array]:
        """What of a view is averaged over the views of its clip, `[B, ...]` by name, of "classes".

        In a compiled function, of what `predict` gave.
        """
        return {"probabilities": jax.nn.softmax(scores.astype(jnp.float32), axis=-1)}

    def concluded(self, variables: Variables, means: Mapping[str, Any]) -> dict[str, Any]:
        """Class probabilities of clips `[M, K]` by name, from the means `[M, ...]` of `seen`.

        The first is what the clips are judged by, and what `keep_best` compares; each has its
        numbers in `results.json`. Not compiled; `means` are numpy.
        """
        return {"probabilities": means["probabilities"]}

    def look(self, batch: Batch, out: Mapping[str, Array]) -> Look:
        """What the report shows of a batch and of what `predict` gave beside its scores."""
        return Look(to_float(batch["video"]))


def labelled(batch: Batch) -> Float[Array, "B"]:
    """The mask of the examples that have a label: the label of any other is -1."""
    return jnp.where(batch["label"] >= 0, batch["mask"], 0.0)


def collect(
    step: Callable[[Variables, Batch], Any], variables: Variables, batches: Iterable[Batch]
) -> Any:
    """Run `step(variables, batch)`, a pytree of `[B, ...]`, over batches: numpy `[M, ...]`.

    Padding is left out; every process of a job gets all of it, in the order of the clips.
    """
    mesh = jax.sharding.get_abstract_mesh()
    whole = None if mesh.empty else jax.sharding.PartitionSpec()
    run = jax.jit(lambda v, b: (step(v, b), b["mask"]), out_shardings=whole)
    found = []
    for batch in batches:
        rows, mask = jax.tree.map(
            lambda x: np.asarray(x.addressable_data(0)), run(variables, batch)
        )
        found.append(jax.tree.map(lambda x, m=mask: x[m > 0], rows))
    return jax.tree.map(lambda *x: np.concatenate(x), *found)


def means_of_clips(
    step: Callable[[Variables, Batch], dict[str, Array]],
    variables: Variables,
    batches: Iterable[Batch],
) -> dict[str, np.ndarray]:
    """`collect`, and the mean over the views of each clip that has a label.

    One row for each clip, float32 `[M, ...]` by the names that `step` gives, with its `label` and
    `clip` int32 `[M]`; in the order of `domain` (the source, where there are several) and `clip`.
    """

    def known(variables: Variables, batch: Batch) -> dict[str, Any]:
        who = {k: batch[k] for k in ("label", "clip", "domain")}
        return {"found": step(variables, batch), **who}

    rows = collect(known, variables, batches)
    labelled = rows["label"] >= 0
    rows = jax.tree.map(lambda x: x[labelled], rows)
    who = np.stack([rows["domain"], rows["clip"]], 1)
    _, first, of, views = np.unique(
        who, axis=0, return_index=True, return_inverse=True, return_counts=True
    )

    def mean(x: np.ndarray) -> np.ndarray:
        total = np.zeros((len(first), *x.shape[1:]))
        np.add.at(total, of.reshape(-1), x)
        return (total / views.reshape(-1, *[1] * (x.ndim - 1))).astype(np.float32)

    means = {name: mean(x) for name, x in rows["found"].items()}
    return {**means, "label": rows["label"][first], "clip": rows["clip"][first]}


def to_float(video: Array | np.ndarray) -> Float[Array, "B T H W C"]:
    """uint8 frames as float32 in [0, 1]."""
    return jnp.asarray(video).astype(jnp.float32) / 255.0


def normalise(video: Float[Array, "*B C"], mean: Any, std: Any) -> Float[Array, "*B C"]:
    """Subtract the mean, divide by the standard deviation, per channel, both in [0, 1].

    With `mean=()` each clip is standardised by its own mean and deviation over all its pixels:
    for models without published weights, where clips differ widely in brightness.
    """
    if isinstance(mean, str) or isinstance(std, str):
        raise UserError(
            f"mean={mean!r}, std={std!r}: these are settled from the weights' card before a method "
            "is made: darkjax.weights.preprocess.settle(config)"
        )
    if not len(mean):
        axes = tuple(range(video.ndim - 4, video.ndim))
        centred = video - video.mean(axes, keepdims=True)
        variance = jnp.square(centred).mean(axes, keepdims=True)
        # The floor is for black clips: the root's slope at 0 is infinite, infinite times 0 is NaN.
        return centred / (jnp.sqrt(jnp.maximum(variance, 1e-12)) + 1e-3)
    return (video - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def begun(config: Any, net: nn.Module, rng: Array, video: Array) -> tuple[Variables, Array]:
    """The first variables of a network without classes, and the features `[B, E]` it gives.

    Raises:
      UserError: it gives no vectors, and so is no backbone; `config.model.name` says which it is.
    """
    made = dict(net.init(rng, video, train=False))
    features, _ = net.apply(made, video, train=False)
    if features.ndim != 2:
        raise UserError(
            f"model.name={config.model.name!r} gives {list(features.shape)} without classes, and "
            "not features [B, E]: choose a backbone such as 'resnext101'"
        )
    return made, features


def colours(video: Float[Array, "*B C"]) -> Float[Array, "*B c"]:
    """The three colours of clips with flow; clips of other channels as they are."""
    return video[..., : channels.COLOURS] if video.shape[-1] == channels.WITH_FLOW else video


def flow_view(config: Any, video: Float[Array, "B T H W C"]) -> Float[Array, "B T H W 3"]:
    """The flow image of clips in [0, 1] (`ops.flow_image`), in [0, 1]: x and y about 128 / 255.

    That of the records where they have one (channels 3 to 5: pixels of the records from a frame to
    the next of the video); else computed here, from a frame of the clip to the next, the last of
    them twice: by `config.flow_method`, of the clip brightened by `config.flow_enhance` (of
    `ops.enhance.METHODS`; "" is as it is); `config.flow_bound` pixels are the largest component.
    No gradient goes through it.
    """
    if video.shape[-1] == channels.WITH_FLOW:
        return video[..., channels.COLOURS :]

    def image(clips: Array) -> Array:
        found = flow.flow(clips, config.flow_method, enhance=config.flow_enhance or None)
        levels = flow_image.levels(found, config.flow_bound) / 255.0
        return jnp.concatenate([levels, levels[:, -1:]], 1)

    return fourier.on_own_examples(image, jax.lax.stop_gradient(video), check_vma=False)


def with_flow(config: Any, video: Float[Array, "B T H W C"]) -> Float[Array, "B T H W 6"]:
    """Clips of three colours with their `flow_view` as three more channels; others have it already.

    Raises:
      UserError: clips of one channel or others.
    """
    if video.shape[-1] == channels.WITH_FLOW:
        return video
    if video.shape[-1] != channels.COLOURS:
        raise UserError(
            f"luminous_input='flow': expected clips of {channels.COLOURS} channels, or of "
            f"{channels.WITH_FLOW} with their flow; found {video.shape[-1]}: make records with "
            "flow by `python -m darkjax.data.flow` and set data.channels=6"
        )
    return jnp.concatenate([video, flow_view(config, video)], -1)


def augmented(
    config: Any, batch: Batch, num_classes: int, rng: Array
) -> tuple[Float[Array, "B T H W C"], Float[Array, "B K"]]:
    """The clips as float in [0, 1] after `config.augment`, and their (soft) targets.

    The target of a clip without a label means nothing: `labelled` is the mask of those that have.
    With `config.luminous_input="flow"` the clips get their flow before they are changed, as those
    of records with flow have it: it is not that of other colours, of rain or of shuffled frames.
    """
    target = jax.nn.one_hot(batch["label"], num_classes, dtype=jnp.float32)
    if config.label_smoothing:
        eps = config.label_smoothing
        target = target * (1 - eps) + eps / num_classes
    video = to_float(batch["video"])
    if config.get("luminous_input") == "flow":
        video = with_flow(config, video)
    return augment.augment(rng, video, target, config.augment)


def dropout_key(rng: Array) -> Array:
    """The key of a step's dropout, apart from those of its augmentation.

    Below the step's key, 0 to B - 1 are the examples' (`augment.example_keys`): dropout takes the
    one number that is no example's. `jax.random.split` would not do: its keys are those of 0 and 1.
    """
    return jax.random.fold_in(rng, 2**32 - 1)


def luminous_view(
    config: Any, video: Float[Array, "B T H W C"], view: str | None = None
) -> Float[Array, "B T H W c"]:
    """The clip a luminous pathway sees, by `view` (`config.luminous_input`), still in [0, 1].

    `"gamma"`: gamma intensity correction with `config.gamma`; `"dark"`: the clip itself;
    `"motion"`, `"difference"`: that gamma-corrected clip less its median over time, or from frame
    to frame (`ops.motion`); `"flow"`: `flow_view`; or a method of `ops.enhance.METHODS` with its
    defaults.
    """
    view = config.luminous_input if view is None else view
    if view == "flow":
        return flow_view(config, video)
    video = colours(video)
    if view == "gamma":
        return enhance.gamma_correct(video, config.gamma)
    if view in MOTION:
        return MOTION[view](enhance.gamma_correct(video, config.gamma))
    if view == "dark":
        return video
    if view in enhance.METHODS:
        return enhance.METHODS[view](video)
    known = ", ".join((*LUMINOUS, *enhance.METHODS))
    raise UserError(f"luminous_input={view!r} is not one of {known}")


def accuracy(logits: Float[Array, "B K"], labels: Array) -> Float[Array, "B"]:
    """1 where the largest logit is the label's, else 0."""
    return (jnp.argmax(logits, -1) == labels).astype(jnp.float32)
