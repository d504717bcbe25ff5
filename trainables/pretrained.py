"""Train torchvision's stock networks with ImageNet weights and a new head (notes B, 8 and D)."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import struct
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

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
from torchvision.transforms import functional as TF
from torchvision.transforms.functional import InterpolationMode

from trainables.base import ImageTrainable
from trainables.data.policies import AugmentationSettings, augmented
from trainables.data.task import Task
from trainables.ensembles.patience import PatienceSettings, PatientBagging
from trainables.training.recipe import Recipe, channels_last, require_form
from trainables.training.settings import SettingError, number

VIT, VIT_PATCH = "vit_b_32", 32
NAMES = ("vgg19", "resnet101", VIT, "swin_b", "resnet18")

_HEADS: dict[type, str] = {
    VGG: "classifier.6",
    ResNet: "fc",
    VisionTransformer: "heads.head",
    SwinTransformer: "head",
}

# Modules and parameters of each stage that can be frozen by itself, from the input to the head.
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
    """Pretrained weights that are missing, unreadable or another network's; the message is one line."""


class InputTransform(NamedTuple):
    """Resize the shorter side to `resize`, cut the central `crop` square, scale to [0, 1], normalise.

    `direct` returns the transform that note D names: resize to a `crop` square, cut nothing, normalise.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str  # "bilinear" or "bicubic"

    def direct(self) -> InputTransform:
        return self._replace(resize=self.crop, interpolation=InterpolationMode.BILINEAR.value)

    def of_size(self, crop: int) -> InputTransform:
        """Return the transform for images of `crop` pixels, with the same share of each side cut off."""
        return self._replace(resize=round(self.resize * crop / self.crop), crop=crop)


def build(name: str, classes: int = 100, weights: str | Path | None = None, image_size: int | None = None) -> nn.Module:
    """Return a stock network with a new linear head for `classes`, every parameter trainable.

    Takes [n, 3, crop, crop] (see `input_transform`; all but the ViT also smaller) and returns logits
    [n, classes]. A ViT with random weights is made for `image_size` pixels, if given; the other networks do
    not depend on `image_size`. `weights` is "random" for none, a folder that holds torchvision's files under their
    own names (vgg19-dcbb9e9d.pth), or None for torchvision's cache, filled from its server at first use. The
    version is torchvision's DEFAULT; the notes do not say which they took, and only resnet101 has two.
    Raises ValueError for another name, WeightsError for weights that cannot be found, downloaded or read.
    """
    published = _weights(name)
    if weights == "random":
        network = get_model(name, **({"image_size": image_size} if name == VIT and image_size else {}))
    else:
        state = _state_dict(published, None if weights is None else Path(weights))
        # On the meta device no memory is taken and no weights are drawn, only to be replaced at once.
        with torch.device("meta"):
            network = get_model(name)
        try:
            network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            reason = textwrap.shorten(str(error).split("\n", 1)[-1], 160, placeholder=" ...")
            raise WeightsError(f"{published.url.rsplit('/', 1)[-1]} does not fit {name}: {reason}") from None
    head = _HEADS[type(network)]
    network.set_submodule(head, nn.Linear(network.get_submodule(head).in_features, classes))
    return network


def input_transform(name: str) -> InputTransform:
    """Return the transform that the weights of `name` were evaluated with. Raises ValueError for another name."""
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
    Raises ValueError for a network that `build` did not make, or for more stages than the network has.
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


def stages(network: nn.Module) -> int:
    """Return how many stages `set_trainable` knows in a network made by `build`."""
    return len(_STAGES[type(network)])


@functools.cache
def require(name: str, weights: str | None) -> None:
    """Raise WeightsError unless `build` finds these weights and can read them; `weights` None may download them."""
    build(name, weights=weights)


@dataclass(frozen=True, kw_only=True)
class PretrainedSettings(AugmentationSettings, PatienceSettings):
    """Hyperparameters of notes D (2, 3) and B (8); the defaults are note D's.

    Note D does not print SGD's momentum: 0.9 is the usual value, inferred.

    weights        a folder that holds torchvision's files, "random" for none, or None for torchvision's cache
    tuned          "all": every layer; "head": the new head alone; "staged": the head, then one more stage each epoch
    image_size     pixels a side; None: the size that the weights were trained with
    center_crop    False: the picture is resized to `image_size` at once, bilinearly, like note D's Resize, ToTensor,
                   Normalize. True: it is resized beyond `image_size` and its middle cut out, like the weights' own
                   transform
    normalization  "weights": the weights' own mean and std; "half": note B's (0.5 each)
    """

    epochs: int = number(5, low=1)
    batch_size: int = number(64, low=1)
    lr: float = number(0.001, above=0)
    momentum: float = number(0.9, low=0, high=1)
    decay: Literal["constant", "cosine"] = "constant"
    model: Literal["vgg19", "resnet101", "vit_b_32", "swin_b", "resnet18"] = "resnet101"
    weights: str | None = None
    tuned: Literal["all", "head", "staged"] = "all"
    image_size: int | None = number(None, low=32)
    center_crop: bool = False
    normalization: Literal["weights", "half"] = "weights"

    pretrained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.image_size
        if self.model == VIT and size is not None and (self.weights != "random" or size % VIT_PATCH):
            raise SettingError(
                f"image_size must be None for {VIT}, or a multiple of {VIT_PATCH} if weights is 'random', got {size}"
            )

    def without_weights(self) -> Self:
        return dataclasses.replace(self, weights="random")


class PretrainedRecipe(Recipe[PretrainedSettings]):
    """Preprocessing that augments images at their own size, then resizes and normalises them on the device."""

    settings_type = PretrainedSettings

    def __init__(self, settings: PretrainedSettings, task: Task) -> None:
        super().__init__(settings, task)
        transform = input_transform(settings.model)
        if settings.image_size is not None:
            transform = transform.of_size(settings.image_size)
        if not settings.center_crop:
            transform = transform.direct()
        if settings.normalization == "half":
            transform = transform._replace(mean=(0.5,) * 3, std=(0.5,) * 3)
        self.transform = transform

    @classmethod
    def require(cls, settings: PretrainedSettings) -> None:
        if settings.weights != "random":
            require(settings.model, settings.weights)

    @classmethod
    def require_images(cls, settings: PretrainedSettings, channels: int, size: int, classes: int) -> None:
        require_form(settings.model, (channels, size), channels=(3,))

    def network(self) -> nn.Module:
        settings = self.settings
        network = build(settings.model, self.task.data.classes, settings.weights, settings.image_size)
        if settings.tuned == "head":
            set_trainable(network, "head")
        return network

    def begin_epoch(self, network: nn.Module, epoch: int) -> None:
        if self.settings.tuned == "staged":
            set_trainable(network, min(epoch - 1, stages(network)))

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.test_inputs(augmented(images, self.settings, generator))

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        resize, crop, mean, std, interpolation = self.transform
        images = TF.resize(images, [resize], InterpolationMode(interpolation), antialias=True)
        images = TF.center_crop(images, [crop])
        return channels_last(TF.normalize(images.float() / 255, list(mean), list(std)))


def _weights(name: str) -> Any:
    if name not in NAMES:
        raise ValueError(f"network must be one of {', '.join(NAMES)}, got {name!r}")
    return get_model_weights(name).DEFAULT


def _state_dict(published: Any, folder: Path | None) -> dict[str, torch.Tensor]:
    file = published.url.rsplit("/", 1)[-1]
    path = (Path(torch.hub.get_dir()) / "checkpoints" if folder is None else folder) / file
    if not path.is_file():
        if folder is not None:
            raise WeightsError(f"{file} not found in {folder}")
        try:
            downloaded: dict[str, torch.Tensor] = published.get_state_dict(
                progress=False, check_hash=True, map_location="cpu", weights_only=True
            )
        except (OSError, RuntimeError) as error:  # a RuntimeError if the hash differs
            raise WeightsError(f"{file} not in {path.parent}, and {published.url} failed: {error}") from None
        return downloaded
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path} is cut short or no file of weights ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise WeightsError(f"{path} must hold a state dict, got {type(state).__name__}")
    return state


# Errors that torch.load and its unpickler raise for damaged files: which one depends on where the damage lies.
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


class PretrainedTrainable(ImageTrainable):
    recipe = PretrainedRecipe
    strategy = PatientBagging
