"""3D-DiNet: labels carried from one kind of video to another [3D-DiNet, Sections II-III].

Features of a 3-D network, an action head that sees the source's labels alone, and a domain head
behind a gradient reversal (DANN [Ganin and Lempitsky 2015, arXiv:1409.7495; Ganin et al. 2016]).

Eq. 4 -> the value of `loss`: action loss + domain loss, whose gradient reaches the features times
-lambda through `ops.reversal`; Eq. 8 -> `strength`. Eq. 6 and 7 are misprinted (they differentiate
by, and update from, theta_f): implemented is what DANN means, each head by its own loss without
lambda, the features by Eq. 5. `optim.schedule` "dann" is the annealing that the paper only names.

`adapt`: "dann" is the method; "none" trains on the source alone (what a table's floor is), "target"
on the target's labels (its ceiling), both on the same halves of the same batches.

Deviations (the paper is silent or contradicts itself; field -> our choice):
- batch norm: `batch_norm` "shared", as DANN's networks have it: every batch holds both domains and
  is normalised as one, so the features that the domain head compares went through one function,
  and one set of running statistics, of both, serves the test. "domain": each half by its own
  statistics (AdaBN [Li et al. 2016, arXiv:1603.04779]), at test the target's; they are gathered
  also with `adapt="none"`, which alone is AdaBN. "frozen": the statistics of the weights it
  starts from. With "shared", "none" and "target" see their own half alone;
- the domain head: `domain_head` (1024, 1024), and 1, as DANN's on Office; ReLU, no dropout;
- lambda: `lambda_max` 1 times Eq. 8, whose 10 is `lambda_gamma`; `lambda_start` 0 is the share of
  the training before it begins to grow. "A small negative constant" (Section III) contradicts
  Eq. 8, which is implemented;
- the action head: one linear layer, as the backbones' own ("logistic regression loss");
- learning rate: `optim.lr` 0.01 and the annealing as DANN's, momentum 0.9; decay 5e-4 (L2), length,
  batch and clip size are printed nowhere;
- how InFAR is divided, and whether the target's test clips are among those adapted to: a division
  (`data.protocol`), adapted on its training clips without their labels, judged on the others. The
  paper's table mixes this with methods that train on labelled InFAR;
- which checkpoint is judged: the last (`keep_best` ""): to choose by the target's labels would use
  them;
- accuracy on the target is known while training only where a source has labels in the records and
  `data.sources` says so; then it is logged, and never in the loss. Without, it is `val/top-1`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax import losses, models
from darkjax.errors import UserError
from darkjax.methods import base
from darkjax.models.domain_head import DomainHead
from darkjax.ops.reversal import reverse_gradient

SEES = {"": "features/"}  # `mean` and `std` are those of the backbone's weights
ADAPT = ("dann", "none", "target")
BATCH_NORM = ("shared", "domain", "frozen")
SOURCE, TARGET = 0, 1  # as in `batch["domain"]`
LEARNT = {"dann": SOURCE, "none": SOURCE, "target": TARGET}  # whose labels the action head sees
NAMES = ("source", "target")


def strength(config: Any, progress: Float[Array, ""] | float) -> Float[Array, ""]:
    """Lambda of Eq. 8, 2 / (1 + exp(-10 p)) - 1 of the progress p, with the config's fields."""
    start = config.lambda_start
    p = jnp.maximum(jnp.asarray(progress, jnp.float32) - start, 0.0) / (1 - start)
    return config.lambda_max * jnp.tanh(config.lambda_gamma * p / 2)  # the same, and 0 at 0


