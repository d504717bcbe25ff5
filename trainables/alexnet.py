"""Note A's family: AlexNet scaled down, alone, bagged or boosted."""

from __future__ import annotations

from typing import Any

from trainables.bagging import Bagging
from trainables.base import ImageTrainable
from trainables.boosting import Boosting
from trainables.models.alexnet import AlexNetEnsembleSettings, AlexNetRecipe, BoostedAlexNetSettings
from trainables.recipe import Recipe
from trainables.settings import Settings
from trainables.strategy import Strategy, Training
from trainables.task import Task


class BaggedAlexNet(ImageTrainable):
    """Bagging of compressed AlexNets; one member is the single model."""

    recipe = AlexNetRecipe


class BoostedAlexNetRecipe(AlexNetRecipe):
    settings_type = BoostedAlexNetSettings


class BoostedAlexNet(ImageTrainable):
    """AdaBoost of compressed AlexNets."""

    recipe = BoostedAlexNetRecipe
    strategy = Boosting


class AlexNetEnsembleRecipe(AlexNetRecipe):
    settings_type = AlexNetEnsembleSettings


class BaggingOrAdaBoost:
    """The strategy that a configuration's `strategy` names."""

    def _chosen(self, settings: Any) -> Strategy:
        return Bagging if settings.strategy == "bagging" else Boosting

    def __call__(self, recipe: Recipe[Any]) -> Training:
        return self._chosen(recipe.settings)(recipe)

    def trial_epochs(self, settings: Settings) -> int:
        return self._chosen(settings).trial_epochs(settings)

    def work(self, settings: Settings, task: Task) -> tuple[int, int]:
        return self._chosen(settings).work(settings, task)


class AlexNetEnsemble(ImageTrainable):
    """Bagging or AdaBoost, a hyperparameter: for a study that compares the two."""

    recipe = AlexNetEnsembleRecipe
    strategy = BaggingOrAdaBoost()
