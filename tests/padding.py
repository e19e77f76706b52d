"""Padding never weighs: what stands where the mask is 0 changes no loss, metric or gradient."""

from __future__ import annotations

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from darkjax import models, optim
from darkjax.models import layers


def small_networks(monkeypatch, group: int = 2) -> None:
    """Networks that compile at once: which examples a method counts is no matter of its models."""

    def build(config, num_classes, *, section="model", **_):
        return Enhancer() if section == "enhancer" else Classifier(num_classes, group)

    monkeypatch.setattr(models, "build", build)


SEEN: list[Any] = []  # the classifier's last input, in training too


class Classifier(nn.Module):
    """Called as every classifier, and with two views as LIFT-Net."""

    num_classes: int | None
    group: int = 2

    @nn.compact
    def __call__(self, video, bright=None, *, train, **_):
        seen = video if bright is None else video + bright
        SEEN[:] = [seen]
        hidden = nn.Dense(8)(seen.mean((1, 2)).reshape(len(video), -1))
        # Batch norm mixes the examples of a group: of 2, the real clips are one, the padding one.
        hidden = layers.BatchNorm(group=self.group)(hidden, train=train)
        if train and self.has_rng("dropout"):
            hidden = nn.Dropout(0.5, deterministic=False)(hidden)
        out = {"pre_logits": hidden, "luminous/pre_logits": nn.sigmoid(hidden)}
        out |= {"dark/pre_logits": hidden, "bright/pre_logits": nn.sigmoid(hidden)}
        if self.num_classes is None:
            return hidden, out
        return nn.Dense(self.num_classes, name="head")(hidden), out


class Enhancer(nn.Module):
    """What Zero-DCE's and SCI's losses ask for; two frames share their curves."""

    k: int = 2

    @nn.compact
    def __call__(self, video, *, train) -> tuple[Any, dict[str, Any]]:
        light = nn.sigmoid(nn.Dense(3)(video))
        curves = nn.Dense(6)(video[:, :: self.k])
        return light, {"curves": curves, "stage0/input": video, "stage0/illumination": light}


def check(method, size=16):
    """Of a method whose networks are small and whose augmentation is off."""
    rng = np.random.default_rng(0)
    real = rng.integers(0, 60, (4, 4, size, size, 3))
    batches = [batch(real, (0, 0))]
    for label in range(3):  # one of them is the model's answer, so that accuracy moves too
        rubbish = np.concatenate([real[:2], rng.integers(0, 256, real[2:].shape)])
        batches.append(batch(rubbish, (label, label)))
    variables = method.init(jax.random.key(0), batches[0])
    trained, frozen = optim.split(variables["params"], method.frozen)

    @jax.jit
    def step(flat, batch):
        def loss(flat):
            params = optim.unflatten({**flat, **frozen})
            variables_ = {"batch_stats": {}, **variables, "params": params}
            return method.loss(variables_, batch, jax.random.key(1), 0.5)

        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(flat)
        return {"loss": value, **aux.metrics}, grads

    first, *others = [step(trained, b) for b in batches]
    for other in others:
        chex.assert_trees_all_equal(other, first)
    assert any(np.abs(g).max() > 0 for g in first[1].values())
    # That could have failed: counted, the same rubbish moves every number.
    numbers = [step(trained, {**b, "mask": jnp.ones(4)})[0] for b in batches]
    for name in first[0]:
        assert len({float(n[name]) for n in numbers}) > 1, name


def batch(video, labels):
    """Four clips of which the last two are padding, with labels of their own."""
    return {
        "video": jnp.asarray(video, jnp.uint8),
        "label": jnp.asarray((0, 1, *labels), jnp.int32),
        "mask": jnp.asarray([1.0, 1.0, 0.0, 0.0]),
    }