@dataclasses.dataclass(frozen=True, eq=False)
class DiNet(base.Method):
    """Fields used: adapt, batch_norm, lambda_max, lambda_gamma, lambda_start, mean, std, augment,
    label_smoothing, freeze; luminous_input and gamma, where they are set.

    Params `features`, `head` and, with `adapt="dann"`, `domain`. `batch_stats` are those of the
    test; with `batch_norm="domain"` the target's, and the source's are `source_stats`.
    """

    net: nn.Module
    head: nn.Module
    domain: nn.Module

    @property
    def adversarial(self) -> bool:
        """Whether there is a domain head."""
        return self.config.adapt == "dann"

    @property
    def apart(self) -> bool:
        """Whether the domains are normalised each by itself."""
        return self.config.batch_norm == "domain"

    def view(self, video: Array) -> Array:
        """Clips in [0, 1] as what the backbone expects."""
        video = base.luminous_view(self.config, video, self.config.get("luminous_input") or "dark")
        return base.normalise(video, self.config.mean, self.config.std)

    def init(self, rng, batch):
        video = self.view(base.to_float(batch["video"]))
        made, features = base.begun(self.config, self.net, rng, video)
        heads = {"head": self.head} | ({"domain": self.domain} if self.adversarial else {})
        params = {
            name: head.init(jax.random.fold_in(rng, i), features)["params"]
            for i, (name, head) in enumerate(heads.items(), start=1)
        }
        stats = {"features": made.get("batch_stats", {})}
        found = {"params": {"features": made["params"], **params}, "batch_stats": stats}
        return found | ({"source_stats": jax.tree.map(jnp.copy, stats)} if self.apart else {})

    def features(
        self, variables: base.Variables, video: Array, train: bool, rng: Array | None = None
    ) -> tuple[Any, Any, Any]:
        """(features `[B, E]`, what the backbone gives beside them, new statistics)."""
        moving = train and self.config.batch_norm != "frozen"
        (features, out), new = self.net.apply(
            {kind: value["features"] for kind, value in variables.items()},
            self.view(video),
            train=moving,
            mutable=["batch_stats"],
            rngs=None if rng is None else {"dropout": base.dropout_key(rng)},
        )
        return features, out, {"features": new.get("batch_stats", {})}

    def loss(self, variables, batch, rng, progress):
        config = self.config
        learnt = LEARNT[config.adapt]
        used = (SOURCE, TARGET) if self.adversarial or self.apart else (learnt,)
        halves = _halves(batch, self.spec.views)
        batch = _joined([halves[domain] for domain in used])
        video, targets = base.augmented(config, batch, self.spec.num_classes, rng)

        def of(domain: int, x: Any) -> Any:  # its examples, of something with a row for each
            count = len(batch["label"]) // len(used)
            first = used.index(domain) * count
            return jax.tree.map(lambda v: v[first : first + count], x)

        features, collections = self.trained_on(variables, video, used, rng)
        logits = self.head.apply({"params": variables["params"]["head"]}, features)
        known = base.labelled(of(learnt, batch))
        ce = losses.soft_cross_entropy(of(learnt, logits), of(learnt, targets))
        value = losses.masked_mean(ce, known)
        metrics = {"action_loss": value}
        for domain in used:
            if domain == learnt or (self.spec.sources and self.spec.sources[domain].labelled):
                right = base.accuracy(of(domain, logits), of(domain, batch["label"]))
                mask = base.labelled(of(domain, batch))
                metrics[f"{NAMES[domain]}_accuracy"] = losses.masked_mean(right, mask)
        if self.adversarial:
            scale = strength(config, progress)
            guess = self.domain.apply(
                {"params": variables["params"]["domain"]}, reverse_gradient(features, scale)
            )
            which = batch["domain"].astype(jnp.float32)
            bce = losses.masked_mean(losses.binary_cross_entropy(guess, which), batch["mask"])
            right = ((guess > 0) == (which > 0)).astype(jnp.float32)
            metrics |= {
                "domain_loss": bce,
                "domain_accuracy": losses.masked_mean(right, batch["mask"]),
                "lambda": scale,
            }
            value = value + bce
        return value, base.Aux(metrics, collections)

    def trained_on(
        self, variables: base.Variables, video: Array, used: tuple[int, ...], rng: Array
    ) -> tuple[Array, dict[str, Any]]:
        """(features, new collections) of clips of the domains `used`, one after another."""
        kinds = {kind: variables[kind] for kind in ("params", "batch_stats")}
        if not self.apart:
            features, _, new = self.features(kinds, video, True, rng)
            return features, {"batch_stats": new}
        found, collections = [], {}
        for domain, half in zip(used, jnp.split(video, 2), strict=True):
            name = "batch_stats" if domain == TARGET else "source_stats"
            own = {**kinds, "batch_stats": variables[name]}
            features, _, new = self.features(own, _spread(half), True, rng)
            found.append(features)
            collections[name] = new
        return jnp.concatenate(found), collections

    def predict(self, variables, batch):
        kinds = {kind: variables[kind] for kind in ("params", "batch_stats")}
        features, out, _ = self.features(kinds, base.to_float(batch["video"]), False)
        logits = self.head.apply({"params": variables["params"]["head"]}, features)
        return logits, {**out, "pre_logits": features}

    def of_source(self, variables: base.Variables) -> base.Variables:
        """The variables with which `predict` looks at clips of the source."""
        return {**variables, "batch_stats": variables.get("source_stats", variables["batch_stats"])}


