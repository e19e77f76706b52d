"""Weights and inputs of the golden outputs, made again from the rules of their generator."""

from __future__ import annotations

import json
import pathlib
import zlib
from typing import Any

import numpy as np

StateDict = dict[str, np.ndarray]


def load(folder: pathlib.Path, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the stored arrays of one entry."""
    meta = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as arrays:
        return meta, dict(arrays)


def state_dict(meta: dict[str, Any]) -> StateDict:
    """Every entry of the original's state dict, by the rules of generator.md."""
    return {key: entry(key, tuple(shape), meta) for key, shape in meta["keys"]}


def entry(name: str, shape: tuple[int, ...], meta: dict[str, Any]) -> np.ndarray:
    """One tensor: its generator is seeded by its name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "running_var":
        value = rng.uniform(0.5, 1.5, shape)
    elif last == "running_mean":
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1 and (last == "weight" or last in meta["norm_scale_suffixes"]):
        value = rng.uniform(0.5, 1.5, shape)
    elif last.endswith("bias") or len(shape) < 2:
        value = 0.1 * rng.standard_normal(shape)
    elif name in meta["std_override"]:
        value = rng.standard_normal(shape) * meta["std_override"][name]
    else:
        value = rng.standard_normal(shape) * np.sqrt(meta["g"] / np.prod(shape[1:]))
    return value.astype(np.float32)


def inputs(meta: dict[str, Any]) -> np.ndarray:
    """The input x of an entry, float32, channels last."""
    rng = np.random.default_rng(meta["input"]["seed"])
    shape = meta["input"]["shape"]
    if meta["input"]["distribution"] == "uniform01":
        return rng.uniform(0, 1, shape).astype(np.float32)
    return rng.standard_normal(shape).astype(np.float32)


def blocky(meta: dict[str, Any]) -> np.ndarray:
    """The second input x_b: blocks of 4 frames and 16x16 pixels."""
    *lead, t, h, w, c = meta["input_b"]["shape"]
    small = np.random.default_rng(2027).standard_normal(
        (*lead, -(-t // 4), -(-h // 16), -(-w // 16), c)
    )
    x = small.astype(np.float32)
    for axis, n in ((-4, 4), (-3, 16), (-2, 16)):
        x = np.repeat(x, n, axis=axis)
    return x[..., :t, :h, :w, :]


def conv(weight: np.ndarray) -> np.ndarray:
    """[out, in, kT, kH, kW] -> [kT, kH, kW, in, out] (or without kT)."""
    return np.moveaxis(weight, (0, 1), (-1, -2))


def batch_norm(source: StateDict, name: str) -> tuple[dict, dict]:
    """(params, batch_stats) of one batch norm."""
    return (
        {"scale": source[f"{name}.weight"], "bias": source[f"{name}.bias"]},
        {"mean": source[f"{name}.running_mean"], "var": source[f"{name}.running_var"]},
    )


def dense(source: StateDict, name: str) -> dict[str, np.ndarray]:
    """A linear layer or LayerNorm's weight and bias under flax's names."""
    weight, bias = source[f"{name}.weight"], source[f"{name}.bias"]
    if weight.ndim == 1:
        return {"scale": weight, "bias": bias}
    return {"kernel": weight.T, "bias": bias}
