"""One net of the infrared two-stream network [Jiang et al. 2017, "Learning Spatiotemporal Features
for Infrared Action Recognition with 3D Convolutional Neural Networks", arXiv 1705.06709].

Eq. 1-3 -> `models.two_outputs`; the p-hot codes of Section 2.1 -> `losses.codes.p_hot`; Eq. 4 and 5
-> the value of `loss`; Eq. 6 and 7 -> `losses.codes.discriminative_codes`, whose slope is Eq. 8-10;
k-NN on the mean codes of a video (Section 3.1) and the similarity of "Late fusion 2" (3.2.3) ->
`ops.neighbours`. IR net and flow net are two stages: `luminous_input` "dark" is the clip as it is,
"flow" its flow image. `alpha=0` is the net "without DCL" of Table 2: no code layer, no k-NN.

Deviations (the paper is silent or contradicts itself; field -> our choice):
- the measure of "intra-class appearance variations", by which the leftover neurons are dealt:
  `leftovers` "brightness" is the standard deviation of the training clips' mean luma, from the
  records' card; "first" deals them to the first classes;
- biases, which the equations leave out "for simplicity": every layer has one; of the code layer
  `code_bias`;
- Section 2.1 calls A the only parameter to be learnt in Eq. 7, Eq. 10 sends its slope on into fc7
  and below: it is sent on;
- frames of 128x171 are what the conversion makes (`--short_side=128`; they are not stretched); fc6
  needs windows of 112x112: `data.size`, at random to train, the middle to judge;
- what the class probabilities of a video are: the mean of the softmax over its clips, as the text
  says; a code is the mean of the codes before the distance is taken;
- `answer`: what is judged first, "knn" or "softmax"; both are reported;
- a class with fewer than `knn_k` training videos has the mean distance to those that there are;
- dropout before both outputs: `dropout` 0.5, and the backbone's own, 0.5 behind fc6 (C3D's);
- SGD's momentum: `optim.momentum` 0.9; the rate stays as it is (`optim.schedule` "constant"); L2 on
  every parameter;
- normalisation: `mean` and `std`. The published C3D file subtracts one level of each colour from 0
  to 255; flow images have 128 in the place of zero;
- flow: `flow_method` "brox" is OpenCV's way (the paper cites it by a number); the bound of the flow
  image is `flow_bound` 15 pixels, or that of the records;
- mirrored clips: `augment.flip.p`; the paper names no augmentation. A mirrored clip's flow is
  mirrored too;
- label smoothing (`label_smoothing` 0) and cutmix, where they are asked for, mix the codes as they
  mix the classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from darkjax import losses, models
from darkjax.errors import UserError
from darkjax.losses import codes as code_losses
from darkjax.methods import base
from darkjax.methods.supervised import Supervised
from darkjax.models.two_outputs import TwoOutputs
from darkjax.ops import neighbours

SEES = {"": "backbone/"}  # `mean` and `std` are those of the backbone's weights
ANSWERS = ("knn", "softmax")
LEFTOVERS = ("brightness", "first")


@dataclasses.dataclass(frozen=True, eq=False)
class IrDcl(Supervised):
    """Fields used: alpha, knn_k, knn_gamma, answer, and those of `Supervised`.

    Attributes:
      codes: `[K, N]`, the ideal code of each class; None without a code layer.
    """

    codes: np.ndarray | None = None
    fits_views: ClassVar[bool] = True
    keeps_training: ClassVar[bool] = True

    @property
    def fits(self) -> bool:  # type: ignore[override]  # of the base, the same for all
        """Codes of the training clips, where there is a code layer."""
        return self.codes is not None

    def loss(self, variables, batch, rng, progress):
        del progress
        ce, metrics, new, out, target = self.classified(variables, batch, rng)
        if self.codes is None:
            return ce, base.Aux(metrics, new)
        apart = code_losses.discriminative_codes(out["codes"], target @ jnp.asarray(self.codes))
        metrics["codes"] = losses.masked_mean(apart, base.labelled(batch))
        return ce + self.config.alpha * metrics["codes"], base.Aux(metrics, new)

    def predict(self, variables, batch):
        # What is fitted is not the network's.
        net = {kind: value for kind, value in variables.items() if kind != "fitted"}
        return super().predict(net, batch)

    def seen(self, scores, out):
        found = super().seen(scores, out)
        return found if self.codes is None else {**found, "codes": out["codes"]}

    def fit(self, variables, batches):
        def step(variables, batch):
            return {"codes": self.predict(variables, batch)[1]["codes"]}

        return base.means_of_clips(step, variables, batches)

    def concluded(self, variables, means):
        found = {"softmax": means["probabilities"]}
        if self.codes is not None and "fitted" in variables:
            fitted, config = variables["fitted"], self.config
            found["knn"] = neighbours.knn_probabilities(
                means["codes"],
                fitted["codes"],
                fitted["label"],
                self.spec.num_classes,
                config.knn_k,
                config.knn_gamma,
            )
        first = self.config.answer if self.config.answer in found else "softmax"
        return {first: found[first], **found}


def make(config: Any, spec: base.Spec) -> IrDcl:
    """Also reads `model`, `neurons`, `code_bias`, `dropout`, `leftovers`, `dtype`, `bn_group`."""
    if config.answer == "knn" and not config.alpha:
        raise UserError(
            "alpha=0: the net without a code layer has no k-NN: set answer='softmax' (the word "
            "no_dcl does), or alpha"
        )
    backbone = models.build(
        config.model, None, dtype=jnp.dtype(config.dtype), bn_group=config.bn_group
    )
    neurons = config.neurons if config.alpha else 0
    model = TwoOutputs(spec.num_classes, backbone, neurons, config.code_bias, config.dropout)
    codes = None
    if neurons:
        spread = spec.spread if config.leftovers == "brightness" else ()
        codes = code_losses.p_hot(spec.num_classes, neurons, spread)
    return IrDcl(config, spec, model, codes)