def make(config: Any, spec: base.Spec) -> DiNet:
    """Also reads `model`, `domain_head`, `dtype`, `bn_group`, `init_from`."""
    for field, known in (("adapt", ADAPT), ("batch_norm", BATCH_NORM)):
        if config[field] not in known:
            raise UserError(f"{field}={config[field]!r} is not one of {', '.join(known)}")
    if config.batch_norm == "frozen" and not config.init_from:
        raise UserError(
            "batch_norm='frozen' keeps the statistics of the weights that it starts from, and "
            "init_from names none: add `pretrained` to the config's words, or take 'shared'"
        )
    if spec.domains:
        _check(config, spec)
    net = models.build(config.model, None, dtype=jnp.dtype(config.dtype), bn_group=config.bn_group)
    if "num_classes" not in type(net).__dataclass_fields__:
        raise UserError(
            f"model.name={config.model.name!r} is no classifier whose head could be taken off "
            "(it has no num_classes): choose a backbone such as 'resnext101'"
        )
    head = nn.Dense(spec.num_classes)
    return DiNet(config, spec, net, head, DomainHead(tuple(config.domain_head)))


def _check(config: Any, spec: base.Spec) -> None:
    """Refuse sources that are not a source and a target of the same classes, half a batch each."""
    if len(spec.sources) != 2:
        raise UserError(
            f"data.sources: expected two, the source and then the target, found "
            f"{len(spec.sources)}: such as (('source', 0.5, True), ('', 0.5, False))"
        )
    source, target = spec.sources
    if source.clips != target.clips:
        total = (source.clips + target.clips) * spec.views
        raise UserError(
            f"half of every batch is source and half target; found {source.clips} and "
            f"{target.clips} clips of batch_size={total}: take an even number of clips, and the "
            "same share for both of data.sources"
        )
    one = sorted(set(source.classes) - set(target.classes))
    other = sorted(set(target.classes) - set(source.classes))
    if one or other:
        raise UserError(
            f"source and target have different classes: only {spec.domains[SOURCE]} (source) has "
            f"{', '.join(one) or 'none'}, only {spec.domains[TARGET]} (target) "
            f"{', '.join(other) or 'none'}: convert both with the same classes"
        )
    learnt = LEARNT[config.adapt]
    if not spec.sources[learnt].labelled:
        raise UserError(
            f"adapt={config.adapt!r} learns from the labels of the {NAMES[learnt]}, which "
            f"data.sources gives without: set its third part to True"
        )


def _halves(batch: base.Batch, views: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """The source's and the target's examples: each of a batch's `views` blocks has both in turn."""

    def half(x: Array, domain: int) -> Array:
        blocks = x.reshape(views, 2, -1, *x.shape[1:])
        return blocks[:, domain].reshape(-1, *x.shape[1:])

    source, target = ({k: half(x, domain) for k, x in batch.items()} for domain in (SOURCE, TARGET))
    return source, target


def _joined(halves: list[dict[str, Array]]) -> dict[str, Array]:
    """Examples one after another, spread over the devices."""
    return {k: _spread(jnp.concatenate([half[k] for half in halves])) for k in halves[0]}


def _spread(x: Array) -> Array:
    """Rows laid evenly over the devices: half of a batch is on half of them."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or len(x) % mesh.shape["data"]:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec("data"))
