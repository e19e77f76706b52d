"""The optimiser as an optax chain, from a config."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from darkjax.errors import UserError

Flat = dict[str, Any]  # path -> array, or what stands for one (a shape)


def flatten(tree: Mapping[str, Any]) -> Flat:
    """Nested parameters as `{"a/b/kernel": array}`."""
    return traverse_util.flatten_dict(dict(tree), sep="/")


def unflatten(flat: Flat) -> dict[str, Any]:
    """The inverse of `flatten`."""
    return traverse_util.unflatten_dict(flat, sep="/")


def split(params: Mapping[str, Any], frozen: Iterable[str]) -> tuple[Flat, Flat]:
    """(trainable, frozen) flat parameters; a path is frozen when a pattern matches all of it."""
    patterns = [re.compile(p) for p in frozen]
    flat = flatten(params)
    fixed = {k: v for k, v in flat.items() if any(p.fullmatch(k) for p in patterns)}
    return {k: v for k, v in flat.items() if k not in fixed}, fixed


def norms(flat: Flat) -> dict[str, jax.Array]:
    """The 2-norm of the arrays of each part of a network, by the part's name.

    Parts are what the paths divide into first: of `student/pvit/a` and `student/head/b` they are
    `student/pvit` and `student/head`.
    """
    above = os.path.commonpath([os.path.dirname(k) for k in flat]) if flat else ""
    shared = above.count("/") + 1 if above else 0
    parts: dict[str, Flat] = {}
    for k in flat:
        parts.setdefault("/".join(k.split("/")[: shared + 1]), {})[k] = flat[k]
    return {name: optax.tree.norm(part) for name, part in parts.items()}


def schedule(config: Any, total_steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then `config.schedule`.

    `"cosine"` falls to `lr * final` at the end; `"constant"` stays; `"dann"` is
    `lr / (1 + 10 p)^0.75` over the progress p [Ganin and Lempitsky 2015].
    """
    warmup = min(config.warmup_steps, total_steps)
    rest = max(total_steps - warmup, 1)
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.lr, rest, alpha=config.final)
    elif config.schedule == "constant":
        main = optax.constant_schedule(config.lr)
    elif config.schedule == "dann":

        def main(step):  # before a warm-up's end it is asked for, too, and not used
            return config.lr / (1 + 10 * jnp.maximum(step, 0) / rest) ** 0.75

    else:
        raise UserError(f"optim.schedule={config.schedule!r} is not 'cosine', 'constant' or 'dann'")
    if not warmup:
        return main
    ramp = optax.linear_schedule(0.0, config.lr, warmup)
    return optax.join_schedules([ramp, main], [warmup])


def make(config: Any, total_steps: int) -> optax.GradientTransformation:
    """The chain for flat trainable parameters: clip, rule, weight decay, rates, schedule.

    `config`: `name` ("adamw", "adam", "sgd"), `lr`, `schedule`, `warmup_steps`, `final`, `betas`,
    `momentum`, `weight_decay`, `decay_exclude` (regular expressions of paths that are not decayed),
    `lr_scale` (`((regex, factor), ...)`, the first match counts), `clip` (global norm, 0 = off).
    """
    parts = []
    if config.clip:
        parts.append(optax.clip_by_global_norm(config.clip))
    if config.name in ("adamw", "adam"):
        parts.append(optax.scale_by_adam(*config.betas))
    elif config.name == "sgd":
        parts.append(optax.trace(config.momentum))
    else:
        raise UserError(f"optim.name={config.name!r} is not 'adamw', 'adam' or 'sgd'")
    if config.weight_decay:

        def decayed(flat):
            return {k: not _first(config.decay_exclude, k) for k in flat}

        decay = optax.add_decayed_weights(config.weight_decay, decayed)
        # Decoupled for AdamW; else the decay joins the gradient, before its moments (L2).
        parts.insert(len(parts) - (config.name != "adamw"), decay)
    if config.lr_scale:
        parts.append(_scale_by_path(config.lr_scale))
    parts.append(optax.scale_by_learning_rate(schedule(config, total_steps)))
    return optax.chain(*parts)


def _first(patterns: Iterable[str], path: str) -> bool:
    return any(re.fullmatch(p, path) for p in patterns)


def _scale_by_path(rules: Iterable[tuple[str, float]]) -> optax.GradientTransformation:
    """Multiply updates by the factor of the first rule that matches their path."""

    def factor(path: str) -> float:
        return next((f for pattern, f in rules if re.fullmatch(pattern, path)), 1.0)

    def update(updates, params=None):
        del params
        return {k: g * jnp.asarray(factor(k), g.dtype) for k, g in updates.items()}

    return optax.stateless(update)
