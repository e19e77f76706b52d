"""A model whose classes are the colours of the pixels, and videos of them: nothing is trained."""

from __future__ import annotations

import types
from typing import Any

import jax.numpy as jnp
import numpy as np

from darkjax import loaded, methods
from darkjax.data.views import ViewConfig
from darkjax.intake import Intake

RATE = 10


class Colour(methods.Method):
    """Its classes are the colours of the pixels."""

    def predict(self, variables, batch):
        colour = batch["video"].astype(jnp.float32).mean((1, 2, 3)) / 255
        return 20 * colour, {"pre_logits": colour}

    def look(self, batch, out):
        """It looks at the right half."""
        right = jnp.broadcast_to(jnp.array([0.0, 1.0]), (1, 2, 2, 2))
        return methods.Look(methods.base.to_float(batch["video"]), right)


def model() -> Any:
    """It sees 7 frames at RATE, of each of them every second."""
    views = ViewConfig(frames=4, stride=2, size=(16, 16), crop="resized", views_clips=2)
    config = types.SimpleNamespace(method="colour")
    method = Colour(config, methods.Spec(("red", "green", "blue")))
    intake = Intake(short_side=16, fps=RATE, channels=3)
    return loaded.Model(
        "runs/colour/only", method.spec.classes, {"only": config}, method, {}, intake, views
    )


def colours(*seconds):
    """Frames of as many seconds of red, green, blue, red …, 24 x 32 at RATE a second."""
    frames = np.zeros((int(RATE * sum(seconds)), 24, 32, 3), np.uint8)
    start = 0
    for number, length in enumerate(seconds):
        end = start + int(RATE * length)
        frames[start:end, ..., number % 3] = 200
        start = end
    return frames
