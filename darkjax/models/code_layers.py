"""A network of one or two layers that turns codes into class scores.

Jiang et al. 2017 (arXiv:1705.06709), Section 2.3: the codes of several streams beside one another,
then a softmax layer alone ("single-layer NN fusion"), or after a 1 x 1 convolution of 50 filters
("two-layer NN fusion"). Beside one another the codes are the channels of a picture of one pixel:
there a 1 x 1 convolution is a dense layer.
"""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from darkjax.errors import UserError

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh, "none": lambda x: x}


class CodeLayers(nn.Module):
    """Codes `[B, N]` to logits `[B, K]`.

    Attributes:
      num_classes: K.
      filters: of the 1 x 1 convolution; 0 leaves it out.
      activation: between the layers: "relu", "tanh" or "none" (the paper names none).
    """

    num_classes: int
    filters: int = 0
    activation: str = "relu"

    @nn.compact
    def __call__(self, codes: Float[Array, "B N"]) -> Float[Array, "B K"]:
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise UserError(f"activation={self.activation!r}: expected one of {known}")
        if self.filters:
            codes = nn.Dense(self.filters, name="convolution")(codes)
            codes = ACTIVATIONS[self.activation](codes)
        return nn.Dense(self.num_classes, name="head")(codes)
