"""Recipes of several families behind one set of hyperparameters, for studies that compare families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainables.models.convnet import ConvNetRecipe, ConvNetSettings
from trainables.models.pretrained import NAMES, PretrainedRecipe, PretrainedSettings
from trainables.recipe import Recipe
from trainables.settings import Settings
from trainables.task import Task


class ByModel:
    """Stands where a Recipe class does, and makes the one that a configuration's `model` names."""

    def __init__(self, settings_type: type[Settings], recipes: Mapping[str, type[Recipe[Any]]]) -> None:
        self.settings_type = settings_type
        self.recipes = recipes

    def _of(self, settings: Any) -> type[Recipe[Any]]:
        return self.recipes[settings.model]

    def __call__(self, settings: Any, task: Task) -> Recipe[Any]:
        return self._of(settings)(settings, task)

    def require(self, settings: Any) -> None:
        self._of(settings).require(settings)


@dataclass(frozen=True, kw_only=True)
class ConvNetOrPretrainedSettings(PretrainedSettings, ConvNetSettings):
    """Note D's two groups: `model` "convnet" has depth, width and normalize, the others what PretrainedSettings has.

    Defaults are those of PretrainedSettings.
    """

    model: Literal["convnet", "vgg19", "resnet101", "vit_b_32", "swin_b", "resnet18"] = "convnet"  # type: ignore[assignment]


CONVNET_OR_PRETRAINED = ByModel(
    ConvNetOrPretrainedSettings, {"convnet": ConvNetRecipe} | dict.fromkeys(NAMES, PretrainedRecipe)
)
