"""Losses: free functions, one value per example, no reduction, float32 inside.

A method adds terms per example and reduces once, with `masked_mean`, so that padded rows of a last
batch never weigh. Shapes: `*B` any batch axes. Those of classifiers and students are names of this
module; those that know pictures are in `enhancement` and `sci`.
"""

from darkjax.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    smooth_labels,
    soft_cross_entropy,
)
from darkjax.losses.common import masked_mean
from darkjax.losses.contrast import nt_xent, supcon
from darkjax.losses.distillation import knowledge_distillation, l1_distillation

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "knowledge_distillation",
    "l1_distillation",
    "masked_mean",
    "nt_xent",
    "smooth_labels",
    "soft_cross_entropy",
    "supcon",
]
