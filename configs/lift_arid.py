"""LIFT-Net on ARID: teacher R(2+1)D-34 on gamma-corrected clips, then the two-stream student.

    python -m darkjax.data.convert --dataset=folder --raw=ARID --out=records/arid --short_side=256
    python -m darkjax.weights.convert --arch=vit_b16 --checkpoint=ViT-B_16.npz --out=weights/vit_b16
    python -m darkjax.weights.convert --arch=r2plus1d34 \
        --checkpoint=r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth --out=weights/r2plus1d34
    python -m darkjax.main --config=configs/lift_arid.py:pretrained --config.data.dir=records/arid

Paper: top-1 95.21 % on ARID v1.0 (N = 8; Table II), batch 32, 30 frames of 224x224, AdamW 1e-4,
cosine, two RTX A6000, from published weights (IG-65M, ImageNet-21k). It freezes four of the five
ViT blocks, so without `pretrained` there is nothing to freeze and the run says so before it
trains; `unfrozen` trains everything from nothing, and no such number is to be expected.

Arguments after a colon, joined by commas, in any order; of each line one:
  demo, arid6                tiny networks without published weights, minutes on 2 CPU cores: on
                             rendered dark clips (README), or on real ones (the 150 clips of a
                             course subset; with data.num_classes=0 any records), a fold left out
  small, medium, large       N = 4, 6, 8 (Table VI, "Changing hyper-parameter N")
  r3d                        R3D-34 instead of R(2+1)D-34 (Table VI)
  no_kd                      the student alone, no teacher (Table VI)
  freeze_all, unfrozen       ViT blocks all frozen, all trained (Table VI)
  pretrained                 start from weights/vit_b16 and weights/r2plus1d34 (r3d: weights/r3d34)
  flow                       optical flow instead of gamma correction, in the teacher and in the
                             luminous pathway (Table VI: 87.22 %): of records that have it
                             (data.channels=6), else computed in every step (docs/flow.md)
"""

from __future__ import annotations

import ml_collections

from configs import lift


def arid6(c: ml_collections.ConfigDict) -> None:
    """150 real dark clips; `data.fold` 1 to 5 leaves that fold's sessions out."""
    lift.tiny(c)
    c.data.split, c.data.eval_split, c.data.fold = "fold", "validate", 1
    c.data.frames, c.data.stride, c.data.size = 8, 4, (70, 70)
    c.data.scale = (0.6, 1.0)
    c.data.views_crops = 3
    for s, epochs in ((c.teacher, 30), (c.student, 15)):
        s.epochs, s.batch_size, s.eval_every = epochs, 16, 0
        s.optim.warmup_steps = 20


DATA: lift.Data = {"demo": lift.demo, "arid6": arid6}
WORDS = lift.words(DATA)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    return lift.config(arg, DATA, classes=11)
