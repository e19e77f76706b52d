"""A network with two outputs on its last layer: classes, and a discriminative code [Jiang et al.
2017, arXiv 1705.06709, Section 2.1 and Fig. 2].

Eq. 1 -> the backbone's `pre_logits` (C3D's fc7); Eq. 2 -> `codes`; Eq. 3 -> `head`, whose softmax
is in the loss.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from darkjax.models import layers

# Every one of N neurons adds to the loss: begun like a classifier, codes are far from 0 and 1.
CODES_INIT = nn.initializers.normal(0.01)


class TwoOutputs(nn.Module):
    """Logits beside a linear code layer, both on what a backbone without classes gives.

    `neurons` is N, 0 for no code layer. `dropout` acts once, before both, where an rng "dropout" is
    given. `out` is the backbone's, and `codes` `[B, N]`; all float32.
    """

    num_classes: int
    backbone: nn.Module
    neurons: int = 4096
    code_bias: bool = True
    dropout: float = 0.5

    @nn.compact
    def __call__(self, video: layers.Video, *, train: bool) -> layers.Answer:
        features, out = self.backbone(video, train=train)
        active = train and self.has_rng("dropout")
        features = nn.Dropout(self.dropout, deterministic=not active)(features.astype(jnp.float32))
        if self.neurons:
            codes = nn.Dense(
                self.neurons, use_bias=self.code_bias, kernel_init=CODES_INIT, name="codes"
            )(features)
            out = {**out, "codes": codes}
        return nn.Dense(self.num_classes, name="head")(features), out
