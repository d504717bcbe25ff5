"""Recipes of several families behind one set of hyperparameters, for studies that compare families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainables.models.convnet import ConvNetRecipe, ConvNetSettings
from trainables.models.lenet import LeNetRecipe, LeNetSettings
from trainables.models.pretrained import PretrainedRecipe, PretrainedSettings
from trainables.recipe import Recipe
from trainables.settings import Settings
from trainables.task import Task


class ByModel:
    """Stands where a Recipe class does, and makes the one that a configuration's `model` names."""

    def __init__(self, settings_type: type[Settings], other: type[Recipe[Any]], **recipes: type[Recipe[Any]]) -> None:
        self.settings_type = settings_type
        self._recipes: Mapping[str, type[Recipe[Any]]] = recipes
        self._other = other

    def _of(self, settings: Any) -> type[Recipe[Any]]:
        return self._recipes.get(settings.model, self._other)

    def __call__(self, settings: Any, task: Task) -> Recipe[Any]:
        return self._of(settings)(settings, task)

    def require(self, settings: Any) -> None:
        self._of(settings).require(settings)


@dataclass(frozen=True, kw_only=True)
class ConvNetOrPretrainedSettings(ConvNetSettings, PretrainedSettings):
    """Note D's two groups: `model` "convnet" has depth, width and normalize, the others what PretrainedSettings has."""

    model: Literal["convnet", "vgg19", "resnet101", "vit_b_32", "swin_b", "resnet18"] = "convnet"  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class LeNetOrResNetSettings(LeNetSettings, PretrainedSettings):
    """Note B, 7 and 8: `model` "lenet" has LeNet's own hyperparameters, "resnet18" those of PretrainedSettings.

    ResNet-18 starts from random weights on images of 32 pixels, normalised as LeNet's.
    """

    model: Literal["lenet", "resnet18"] = "lenet"  # type: ignore[assignment]
    weights: str | None = "random"
    image_size: int | None = 32
    normalization: Literal["weights", "half"] = "half"


CONVNET_OR_PRETRAINED = ByModel(ConvNetOrPretrainedSettings, PretrainedRecipe, convnet=ConvNetRecipe)
LENET_OR_RESNET = ByModel(LeNetOrResNetSettings, PretrainedRecipe, lenet=LeNetRecipe)
