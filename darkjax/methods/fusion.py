"""Fusion of trained nets as a stage: the schemes of Jiang et al. 2017 (arXiv 1705.06709), 3.2.3.

A stage of `method = "fusion"` takes nets that were trained before, the
streams, by `init_from` (`("ir", "(.*)", r"ir/\\1")`), and freezes them. It trains what fuses their
codes, a softmax layer ("single-layer NN fusion") and the same after a 1 x 1 convolution
("two-layer"), each by its own cross entropy. A clip is judged by the streams' mean probabilities
and mean codes over its views, in four ways, of which `answer` is the first:

- "late1": the weighted mean of the softmax's probabilities;
- "late2": that of the similarities of k nearest neighbours of the codes (`ops.neighbours`);
- "layer", "two_layer": the networks on the mean codes beside one another.

`darkjax.tools.fuse` does the same from saved predictions, without a stage.

Deviations (the paper is silent; field -> our choice):
- the weights of late fusion 2: `weights`, those of the first (flow 2, infrared 1);
- what the networks learn from: the codes of training clips as they come from the pipeline, without
  augmentation; nothing between the layers but `activation` "relu".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from darkjax import losses, methods
from darkjax.errors import UserError
from darkjax.methods import base
from darkjax.models.code_layers import ACTIVATIONS, CodeLayers
from darkjax.ops import neighbours

ANSWERS = ("late2", "late1", "layer", "two_layer")


@dataclasses.dataclass(frozen=True, eq=False)
class Fusion(base.Method):
    """Fields used: streams, weights, answer, knn_k, knn_gamma.

    Attributes:
      streams: the nets' methods by name; what each has `seen` has codes.
      nets: the networks on codes, by what they are called in `concluded`.
    """

    streams: Mapping[str, base.Method]
    nets: Mapping[str, CodeLayers]
    fits: ClassVar[bool] = True
    fits_views: ClassVar[bool] = True
    keeps_training: ClassVar[bool] = True

    @property
    def frozen(self) -> tuple[str, ...]:
        return (*super().frozen, *(f"{name}/.*" for name in self.streams))

    def init(self, rng, batch):
        whole: dict[str, dict[str, Any]] = {"params": {}}
        for number, (name, stream) in enumerate(self.streams.items()):
            for kind, value in stream.init(jax.random.fold_in(rng, number), batch).items():
                whole.setdefault(kind, {})[name] = value
        joined = _beside(self.streams, self._seen(whole, batch))
        for number, (name, net) in enumerate(self.nets.items(), start=len(self.streams)):
            made = net.init(jax.random.fold_in(rng, number), joined)
            whole["params"][name] = made["params"]
        return whole

    def loss(self, variables, batch, rng, progress):
        del rng, progress
        joined = _beside(self.streams, jax.lax.stop_gradient(self._seen(variables, batch)))
        mask, value, metrics = base.labelled(batch), jnp.float32(0), {}
        target = jax.nn.one_hot(batch["label"], self.spec.num_classes, dtype=jnp.float32)
        for name, net in self.nets.items():
            logits = net.apply({"params": variables["params"][name]}, joined)
            entropy = losses.masked_mean(losses.soft_cross_entropy(logits, target), mask)
            right = losses.masked_mean(base.accuracy(logits, batch["label"]), mask)
            metrics |= {f"{name}/ce": entropy, f"{name}/accuracy": right}
            value = value + entropy
        return value, base.Aux(metrics, {})

    def predict(self, variables, batch):
        """Scores are logits of the two-layer network; `out` is what each stream has seen."""
        found = self._seen(variables, batch)
        net = {"params": variables["params"]["two_layer"]}
        return self.nets["two_layer"].apply(net, _beside(self.streams, found)), found

    def seen(self, scores, out):
        return {**super().seen(scores, out), **out, "codes": _beside(self.streams, out)}

    def fit(self, variables, batches):
        return base.means_of_clips(self._seen_codes, variables, batches)

    def concluded(self, variables, means):
        c, streams = self.config, self.streams
        found = {"late1": self._mean({n: means[f"{n}/probabilities"] for n in streams})}
        if "fitted" in variables:
            fitted = variables["fitted"]
            near = {
                name: neighbours.knn_probabilities(
                    means[f"{name}/codes"],
                    fitted[f"{name}/codes"],
                    fitted["label"],
                    self.spec.num_classes,
                    c.knn_k,
                    c.knn_gamma,
                )
                for name in streams
            }
            found["late2"] = self._mean(near)
        joined = jnp.asarray(_beside(streams, means), jnp.float32)
        for name, net in self.nets.items():
            logits = net.apply({"params": variables["params"][name]}, joined)
            found[name] = jax.nn.softmax(logits, axis=-1)
        first = c.answer if c.answer in found else "late1"
        return {first: found[first], **found}

    def look(self, batch, out):
        return next(iter(self.streams.values())).look(batch, out)

    def _seen(self, variables: base.Variables, batch: base.Batch) -> dict[str, Array]:
        """Probabilities and codes of each stream, `NAME/probabilities` and `NAME/codes`."""
        found: dict[str, Array] = {}
        for name, stream in self.streams.items():
            own = {k: v[name] for k, v in variables.items() if k != "fitted" and name in v}
            seen = stream.seen(*stream.predict(own, batch))
            if "codes" not in seen:
                raise UserError(
                    f"streams.{name}: its method has no codes to fuse: take one with a code layer, "
                    "or python -m darkjax.tools.fuse for the mean of probabilities"
                )
            found |= {f"{name}/{kind}": seen[kind] for kind in ("probabilities", "codes")}
        return found

    def _seen_codes(self, variables: base.Variables, batch: base.Batch) -> dict[str, Array]:
        found = self._seen(variables, batch)
        return {name: value for name, value in found.items() if name.endswith("/codes")}

    def _mean(self, scores: Mapping[str, Any]) -> Any:
        """The weighted mean of the streams' probabilities."""
        weights = self.config.weights
        total = sum(weights[name] * jnp.asarray(found) for name, found in scores.items())
        return total / sum(weights.values())


