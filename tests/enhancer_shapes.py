"""Names and shapes of the enhancers' state dicts whose files are not at hand."""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]


def kind_restoration() -> Shapes:
    """KinD's restoration net as TensorFlow names it."""
    shapes: Shapes = {}
    inputs, scope = 4, "Restoration_net/de_conv"
    for i, features in enumerate((32, 64, 128, 256, 512), start=1):
        shapes[f"{scope}{i}_1"] = (3, 3, inputs, features)
        shapes[f"{scope}{i}_2"] = (3, 3, features, features)
        inputs = features
    for i, features in enumerate((256, 128, 64, 32), start=6):
        shapes[f"Restoration_net/up_{i}"] = (2, 2, features, 2 * features)
        shapes[f"{scope}{i}_1"] = (3, 3, 2 * features, features)
        shapes[f"{scope}{i}_2"] = (3, 3, features, features)
    shapes[f"{scope}10"] = (3, 3, 32, 3)
    found = {f"{name}/weights": shape for name, shape in shapes.items()}
    biases = {f"{name}/biases": shape[3:] for name, shape in shapes.items() if "/up_" not in name}
    return found | biases


def stable_llve() -> Shapes:
    """StableLLVE's U-Net as PyTorch names it."""
    convs, inputs = {}, 3
    for i, features in enumerate((32, 64, 128, 256, 256)):
        name = f"down{i}.maxpool_conv.1" if i else "inc"
        convs[f"{name}.double_conv.0"] = (features, inputs, 3, 3)
        convs[f"{name}.double_conv.2"] = (features, features, 3, 3)
        inputs = features
    for i, (inputs, features) in enumerate(((512, 128), (256, 64), (128, 32), (64, 32)), start=1):
        convs[f"up{i}.conv.double_conv.0"] = (inputs // 2, inputs, 3, 3)
        convs[f"up{i}.conv.double_conv.2"] = (features, inputs // 2, 3, 3)
    convs["outc.conv"] = (3, 32, 1, 1)
    found: Shapes = {f"{name}.weight": shape for name, shape in convs.items()}
    return found | {f"{name}.bias": shape[:1] for name, shape in convs.items()}
