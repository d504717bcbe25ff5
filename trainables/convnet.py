"""The plain convolutional networks of note D."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from trainables.base import ImageTrainable
from trainables.ensembles.patience import PatienceSettings, PatientBagging
from trainables.training.recipe import Recipe, channels_last, require_form
from trainables.training.settings import number

INPUT_SIZE = 32


class ConvNet(nn.Module):
    """`depth` blocks of 5x5 convolution, BatchNorm, ReLU and 2x2 max-pool, then one linear (note D, 1).

    Block i has `width` * 2**i channels: by default 16, 32, 64, 128, 256, like the note's. Takes [n, channels, size,
    size] (the note: 3 x 32 x 32) and returns logits [n, classes]. The note's layouts were pictures that are lost: these
    blocks give its three parameter counts and its three sizes exactly. Raises ValueError for a depth that the pixels
    cannot halve.
    """

    def __init__(
        self, depth: int = 2, *, width: int = 16, classes: int = 100, channels: int = 3, size: int = INPUT_SIZE
    ) -> None:
        super().__init__()
        deepest = size.bit_length() - 1
        if not 1 <= depth <= deepest:
            raise ValueError(f"depth must be from 1 to {deepest} for {size}x{size}, got {depth}")
        widths = [channels, *(width * 2**block for block in range(depth))]
        self.features = nn.Sequential(*(_block(*pair) for pair in itertools.pairwise(widths)))
        self.classifier = nn.Linear(widths[-1] * (size >> depth) ** 2, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 5, padding=2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


@dataclass(frozen=True, kw_only=True)
class ConvNetSettings(PatienceSettings):
    """Hyperparameters of note D's own networks; the defaults are those of the note's CNN_2 (1).

    The note does not print whether images were normalised; `normalize` uses the training set's channel statistics.
    """

    epochs: int = number(5, low=1)
    batch_size: int = number(64, low=1)
    lr: float = number(0.001, above=0)
    optimizer: Literal["sgd", "adam"] = "adam"
    decay: Literal["constant", "cosine"] = "constant"
    depth: int = number(2, low=1, high=5)
    width: int = number(16, low=1)
    normalize: bool = True


class ConvNetRecipe(Recipe[ConvNetSettings]):
    settings_type = ConvNetSettings

    @classmethod
    def require_images(cls, settings: ConvNetSettings, channels: int, size: int, classes: int) -> None:
        require_form(f"a ConvNet of depth {settings.depth}", (channels, size), least=2**settings.depth)

    def network(self) -> nn.Module:
        data = self.task.data
        return ConvNet(
            self.settings.depth,
            width=self.settings.width,
            classes=data.classes,
            channels=data.channels,
            size=data.size,
        )

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        floats = images.float() / 255
        if self.settings.normalize:
            floats = (floats - self.task.data.mean) / self.task.data.std
        return channels_last(floats)


class ConvNetTrainable(ImageTrainable):
    recipe = ConvNetRecipe
    strategy = PatientBagging
