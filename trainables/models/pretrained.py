"""torchvision's stock networks with ImageNet weights and a new head (notes B, 8 and D)."""

from __future__ import annotations

import pickle
import struct
import textwrap
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torchvision.models import (
    ResNet,
    SwinTransformer,
    VisionTransformer,
    get_model,
    get_model_weights,
)
from torchvision.models.vgg import VGG

NAMES = ("vgg19", "resnet101", "vit_b_32", "swin_b", "resnet18")

_HEADS: dict[type, str] = {
    VGG: "classifier.6",
    ResNet: "fc",
    VisionTransformer: "heads.head",
    SwinTransformer: "head",
}

# From the input to the head: the modules and parameters of each stage that can be frozen by itself.
_STAGES: dict[type, tuple[tuple[str, ...], ...]] = {
    VGG: (
        *(tuple(f"features.{i}" for i in block) for block in (range(5), range(5, 10), range(10, 19))),
        *(tuple(f"features.{i}" for i in block) for block in (range(19, 28), range(28, 37))),
        ("classifier.0", "classifier.3"),
    ),
    ResNet: (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
    VisionTransformer: (
        ("class_token", "conv_proj", "encoder.pos_embedding"),
        *((f"encoder.layers.encoder_layer_{i}",) for i in range(11)),
        ("encoder.layers.encoder_layer_11", "encoder.ln"),
    ),
    SwinTransformer: (
        ("features.0", "features.1"),
        ("features.2", "features.3"),
        ("features.4", "features.5"),
        ("features.6", "features.7", "norm"),
    ),
}


class WeightsError(ValueError):
    """Pretrained weights that are missing, unreadable or of another network; the message is one line."""


class InputTransform(NamedTuple):
    """Resize the shorter side to `resize`, cut the central `crop` square, scale to [0, 1], normalise."""

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str  # "bilinear" or "bicubic"


def build(name: str, classes: int = 100, weights: str | Path | None = None) -> nn.Module:
    """A stock network with a new linear head for `classes`, every parameter trainable.

    Takes [n, 3, crop, crop] (see `input_transform`; the ResNets also smaller) and returns logits
    [n, classes]. `weights` is "random" for none, a folder that holds torchvision's files under their own
    names (vgg19-dcbb9e9d.pth), or None for torchvision's cache, filled from its server at first use. The
    version is torchvision's DEFAULT; the notes do not say which they took, and only resnet101 has two.
    Raises ValueError for another name, WeightsError for weights that cannot be had.
    """
    published = _weights(name)
    if weights == "random":
        network = get_model(name)
    else:
        state = _state_dict(published, None if weights is None else Path(weights))
        # Made without memory and without drawing weights that would be replaced at once.
        with torch.device("meta"):
            network = get_model(name)
        try:
            network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            reason = textwrap.shorten(str(error).split("\n", 1)[-1], 160, placeholder=" ...")
            raise WeightsError(f"{published.url.rsplit('/', 1)[-1]} is not of {name}: {reason}") from None
    head = _HEADS[type(network)]
    network.set_submodule(head, nn.Linear(network.get_submodule(head).in_features, classes))
    return network


def input_transform(name: str) -> InputTransform:
    """What the weights of `name` were evaluated with. Raises ValueError for another name."""
    preset = _weights(name).transforms()
    return InputTransform(
        preset.resize_size[0],
        preset.crop_size[0],
        tuple(preset.mean),
        tuple(preset.std),
        preset.interpolation.value,
    )


def set_trainable(network: nn.Module, stages: Literal["all", "head"] | int) -> None:
    """Let all parameters train, the head alone, or the head and the last `stages` stages; freeze the rest.

    Stages are VGG's five blocks and its hidden linears (6), ResNet's stem and four layers (5), ViT's
    embedding and 12 encoder layers (13), Swin's four resolutions (4). Frozen BatchNorms still update their
    running statistics in training mode, as in note B's branch with frozen layers.
    Raises ValueError for a network that `build` did not make, or more stages than it has.
    """
    layout = _STAGES.get(type(network))
    if layout is None:
        raise ValueError(f"set_trainable takes a network of pretrained.build, got {type(network).__name__}")
    count = len(layout) if stages == "all" else 0 if stages == "head" else stages
    if not (isinstance(count, int) and 0 <= count <= len(layout)):
        raise ValueError(f"stages must be 'all', 'head' or 0 to {len(layout)}, got {stages!r}")
    frozen = [prefix for stage in layout[: len(layout) - count] for prefix in stage]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not any(name == p or name.startswith(f"{p}.") for p in frozen))


def _weights(name: str) -> Any:
    if name not in NAMES:
        raise ValueError(f"network must be one of {', '.join(NAMES)}, got {name!r}")
    return get_model_weights(name).DEFAULT


def _state_dict(published: Any, folder: Path | None) -> dict[str, torch.Tensor]:
    file = published.url.rsplit("/", 1)[-1]
    options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    path = (Path(torch.hub.get_dir()) / "checkpoints" if folder is None else folder) / file
    if not path.is_file():
        if folder is not None:
            raise WeightsError(f"{file} not found in {folder}")
        try:
            downloaded: dict[str, torch.Tensor] = published.get_state_dict(progress=False, check_hash=True, **options)
        except (OSError, RuntimeError) as error:  # RuntimeError: the hash differs
            raise WeightsError(f"{file} not in {path.parent}, and {published.url} failed: {error}") from None
        return downloaded
    try:
        state = torch.load(path, **options)
    except _UNREADABLE as error:
        raise WeightsError(f"{path} is cut short or no file of weights ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise WeightsError(f"{path} must hold a state dict, got {type(state).__name__}")
    return state


# torch.load and its unpickler raise one or another of these, by where the bytes stop making sense.
_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
)
