"""A small network of every family of the zoo, and variables for it that nothing compiles."""

import jax
import jax.numpy as jnp
import numpy as np

# family -> a small member of it and the clip (T, H, W) it is tried on
TINY = {
    "c3d": ({"name": "c3d", "width": 4, "hidden": 16}, (16, 32, 32)),
    "c3d_bn": ({"name": "c3d_bn", "width": 4, "hidden": 16}, (16, 32, 32)),
    "resnet3d": ({"name": "resnet3d", "variant": "10", "width": 4}, (8, 32, 32)),
    "resnet3d_a": ({"name": "resnet3d", "variant": "10", "shortcut": "A", "width": 4}, (8, 32, 32)),
    "r3d_tv": ({"name": "resnet3d", "variant": "10", "stem": "tv", "width": 4}, (8, 16, 16)),
    "resnext": ({"name": "resnet3d", "variant": "resnext50", "width": 16}, (8, 32, 32)),
    "r2plus1d": ({"name": "r2plus1d", "variant": "10", "width": 4, "stem_mid": 4}, (8, 16, 16)),
    "i3d": ({"name": "i3d", "width": 0.125}, (16, 32, 32)),
    "s3d": ({"name": "s3d", "width": 0.125}, (16, 32, 32)),
    "p3d": ({"name": "p3d", "variant": "17", "width": 4}, (16, 64, 64)),
    "mobilenet_v1": ({"name": "mobilenet3d_v1", "width": 0.25}, (16, 32, 32)),
    "mobilenet_v2": ({"name": "mobilenet3d_v2", "width": 0.25}, (16, 32, 32)),
    "shufflenet_v1": ({"name": "shufflenet3d_v1", "width": 0.25}, (16, 32, 32)),
    "shufflenet_v2": ({"name": "shufflenet3d_v2", "width": 0.25}, (16, 32, 32)),
    "squeezenet": ({"name": "squeezenet3d"}, (16, 32, 32)),
    "slowfast": (
        {"name": "slowfast", "width": 8, "zero_init": False, "variant": "10"},
        (16, 32, 32),
    ),
    "tsn": ({"name": "resnet_frames", "variant": "14", "width": 4}, (4, 32, 32)),
    "tsm": (
        {"name": "resnet_frames", "temporal": "shift", "variant": "14", "width": 4},
        (4, 32, 32),
    ),
    "tin": (
        {
            "name": "resnet_frames",
            "temporal": "interlace",
            "shift_div": 4,
            "variant": "14",
            "width": 16,
        },
        (4, 32, 32),
    ),
    "vit": ({"name": "vit", "depth": 2, "width": 24, "heads": 2}, (2, 32, 32)),
    "timesformer": ({"name": "timesformer", "depth": 2, "width": 24, "heads": 2}, (2, 32, 32)),
    "swin3d": ({"name": "swin3d", "variant": (8, (1, 2)), "head_dim": 4}, (4, 32, 32)),
    "mvit": ({"name": "mvit", "depth": 3, "splits": (1, 2), "width": 8}, (4, 32, 32)),
    "darklight": (
        {
            "name": "views_bert",
            "views": 2,
            "mask_prob": 1.0,
            "backbone": {"variant": "10", "width": 4, "stem_mid": 4},
            "heads": 2,
        },
        (16, 16, 16),
    ),
}


def filled(shapes):
    """Plausible random variables; compiling `init` takes longer than the rest of a test."""
    rng = np.random.default_rng(2)

    def leaf(path, like):
        name = path[-1].key
        if name in ("scale", "var"):
            value = rng.uniform(0.5, 1.5, like.shape)
        elif len(like.shape) > 1:
            value = rng.standard_normal(like.shape) / np.sqrt(np.prod(like.shape[:-1]) / 2)
        else:
            value = 0.1 * rng.standard_normal(like.shape)
        return jnp.asarray(value, like.dtype)

    return jax.tree_util.tree_map_with_path(leaf, dict(shapes))
