"""The infrared two-stream network on InFAR: IR net, then flow net, each C3D with a code layer.

    python -m darkjax.data.convert --dataset=infar --raw=InfAR --out=records/infar --short_side=128
    python -m darkjax.data.flow --records=records/infar --out=records/infar_flow
    python -m darkjax.weights.convert --arch=c3d --checkpoint=c3d.pickle --skip="head/.*" \
        --out=weights/c3d
    python -m darkjax.main --config=configs/ir_dcl_infar.py:pretrained \
        --config.data.dir=records/infar_flow --config.data.protocol=1

Paper, "AP" in % (docs/ir_dcl.md says what that is: `mean-class`), the mean of five divisions, from
Sports-1M weights: IR net 52.91 by softmax, 54.58 by k-NN on codes, 48.75 without the code layer;
flow net 72.91, 75.42, 69.58 (Table 2). 10,000 steps of 30 clips of 16 frames, SGD 1e-4. Without
those weights no such number is to be expected. `data.protocol` 1 to 5 are the five divisions, 30
clips of each class to train on and 20 to judge.

Arguments after a colon, joined by commas, in any order; of each line one:
  demo          rendered thermal clips of the 12 classes, 50 of each, small networks: 13 minutes
                of CPU time, 8 of them their optical flow, which is computed once (docs/ir_dcl.md);
                the five divisions are --config.data.random_seed=0 to 4
  by_group      judged on groups that were not trained on, fold 1 to 5 (`data.fold`)
  no_dcl        "without DCL" (Table 2): no code layer, so no k-NN
  pretrained    start from weights/c3d
  fusion        a third stage that fuses both nets in four ways (Table 3), late fusion 2 first
"""

from __future__ import annotations

import ml_collections

from configs import common
from darkjax.data.class_names import INFAR12

# In the order in which they apply.
WORDS = {
    "data": ("demo",),
    "division": ("by_group",),
    "loss": ("no_dcl",),
    "weights": ("pretrained",),
    "third stage": ("fusion",),
}
REFUSED = (
    (
        ("demo", "pretrained"),
        "the networks of demo are smaller than the published one: leave out demo or pretrained",
    ),
    (
        ("no_dcl", "fusion"),
        "codes are fused, and the nets without a code layer have none: python -m "
        "darkjax.tools.fuse takes the mean of their probabilities",
    ),
)
BOUND = 6.0  # pixels of 64x80 frames


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS, REFUSED)
    c = common.base()
    c.stages = ("ir", "flow")
    c.ir, c.flow = net("dark"), net("flow")
    c.data.num_classes, c.data.channels = 12, 6
    c.data.frames, c.data.size, c.data.crop = 16, (112, 112), "random"
    c.data.views_clips = 0
    for word in words:
        if word == "pretrained":
            for name in c.stages:  # the levels are typed: the weights expect BGR, grey has no order
                c[name].init_from = c[name].published
        else:
            {"demo": demo, "by_group": by_group, "no_dcl": no_dcl, "fusion": fusion}[word](c)
    c.lock()
    return c


def net(view: str) -> ml_collections.ConfigDict:
    """One stream (Section 3.1): its clips as they are ("dark") or their flow images ("flow")."""
    s = common.stage("ir_dcl", epochs=1, batch_size=30, lr=1e-4)
    s.steps, s.save_every, s.eval_every, s.keep_best = 10_000, 500, 0, ""
    s.model = ml_collections.ConfigDict({"name": "c3d"})
    s.neurons, s.code_bias, s.dropout = 4096, True, 0.5
    s.alpha = 0.02
    s.leftovers = "brightness"
    s.answer, s.knn_k, s.knn_gamma = "knn", 5, 0.05
    common.luminous(s, view)
    s.flow_enhance = ""
    # What C3D's weights subtract of colours, and the flow image's zero; both from 0 to 255.
    levels = (102.0, 98.0, 90.0) if view == "dark" else (128.0, 128.0, 0.0)
    s.mean, s.std = tuple(v / 255 for v in levels), (1 / 255,) * 3
    s.optim.name, s.optim.schedule, s.optim.weight_decay = "sgd", "constant", 5e-4
    s.augment = common.light_augment()
    s.published = (("weights/c3d", r"(?!head/)(.*)", r"backbone/\1"),)
    return s


def no_dcl(c: ml_collections.ConfigDict) -> None:
    """The networks "without DCL"."""
    for name in c.stages:
        c[name].alpha, c[name].answer = 0.0, "softmax"


def fusion(c: ml_collections.ConfigDict) -> None:
    """Networks on the codes of both nets, which are frozen, and the two late fusions.

    The paper says 2 : 1 and 50 filters; how its networks are trained it does not say.
    """
    s = c.fusion = common.stage("fusion", epochs=10, batch_size=c.ir.batch_size, lr=1e-3)
    s.eval_every, s.keep_best = 0, ""
    s.streams = ml_collections.ConfigDict(
        {name: c[name].copy_and_resolve_references() for name in c.stages}
    )
    s.init_from = tuple((name, r"(.*)", rf"{name}/\1") for name in c.stages)
    s.weights = ml_collections.ConfigDict({"ir": 1.0, "flow": 2.0})
    s.filters, s.activation = 50, "relu"
    s.answer, s.knn_k, s.knn_gamma = "late2", c.ir.knn_k, c.ir.knn_gamma
    c.stages = (*c.stages, "fusion")


def by_group(c: ml_collections.ConfigDict) -> None:
    """No group (a recording; InFAR tells none, so each clip is one) on both sides."""
    c.data.split = "fold"


def demo(c: ml_collections.ConfigDict) -> None:
    """Rendered thermal clips, divided by chance as the paper does: 30 and 20 of each class."""
    c.data.synthetic = common.synthetic(
        classes=INFAR12,
        clips_per_class={"train": 50},
        groups={"train": 25},
        frames=24,
        height=64,
        width=80,
        fps=12,
        domain="thermal",
        seed=0,
        # TV-L1's errors are below Brox's on rendered thermal clips: docs/flow.md
        flow={"method": "tvl1", "bound": BOUND, "enhance": ""},
    )
    c.data.split, c.data.random_share, c.data.allow_leaky_split = "random", 0.4, True
    c.data.frames, c.data.stride, c.data.size = 6, 2, (56, 64)
    for name in c.stages:
        s = c[name]
        s.model = ml_collections.ConfigDict(
            {"name": "c3d_bn", "width": 8, "hidden": 256, "dropout": 0.2}
        )
        s.dropout = 0.2  # with the paper's, so few steps never answer two of the classes
        s.published = ()
        s.neurons = 12 * 64 + 4
        s.steps, s.epochs, s.batch_size, s.save_every = 0, 12, 24, 120
        s.mean, s.std = (), ()  # each clip by its own mean and deviation
        s.optim.name, s.optim.schedule, s.optim.lr, s.optim.warmup_steps = (
            "adamw",
            "cosine",
            3e-3,
            30,
        )
        s.optim.weight_decay, s.optim.clip = 0.05, 5.0
        s.augment.affine.p = 0.5
    c.flow.mean, c.flow.std = (128 / 255, 128 / 255, 0.0), (0.1, 0.1, 0.1)
    c.flow.flow_method, c.flow.flow_bound = "tvl1", BOUND
