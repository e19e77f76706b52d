"""The table of networks: what `models.build`, the zoo of weights and the enhancers know by name.

name -> (file of `darkjax.models`, class, fields that the name stands for and that no config
contradicts). Nothing is imported for it: files are when a network is asked for.
"""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, dict[str, Any]]
VIT_B16 = {"depth": 12, "width": 768, "heads": 12, "patch": 16}

# A class whose fields are all free.
FAMILIES: dict[str, Row] = {
    "resnet3d": ("resnet3d", "ResNet3D", {}),
    "r2plus1d": ("r2plus1d", "R2Plus1D", {}),
    "vit": ("vit", "ViT", {}),
    "lift_net": ("lift_net", "LiftNet", {}),
    "resnet_frames": ("resnet_frames", "ResNetFrames", {}),
    "timesformer": ("timesformer", "TimeSformer", {}),
    "views_bert": ("views_bert", "ViewsBert", {}),
    "r2plus1d_bert": ("views_bert", "ViewsBert", {"backbone_net": "r2plus1d"}),
    "swin3d": ("swin3d", "Swin3D", {}),
    "mvit": ("mvit", "MViT", {}),
    "p3d": ("p3d", "P3D", {}),
    "slowfast": ("slowfast", "SlowFast", {}),
}
# Published classifiers; their weights' names are in the file of `darkjax.weights.families` that is
# called like the network's.
CLASSIFIERS: dict[str, Row] = {
    "c3d": ("c3d", "C3D", {}),
    "c3d_bn": ("c3d", "C3D", {"variant": "bn"}),
    "r3d18": ("resnet3d", "ResNet3D", {"variant": "18"}),
    "r3d34": ("resnet3d", "ResNet3D", {"variant": "34"}),
    "r3d50": ("resnet3d", "ResNet3D", {"variant": "50"}),
    "r3d101": ("resnet3d", "ResNet3D", {"variant": "101"}),
    "r3d18_a": ("resnet3d", "ResNet3D", {"variant": "18", "shortcut": "A"}),
    "r3d34_a": ("resnet3d", "ResNet3D", {"variant": "34", "shortcut": "A"}),
    "r3d18_tv": ("resnet3d", "ResNet3D", {"variant": "18", "stem": "tv"}),
    "resnext101": ("resnet3d", "ResNet3D", {"variant": "resnext101"}),
    "r2plus1d18": (
        "r2plus1d",
        "R2Plus1D",
        {"variant": "18", "caffe2_mid": False, "bn_eps": 1e-5, "bn_momentum": 0.1},
    ),
    "r2plus1d34": ("r2plus1d", "R2Plus1D", {"variant": "34"}),
    "i3d": ("i3d", "I3D", {}),
    "s3d": ("s3d", "S3D", {}),
    "p3d199": ("p3d", "P3D", {"variant": "199"}),
    "mobilenet3d_v1": ("mobilenet3d", "MobileNetV1", {}),
    "mobilenet3d_v2": ("mobilenet3d", "MobileNetV2", {}),
    "shufflenet3d_v1": ("shufflenet3d", "ShuffleNetV1", {"groups": 3}),
    "shufflenet3d_v2": ("shufflenet3d", "ShuffleNetV2", {}),
    "squeezenet3d": ("squeezenet3d", "SqueezeNet", {}),
    "slowfast_r50_4x16": (
        "slowfast",
        "SlowFast",
        {"variant": "50", "alpha": 8, "fusion_kernel": 5},
    ),
    "slowfast_r50_8x8": ("slowfast", "SlowFast", {"variant": "50", "alpha": 4, "fusion_kernel": 7}),
    "tsn_resnet50": ("resnet_frames", "ResNetFrames", {"variant": "50"}),
    "tsm_resnet50": (
        "resnet_frames",
        "ResNetFrames",
        {"variant": "50", "temporal": "shift", "shift_div": 8},
    ),
    "tin_resnet50": (
        "resnet_frames",
        "ResNetFrames",
        {"variant": "50", "temporal": "interlace", "shift_div": 4},
    ),
    "vit_b16": ("vit", "ViT", VIT_B16),
    "vit_b16_miil": ("vit", "ViT", {**VIT_B16, "qkv_bias": False}),
    "timesformer_b": ("timesformer", "TimeSformer", VIT_B16),
    "swin3d_t": ("swin3d", "Swin3D", {"variant": "t"}),
    "swin3d_s": ("swin3d", "Swin3D", {"variant": "s"}),
    "swin3d_b": ("swin3d", "Swin3D", {"variant": "b"}),
    "mvit_b_16x4": ("mvit", "MViT", {"depth": 16, "splits": (1, 3, 14), "width": 96}),
    "darklight_r2plus1d34": (
        "views_bert",
        "ViewsBert",
        {"views": 2, "mask_prob": 1.0, "backbone_net": "r2plus1d34"},
    ),
    "r2plus1d34_bert": (
        "views_bert",
        "ViewsBert",
        {"views": 1, "mask_prob": 0.8, "backbone_net": "r2plus1d34"},
    ),
}
# From frames to frames, without classes; their weights are in `darkjax.weights.families.enhancers`.
ENHANCERS: dict[str, Row] = {
    "zero_dce": ("dce", "ZeroDCE", {}),
    "zero_dce_light": ("dce", "ZeroDCELight", {}),
    "sci": ("sci", "SCI", {}),
    "kind": ("kind", "KinD", {}),
    "kind_decomposition": ("kind", "KinDDecomposition", {}),
    "kind_adjustment": ("kind", "KinDAdjustment", {}),
    "kind_restoration": ("kind", "KinDRestoration", {}),
    "stable_llve": ("unet", "UNet", {}),
}
ARCHITECTURES = FAMILIES | CLASSIFIERS | ENHANCERS
