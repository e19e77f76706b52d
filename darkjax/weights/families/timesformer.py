"""TimeSformer: names of facebookresearch/TimeSformer, and ImageNet ViT weights as a start.

A state dict without temporal attention is an image ViT (timm's names, or Google's npz): its
attention and first norm are copied for time, as the original's training does. `temporal_fc`, the
time embedding and a head of other classes are then missing and keep the model's initial
values.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from darkjax.weights.arch import HALF, Arch, Preprocess
from darkjax.weights.families import vit
from darkjax.weights.names import NameMap, StateDict, split_qkv

RULES = (
    (r"time_embed", "time"),
    (vit.BLOCK + r"temporal_attn\.qkv", r"block\1/temporal_attention", split_qkv),
    (vit.BLOCK + r"temporal_attn\.proj", r"block\1/temporal_attention/out"),
    (vit.BLOCK + r"temporal_norm1", r"block\1/temporal_norm"),
    (vit.BLOCK + r"temporal_fc", r"block\1/temporal_out"),
    *vit.RULES,
)


def from_image(state: StateDict) -> StateDict:
    """Image ViT weights as the start of divided attention; others come back as they are.

    `attn` is copied to `temporal_attn`, `norm1` to `temporal_norm1`. Attention without
    query/key/value biases (MIIL's release) gets zero ones: the model has them. Where a hidden
    layer comes before the image classes, it and the head are left out.
    """
    state = vit.from_google(state)
    if any(".temporal_attn." in key for key in state):
        return state
    if "pre_logits.fc.weight" in state:
        state = {k: v for k, v in state.items() if not k.startswith(("pre_logits.", "head."))}
    found = dict(state)
    for key, value in state.items():
        match = re.fullmatch(r"(blocks\.\d+\.)(attn|norm1)(\..+)", key)
        if not match:
            continue
        block, part, leaf = match.groups()
        found[f"{block}temporal_{part}{leaf}"] = value
        if leaf == ".qkv.weight" and f"{block}attn.qkv.bias" not in state:
            for name in ("attn", "temporal_attn"):
                found[f"{block}{name}.qkv.bias"] = np.zeros(value.shape[0], value.dtype)
    return found


def infer(state: StateDict) -> dict[str, Any]:
    """Classes, depth, frames and grid of the embeddings; an image file says no frames."""
    state = from_image(state)
    position = state["pos_embed"]
    side = round((position.shape[1] - 1) ** 0.5)
    frames = int(state["time_embed"].shape[1]) if "time_embed" in state else None
    width = int(position.shape[-1])
    return {
        "num_classes": int(state["head.weight"].shape[0]) if "head.weight" in state else None,
        "depth": sum(key.endswith(".norm2.weight") for key in state),
        "width": width,
        "heads": width // vit.HEAD_WIDTH,
        "patch": int(state["patch_embed.proj.weight"].shape[-1]),
        "frames": frames,
        "grid": (side, side),
    }


ARCHS = {
    "timesformer_b": Arch(
        paper="Bertasius et al. 2021, arXiv 2102.05095",
        model={"name": "timesformer"},
        names=NameMap(RULES, strip=(r"module\.", r"model\."), prepare=from_image),
        infer=infer,
        preprocess=Preprocess(**HALF, size=224, short_side=224, frames=8, stride=32),
        input=(8, 224, 224),
        files=(
            "TimeSformer_divST_8x32_224_K400.pyth",
            "TimeSformer_divST_16x16_448_K400.pyth",
            "TimeSformer_divST_96x4_224_K400.pyth",
        ),
        licence="CC-BY-NC-4.0 (facebookresearch/TimeSformer)",
    ),
}
