"""The small LeNet-like network of note B, with its variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from trainables.base import ImageTrainable
from trainables.data.policies import AugmentationSettings, augmented
from trainables.training import schedules
from trainables.training.recipe import Recipe, channels_last, require_form
from trainables.training.settings import number

INPUT_SIZE = 32
SMALLEST = 16  # pixels a side of which the two convolutions and pools leave one


class LeNet(nn.Sequential):
    """Two 5x5 convolutions and three linears (note B, base, 4-7).

    Takes [n, channels, size, size] (the note: 3 x 32 x 32) and returns logits [n, classes]. `batch_norm` adds three
    BatchNorms (after each pooled convolution and after the first linear's ReLU); `dropout` acts at the same places.
    The note's doubled network has conv1=12, conv2=32, its best network conv1=conv2=256.
    `initialization` is PyTorch's own ("default"), or Kaiming-uniform weights (fan in, ReLU gain) in every layer.
    Raises ValueError for another initialization, and for a size below 16.
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        conv1: int = 6,
        conv2: int = 16,
        batch_norm: bool = False,
        dropout: float = 0.0,
        initialization: Literal["default", "kaiming"] = "default",
        channels: int = 3,
        size: int = INPUT_SIZE,
    ) -> None:
        if size < SMALLEST:
            raise ValueError(f"size must be at least {SMALLEST}, got {size}")
        side = ((size - 4) // 2 - 4) // 2
        if initialization not in ("default", "kaiming"):
            raise ValueError(f"initialization must be 'default' or 'kaiming', got {initialization!r}")

        def regularized(norm: nn.Module) -> list[nn.Module]:
            return [*([norm] if batch_norm else []), nn.Dropout(dropout)]

        # The note applies ReLU before the pool. ReLU after the pool gives the same maximum and gradient, on a
        # quarter of the values.
        super().__init__(
            nn.Conv2d(channels, conv1, 5),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            *regularized(nn.BatchNorm2d(conv1)),
            nn.Conv2d(conv1, conv2, 5),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            *regularized(nn.BatchNorm2d(conv2)),
            nn.Flatten(),
            nn.Linear(conv2 * side * side, 120),
            nn.ReLU(inplace=True),
            *regularized(nn.BatchNorm1d(120)),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
            nn.Linear(84, classes),
        )
        if initialization == "kaiming":
            for module in self:
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")


@dataclass(frozen=True, kw_only=True)
class LeNetSettings(AugmentationSettings):
    """Hyperparameters of note B; the defaults are those of the note's base network (question 0).

    The note prints neither `lr` nor `momentum`: the defaults are the usual values, inferred; with them this network
    ends near the reported accuracy, a little under it (spaces/lenet_recover_lr.py searches both).
    Step decay is PyTorch's StepLR: it multiplies the rate by `step_factor` every `step_epochs` epochs (question 3).
    """

    epochs: int = number(12, low=1)
    batch_size: int = number(64, low=1)
    lr: float = number(0.001, above=0)
    momentum: float = number(0.9, low=0, high=1)
    decay: Literal["constant", "step", "cosine"] = "constant"  # type: ignore[assignment]
    step_factor: float = number(0.5, low=0, high=1)
    step_epochs: int = number(5, low=1)
    conv1: int = number(6, low=1)
    conv2: int = number(16, low=1)
    batch_norm: bool = False
    dropout: float = number(0.0, low=0, high=0.99)
    initialization: Literal["default", "kaiming"] = "default"


class LeNetRecipe(Recipe[LeNetSettings]):
    """Note B's preprocessing: its augmentation, then inputs normalised with mean = std = 0.5."""

    settings_type = LeNetSettings

    @classmethod
    def require_images(cls, settings: LeNetSettings, channels: int, size: int, classes: int) -> None:
        require_form("LeNet", (channels, size), least=SMALLEST)

    def network(self) -> nn.Module:
        settings = self.settings
        return LeNet(
            self.task.data.classes,
            conv1=settings.conv1,
            conv2=settings.conv2,
            batch_norm=settings.batch_norm,
            dropout=settings.dropout,
            initialization=settings.initialization,
            channels=self.task.data.channels,
            size=self.task.data.size,
        )

    def decay(self, epoch: int, epochs: int) -> float:
        settings = self.settings
        if settings.decay == "step":
            # StepLR is note A's decay under its own name.
            return schedules.exponential(epoch, epochs, settings.step_factor, settings.step_epochs)
        return super().decay(epoch, epochs)

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.test_inputs(augmented(images, self.settings, generator))

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        return channels_last(images.float() / 127.5 - 1)


class LeNetTrainable(ImageTrainable):
    recipe = LeNetRecipe
