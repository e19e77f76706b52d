"""Converted weights back in memory, with what they expect.

    weights = load("weights/resnext101")
    model, variables = weights.model(), weights.variables
    logits, out = model.apply(variables, normalise_for(weights)(video), train=False)

In a training config they are a source of `init_from`, by their folder; the regex says what is
taken, so it is also what skips: everything but the classifier is

    stage.init_from = (("weights/resnext101", r"(?!head/)(.*)", r"\\1"),)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import Array, Float

from darkjax import checkpoint, checksums, models
from darkjax.errors import UserError
from darkjax.weights import card as cards
from darkjax.weights.arch import Preprocess

VARIABLES = "variables"  # the orbax checkpoint beside the card


@dataclasses.dataclass(frozen=True)
class Weights:
    """What `convert` wrote: `variables` are `{"params", "batch_stats"}`, float32 numpy arrays."""

    arch: str
    config: dict[str, Any]
    variables: dict[str, Any]
    preprocess: Preprocess
    card: cards.Card

    def model(self, **fields: Any) -> nn.Module:
        """The module of these variables; `fields` such as `dtype` replace the config's."""
        return models.build({**self.config, **fields}, self.card.num_classes)


def load(directory: str | os.PathLike[str]) -> Weights:
    """Read a folder that `darkjax.weights.convert` wrote.

    Raises:
      UserError: it is not such a folder, or the checkpoint in it is damaged.
    """
    card = cards.read(directory)
    item = epath.Path(directory).absolute() / VARIABLES
    try:
        if (item / checksums.NAME).exists():  # not in folders of earlier versions
            checksums.check(item)
        with checkpoint.reader() as reader:
            tree = reader.metadata(item).item_metadata.tree
            args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            found = reader.restore(item, args=ocp.args.PyTreeRestore(item=tree, restore_args=args))
    except Exception as error:  # orbax has no error class of its own for a damaged checkpoint
        why = error if isinstance(error, checksums.Damaged) else type(error).__name__
        raise UserError(
            f"{item} is no whole checkpoint ({why}): convert the weights again "
            f"from {card.source['file']}"
        ) from error
    variables = {"params": {}, "batch_stats": {}, **found}
    return Weights(card.arch, card.model, variables, card.preprocess, card)


def shapes(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What `load(directory).variables` would be, as `jax.ShapeDtypeStruct`s: no array is read."""
    cards.read(directory)
    with checkpoint.reader() as reader:
        item = epath.Path(directory).absolute() / VARIABLES
        tree = reader.metadata(item).item_metadata.tree
    found = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    return {"params": {}, "batch_stats": {}, **found}


def normalise_for(
    weights: Weights,
) -> Callable[[Float[Array | np.ndarray, "*B C"]], Float[Array, "*B C"]]:
    """A function from video in [0, 1], RGB, channels last, to what the weights were trained on.

    It scales (to 0-255 where they want it), turns RGB into BGR, subtracts the mean and divides
    by the standard deviation (both in the order of the weights).
    """
    p = weights.preprocess

    def normalise(video: Float[Array | np.ndarray, "*B C"]) -> Float[Array, "*B C"]:
        video = jnp.asarray(video)
        if not jnp.issubdtype(video.dtype, jnp.floating):
            raise ValueError(f"expected float video in [0, 1], found {video.dtype}: divide by 255")
        if video.shape[-1] != len(p.mean):
            raise ValueError(
                f"{weights.arch} expects {len(p.mean)} channels last, found shape {video.shape}"
            )
        if p.order == "BGR":
            video = video[..., ::-1]
        mean, std = (jnp.asarray(v, video.dtype) for v in (p.mean, p.std))
        return (video * jnp.asarray(p.scale, video.dtype) - mean) / std

    return normalise


def first_conv(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel `[*k, I, O]` for another number of input channels.

    To 1: the sum, so that a grey clip gives what it gave as three equal channels. From 1: shared
    out evenly, the same the other way round. Otherwise (3 to 2, flow): the mean for each, as in
    TSN's cross-modality initialisation [Wang et al. 2016, Section 4.1].
    """
    before = kernel.shape[-2]
    if channels == before:
        return kernel
    if channels == 1:
        return kernel.sum(-2, keepdims=True)
    if before == 1:
        return np.repeat(kernel / np.asarray(channels, kernel.dtype), channels, axis=-2)
    return np.repeat(kernel.mean(-2, keepdims=True), channels, axis=-2)
