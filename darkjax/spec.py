"""What a stage's method is made for, from the config and the card, before any batch is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from darkjax import config as configs
from darkjax import methods
from darkjax.data import pipeline, sources, split
from darkjax.data.records import Records
from darkjax.data.rows import column
from darkjax.errors import UserError


def of(config: Any, name: str, records: Records) -> methods.Spec:
    """The spec of stage `name` of a resolved config, on the records it is trained on."""
    data = configs.data_of(config, name)
    made = bare(config, name, records.classes, sources.names(records, data))
    parts = sources.parts(records, data, config[name].batch_size)
    given = tuple(methods.Part(*part) for part in parts)
    return dataclasses.replace(made, spread=spread(records, data), sources=given)


def spread(records: Records, data: Any) -> tuple[float, ...]:
    """Of each class, the standard deviation of the mean luma of its training clips, 0 for none.

    () of records that nothing is trained on.
    """
    try:
        rows = split.train_rows(records, data)
    except UserError:
        return ()
    luma = np.asarray(column(records.clips, "mean_luma"), np.float64)[records.meta["clip"][rows]]
    labels = records.meta["label"][rows]
    every = (luma[labels == label] for label in range(len(records.classes)))
    return tuple(float(own.std()) if len(own) else 0.0 for own in every)


def bare(
    config: Any, name: str, classes: Sequence[str], domains: Sequence[str] = ()
) -> methods.Spec:
    """The same where there are no records: classes by name, or as many numbers."""
    data = configs.data_of(config, name)
    shapes = pipeline.shapes(data, config[name].batch_size, data.channels)
    batch = {k: jax.ShapeDtypeStruct(*v) for k, v in shapes.items()}
    return methods.Spec(tuple(classes), tuple(domains), batch, data.train_views)
