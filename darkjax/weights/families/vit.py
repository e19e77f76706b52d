"""ViT-B/16: names of timm, of MIIL's ImageNet-21k release and of Google's npz files.

MIIL's release has timm's names without query/key/value biases and wants frames in [0, 1]
(mean 0, std 1); Google's wants [-1, 1]. Google's files are turned into timm's names and layouts
first, so that one set of rules serves all.

Deviations: the papers resize position embeddings "by 2-D interpolation"; `resize_position` is
bicubic with antialiasing, as timm's. Google's weights get the tanh GELU they were trained
with; the same weights republished by timm get the exact one, as timm runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax.weights.arch import Arch, Preprocess
from darkjax.weights.names import NameMap, StateDict, split_qkv

HEAD_WIDTH = 64  # of every published ViT
BLOCK = r"blocks\.(\d+)\."
RULES = (
    (r"cls_token", "cls"),
    (r"pos_embed", "position"),
    (r"patch_embed\.proj", "embedding"),
    (BLOCK + r"attn\.qkv", r"block\1/attention", split_qkv),
    (BLOCK + r"attn\.proj", r"block\1/attention/out"),
    (BLOCK + r"(norm\d)", r"block\1/\2"),
    (BLOCK + r"mlp\.(fc\d)", r"block\1/mlp/\2"),
    (r"norm", "norm"),
    (r"pre_logits\.fc", "representation"),
    (r"head", "head"),
)
GOOGLE = {  # below Transformer/encoderblock_{i}
    "LayerNorm_0": "norm1",
    "LayerNorm_2": "norm2",
    "MlpBlock_3/Dense_0": "mlp.fc1",
    "MlpBlock_3/Dense_1": "mlp.fc2",
    "MultiHeadDotProductAttention_1/out": "attn.proj",
}
GOOGLE_TOP = {
    "embedding": "patch_embed.proj",
    "Transformer/encoder_norm": "norm",
    "pre_logits": "pre_logits.fc",
    "head": "head",
}


def from_google(state: StateDict) -> StateDict:
    """A Google npz under timm's names; any other state dict comes back as it is.

    Kernels are `[*k, I, O]` there, those of attention `[E, heads, d]` (`out`: `[heads, d, E]`).
    """
    if "Transformer/posembed_input/pos_embedding" not in state:
        return state
    found = {
        "cls_token": state["cls"],
        "pos_embed": state["Transformer/posembed_input/pos_embedding"],
    }
    width = state["cls"].shape[-1]

    def put(theirs: str, ours: str) -> None:
        """One layer: a norm's `scale` or a `kernel` becomes `weight`."""
        if f"{theirs}/scale" in state:
            found[f"{ours}.weight"] = state[f"{theirs}/scale"]
        else:
            kernel = state[f"{theirs}/kernel"]
            if kernel.ndim == 3:
                kernel = kernel.reshape(width, width)
            found[f"{ours}.weight"] = np.moveaxis(kernel, (-1, -2), (0, 1))
        found[f"{ours}.bias"] = state[f"{theirs}/bias"].reshape(-1)

    for theirs, ours in GOOGLE_TOP.items():
        if f"{theirs}/bias" in state:
            put(theirs, ours)
    for i in range(_depth(state, "Transformer/encoderblock_{}/LayerNorm_0/scale")):
        block = f"Transformer/encoderblock_{i}"
        for theirs, ours in GOOGLE.items():
            put(f"{block}/{theirs}", f"blocks.{i}.{ours}")
        parts = []
        for part in ("query", "key", "value"):
            put(f"{block}/MultiHeadDotProductAttention_1/{part}", part)
            parts.append((found.pop(f"{part}.weight"), found.pop(f"{part}.bias")))
        weights, biases = zip(*parts, strict=True)
        found[f"blocks.{i}.attn.qkv.weight"] = np.concatenate(weights)
        found[f"blocks.{i}.attn.qkv.bias"] = np.concatenate(biases)
    return found


def _depth(state: Mapping[str, Any], key: str) -> int:
    """How many blocks there are."""
    depth = 0
    while key.format(depth) in state:
        depth += 1
    return depth


def infer(state: StateDict) -> dict[str, Any]:
    """Depth, biases, final norm, hidden layer and classes as the file has them."""
    google = "Transformer/posembed_input/pos_embedding" in state
    state = from_google(state)
    width = state["cls_token"].shape[-1]
    hidden = state.get("pre_logits.fc.weight")
    return {
        "num_classes": int(state["head.weight"].shape[0]) if "head.weight" in state else None,
        "depth": _depth(state, "blocks.{}.norm1.weight"),
        "width": int(width),
        "heads": int(width) // HEAD_WIDTH,
        "patch": int(state["patch_embed.proj.weight"].shape[-1]),
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "final_norm": "norm.weight" in state,
        "representation": None if hidden is None else int(hidden.shape[0]),
        "gelu": "tanh" if google else "erf",
    }


def resize_position(position: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Position embeddings of a square grid for another grid of patches.

    Args:
      position: `[1, 1 + P, E]`, the class token's first.
      grid: patches along height and width.

    Returns:
      `[1, 1 + h w, E]`, the class token's unchanged.
    """
    side = round((position.shape[1] - 1) ** 0.5)
    if side * side != position.shape[1] - 1:
        raise ValueError(f"position embeddings {position.shape} are not of a square grid")
    if (side, side) == tuple(grid):
        return position
    width = position.shape[-1]
    cells = jnp.asarray(position[0, 1:].reshape(side, side, width), jnp.float32)
    cells = jax.image.resize(cells, (*grid, width), "cubic", antialias=True)
    return np.concatenate([position[:, :1], np.asarray(cells).reshape(1, -1, width)], axis=1)


def _resized(
    path: str, value: np.ndarray, clip: tuple[int, int, int], config: Mapping[str, Any]
) -> np.ndarray:
    """The position embeddings for frames of another size."""
    if path != "position":
        return value
    return resize_position(value, (clip[1] // config["patch"], clip[2] // config["patch"]))


def _arch(mean: float, std: float, files: tuple[str, ...], licence: str) -> Arch:
    return Arch(
        paper="Dosovitskiy et al. 2021, arXiv 2010.11929",
        model={"name": "vit"},
        names=NameMap(RULES, prepare=from_google),
        infer=infer,
        preprocess=Preprocess((mean,) * 3, (std,) * 3, size=224, short_side=256, frames=1),
        input=(1, 224, 224),
        files=files,
        licence=licence,
        resize=_resized,
    )


ARCHS = {
    "vit_b16": _arch(0.5, 0.5, ("ViT-B_16.npz",), "Apache-2.0 (Google)"),
    # the same network on other pixels; Ridnik et al. 2021, arXiv 2104.10972
    "vit_b16_miil": _arch(
        0.0, 1.0, ("vit_base_patch16_224_in21k_miil-887286df.pth",), "MIT (Alibaba MIIL)"
    ),
}
