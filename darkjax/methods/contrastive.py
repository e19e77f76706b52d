"""Learning without labels: augmented views of a clip agree, those of different clips do not.

SimCLR [Chen et al. 2020, arXiv:2002.05709] on video: `data.train_views` 2 views of each clip,
other moments and other crops of it, changed by `augment`, go through a network and a projection;
their contrast (Eq. 1 -> `losses.nt_xent`) is with all other clips of the global batch. It is
judged by the features before the projection (`judge="codes"`).

The network's parameters stand under `features/`, so that any stage starts from it by a rule such as
`("pretrain", r"features/(.*)", r"\\1")` of `init_from`. No label is read: those of the records may
be anything.

Deviations (from SimCLR, which learns from pictures; field -> our choice):
- temperature: `temperature` 0.1, as its ImageNet runs;
- the projection: `projection` (512, 128), the widths of its two layers, without batch norm;
- views: the pipeline's windows in time and space, then `augment`; cutmix would mix two clips into
  one and is refused;
- batch norm over all views of the batch (`bn_group`);
- with `accumulate` a clip is told from those of its own part of the batch: the loss is the mean of
  the parts', which is not that of the whole.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from darkjax import losses, models
from darkjax.errors import UserError
from darkjax.losses.contrast import by_clip, on_sphere
from darkjax.methods import base
from darkjax.methods.supervised import Supervised
from darkjax.models.projection import Projection

SEES = {"": "features/"}  # `mean` and `std` are those of the network's weights


@dataclasses.dataclass(frozen=True, eq=False)
class Contrastive(Supervised):
    """Fields used: temperature, luminous_input, gamma, mean, std, augment, freeze.

    `model` has no classes. Params `features` and `projection`; `batch_stats` those of `features`.
    """

    projection: Projection
    judge: ClassVar[str] = "codes"

    def init(self, rng, batch):
        video = self.view(base.to_float(batch["video"]))
        made, features = base.begun(self.config, self.model, rng, video)
        head = self.projection.init(jax.random.fold_in(rng, 1), features)
        return {
            **{kind: {"features": value} for kind, value in made.items()},
            "params": {"features": made["params"], "projection": head["params"]},
        }

    def loss(self, variables, batch, rng, progress):
        del progress
        # The targets are not looked at; what they are made of may be -1.
        video, _ = base.augmented(self.config, batch, self.spec.num_classes, rng)
        (features, _), new = self.model.apply(
            {kind: value["features"] for kind, value in variables.items()},
            self.view(video),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": base.dropout_key(rng)},
        )
        head = {"params": variables["params"]["projection"]}
        views = by_clip(self.projection.apply(head, features), self.spec.views)  # B V D
        mask = by_clip(batch["mask"][:, None], self.spec.views)[..., 0].min(1)
        value = losses.masked_mean(losses.nt_xent(views, self.config.temperature, mask=mask), mask)
        unit = on_sphere(views)
        agreement = losses.masked_mean(jnp.sum(unit[:, 0] * unit[:, 1], -1), mask)
        collections = {kind: {"features": value} for kind, value in new.items()}
        return value, base.Aux({"contrast": value, "agreement": agreement}, collections)

    def predict(self, variables, batch):
        net = {kind: value["features"] for kind, value in variables.items()}
        return self.model.apply(net, self.view(base.to_float(batch["video"])), train=False)


def make(config: Any, spec: base.Spec) -> Contrastive:
    """Also reads `model`, `projection`, `dtype`, `bn_group`."""
    cutmix = config.augment.get("cutmix", {}).get("p", 0)
    if cutmix:
        raise UserError(
            f"augment.cutmix.p={cutmix}: a clip mixed from two has no views of its own: set it to 0"
        )
    net = models.build(config.model, None, dtype=jnp.dtype(config.dtype), bn_group=config.bn_group)
    return Contrastive(config, spec, net, Projection(*config.projection))
