"""One to three views of a clip through one 3-D network, and BERT over what it saw of them.

R(2+1)D-BERT [Kalfaoglu et al. 2020, arXiv 2008.01232], one view: the mean of the last map over
space gives a token per remaining frame (8 of 64); one transformer block over them and a class
token, whose output is classified. 66,655,122 parameters with 11 classes at 64 frames.

DarkLight [Chen et al. 2021, "DarkLight Networks for Action Recognition in the Dark"], two views:
the dark clip and its gamma-corrected version go through one network; 16 tokens, then the same.
66,659,218 parameters with 11 classes; with ResNeXt-101, whose tokens are 2048 wide, 97.92 million.

MD-BERT and the teacher of ActLumos [Dass et al. 2025, arXiv 2502.03724], three and two views:
`fusion` makes one map of the last ones (`stream_fusion`), and its tokens go through BERT.

Deviations: those of `bert` and `stream_fusion`. The release pools 7x7, the map of 112x112 frames;
here any map is averaged whole. The paper's R(2+1)D-BERT and the release return the L2-normalised
tokens as well: divide `out["tokens"]` and `out["attended"]` by their norms. Without attention the
release forgets what it saw of the gamma-corrected view and drops nothing out; here the tokens of
all views are averaged, and the classifier is the same, its dropout too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from darkjax import models
from darkjax.errors import UserError
from darkjax.models import layers
from darkjax.models.bert import Bert
from darkjax.models.r2plus1d import R2Plus1D
from darkjax.models.resnet3d import ResNet3D
from darkjax.models.stream_fusion import StreamFusion

BACKBONES = (R2Plus1D, ResNet3D)
VIEWS = {1: ("backbone",), 2: ("dark", "bright"), 3: ("dark", "bright", "third")}
TOKENS = "tokens"  # the fusion that is none: the tokens of all views, one view after another


class ViewsBert(nn.Module):
    """A network shared by the views of a clip, BERT over its tokens, a classifier.

    Args of `__call__`: `video` and the other views `[B, T, H, W, C]` float, normalised, `views` of
    them; `video` alone stands for all of them. `backbone_net` is `r2plus1d`, `resnet3d` or the name
    of a size of them, `backbone` holds its fields. `fusion`: "tokens" (DarkLight), or "softmax" and
    "sigmoid" of `stream_fusion`. Without `attention` the mean of the tokens is classified.

    `out`: the backbone's under `backbone/...` (two views: `dark/...`, `bright/...`, then
    `third/...`), `tokens` (`[B, L, E]`, the first view's first), `fusion/weights`
    (`[B, S, T', H', W']`, where maps are fused), `attended` (`[B, L, E]`, after BERT),
    `bert{i}/attention` (`[B, heads, 1+L, 1+L]`), `pre_logits` (`[B, E]`, the class token's). With
    `num_classes=None` the first result is `pre_logits`.
    """

    num_classes: int | None
    views: int = 1
    backbone_net: str = "r2plus1d"
    backbone: Mapping[str, Any] | None = None
    fusion: str = TOKENS
    fusion_reduction: int = 4
    fusion_kernel: int = 1
    attention: bool = True
    depth: int = 1
    heads: int = 8
    bert_dropout: float = 0.1
    mask_prob: float = 0.8
    dropout: float = 0.8
    bn_group: int = 0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, video: layers.Video, *others: layers.Video, train: bool) -> layers.Answer:
        if self.views not in VIEWS or len(others) not in (0, self.views - 1):
            raise UserError(
                f"the model's views={self.views} takes {self.views} clip(s), found "
                f"{1 + len(others)}; 1 is R(2+1)D-BERT, 2 DarkLight's dark and bright clip, 3 "
                "MD-BERT"
            )
        net = self._backbone()
        out: dict[str, Array] = {}
        maps = []
        # One after the other, as the original: each view has its own batch statistics.
        clips = (video, *others) if others else (video,) * self.views
        for name, clip in zip(VIEWS[self.views], clips, strict=True):
            _, found = net(clip, train=train)
            out |= {f"{name}/{k}": v for k, v in found.items()}
            maps.append(found["features"])
        x = out[TOKENS] = self._tokens(maps, out, train)
        if self.attention:
            bert = Bert(
                self.depth,
                self.heads,
                dropout=self.bert_dropout,
                mask_prob=self.mask_prob,
                dtype=self.dtype,
                name="bert",
            )
            x, attention = bert(x, train=train)
            out |= {f"bert{i}/attention": weights for i, weights in enumerate(attention)}
            out["attended"] = x[:, 1:]
            x = x[:, 0].astype(jnp.float32)
        else:
            x = x.mean(1)
        out["pre_logits"] = x
        if self.num_classes is None:
            return x, out
        active = train and self.has_rng("dropout")
        x = nn.Dropout(self.dropout, deterministic=not active)(x)
        init = nn.initializers.xavier_uniform()
        return nn.Dense(self.num_classes, kernel_init=init, name="head")(x), out

    def _backbone(self) -> nn.Module:
        """The network that all views go through."""
        cls, fields = models.resolve(
            self.backbone_net, dict(self.backbone or {}), "model.backbone", "model.backbone_net"
        )
        if cls not in BACKBONES:
            raise UserError(
                f"model.backbone_net={self.backbone_net!r}: expected one of r2plus1d, resnet3d and "
                "the names of their sizes, such as resnext101"
            )
        options = {"bn_group": self.bn_group, "remat": self.remat, "dtype": self.dtype}
        return cls(None, **fields, **options, name="backbone")

    def _tokens(
        self, maps: list[Float[Array, "B t h w E"]], out: dict[str, Array], train: bool
    ) -> Float[Array, "B L E"]:
        """The maps' means over space, of all of them or of the one that they are fused to."""
        if self.fusion != TOKENS:
            fuse = StreamFusion(
                self.fusion,
                self.fusion_reduction,
                self.fusion_kernel,
                self.bn_group,
                dtype=self.dtype,
                name="fusion",
            )
            fused, found = fuse(jnp.stack(maps, axis=1), train=train)
            out |= {f"fusion/{k}": v for k, v in found.items()}
            maps = [fused]
        return jnp.concatenate([m.astype(jnp.float32).mean((2, 3)) for m in maps], axis=1)
