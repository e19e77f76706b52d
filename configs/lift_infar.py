"""LIFT-Net on InfAR, infrared clips: optical flow in the teacher and the luminous pathway.

    python -m darkjax.main --config=configs/lift_infar.py:demo
    python -m darkjax.data.convert --dataset=infar --raw=INFAR --out=records/infar --short_side=256
    python -m darkjax.data.flow --records=records/infar --out=records/infar_flow
    python -m darkjax.main --config=configs/lift_infar.py:pretrained \
        --config.data.dir=records/infar_flow --config.data.channels=6

Paper: top-1 93.87 % on InfAR (Table V), N = 8, batch 32, 30 frames of 224x224, AdamW 1e-4,
cosine, two RTX A6000, from published weights (IG-65M, ImageNet-21k). Which flow it took and which
clips it trained on is not said: here Brox et al. (`flow_method`), clipped at 15 pixels
(`flow_bound`).

With records/infar itself (and 3 channels) the flow is computed in every step. `data.protocol` "1"
(the default) to "5" is one of five random divisions of the clips.

Words, as in configs/lift_arid.py: all but `arid6` and `flow`. The networks of `demo` are tiny, its
clips rendered as a thermal camera sees them, of InfAR's twelve actions; for two CPU cores.
"""

from __future__ import annotations

import functools

import ml_collections

from configs import lift
from darkjax.data.class_names import INFAR12

DATA: lift.Data = {
    "demo": functools.partial(
        lift.demo,
        domain="thermal",
        classes=INFAR12,
        clips_per_class={"train": 60, "test": 20},
    )
}
WORDS = lift.words(DATA, flow=False)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    return lift.config(arg, DATA, classes=12, luminous="flow")
