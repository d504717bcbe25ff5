"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016) as note C builds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from trainables.base import ImageTrainable
from trainables.data import augment
from trainables.training.recipe import Recipe, channels_last
from trainables.training.sam import SAM
from trainables.training.settings import SettingError, Settings, number

STEM = 16


class WideResNet(nn.Module):
    """WRN-depth-width: three groups of (depth - 4) / 6 pre-activation blocks (note C, model).

    Takes [n, channels, h, w] (the note: 3 x 32 x 32) and returns logits [n, classes]. The groups have 16, 32 and 64
    times `width` channels at full, half and quarter resolution. `dropout` acts between a block's two
    convolutions. Convolutions are Kaiming-normal (fan in), the head starts at zero. WRN-34-10 with 100
    classes has 46,218,164 parameters.
    Raises ValueError unless depth is 6n + 4 with n at least 1.
    """

    def __init__(
        self, depth: int = 34, width: int = 10, *, classes: int = 100, dropout: float = 0.0, channels: int = 3
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6n + 4 (10, 16, 22, 28, 34, 40, ...), got {depth}")
        blocks = (depth - 4) // 6
        inputs = STEM
        layers: list[nn.Module] = [nn.Conv2d(channels, inputs, 3, padding=1, bias=False)]
        for group in range(3):
            outputs = STEM * width * 2**group
            for block in range(blocks):
                first = block == 0
                stride = 2 if first and group > 0 else 1
                layers.append(_Block(inputs, outputs, stride, dropout, project=first))
                inputs = outputs
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(inputs, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """BN-ReLU-conv twice, added to the input, or to its 1x1 projection after the first BN-ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float, *, project: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.project = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.project is None else self.project(active)
        residual = self.dropout(F.relu(self.norm2(self.conv1(active)), inplace=True))
        result: torch.Tensor = shortcut + self.conv2(residual)
        return result


@dataclass(frozen=True, kw_only=True)
class WideResNetSettings(Settings):
    """Hyperparameters of note C; the defaults are those of the note's run.

    rho                SAM's distance; 0 is the plain optimizer, with one pass a step instead of two
    adaptive           scale SAM's distance by each weight; good values of `rho` are then some ten times larger
    freeze_batch_norm  the second pass leaves BatchNorm's running statistics alone. The note means to do so,
                       but its switch tests the wrong object: the note's run has False
    cutout             side in pixels of the square that is zeroed on half of the images; 0 is none
    crop_padding       zero pixels added on each side before 32 x 32 are cut out; 0 is no crop
    """

    epochs: int = number(200, low=1)
    batch_size: int = number(128, low=1)
    lr: float = number(0.1, above=0)
    momentum: float = number(0.9, low=0, high=1)
    weight_decay: float = number(0.0005, low=0)
    label_smoothing: float = number(0.1, low=0, high=0.5)
    decay: Literal["constant", "cosine", "steps"] = "steps"  # type: ignore[assignment]
    depth: int = number(34, low=10)
    width: int = number(10, low=1)
    dropout: float = number(0.0, low=0, high=0.99)
    rho: float = number(0.1, low=0)
    adaptive: bool = False
    freeze_batch_norm: bool = False
    cutout: int = number(16, low=0)
    crop_padding: int = number(4, low=0, high=16)
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth % 6 != 4:
            raise SettingError(f"depth must be 6n + 4 (10, 16, 22, 28, 34, 40, ...), got {self.depth}")


class WideResNetRecipe(Recipe[WideResNetSettings]):
    """Note C's preprocessing (padded crop, flip, normalisation by the training set, Cutout), with SAM's steps."""

    settings_type = WideResNetSettings

    def network(self) -> nn.Module:
        settings = self.settings
        data = self.task.data
        return WideResNet(
            settings.depth, settings.width, classes=data.classes, dropout=settings.dropout, channels=data.channels
        )

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        settings = self.settings
        if settings.crop_padding:
            images = augment.crop(images, generator, images.shape[-1], settings.crop_padding)
        if settings.flip:
            images = augment.flip(images, generator)
        inputs = self.test_inputs(images)
        return augment.cutout(inputs, generator, settings.cutout) if settings.cutout else inputs

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        return channels_last((images.float() / 255 - self.task.data.mean) / self.task.data.std)

    def update(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make one step of SAM, which is two passes; return losses [n] and logits [n, classes] of the first pass."""
        settings = self.settings
        # SAM keeps nothing from step to step, so a checkpoint needs the optimizer alone.
        sam = SAM(
            optimizer,
            rho=settings.rho,
            adaptive=settings.adaptive,
            frozen=network if settings.freeze_batch_norm else None,
        )
        return sam.step(lambda: self.backward(network, optimizer, inputs, labels, weights))


class WideResNetTrial(ImageTrainable):
    recipe = WideResNetRecipe
