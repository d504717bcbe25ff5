"""AlexNet with every width scaled down for a small number of classes (note A, section 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from trainables.base import ImageTrainable
from trainables.data import augment
from trainables.data.task import Task
from trainables.ensembles.adaboost import AdaBoost
from trainables.ensembles.bagging import Bagging
from trainables.ensembles.strategy import Strategy, Training
from trainables.training import schedules
from trainables.training.recipe import Recipe, channels_last
from trainables.training.resized_conv import ResizedConv2d
from trainables.training.seeds import generator
from trainables.training.settings import SettingError, Settings, number

INPUT_SIZE = 224
ORIGINAL_CLASSES = 1000
BITS = 1 / math.log(2)  # bits in one nat


class AlexNet(nn.Sequential):
    """AlexNet whose channels and nodes are multiplied by (classes / 1000) ** ratio, truncated.

    With 100 classes and ratio 0.6 the convolutions have 24, 64, 96, 96, 64 channels, the linears 1028, 1028, 100 nodes.
    Takes [n, channels, h, w] of any size, resizes it to 224x224 (bilinear) and returns logits
    [n, classes]. Weights of convolutions and linears are Xavier-uniform, biases PyTorch's own.
    Raises ValueError if the ratio leaves conv1 without a channel.
    """

    def __init__(
        self,
        classes: int,
        *,
        ratio: float = 0.6,
        dropout: float = 0.5,
        batch_norm: bool = True,
        channels: int = 3,
    ) -> None:
        scale = (classes / ORIGINAL_CLASSES) ** ratio
        c1, c2, c3, nodes = (int(width * scale) for width in (96, 256, 384, 4096))
        if c1 < 1:
            raise ValueError(f"ratio must leave conv1 at least one channel for {classes} classes, got {ratio}")

        def block(conv: nn.Conv2d, pool: bool = False) -> list[nn.Module]:
            norm = [nn.BatchNorm2d(conv.out_channels)] if batch_norm else []
            # The note applies ReLU before the pool. ReLU after the pool gives the same maximum and gradient, on a
            # quarter of the values.
            return [conv, *norm, *([nn.MaxPool2d(3, 2)] if pool else []), nn.ReLU(inplace=True)]

        super().__init__(
            *block(ResizedConv2d(channels, c1, 11, 4, 1, size=INPUT_SIZE), pool=True),
            *block(nn.Conv2d(c1, c2, 5, padding=2), pool=True),
            *block(nn.Conv2d(c2, c3, 3, padding=1)),
            *block(nn.Conv2d(c3, c3, 3, padding=1)),
            *block(nn.Conv2d(c3, c2, 3, padding=1), pool=True),
            nn.Flatten(),
            nn.Linear(c2 * 5 * 5, nodes),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(nodes, nodes),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(nodes, classes),
        )
        for module in self:
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)


@dataclass(frozen=True, kw_only=True)
class AlexNetSettings(Settings):
    """Hyperparameters of note A; the defaults are the note's most frequent choices (section 4).

    Exponential decay multiplies the rate by `step_factor` every `step_epochs` epochs.
    The note does not print `crop_scale` (smallest share of the area that a random crop keeps) and `jitter` (largest
    change of brightness, contrast and saturation): .08 is torchvision's default, .5 is a guess.
    `loss_unit` is the unit of the loss that is differentiated: in bits, gradients are 1 / ln 2 times as large as
    in nats, so that SGD's rate .03 is .0433 in nats. Reported losses are in nats either way.
    """

    ratio: float = number(0.6, low=0, high=1)
    dropout: float = number(0.5, low=0, high=0.99)
    batch_norm: bool = True
    normalize: bool = True
    gray: bool = False
    augmentation: Literal["none", "real-time", "cached"] = "none"
    random_crop: bool = True
    crop_scale: float = number(0.08, low=0.01, high=1)
    jitter: float = number(0.5, low=0, high=1)
    decay: Literal["constant", "exponential", "cosine"] = "exponential"
    step_factor: float = number(schedules.EXPONENTIAL_FACTOR, above=0, high=1)
    step_epochs: int = number(schedules.EXPONENTIAL_PERIOD, low=1)
    loss_unit: Literal["nats", "bits"] = "nats"


@dataclass(frozen=True, kw_only=True)
class BoostedAlexNetSettings(AlexNetSettings):
    """Hyperparameters of AdaBoost on note A's AlexNet: `members` counts rounds, `epochs` the epochs of one round.

    boosting   "note" or "samme", see trainables.ensembles.adaboost
    weighting  how the images' weights enter: "loss" multiplies each image's loss by its weight, "sampling" draws each
               epoch's images by weight
    vote       what the alphas weigh: "logits" and "probabilities" are the note's "before softmax" and "after
               softmax"; "hard", each member's label, is SAMME as published
    """

    vote: Literal["hard", "logits", "probabilities"] = "probabilities"  # type: ignore[assignment]
    boosting: Literal["note", "samme"] = "note"
    weighting: Literal["loss", "sampling"] = "loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bootstrap and self.weighs_images:
            raise SettingError("bootstrap must be false with AdaBoost, which weighs the images itself, got True")

    @property
    def weighs_images(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class AlexNetEnsembleSettings(BoostedAlexNetSettings):
    """Hyperparameters of Bagging or AdaBoost, whichever `strategy` names.

    A vote over probabilities is called "soft" in Bagging, "probabilities" in AdaBoost.
    """

    strategy: Literal["bagging", "adaboost"] = "bagging"
    vote: Literal["hard", "soft", "logits", "probabilities"] = "hard"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        votes = ("hard", "soft") if self.strategy == "bagging" else ("hard", "logits", "probabilities")
        if self.vote not in votes:
            choices = ", ".join(map(repr, votes))
            raise SettingError(f"vote must be one of {choices} if strategy is {self.strategy!r}, got {self.vote!r}")

    @property
    def weighs_images(self) -> bool:
        return self.strategy == "adaboost"


class AlexNetRecipe(Recipe[AlexNetSettings]):
    """Note A's preprocessing: augment, convert to gray if asked, normalise; the network itself resizes to 224x224.

    Gray images are divided by the luma of the three channels' deviations, which is above the gray images' own unless
    the channels vary together.
    """

    settings_type: ClassVar[type[Settings]] = AlexNetSettings

    def __init__(self, settings: AlexNetSettings, task: Task) -> None:
        super().__init__(settings, task)
        self.loss_scale = BITS if settings.loss_unit == "bits" else 1.0
        mean, std = task.data.mean, task.data.std
        if settings.gray:
            mean = augment.to_gray(mean[None])[0]
            std = augment.to_gray(std[None])[0]
        self.mean, self.std = mean, std
        self._cached: torch.Tensor | None = None

    @classmethod
    def require_images(cls, settings: AlexNetSettings, channels: int, size: int, classes: int) -> None:
        with torch.device("meta"):  # refuses a ratio that leaves so few classes no channel
            AlexNet(classes, ratio=settings.ratio)

    def network(self) -> nn.Module:
        settings = self.settings
        return AlexNet(
            self.task.data.classes,
            ratio=settings.ratio,
            dropout=settings.dropout,
            batch_norm=settings.batch_norm,
            channels=1 if settings.gray else self.task.data.channels,
        )

    def decay(self, epoch: int, epochs: int) -> float:
        settings = self.settings
        if settings.decay == "exponential":
            return schedules.exponential(epoch, epochs, settings.step_factor, settings.step_epochs)
        return super().decay(epoch, epochs)

    def training_images(self) -> torch.Tensor:
        if self.settings.augmentation != "cached":
            return self.task.data.train_images
        if self._cached is None:
            self._cached = self._augmented_once()
        return self._cached

    def _augmented_once(self) -> torch.Tensor:
        """Augment every training image once; return the results as uint8, like the images themselves (note A, 4.3)."""
        cached = self.task.data.train_images.clone()
        draws = generator(self.settings.seed, 0, "cache", device=self.device)
        for batch in self.task.train.split(1000):
            cached[batch] = (self._augment(cached[batch].float() / 255, draws) * 255).round().to(torch.uint8)
        return cached

    def _augment(self, images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        images = augment.flip(images, draws)
        if self.settings.random_crop:
            images = augment.crop_and_resize(images, draws, scale=(self.settings.crop_scale, 1.0))
        return augment.color_jitter(images, draws, self.settings.jitter)

    def train_inputs(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        floats = images.float() / 255
        if self.settings.augmentation == "real-time":
            floats = self._augment(floats, generator)
        return self._prepared(floats)

    def test_inputs(self, images: torch.Tensor) -> torch.Tensor:
        return self._prepared(images.float() / 255)

    def _prepared(self, images: torch.Tensor) -> torch.Tensor:
        if self.settings.gray:
            images = augment.to_gray(images)
        if self.settings.normalize:
            images = (images - self.mean) / self.std
        return channels_last(images)


class BaggedAlexNet(ImageTrainable):
    """Train a Bagging ensemble of compressed AlexNets; an ensemble of one member is the single model."""

    recipe = AlexNetRecipe


class BoostedAlexNetRecipe(AlexNetRecipe):
    settings_type = BoostedAlexNetSettings


class BoostedAlexNet(ImageTrainable):
    """Train an AdaBoost ensemble of compressed AlexNets."""

    recipe = BoostedAlexNetRecipe
    strategy = AdaBoost


class AlexNetEnsembleRecipe(AlexNetRecipe):
    settings_type = AlexNetEnsembleSettings


class BaggingOrAdaBoost:
    """Strategy that is Bagging or AdaBoost, as the configuration's `strategy` says."""

    def _chosen(self, settings: Any) -> Strategy:
        return Bagging if settings.strategy == "bagging" else AdaBoost

    def __call__(self, recipe: Recipe[Any]) -> Training:
        return self._chosen(recipe.settings)(recipe)

    def trial_epochs(self, settings: Settings) -> int:
        return self._chosen(settings).trial_epochs(settings)

    def work(self, settings: Settings, task: Task) -> tuple[int, int]:
        return self._chosen(settings).work(settings, task)


class AlexNetEnsemble(ImageTrainable):
    """Train an ensemble of compressed AlexNets whose `strategy` (Bagging or AdaBoost) is a hyperparameter."""

    recipe = AlexNetEnsembleRecipe
    strategy = BaggingOrAdaBoost()
