"""Flax modules, one family a file; `build` makes one from a config."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from darkjax.errors import UserError
from darkjax.nearest import did_you_mean

VIT_B16 = {"depth": 12, "width": 768, "heads": 12, "patch": 16}
# name -> (module, class, fields that the name stands for and that no config contradicts); imported
# when asked for. The families, then every published architecture by the name that tools and
# configs use.
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "resnet3d": ("resnet3d", "ResNet3D", {}),
    "r2plus1d": ("r2plus1d", "R2Plus1D", {}),
    "vit": ("vit", "ViT", {}),
    "lift_net": ("lift_net", "LiftNet", {}),
    "resnet_frames": ("resnet_frames", "ResNetFrames", {}),
    "timesformer": ("timesformer", "TimeSformer", {}),
    "r2plus1d_bert": ("bert", "R2Plus1DBert", {}),
    "swin3d": ("swin3d", "Swin3D", {}),
    "mvit": ("mvit", "MViT", {}),
    "p3d": ("p3d", "P3D", {}),
    "slowfast": ("slowfast", "SlowFast", {}),
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
    "c3d": ("c3d", "C3D", {}),
    "c3d_bn": ("c3d", "C3D", {"variant": "bn"}),
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
    "darklight_r2plus1d34": ("bert", "R2Plus1DBert", {"views": 2, "mask_prob": 1.0}),
    "r2plus1d34_bert": ("bert", "R2Plus1DBert", {"views": 1, "mask_prob": 0.8}),
    "zero_dce": ("dce", "ZeroDCE", {}),
    "zero_dce_light": ("dce", "ZeroDCELight", {}),
    "sci": ("sci", "SCI", {}),
    "kind": ("kind", "KinD", {}),
    "kind_decomposition": ("kind", "KinDDecomposition", {}),
    "kind_adjustment": ("kind", "KinDAdjustment", {}),
    "kind_restoration": ("kind", "KinDRestoration", {}),
    "stable_llve": ("unet", "UNet", {}),
}


def build(
    config: Mapping[str, Any], num_classes: int | None, *, section: str = "model", **defaults: Any
) -> nn.Module:
    """A model from `config`: its `name` and the fields of its class.

    Args:
      config: `name` is one of `ARCHITECTURES`, the rest are the module's own fields.
      num_classes: K, or None for the backbone alone.
      section: what a stage calls `config`, for errors.
      **defaults: fields such as `dtype` or `bn_group`, used where `config` does not set them and
        the model has them.

    Raises:
      UserError: an unknown name or field, with the nearest known one; a field that contradicts
        what the name stands for.
    """
    fields = {k: _plain(v) for k, v in dict(config).items()}
    name = fields.pop("name", "")
    cls, fields = resolve(name, fields, section)
    fields = {**{k: v for k, v in defaults.items() if k in fields_of(name)}, **fields}
    if "num_classes" not in cls.__dataclass_fields__:
        if num_classes is not None:
            raise UserError(f"model {name!r} has no classes, found num_classes={num_classes}")
        return cls(**fields)
    return cls(num_classes, **fields)


def resolve(
    name: str, fields: Mapping[str, Any], section: str = "model", named: str = ""
) -> tuple[type[nn.Module], dict[str, Any]]:
    """The class of `name` and its fields: those given and those that the name stands for.

    `section` holds `fields` in a stage, `named` the name where that is not `section.name`; for the
    errors of `build`, both.
    """
    anew = f"{section}={name}" if not named else f'{section}="{{}}"'
    anew = f"; --config.STAGE.{anew} begins the section anew"
    named = named or f"{section}.name"
    if name not in ARCHITECTURES:
        raise UserError(f"{named}={name!r} is not a model{_nearest(name, ARCHITECTURES)}")
    cls, fixed = _class(name)
    known = fields_of(name)
    for field, value in fields.items():
        if field not in known:
            raise UserError(f"model {name!r} has no field {field!r}{_nearest(field, known)}{anew}")
        if field in fixed and value != fixed[field]:
            raise UserError(
                f"{named}={name!r} stands for {field}={fixed[field]!r}, found "
                f"{section}.{field}={value!r}: take one of them away{_family(name)}{anew}"
            )
    return cls, {**fixed, **fields}


def fields_of(name: str) -> set[str]:
    """The fields that a config of this model may set."""
    known = set(_class(name)[0].__dataclass_fields__)
    return known - {"parent", "name", "num_classes"}


def default(name: str, field: str) -> Any:
    """What a field of this model is where nobody sets it; None for an unknown one."""
    cls, fixed = _class(name)
    return fixed.get(field, getattr(cls, field, None))


def _class(name: str) -> tuple[Any, dict[str, Any]]:
    """The module class of a known name, and the fields that the name stands for."""
    module, cls, fixed = ARCHITECTURES[name]
    return getattr(importlib.import_module(f"darkjax.models.{module}"), cls), fixed


def _family(name: str) -> str:
    """A hint: the name of the same class that stands for no field."""
    free: tuple[str, str, dict[str, Any]] = (*ARCHITECTURES[name][:2], {})
    return next(
        (
            f", or write {n!r}, which stands for none"
            for n in ARCHITECTURES
            if ARCHITECTURES[n] == free
        ),
        "",
    )


def _plain(value: Any) -> Any:
    """A ConfigDict as a dict: flax freezes dicts, not ConfigDicts."""
    return value.to_dict() if hasattr(value, "to_dict") else value


def _nearest(name: str, known: Any) -> str:
    return ": " + did_you_mean(name, known, otherwise=f"known are {', '.join(sorted(known))}")
