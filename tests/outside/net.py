"""A network that compiles at once, for the methods beside it: `model.name="outside.net:Net"`."""

import flax.linen as nn
import jax.numpy as jnp


class Net(nn.Module):
    """Clips `[B, T, H, W, C]` to (logits `[B, K]`, or features without classes; out)."""

    num_classes: int | None
    width: int = 16

    @nn.compact
    def __call__(self, video, *, train):
        del train
        b, t, h, w, c = video.shape
        video = (video - video.mean((1, 2, 3, 4), keepdims=True)) * 8  # dark clips, made even
        cells = video.reshape(b, t, 4, h // 4, 4, w // 4, c).mean((3, 5)).reshape(b, t, -1)
        x = nn.relu(nn.Dense(self.width)(cells))
        steps = jnp.concatenate([x.mean(1), jnp.abs(x[:, 1:] - x[:, :-1]).mean(1)], -1)
        features = nn.relu(nn.Dense(self.width)(steps))
        out = {"pre_logits": features}
        if self.num_classes is None:
            return features, out
        return nn.Dense(self.num_classes, name="head")(features), out
