"""Recipes of several families behind one set of hyperparameters, for studies that compare families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainables.base import ImageTrainable
from trainables.convnet import ConvNetRecipe, ConvNetSettings
from trainables.data.task import Task
from trainables.ensembles.patience import PatientBagging
from trainables.pretrained import NAMES, PretrainedRecipe, PretrainedSettings
from trainables.training.recipe import Recipe
from trainables.training.settings import Settings


class ByModel:
    """Callable in the place of a Recipe class that makes the recipe named by a configuration's `model`."""

    def __init__(self, settings_type: type[Settings], recipes: Mapping[str, type[Recipe[Any]]]) -> None:
        self.settings_type = settings_type
        self.recipes = recipes

    def _of(self, settings: Any) -> type[Recipe[Any]]:
        return self.recipes[settings.model]

    def __call__(self, settings: Any, task: Task) -> Recipe[Any]:
        return self._of(settings)(settings, task)

    def require(self, settings: Any) -> None:
        self._of(settings).require(settings)

    def require_images(self, settings: Any, channels: int, size: int, classes: int) -> None:
        self._of(settings).require_images(settings, channels, size, classes)


@dataclass(frozen=True, kw_only=True)
class ConvNetOrPretrainedSettings(PretrainedSettings, ConvNetSettings):
    """Hyperparameters of note D's two groups of networks; the defaults are those of PretrainedSettings.

    `model` "convnet" has depth, width and normalize; every other model has the hyperparameters of PretrainedSettings.
    """

    model: Literal["convnet", "vgg19", "resnet101", "vit_b_32", "swin_b", "resnet18"] = "convnet"  # type: ignore[assignment]


CONVNET_OR_PRETRAINED = ByModel(
    ConvNetOrPretrainedSettings, {"convnet": ConvNetRecipe} | dict.fromkeys(NAMES, PretrainedRecipe)
)


class ConvNetOrPretrained(ImageTrainable):
    """Train a network of either group of note D."""

    recipe = CONVNET_OR_PRETRAINED
    strategy = PatientBagging
