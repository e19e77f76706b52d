"""LIFT-Net on HMDB51: optical flow in the teacher and in the luminous pathway.

    python -m darkjax.main --config=configs/lift_hmdb51.py:demo
    python -m darkjax.data.convert --dataset=hmdb51 --raw=HMDB51 --out=records/hmdb51 \
        --short_side=256
    python -m darkjax.data.flow --records=records/hmdb51 --out=records/hmdb51_flow
    python -m darkjax.main --config=configs/lift_hmdb51.py:pretrained \
        --config.data.dir=records/hmdb51_flow --config.data.channels=6

Paper: top-1 89.92 % on HMDB51 (Table III; it does not say of which split), N = 8, batch 32, 30
frames of 224x224, AdamW 1e-4, cosine, two RTX A6000, from published weights (IG-65M,
ImageNet-21k). Which flow it took is not said: here Brox et al. (`flow_method`), clipped at 15
pixels (`flow_bound`).

With records/hmdb51 itself (and 3 channels) the flow is computed in every step. `data.protocol`
"1" (the default) to "3" is the official split.

Words after a colon are those of configs/lift_arid.py, but for `arid6` and `flow`; `demo` is tiny
networks without published weights on rendered day clips of six actions, for two CPU cores.
"""

from __future__ import annotations

import functools

import ml_collections

from configs import lift

DATA: lift.Data = {"demo": functools.partial(lift.demo, domain="day")}
WORDS = lift.words(DATA, flow=False)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    return lift.config(arg, DATA, classes=51, luminous="flow")
