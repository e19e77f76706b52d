"""Published weights as their publishers name and lay them out, of any size, with random values.

Written apart from `darkjax.weights`: from our path and array to the original's.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

import numpy as np
import torch_files as tf

Arrays = dict[str, np.ndarray]
Rules = tuple[tuple[str, str], ...]
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def rules(text: str) -> Rules:
    """A table with two columns: an expression that matches a path of ours, the original's name."""
    pairs = (line.split() for line in text.strip().splitlines())
    return tuple((ours, theirs) for ours, theirs in pairs)


R2PLUS1D = rules(
    r"""
    stem_spatial                       stem.0
    stem_bn1                           stem.1
    stem_temporal                      stem.3
    stem_bn2                           stem.4
    stage(\d)_(\d+)/shortcut           layer\1.\2.downsample.0
    stage(\d)_(\d+)/shortcut_bn        layer\1.\2.downsample.1
    stage(\d)_(\d+)/conv(\d)/spatial   layer\1.\2.conv\3.0.0
    stage(\d)_(\d+)/conv(\d)/bn        layer\1.\2.conv\3.0.1
    stage(\d)_(\d+)/conv(\d)/temporal  layer\1.\2.conv\3.0.3
    stage(\d)_(\d+)/bn(\d)             layer\1.\2.conv\3.1
    head                               fc
    """
)
VIT = rules(
    r"""
    cls                        cls
    position                   Transformer/posembed_input/pos_embedding
    block(\d+)/norm1/(.*)      Transformer/encoderblock_\1/LayerNorm_0/\2
    block(\d+)/norm2/(.*)      Transformer/encoderblock_\1/LayerNorm_2/\2
    block(\d+)/mlp/fc1/(.*)    Transformer/encoderblock_\1/MlpBlock_3/Dense_0/\2
    block(\d+)/mlp/fc2/(.*)    Transformer/encoderblock_\1/MlpBlock_3/Dense_1/\2
    block(\d+)/attention/(.*)  Transformer/encoderblock_\1/MultiHeadDotProductAttention_1/\2
    norm/(.*)                  Transformer/encoder_norm/\1
    (embedding|head)/(.*)      \1/\2
    """
)
HEAD = 64  # width of a head of every published ViT


def values(shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Random arrays; variances are positive."""
    rng = np.random.default_rng(0)
    found = {k: 0.1 * rng.standard_normal(s, np.float32) for k, s in shapes.items()}
    return {k: abs(v) + 0.5 if k.endswith(("var", "scale")) else v for k, v in found.items()}


def ig65m(path: pathlib.Path, ours: Arrays) -> None:
    """R(2+1)D-34 as ig65m-pytorch saves it: a bare state dict of torchvision's names."""
    state = {}
    for key, value in ours.items():
        module, _, leaf = key.rpartition("/")
        name = renamed(module, R2PLUS1D)
        state[f"{name}.{LEAVES.get(leaf, leaf)}"] = np.moveaxis(
            value, *(((-1, -2), (0, 1)) if leaf == "kernel" else ((), ()))
        )
        if leaf == "var":
            state[f"{name}.num_batches_tracked"] = np.asarray(3, np.int64)
    tf.save(path, {k: np.ascontiguousarray(v) for k, v in state.items()})


def google(path: pathlib.Path, ours: Arrays) -> None:
    """ViT-B/16 as Google saves it: an npz of its flax names, heads apart."""
    state = {}
    for key, value in ours.items():
        width = value.shape[-1]
        if re.search("attention/(query|key|value)/", key):
            value = value.reshape(*value.shape[:-1], width // HEAD, HEAD)
        elif key.endswith("attention/out/kernel"):
            value = value.reshape(width // HEAD, HEAD, width)
        state[renamed(key, VIT)] = value
    np.savez(path, **state)


def renamed(name: str, rules: Rules) -> str:
    pattern, theirs = next(rule for rule in rules if re.fullmatch(rule[0], name))
    return re.sub(pattern, theirs, name)