def _beside(streams: Mapping[str, Any], found: Mapping[str, Any]) -> Any:
    """The codes of all streams, `[B, sum of N]`."""
    return jnp.concatenate([jnp.asarray(found[f"{name}/codes"]) for name in streams], -1)


def make(config: Any, spec: base.Spec) -> Fusion:
    """Also reads `filters`, `activation`, `dtype`, `bn_group`.

    `streams` holds the sections of the stages that trained them, by the names under which
    `init_from` puts their parameters; `weights` has a number of each.
    """
    names = tuple(config.streams)
    if len(names) < 2 or set(config.weights) != set(names):
        raise UserError(
            f"expected two streams or more, each with a weight; found the streams "
            f"{', '.join(names) or 'none'} and weights of {', '.join(config.weights) or 'none'}"
        )
    weights = [config.weights[name] for name in names]
    if set(names) & set(ANSWERS) or min(weights) < 0 or not max(weights) > 0:
        raise UserError(
            f"streams={', '.join(names)}, weights={weights}: expected names other than "
            f"{', '.join(ANSWERS)}, and weights of 0 or more, one above 0"
        )
    if config.answer not in ANSWERS or config.activation not in ACTIVATIONS:
        raise UserError(
            f"answer={config.answer!r}, activation={config.activation!r}: expected an answer of "
            f"{', '.join(ANSWERS)} and an activation of {', '.join(ACTIVATIONS)}"
        )
    streams = {}
    for name in names:
        section = config.streams[name].copy_and_resolve_references()
        with section.unlocked():
            section.dtype, section.bn_group = config.dtype, config.bn_group
        streams[name] = methods.make(section, spec)
    nets = {
        "layer": CodeLayers(spec.num_classes),
        "two_layer": CodeLayers(spec.num_classes, config.filters, config.activation),
    }
    return Fusion(config, spec, streams, nets)
