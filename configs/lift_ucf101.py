"""LIFT-Net on UCF101: optical flow in the teacher and in the luminous pathway.

    python -m darkjax.main --config=configs/lift_ucf101.py:demo
    python -m darkjax.data.convert --dataset=ucf101 --raw=UCF101 --out=records/ucf101 \
        --short_side=256
    python -m darkjax.data.flow --records=records/ucf101 --out=records/ucf101_flow
    python -m darkjax.main --config=configs/lift_ucf101.py:pretrained \
        --config.data.dir=records/ucf101_flow --config.data.channels=6

Paper: top-1 98.89 % on UCF101 (abstract and Table IV; the text says 98.71 %; it does not say of
which split), N = 8, batch 32, 30 frames of 224x224, AdamW 1e-4, cosine, two RTX A6000, from
published weights (IG-65M, ImageNet-21k). Which flow it took is not said: here Brox et al.
(`flow_method`), clipped at 15 pixels (`flow_bound`).

With records/ucf101 itself (and 3 channels) the flow is computed in every step. `data.protocol`
"1" (the default) to "3" is the official split.

Words: those of configs/lift_arid.py without `arid6` and `flow`. `demo`: rendered day clips of six
actions (not those of lift_hmdb51.py:demo) and tiny networks, for two CPU cores.
"""

from __future__ import annotations

import functools

import ml_collections

from configs import lift

ACTIONS = ("Jump", "Pick", "Push", "Run", "Walk", "Wave")
DATA: lift.Data = {"demo": functools.partial(lift.demo, domain="day", classes=ACTIONS)}
WORDS = lift.words(DATA, flow=False)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    return lift.config(arg, DATA, classes=101, luminous="flow")
