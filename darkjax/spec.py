"""What a stage's method is made for, from the config and the card, before any batch is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from darkjax import config as configs
from darkjax import methods
from darkjax.data import pipeline, sources
from darkjax.data.records import Records


def of(config: Any, name: str, records: Records) -> methods.Spec:
    """The spec of stage `name` of a resolved config, on the records it is trained on."""
    domains = sources.names(records, configs.data_of(config, name))
    return bare(config, name, records.classes, domains)


def bare(
    config: Any, name: str, classes: Sequence[str], domains: Sequence[str] = ()
) -> methods.Spec:
    """The same where there are no records: classes by name, or as many numbers."""
    data = configs.data_of(config, name)
    shapes = pipeline.shapes(data, config[name].batch_size, data.channels)
    batch = {k: jax.ShapeDtypeStruct(*v) for k, v in shapes.items()}
    return methods.Spec(tuple(classes), tuple(domains), batch, data.train_views)
