"""MViT: names of torchvision, PySlowFast and pytorchvideo."""

from __future__ import annotations

import re
from typing import Any

from darkjax.weights.arch import HALF, Arch, Preprocess
from darkjax.weights.names import NameMap, StateDict, split_qkv

PLACES = r"(?:cls_positional_encoding\.)?"  # pytorchvideo's module for what PySlowFast has bare
BLOCK = r"blocks\.(\d+)"
NAMES = NameMap(
    (
        (r"conv_proj|patch_embed\.proj|patch_embed\.patch_model", "stem"),
        (rf"pos_encoding\.class_token|{PLACES}cls_token", "cls"),
        (rf"pos_encoding\.class_pos|{PLACES}pos_embed_class", "position_cls"),
        (rf"pos_encoding\.spatial_pos|{PLACES}pos_embed_spatial", "position_space"),
        (rf"pos_encoding\.temporal_pos|{PLACES}pos_embed_temporal", "position_time"),
        (rf"{BLOCK}\.(norm[12])", r"block\1/\2"),
        (rf"{BLOCK}\.attn\.qkv", r"block\1/attention", split_qkv),
        # PySlowFast and pytorchvideo may keep the projections apart.
        (rf"{BLOCK}\.attn\.q", r"block\1/attention/query"),
        (rf"{BLOCK}\.attn\.k", r"block\1/attention/key"),
        (rf"{BLOCK}\.attn\.v", r"block\1/attention/value"),
        (rf"{BLOCK}\.attn\.(?:proj|project\.0)", r"block\1/attention/out"),
        (rf"{BLOCK}\.attn\.pool_([qkv])(?:\.pool)?", r"block\1/attention/pool_\2"),
        (
            rf"{BLOCK}\.attn\.(?:norm_([qkv])|pool_([qkv])\.norm_act\.0)",
            r"block\1/attention/pool_\2\3/norm",
        ),
        # The same arrays once more under pytorchvideo's wrapper.
        (rf"{BLOCK}\.attn\._attention_pool_[qkv]\..*", None),
        (rf"{BLOCK}\.mlp\.(?:fc1|0)", r"block\1/fc1"),
        (rf"{BLOCK}\.mlp\.(?:fc2|3)", r"block\1/fc2"),
        (rf"{BLOCK}\.proj(?:ect)?", r"block\1/shortcut"),
        (r"norm|norm_embed", "norm"),
        (r"head\.(?:1|projection|proj)", "head"),
    ),
    strip=(r"module\.", r"model\."),
)


def infer(state: StateDict) -> dict[str, Any]:
    """Classes, frames (two for each position in time), depth, the blocks that begin a stage.

    Those pool their queries. Kernels without extent in time are of the kind that follows the
    stride (PySlowFast's 32x3).
    """
    found: dict[str, Any] = {"num_classes": None}
    blocks, splits = set(), set()
    for name, value in state.items():
        if re.fullmatch(r"head\.(1|projection|proj)\.weight", name):
            found["num_classes"] = int(value.shape[0])
        elif re.search(r"temporal_pos|pos_embed_temporal", name):
            found["frames"] = 2 * int(value.shape[-2])  # [t, E] or [1, t, E]
        elif re.fullmatch(r"blocks\.0\.attn\.pool_k(\.pool)?\.weight", name):
            kernel = tuple(int(n) for n in value.shape[2:])
            found["pool_kernel"] = None if kernel[0] == 1 else kernel
        elif match := re.match(r"blocks\.(\d+)\.(attn\.pool_q)?", name):
            blocks.add(int(match[1]))
            if match[2]:
                splits.add(int(match[1]))
    if blocks:
        found |= {"depth": max(blocks) + 1, "splits": tuple(sorted(splits))}
    return found


ARCHS = {
    "mvit_b_16x4": Arch(
        paper="Fan et al. 2021, arXiv 2104.11227",
        model={"name": "mvit_b_16x4"},
        names=NAMES,
        infer=infer,
        preprocess=Preprocess(**HALF, size=224, short_side=256, frames=16, stride=4),
        input=(16, 224, 224),
        # k400.pyth is PySlowFast's 32x3 with 24 blocks: `infer` reads that from the file.
        files=("mvit_v1_b-dbeb1030.pth", "MVIT_B_16x4", "MVIT_B_16x4.pyth", "k400.pyth"),
        licence="BSD-3-Clause (torchvision), Apache-2.0 (PySlowFast)",
    ),
}
