"""DarkLight [Chen et al. 2021, "DarkLight Networks for Action Recognition in the Dark"].

The clip is shown to one network in several ways (`views`: as it is, gamma-corrected, ...), and what
it saw is weighed by self-attention (`models.views_bert`); cross entropy ->
`losses.soft_cross_entropy`. By config it is also R(2+1)D-BERT [Kalfaoglu et al. 2020, arXiv
2008.01232], one view, and MD-BERT [Dass et al. 2025, arXiv 2502.03724, version 1], three views
whose maps are fused.

Deviations (the paper or its released code is silent, or they contradict each other; field -> our
choice):
- the released schedule lowers the rate when the loss on the judged clips has not fallen for 5
  epochs: here it falls by a cosine to 0 (`optim.schedule`), which looks at no judged clip;
- normalised by ImageNet's mean and deviation in the released training, by IG-65M's in its
  evaluation: IG-65M's in both (`mean`, `std`);
- gamma: 1.8, the released training command's (`gamma`; the code's own default is 1, its evaluation
  has 2), of float frames: the release rounds down to 8 bits;
- 16 batches of 8 clips make a step (`batch_size` 128, `accumulate` 16); the code's default is 3;
- windows: `data.crop` "corners", of sizes and places of the release, none cut at the border;
- how many clips of a video are judged: the middle one (`data.views_clips`), on ten windows as
  released (`data.views_crops`), whose probabilities are averaged, not logits;
- clips shorter than 64 frames begin again;
- without attention: `models.views_bert`; a single view keeps the recipe;
- ResNeXt-101: what of it the paper keeps is not known: all but its classifier, tokens of 2048;
- which epoch is judged: the one with the best top-1 of the split that is judged (`keep_best`).
- MD-BERT: no hyper-parameter of its training is known: DarkLight's recipe, tokens hidden with
  probability 0.2 as R(2+1)D-BERT (`model.mask_prob` 0.8); gamma 2.5 and histogram equalisation
  ("he", of luma) are its figure's.

`configs/darklight_arid.py:demo` and `:arid6` change more, for a small network that begins from
nothing: `model.dropout` 0.5, each clip and view by its own mean and deviation, another rate, gamma
2.5, label smoothing 0.1, `augment.affine`, random windows, the last checkpoint.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from darkjax import models
from darkjax.errors import UserError
from darkjax.methods import base
from darkjax.methods.supervised import Supervised
from darkjax.ops import enhance

SEES = {"": "backbone/"}  # `mean` and `std` are those of the weights of the shared network
VIEWS = ("dark", "gamma", *base.MOTION, *enhance.METHODS)


@dataclasses.dataclass(frozen=True, eq=False)
class DarkLight(Supervised):
    """Fields used: views, gamma, mean, std, augment, label_smoothing, freeze."""

    def shown(self, video: Array) -> list[Array]:
        """Each view of clips in [0, 1], in [0, 1]."""
        return [base.luminous_view(self.config, video, view) for view in self.config.views]

    def views(self, video):
        mean, std = self.config.mean, self.config.std
        return tuple(base.normalise(view, mean, std) for view in self.shown(video))

    def look(self, batch, out):
        """The views side by side."""
        return base.Look(jnp.concatenate(self.shown(base.to_float(batch["video"])), axis=3))


def make(config: Any, spec: base.Spec) -> DarkLight:
    """Also reads `model`, `dtype`, `bn_group`; the model's `views` are as many as `views`."""
    options = {"dtype": jnp.dtype(config.dtype), "bn_group": config.bn_group}
    fields, count = dict(config.model), len(config.views)
    name = fields.get("name", "")
    _, said = models.resolve(name, {k: v for k, v in fields.items() if k != "name"})
    takes = said.get("views", count if "views" in models.fields_of(name) else 1)
    if takes != count:
        raise UserError(
            f"views={tuple(config.views)} are {count}, and model {name!r} takes {takes}: "
            "model.name='views_bert' takes as many as there are, up to 3"
        )
    if "views" in models.fields_of(name):
        fields["views"] = count
    return DarkLight(config, spec, models.build(fields, spec.num_classes, **options))
